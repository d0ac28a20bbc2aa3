//! `backsoon init`: writes a config and a flag file to begin with, from an answer or two.

use std::fs;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit;
use super::failure::Failure;
use super::quick::{self, CONFIG};
use super::streams::Streams;
use crate::files::write;
use crate::plan::problem::Problem;

/// The arguments of `init`.
#[derive(Args, Debug)]
pub(super) struct Init {
    /// Address for clients, such as `:8080`; else it is asked for
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Your service, such as `http://127.0.0.1:3000`; else it is asked for
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Host of the route; any host if it is left out
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Address of the admin listener
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: String,
    /// Directory of the files; made if it is missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Writes backsoon.toml, with comments, and an empty maintenance.toml with an example. An existing backsoon.toml is never \
overwritten, and an existing maintenance.toml is kept. On a terminal it asks what no option says.

Examples:
  backsoon init
  backsoon init --to http://127.0.0.1:3000 --host www.example.com

Exit codes:
  0   written
  64  the arguments are wrong, nothing says where your service is, or there is a config already
  74  a file cannot be written";

/// Answers that the config is made of.
#[derive(Debug, PartialEq)]
struct Answers {
    listen: String,
    to: String,
    /// Empty for any host.
    host: String,
}

/// Writes the files, and prints the next commands.
pub(super) fn run(args: &Init, streams: &mut Streams) -> Result<u8, Failure> {
    let (config, flags) = (args.dir.join(CONFIG), args.dir.join("maintenance.toml"));
    if config.exists() {
        let help = "edit it, or choose another directory with `--dir`";
        return Err(refused(&config, "the file is there already, and is not overwritten", help));
    }
    let answers = if io::stdin().is_terminal() && args.to.is_none() {
        asked(args, &mut io::stdin().lock(), &mut streams.out)?
    } else {
        let Some(to) = args.to.clone() else {
            let help = "name it, `--to http://127.0.0.1:3000`, or run the command on a terminal, where it asks";
            return Err(refused(&config, "nothing says where your service is", help));
        };
        let listen = args.listen.clone().unwrap_or_else(|| LISTEN.to_owned());
        Answers { listen, to, host: args.host.clone().unwrap_or_default() }
    };
    let text = text_of(&answers, &args.admin);
    quick::parsed(&config, &text)?;
    let failed = |source| Failure::File { verb: "make the directory", path: args.dir.clone(), source };
    fs::create_dir_all(&args.dir).map_err(failed)?;
    let kept = flags.exists();
    if !kept {
        write::atomically(&flags, FLAGS.as_bytes()).map_err(Failure::Demo)?;
    }
    write::atomically(&config, text.as_bytes()).map_err(Failure::Demo)?;
    tell(&config, (&flags, kept), streams)?;
    Ok(exit::OK)
}

fn refused(file: &Path, message: &str, help: &str) -> Failure {
    Failure::Problems(vec![Problem::in_file(file, message).help(help)])
}

/// Asks for what no option says.
fn asked(args: &Init, input: &mut impl BufRead, out: &mut impl Write) -> Result<Answers, Failure> {
    let mut ask = |given: &Option<String>, question: &str, default: &str| -> io::Result<String> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        write!(out, "{question}: ")?;
        out.flush()?;
        let mut line = String::new();
        input.read_line(&mut line)?;
        let answer = line.trim();
        Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
    };
    Ok(Answers {
        to: ask(&args.to, "Where is your service? [http://127.0.0.1:3000]", "http://127.0.0.1:3000")?,
        listen: ask(&args.listen, "Where do clients connect? [0.0.0.0:8080]", LISTEN)?,
        host: ask(&args.host, "For which host? [any]", "")?,
    })
}

/// Returns the config.
fn text_of(answers: &Answers, admin: &str) -> String {
    let host = match answers.host.as_str() {
        "" => "#host = \"www.example.com\"".to_owned(),
        host => format!("host = {}", quick::in_toml(host)),
    };
    TEMPLATE
        .replace("{listen}", &quick::in_toml(&quick::address(&answers.listen)))
        .replace("{admin}", &quick::in_toml(&quick::address(admin)))
        .replace("{host}", &host)
        .replace("{to}", &quick::in_toml(&quick::upstream(&answers.to)))
}

fn tell(config: &Path, (flags, kept): (&Path, bool), streams: &mut Streams) -> Result<(), Failure> {
    let shown = config.display();
    let option = if config == Path::new(CONFIG) || config == Path::new("./").join(CONFIG) {
        String::new()
    } else {
        format!(" --config {shown}")
    };
    let flags_told = if kept { "kept" } else { "wrote" };
    writeln!(
        streams.out,
        "wrote {shown}\n{flags_told} {}\n\nNext:\n  backsoon check{option}\n  backsoon run{option}\n  \
         backsoon on web --for 30m --message \"We are upgrading the database.\" --wait{option}\n  \
         backsoon off web{option}",
        flags.display(),
    )?;
    Ok(())
}

const TEMPLATE: &str = include_str!("init/backsoon.toml");
const FLAGS: &str = include_str!("init/maintenance.toml");
/// Address for clients, unless another is given.
const LISTEN: &str = "0.0.0.0:8080";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{config, flags};

    fn args() -> Init {
        Init { listen: None, to: None, host: None, admin: "127.0.0.1:9901".to_owned(), dir: PathBuf::from(".") }
    }

    /// Takes the `#` from lines that are comments only to show a key.
    fn live(text: &str) -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            Some(_) | None => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn answers_and_their_absence_make_a_config_without_warnings() {
        let answers = asked(&args(), &mut "3000\n\nwww.example.com\n".as_bytes(), &mut Vec::new()).unwrap();
        let expected = ("3000".to_owned(), LISTEN.to_owned(), "www.example.com".to_owned());
        assert_eq!((answers.to.clone(), answers.listen.clone(), answers.host.clone()), expected);
        let silent = asked(&args(), &mut "".as_bytes(), &mut Vec::new()).unwrap();
        for answers in [answers, silent] {
            let text = text_of(&answers, "127.0.0.1:9901");
            for text in [text.clone(), live(&text)] {
                let (config, problems) = config::parse("backsoon.toml", &text);
                assert!(config.is_some() && problems.is_empty(), "{problems:#?}\n{text}");
            }
        }
    }

    #[test]
    fn the_flag_file_flags_nothing_and_its_example_is_right() {
        let (parsed, problems) = flags::parse("maintenance.toml", FLAGS);
        assert!(parsed.is_some_and(|parsed| parsed.flags == flags::Flags::default()) && problems.is_empty());
        let (parsed, problems) = flags::parse("maintenance.toml", &live(FLAGS));
        assert!(problems.is_empty(), "{problems:#?}");
        let flags = parsed.unwrap().flags;
        assert_eq!((flags.routes.len(), flags.windows.len()), (1, 1));
    }
}
