//! `backsoon man`: writes the manual pages: of the commands from the same definition as `--help`, and of the files from
//! their keys.

mod files;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Args, Command};

use super::failure::Failure;
use super::streams::Streams;
use super::{definition, exit};

/// The arguments of `man`.
#[derive(Args, Debug)]
pub(super) struct Man {
    /// Write every page into this directory, made if it is missing; else the first one to standard output. Those of the
    /// files, in section 5, go to `man5` beside it if its name is `man1`
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
    let mut all = definition();
    all.build();
    match &args.dir {
        None => streams.data().write_all(&page(&all)?)?,
        Some(dir) => {
            let failed = |dir: &Path| {
                let path = dir.to_owned();
                move |source| Failure::File { verb: "write the pages into", path, source }
            };
            let of_files = of_files(dir);
            fs::create_dir_all(dir).and_then(|()| write_pages(&all, dir)).map_err(failed(dir))?;
            fs::create_dir_all(&of_files).and_then(|()| write_files(&of_files)).map_err(failed(&of_files))?;
            let beside = if of_files == *dir {
                String::new()
            } else {
                format!(", and {} into {}", pages(&of_files), of_files.display())
            };
            writeln!(streams.out, "wrote {} pages into {}{beside}", pages(dir), dir.display())?;
        }
    }
    Ok(exit::OK)
}

/// Writes the page of a command, and those of the commands below it.
fn write_pages(command: &Command, dir: &Path) -> io::Result<()> {
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write_pages(below, dir))?;
    fs::write(dir.join(clap_mangen::Man::new(command.clone()).get_filename()), page(command)?)
}

/// Returns the directory of the pages about files: `man5` beside `man1`, or the same one.
fn of_files(dir: &Path) -> PathBuf {
    if dir.file_name().is_some_and(|name| name == "man1") { dir.with_file_name("man5") } else { dir.to_owned() }
}

/// Writes the pages about files.
fn write_files(dir: &Path) -> io::Result<()> {
    files::PAGES.iter().try_for_each(|page| fs::write(dir.join(page.file()), page.text()))
}

/// Returns the page of a command. The text below the options has sections of its own, named as in other manuals.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().after_help(Resettable::Reset)).render(&mut page)?;
    let (before, codes) = text.split_once("Exit codes").unwrap_or((&text, ""));
    let (notes, examples) = before.split_once("Examples:\n").unwrap_or((before, ""));
    let codes = codes.split_once('\n').map_or("", |(_, codes)| codes);
    for (name, text, is_literal) in
        [("NOTES", notes, false), ("EXAMPLES", examples, true), ("EXIT STATUS", codes, true)]
    {
        if !text.trim().is_empty() {
            page.extend(section(name, text, is_literal).into_bytes());
        }
    }
    Ok(page)
}

/// Returns a section in the language of manual pages. A literal one keeps its lines.
fn section(name: &str, text: &str, is_literal: bool) -> String {
    let lines: Vec<String> = text.trim_matches('\n').lines().map(escaped).collect();
    let (begin, end) = if is_literal { (".nf\n", ".fi\n") } else { ("", "") };
    format!(".SH \"{name}\"\n{begin}{}\n{end}", lines.join("\n"))
}

/// Escapes what a line of a manual page would take for a command or a typographic sign.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// Counts the manual pages of backsoon in a directory.
fn pages(dir: &Path) -> usize {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("backsoon")).count()
}
