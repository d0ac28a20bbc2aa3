//! Standard output and standard error as the commands write to them.
//!
//! What was asked for goes to the output, everything about it (problems, notes) to the error. Colours are for
//! terminals only, and never where `NO_COLOR` is set (no-color.org).

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};

use crate::plan::problem::{Problem, Severity};

/// The two streams of the process.
pub(super) struct Streams {
    /// What was asked for.
    pub(super) out: Box<dyn Write>,
    /// What is to be said about it.
    pub(super) err: Box<dyn Write>,
    /// How to paint on `out`.
    pub(super) out_paint: Paint,
    /// How to paint on `err`.
    pub(super) err_paint: Paint,
    /// Whether a person looks at `out`.
    pub(super) out_is_terminal: bool,
}

/// Whether words are painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// They are.
    Colours,
    /// They stay as they are.
    Plain,
}

/// What painted words mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// An error, or a closed route.
    Bad,
    /// A warning.
    Careful,
    /// All is well.
    Good,
    /// What only guides the eye.
    Quiet,
    /// A heading.
    Strong,
}

impl Streams {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let wanted = wanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let paint = |terminal: bool| if terminal && wanted { Paint::Colours } else { Paint::Plain };
        Self {
            out_paint: paint(out.is_terminal()),
            err_paint: paint(err.is_terminal()),
            out_is_terminal: out.is_terminal(),
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    /// Writes problems to the error stream, each followed by an empty line.
    pub(super) fn problems(&mut self, problems: &[Problem]) -> io::Result<()> {
        problems.iter().try_for_each(|problem| writeln!(self.err, "{}\n", painted(problem, self.err_paint)))
    }

    /// Writes a line about what was asked for to the error stream.
    pub(super) fn note(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.err, "{} {text}", self.err_paint.ink(Ink::Quiet, "note:"))
    }
}

impl Paint {
    /// The text in this ink.
    pub(super) fn ink<T: Display>(self, ink: Ink, text: T) -> Inked<T> {
        Inked { paint: self, ink, text }
    }
}

/// Text that may be painted when it is shown. Widths do not apply to it: pad the text before.
pub(super) struct Inked<T> {
    paint: Paint,
    ink: Ink,
    text: T,
}

impl<T: Display> Display for Inked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match (self.paint, self.ink) {
            (Paint::Plain, _) => return self.text.fmt(f),
            (Paint::Colours, Ink::Bad) => "1;31",
            (Paint::Colours, Ink::Careful) => "1;33",
            (Paint::Colours, Ink::Good) => "32",
            (Paint::Colours, Ink::Quiet) => "2",
            (Paint::Colours, Ink::Strong) => "1",
        };
        write!(f, "\x1b[{code}m{}\x1b[0m", self.text)
    }
}

/// A problem as it prints, with its first word and its carets painted.
pub(super) fn painted(problem: &Problem, paint: Paint) -> String {
    let plain = problem.to_string();
    if paint == Paint::Plain {
        return plain;
    }
    let ink = match problem.severity {
        Severity::Error => Ink::Bad,
        Severity::Warning => Ink::Careful,
    };
    let word = format!("{}:", problem.severity);
    let rest = plain.strip_prefix(&word).unwrap_or(&plain);
    let lines = rest.split('\n').enumerate().map(|(index, line)| match line.rfind("| ") {
        _ if index == 0 => line.to_owned(),
        Some(bar) if line.ends_with('^') && line[bar + 2..].trim_matches([' ', '^']).is_empty() => {
            let carets = line.find('^').unwrap_or(line.len());
            format!("{}{}", &line[..carets], paint.ink(ink, &line[carets..]))
        }
        _ => line.to_owned(),
    });
    format!("{}{}", paint.ink(ink, word), lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::problem::Place;

    #[test]
    fn a_painted_problem_reads_as_the_plain_one() {
        let place = Place::of("web = \"of^\"\n", 6..10);
        let problem = Problem::error("maintenance.toml", "unknown mode").at(place).help("write another");
        let painted = painted(&problem, Paint::Colours);
        assert!(painted.starts_with("\x1b[1;31merror:\x1b[0m unknown mode\n"), "{painted}");
        assert!(painted.contains("\x1b[1;31m^^^^\x1b[0m\n"), "{painted}");
        let plain = painted.replace("\x1b[1;31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, problem.to_string());
    }
}
