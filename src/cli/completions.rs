//! `backsoon completions`: writes a shell's completion script.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use super::streams::Streams;
use super::{definition, exit};

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Examples:
  backsoon completions bash > /etc/bash_completion.d/backsoon
  backsoon completions zsh  > \"${fpath[1]}/_backsoon\"
  backsoon completions fish > ~/.config/fish/completions/backsoon.fish

Exit codes:
  0   written
  64  there is no such shell
  74  it cannot be written";

/// Writes the script.
pub(super) fn run(args: &Completions, streams: &mut Streams) -> Result<u8, Failure> {
    // Generated in memory first, because the generator panics on a failed write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "backsoon", &mut script);
    streams.data().write_all(&script)?;
    Ok(exit::OK)
}
