//! Standard output and standard error of the commands.
//!
//! Results go to the output, problems and notes to the error stream. Text is always written with its styles. A stream
//! drops them if it is no terminal, or if the user wants none (`NO_COLOR`, `TERM=dumb`).

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::ColorChoice;
use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};

use crate::plan::problem::{Problem, Severity};

/// Streams of the process.
pub(super) struct Streams {
    /// Styled results.
    pub(super) out: anstream::Stdout,
    /// Styled problems and notes.
    pub(super) err: anstream::Stderr,
}

/// An error, or a route that is down.
pub(super) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// A warning, or a route in transition.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Success, or an open route.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Labels and asides.
pub(super) const DIM: Style = Style::new().dimmed();
/// Headings, and words to look at first.
pub(super) const BOLD: Style = Style::new().bold();

impl Streams {
    /// Returns the streams of this process.
    pub(super) fn of_process() -> Self {
        Self { out: anstream::stdout(), err: anstream::stderr() }
    }

    /// Returns the output for bytes that must arrive as they are, such as JSON and pages.
    pub(super) fn data(&self) -> io::Stdout {
        io::stdout()
    }

    /// Returns true if the output is a terminal, with or without colours.
    pub(super) fn out_is_terminal(&self) -> bool {
        self.data().is_terminal()
    }

    /// Draws a frame over the one before it, in one write, so that nothing flickers. The cursor is moved even where no
    /// colours are wanted.
    pub(super) fn draw_over(&mut self, frame: &str) -> io::Result<()> {
        let frame = match self.out.current_choice() {
            ColorChoice::Never => strip_str(frame).to_string(),
            ColorChoice::Auto | ColorChoice::Always | ColorChoice::AlwaysAnsi => frame.to_owned(),
        };
        let lines: String = frame.lines().map(|line| format!("{line}{CLEAR_TO_END_OF_LINE}\n")).collect();
        write!(self.data(), "{HOME}{lines}{CLEAR_TO_END}")
    }

    /// Clears the terminal.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.data().write_all(CLEAR.as_bytes())
    }

    /// Writes problems to the error stream, each followed by an empty line.
    pub(super) fn problems(&mut self, problems: &[Problem]) -> io::Result<()> {
        problems.iter().try_for_each(|problem| writeln!(self.err, "{}\n", styled_problem(problem)))
    }

    /// Writes a note to the error stream.
    pub(super) fn note(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.err, "{} {text}", styled(DIM, "note:"))
    }
}

/// Returns text in a style. Pad the text before: widths do not apply to escape codes.
pub(super) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns a problem as it prints, with its severity and its carets in colour.
pub(super) fn styled_problem(problem: &Problem) -> String {
    let style = match problem.severity {
        Severity::Error => ERROR,
        Severity::Warning => WARNING,
    };
    problem.highlighted(style.render(), style.render_reset()).to_string()
}

const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_TO_END: &str = "\x1b[J";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::problem::Place;

    #[test]
    fn a_painted_problem_reads_as_the_plain_one() {
        let place = Place::of("web = \"of^\"\n", 6..10);
        let problem = Problem::error("maintenance.toml", "unknown mode").at(place).help("write another");
        let painted = styled_problem(&problem);
        assert!(painted.starts_with("\x1b[1m\x1b[31merror:\x1b[0m unknown mode\n"), "{painted}");
        assert!(painted.contains("\x1b[1m\x1b[31m^^^^\x1b[0m\n"), "{painted}");
        assert_eq!(strip_str(&painted).to_string(), problem.to_string());
    }
}
