//! `backsoon run --listen ADDRESS --to URL`: a proxy without a config of one's own.
//!
//! The options become a config in `.backsoon`, where the other commands of the same folder find it. The proxy then runs on
//! that file as on any other.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::run::Options;
use super::streams::{BOLD, Streams, styled};
use crate::control::runtime_file;
use crate::files::write;
use crate::plan::config::{self, Config};
use crate::plan::problem::Problem;

/// The arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The config, `backsoon.toml` if it is not named; the files it names are relative to it
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["listen", "to", "admin"])]
    config: Option<PathBuf>,
    /// Without a config: address for clients, such as `:8080`
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    listen: Vec<String>,
    /// Without a config: where requests go, such as `http://127.0.0.1:3000`; several share the load
    #[arg(long, value_name = "URL", requires = "listen")]
    to: Vec<String>,
    /// Without a config: address of the admin listener, 127.0.0.1:9901 if it is not given
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    admin: Option<String>,
}

/// Returns the config of commands that are given none: `backsoon.toml`, or in its place that of `run --listen`, or else that
/// of the machine.
pub(super) fn default_config() -> PathBuf {
    first_of([PathBuf::from(CONFIG), Path::new(FOLDER).join(MADE), PathBuf::from(OF_MACHINE)])
}

/// Returns the first file that is there, or the first one.
fn first_of(files: [PathBuf; 3]) -> PathBuf {
    let found = files.iter().find(|file| file.exists()).cloned();
    let [own, ..] = files;
    found.unwrap_or(own)
}

/// Returns the options for the proxy. Without a config it writes one, and says where.
///
/// # Errors
/// If there is a config besides the options, a proxy runs already, or an option is wrong.
pub(super) fn prepare(args: RunArgs, streams: &mut Streams) -> Result<Options, Failure> {
    if args.listen.is_empty() {
        let config = args.config.unwrap_or_else(|| PathBuf::from(CONFIG));
        return Ok(Options { config, port_hint: None, preview: None });
    }
    if Path::new(CONFIG).exists() {
        let help = "leave out `--listen` and `--to`, or start in another folder";
        let message = "this folder has a config, and `--listen` and `--to` are for a start without one";
        return Err(Failure::Problems(vec![Problem::in_file(Path::new(CONFIG), message).help(help)]));
    }
    let here = env::current_dir().map_err(Failure::Internal)?;
    let text = text_of(&args, &here);
    let file = Path::new(FOLDER).join(MADE);
    let config = parsed(&file, &text)?;
    if runtime_file::flags_in_force(&file, &config).is_some() {
        let message = "a proxy that was started without a config runs in this folder already";
        let help = "end that one first, or start in another folder";
        return Err(Failure::Problems(vec![Problem::in_file(&file, message).help(help)]));
    }
    let failed = |source| Failure::File { verb: "make the directory", path: PathBuf::from(FOLDER), source };
    fs::create_dir_all(FOLDER).map_err(failed)?;
    write::atomically(&file, text.as_bytes()).map_err(Failure::Demo)?;
    welcome(&file, &config, streams)?;
    let port_hint = Some("choose other addresses with `--listen` and `--admin`".to_owned());
    Ok(Options { config: file, port_hint, preview: None })
}

/// Returns the config that the options stand for.
fn text_of(args: &RunArgs, here: &Path) -> String {
    let listen: String =
        args.listen.iter().map(|at| format!("[[listen]]\naddress = {}\n\n", in_toml(&address(at)))).collect();
    let to: Vec<String> = args.to.iter().map(|to| in_toml(&upstream(to))).collect();
    let admin = args.admin.as_deref().unwrap_or(ADMIN);
    let folder = |name: &str| in_toml(&here.join(name).to_string_lossy());
    format!(
        "# Written by `backsoon run --listen`, anew at every start. To keep it, move it to {CONFIG}.\n\
         maintenance = {}\nstate_dir = {}\n\n{listen}[admin]\naddress = {}\n\n[routes.web]\nupstream = [{}]\n",
        folder("maintenance.toml"),
        folder(FOLDER),
        in_toml(&address(admin)),
        to.join(", "),
    )
}

/// Parses a config that was made from options. Its problems are those of the command line.
pub(super) fn parsed(file: &Path, text: &str) -> Result<Config, Failure> {
    let (config, problems) = config::parse(file, text);
    let of_options = |problem: Problem| Problem { file: "the command line".to_owned(), place: None, ..problem };
    config.ok_or_else(|| Failure::Problems(problems.into_iter().map(of_options).collect()))
}

/// Writes a string as TOML has it, without variables.
pub(super) fn in_toml(text: &str) -> String {
    toml_edit::Value::from(text.replace("${", "$${")).to_string()
}

/// Completes a short address: `:8080`, `8080` and `localhost:8080`.
pub(super) fn address(written: &str) -> String {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match written.split_once(':') {
        None if is_port(written) => format!("0.0.0.0:{written}"),
        Some(("", port)) if is_port(port) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) if is_port(port) => format!("127.0.0.1:{port}"),
        Some(_) | None => written.to_owned(),
    }
}

/// Completes a short upstream: `3000`, `:3000`, `localhost:3000` and `/run/app.sock`.
pub(super) fn upstream(written: &str) -> String {
    let port = written.strip_prefix(':').unwrap_or(written);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("http://127.0.0.1:{port}");
    }
    match written {
        path if path.starts_with('/') => format!("unix:{path}"),
        url if url.contains("://") || url.starts_with("unix:") => url.to_owned(),
        host => format!("http://{host}"),
    }
}

fn welcome(file: &Path, config: &Config, streams: &mut Streams) -> Result<(), Failure> {
    let joined = |words: Vec<String>| words.join(", ");
    let listen = joined(config.listen.iter().map(|listen| listen.address.to_string()).collect());
    let upstreams = config.routes.iter().flat_map(|route| &route.upstreams);
    let flags = if config.maintenance.exists() { "" } else { " (not there yet: nothing is flagged)" };
    // The name in the command line, because backsoon may not be installed.
    let program = env::args().next().unwrap_or_else(|| "backsoon".to_owned());
    writeln!(
        streams.out,
        "\n  Clients:    {}, forwarded to {} as route `web`\n  Flag file:  {}{flags}\n  Admin:      {}\n  \
         Config:     {}, which other commands in this folder find\n\n  In another terminal, here:\n\
         \x20    {program} on web --for 30m --wait\n\x20    {program} status\n\x20    {program} off web\n",
        styled(BOLD, listen),
        joined(upstreams.map(ToString::to_string).collect()),
        styled(BOLD, "maintenance.toml"),
        config.admin.as_ref().map_or_else(String::new, ToString::to_string),
        file.display(),
    )?;
    streams.out.flush()?;
    Ok(())
}

/// Config of a folder.
pub(super) const CONFIG: &str = "backsoon.toml";
/// Config of the service that a package has installed.
const OF_MACHINE: &str = "/etc/backsoon/backsoon.toml";
/// Folder of what backsoon itself writes.
const FOLDER: &str = ".backsoon";
/// Config that is made from options.
const MADE: &str = "run.toml";
/// Address of the admin listener, unless another is given.
const ADMIN: &str = "127.0.0.1:9901";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_the_folder_comes_before_that_of_the_machine() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = || ["own", "made", "of_machine"].map(|name| dir.path().join(name));
        let [own, made, of_machine] = files();
        assert_eq!(first_of(files()), own, "it is named in the error");
        for file in [of_machine, made, own] {
            fs::write(&file, "").expect("a file");
            assert_eq!(first_of(files()), file);
        }
    }

    #[test]
    fn short_addresses_are_completed() {
        let addresses = [":8080", "8080", "localhost:8080", "10.0.0.1:80", "[::]:80", "unix:/run/x.sock"].map(address);
        let complete = ["0.0.0.0:8080", "0.0.0.0:8080", "127.0.0.1:8080", "10.0.0.1:80", "[::]:80", "unix:/run/x.sock"];
        assert_eq!(addresses, complete);
        let upstreams = ["3000", ":3000", "app:3000", "/run/a.sock", "https://a", "unix:/run/a.sock"].map(upstream);
        let complete = [
            "http://127.0.0.1:3000",
            "http://127.0.0.1:3000",
            "http://app:3000",
            "unix:/run/a.sock",
            "https://a",
            "unix:/run/a.sock",
        ];
        assert_eq!(upstreams, complete);
    }
}
