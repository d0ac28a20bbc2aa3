//! `backsoon demo`: runs an app behind the proxy, with a flag file to play with and nothing to set up.
//!
//! The command writes the files and starts the app. The proxy then runs on those files as under `backsoon run`.

mod app;

use std::fs;
use std::io;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::failure::Failure;
use super::run::Options;
use super::streams::{BOLD, Streams, styled};
use crate::files::write;
use crate::plan::flags::{self, Flags};

/// The arguments of `demo`.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// The port of the proxy, on 127.0.0.1
    #[arg(short, long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The port of the admin listener, on 127.0.0.1
    #[arg(long, default_value_t = 9901, value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: u16,
    /// Directory of the files; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "backsoon-demo")]
    dir: PathBuf,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Writes backsoon.toml and maintenance.toml into the directory, starts a small app on a free port, and serves until \
interrupted. An existing maintenance.toml is kept.

Examples:
  backsoon demo
  backsoon demo --port 8081 --admin-port 9902

Exit codes:
  0   ended by a signal
  64  the arguments are wrong, or the directory has a config that the demo did not write
  69  a port is taken
  74  a file cannot be written";

/// Writes the files, starts the app, prints the next steps, and returns the options for `run`.
pub(super) fn prepare(args: &Demo, streams: &mut Streams) -> Result<Options, Failure> {
    check_port(args.port, "--port")?;
    check_port(args.admin_port, "--admin-port")?;
    fs::create_dir_all(&args.dir).map_err(|source| Failure::File {
        verb: "make the directory",
        path: args.dir.clone(),
        source,
    })?;
    let (config, flags) = (args.dir.join("backsoon.toml"), args.dir.join("maintenance.toml"));
    if !is_replaceable(&config)? {
        return Err(Failure::NotTheDemos(config));
    }
    let app = app::start().map_err(Failure::Internal)?;
    let text = CONFIG
        .replace("{port}", &args.port.to_string())
        .replace("{admin_port}", &args.admin_port.to_string())
        .replace("{app}", &app.to_string());
    write::atomically(&config, text.as_bytes()).map_err(Failure::Demo)?;
    let there = fs::read_to_string(&flags).ok();
    if there.is_none() {
        let text = at_now(FLAGS, Timestamp::now()).replace("{config}", &config.display().to_string());
        write::atomically(&flags, text.as_bytes()).map_err(Failure::Demo)?;
    }
    let flag_file = there.as_deref().map_or(FlagFile::New, FlagFile::of);
    welcome(args, (&config, &flags), flag_file, streams)?;
    let port_hint = Some("choose other ports with --port and --admin-port".to_owned());
    Ok(Options { config, port_hint, preview: None })
}

/// Checks that a port is free, before anything is written. Another process may still take it afterwards.
fn check_port(port: u16, option: &'static str) -> Result<(), Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|source| Failure::Port { port, option, source })
}

/// Returns true if a config may be replaced, because it is missing or the demo wrote it.
fn is_replaceable(config: &Path) -> Result<bool, Failure> {
    match fs::read_to_string(config) {
        Ok(text) => Ok(CONFIG.lines().next() == text.lines().next()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Failure::File { verb: "read", path: config.to_owned(), source }),
    }
}

/// Flag file as the demo finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlagFile {
    /// Was not there.
    New,
    /// Flags nothing now.
    Open,
    /// Flags something now, or cannot be read.
    Flagged,
}

impl FlagFile {
    fn of(text: &str) -> Self {
        let parsed = flags::parse("maintenance.toml", text).0;
        let is_open = |flags: &Flags| {
            flags.routes.is_empty() && flags.windows.iter().all(|window| window.in_force(Timestamp::now()).is_none())
        };
        if parsed.is_some_and(|parsed| is_open(&parsed.flags)) { Self::Open } else { Self::Flagged }
    }
}

/// Moves the example's times so that its window has just begun.
fn at_now(text: &str, now: Timestamp) -> String {
    let begun = now.as_second() - now.as_second() % 60;
    let after = |minutes: i64| Timestamp::from_second(begun + minutes * 60).unwrap_or(now).to_string();
    [("14:00", 0), ("14:40", 40), ("15:00", 60)].iter().fold(text.to_owned(), |text, (written, minutes)| {
        text.replace(&format!("2036-05-19T{written}:00Z"), &after(*minutes))
    })
}

fn welcome(
    args: &Demo,
    (config, flags): (&Path, &Path),
    flag_file: FlagFile,
    streams: &mut Streams,
) -> Result<(), Failure> {
    let url = format!("http://127.0.0.1:{}", args.port);
    // The name in the command line, because the demo usually runs before backsoon is installed.
    let program = std::env::args().next().unwrap_or_else(|| "backsoon".to_owned());
    let (config, shown) = (config.display(), styled(BOLD, flags.display()));
    let edit = match flag_file {
        FlagFile::New => format!(
            "Edit {shown}: take the # from `#web = \"offline\"`, and save. The page\n     changes by itself. For all that \
             it can tell, take the # from the window at the end:\n       \
             sed -i.bak '/^#\\[\\[windows/,$s/^#//' {}",
            flags.display()
        ),
        FlagFile::Open => format!("Or edit {shown}, which is kept as it was."),
        FlagFile::Flagged => format!(
            "{shown} is kept as it was, and flags something: `{program} status --config {config}`\n     says what, and \
             `{program} off --all --config {config}` lifts it."
        ),
    };
    writeln!(
        streams.out,
        "\n  1. Open {}\n  2. In another terminal, plan a maintenance that begins now. It ends by itself:\n       \
         {program} plan web --at \"in 1s\" --for 2m --title \"A bigger disk\" --message \"Nothing is lost.\" \
         --config {config}\n  3. {edit}\n\n  Or close a route, and open it again:\n\
         \x20    {program} on web --for 1m --wait --config {config}\n\
         \x20    {program} off web --wait --config {config}\n\
         \x20    {program} status --watch 127.0.0.1:{}\n\
         \x20    curl -i {url}/api\n\n  Ctrl-C ends it.\n",
        styled(BOLD, &url),
        args.admin_port,
    )?;
    streams.out.flush()?;
    Ok(())
}

/// Config of the demo. The first line marks a config as written by the demo.
const CONFIG: &str = include_str!("demo/backsoon.toml");
const FLAGS: &str = include_str!("demo/maintenance.toml");

#[cfg(test)]
mod tests {
    use crate::plan::config;

    use super::*;

    #[test]
    fn the_files_of_the_demo_are_valid() {
        let text = CONFIG.replace("{port}", "8080").replace("{admin_port}", "9901").replace("{app}", "127.0.0.1:3000");
        let (config, problems) = config::parse("backsoon.toml", &text);
        assert!(config.is_some() && problems.is_empty(), "{problems:?}");
        let (flags, problems) = flags::parse("maintenance.toml", FLAGS);
        assert!(flags.is_some_and(|parsed| parsed.flags == flags::Flags::default()) && problems.is_empty());
    }

    #[test]
    fn what_is_commented_out_in_the_flag_file_is_valid_too() {
        let live: String = FLAGS
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let (parsed, problems) = flags::parse("maintenance.toml", &live);
        let parsed = parsed.unwrap_or_else(|| panic!("{problems:?}\n{live}"));
        assert_eq!(problems, []);
        assert_eq!(parsed.flags.routes.len(), 2);
        assert_eq!(parsed.flags.windows.len(), 1);
    }

    #[test]
    fn the_window_of_a_new_flag_file_has_just_begun_and_flags_are_told_from_none() {
        let now = Timestamp::now();
        let text = at_now(FLAGS, now);
        assert_eq!(FlagFile::of(&text), FlagFile::Open);
        let at = text.find("#[[windows]]").unwrap();
        let window = text[at..].lines().map(|line| format!("{}\n", line.trim_start_matches('#')));
        let planned = format!("{}{}", &text[..at], window.collect::<String>());
        assert_eq!(FlagFile::of(&planned), FlagFile::Flagged, "{planned}");
        assert_eq!(FlagFile::of("[routes]\nweb = \"hold\"\n"), FlagFile::Flagged);
    }
}
