//! `backsoon completions`: writes a shell's completion script.
//!
//! The scripts complete names of routes, windows, upstreams and listeners as well. They call `backsoon completions --names`
//! for them, which reads the files that the command line so far would read.

mod names;
mod scripts;

use std::ffi::OsString;
use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

use super::exit;
use super::failure::Failure;
use super::streams::Streams;
use names::Kind;

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    #[arg(required_unless_present = "names")]
    shell: Option<Shell>,
    /// Print names for a command line, as the scripts ask
    #[arg(long, value_enum, hide = true, conflicts_with = "shell")]
    names: Option<Kind>,
    /// Words of the command line
    #[arg(last = true, hide = true, requires = "names")]
    words: Vec<OsString>,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The scripts complete commands, options, and the names of routes, windows, upstreams and listeners in your files.

Examples:
  backsoon completions bash > /etc/bash_completion.d/backsoon
  backsoon completions zsh  > \"${fpath[1]}/_backsoon\"
  backsoon completions fish > ~/.config/fish/completions/backsoon.fish

Exit codes:
  0   written
  64  there is no such shell
  74  it cannot be written";

/// Writes the script, or names.
pub(super) fn run(args: &Completions, streams: &mut Streams) -> Result<u8, Failure> {
    if let Some(kind) = args.names {
        for name in names::names(kind, &args.words) {
            writeln!(streams.out, "{name}")?;
        }
    } else if let Some(shell) = args.shell {
        streams.data().write_all(scripts::script(shell).as_bytes())?;
    }
    Ok(exit::OK)
}
