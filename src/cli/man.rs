//! `backsoon man`: writes the manual pages, from the same definition as `--help`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::streams::Streams;
use super::{definition, exit};

/// The arguments of `man`.
#[derive(Args, Debug)]
pub(super) struct Man {
    /// Write every page into this directory, made if it is missing; else the first one to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Examples:
  backsoon man | man -l -
  backsoon man --dir /usr/local/share/man/man1

Exit codes:
  0   written
  74  they cannot be written";

/// Writes the pages.
pub(super) fn run(args: &Man, streams: &mut Streams) -> Result<u8, Failure> {
    match &args.dir {
        None => clap_mangen::Man::new(definition()).render(&mut streams.data())?,
        Some(dir) => {
            let failed = |source| Failure::File { verb: "write the pages into", path: dir.clone(), source };
            fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(definition(), dir)).map_err(failed)?;
            writeln!(streams.out, "wrote {} pages into {}", pages(dir), dir.display())?;
        }
    }
    Ok(exit::OK)
}

/// Counts the manual pages of backsoon in a directory.
fn pages(dir: &Path) -> usize {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("backsoon")).count()
}
