//! Problems: mistakes in the operator's input, with their place and a correction.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::words::harmless_char;

/// Mistake in the operator's input.
///
/// Many are collected in one pass. Each says where it is, what was found and what would be right. [`fmt::Display`]
/// prints it as a compiler would, with the excerpt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Weight: the input is refused, or the operator is only warned.
    pub severity: Severity,
    /// The file as the operator named it.
    pub file: String,
    /// Place in the file; absent when the whole file is meant, for example when it cannot be read.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Finding, in lowercase and without a full stop.
    pub message: String,
    /// Correction.
    pub help: Option<String>,
    /// True for a warning about what may well be meant, such as a route of another proxy that shares the flag file.
    #[serde(skip)]
    pub expected: bool,
}

/// Weight of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The whole file is refused, and the last good one stays live.
    Error,
    /// The rest of the file applies.
    Warning,
}

/// Place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// Text of the line. A long line is cut around the place, with `…` as its first and last character.
    pub excerpt: String,
    /// Column of the excerpt's first character; 1 unless the line is cut.
    #[serde(skip)]
    pub first: usize,
    /// Number of characters from `column` that are marked; at least 1.
    pub width: usize,
}

impl Problem {
    /// Creates a problem that refuses the file. The caller adds place and help.
    pub fn error(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            place: None,
            message: message.into(),
            help: None,
            expected: false,
        }
    }

    /// Creates an error about a file as a whole.
    pub fn in_file(file: &Path, message: impl fmt::Display) -> Self {
        Self::error(&file.display().to_string(), message.to_string())
    }

    /// Creates a problem that only warns.
    pub fn warning(file: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, message) }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Adds the correction.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Marks a warning about what may well be meant.
    #[must_use]
    pub fn expected(mut self) -> Self {
        self.expected = true;
        self
    }

    /// Returns the problem as it prints, with `start` and `end` around its severity and its carets.
    pub fn highlighted(&self, start: impl fmt::Display, end: impl fmt::Display) -> impl fmt::Display {
        Highlighted { problem: self, start, end }
    }

    /// Returns true if the file is refused because of this problem.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Place {
    /// Returns the place of a span of bytes in a text. For many places of one text, see [`Lines::place`].
    pub fn of(text: &str, span: Range<usize>) -> Self {
        Lines::of(text).place(span)
    }
}

/// Index of a text's lines. A long file may have thousands of places to report.
#[derive(Clone, Debug)]
pub struct Lines<'t> {
    text: &'t str,
    /// Start of each line in bytes, ascending from 0.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of a text.
    pub fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { text, starts }
    }

    /// Returns the place of a span of bytes. A span outside of the text, or inside of a character, is moved to the
    /// nearest place that can be shown.
    pub fn place(&self, span: Range<usize>) -> Place {
        let text = self.text;
        let start = floor_char(text, span.start.min(text.trim_end().len()));
        let end = floor_char(text, span.end).max(start);
        let number = self.starts.partition_point(|&line| line <= start);
        let line_start = number.checked_sub(1).and_then(|line| self.starts.get(line)).copied().unwrap_or(0);
        let line = text[line_start..].split('\n').next().unwrap_or_default().trim_end();
        let column = text[line_start..start].chars().count();
        let meant = text[start..end].split('\n').next().unwrap_or_default().trim_end();
        let (first, excerpt) = cut(line, column);
        let shown = (first + excerpt.chars().count()).saturating_sub(column);
        Place {
            line: number,
            column: column + 1,
            first: first + 1,
            width: meant.chars().count().min(shown).max(1),
            excerpt,
        }
    }
}

/// Returns the nearest boundary between characters at or before an index.
fn floor_char(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Returns the visible part of a line around a column (both from 0), and the column of its first character. A tab
/// becomes one space, so that the caret below it stands right. Control characters become U+FFFD.
fn cut(line: &str, column: usize) -> (usize, String) {
    let length = line.chars().count();
    let first = if length <= LONGEST_EXCERPT { 0 } else { column.saturating_sub(LONGEST_EXCERPT / 3) };
    let mut excerpt: String = line.chars().skip(first).take(LONGEST_EXCERPT).map(harmless_char).collect();
    if first > 0 {
        let rest = excerpt.chars().skip(1).collect::<String>();
        excerpt = format!("…{rest}");
    }
    if length > first + LONGEST_EXCERPT {
        excerpt.pop();
        excerpt.push('…');
    }
    (first, excerpt)
}

impl fmt::Display for Problem {
    /// Prints the problem as a compiler would: message, place, the line with the marked part, and the correction. The
    /// last line has no newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.highlighted("", "").fmt(f)
    }
}

/// [`Problem`] whose severity and carets stand between two marks, such as a terminal's escape codes.
struct Highlighted<'p, S, E> {
    problem: &'p Problem,
    start: S,
    end: E,
}

impl<S: fmt::Display, E: fmt::Display> fmt::Display for Highlighted<'_, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, start, end } = self;
        write!(f, "{start}{}:{end} {}", problem.severity, problem.message)?;
        let Some(place) = &problem.place else {
            write!(f, "\n --> {}", problem.file)?;
            return problem.help.iter().try_for_each(|help| write!(f, "\n  = help: {help}"));
        };
        let gutter = place.line.to_string().len();
        write!(f, "\n{:gutter$}--> {}:{}:{}", "", problem.file, place.line, place.column)?;
        write!(f, "\n{:gutter$} |", "")?;
        write!(f, "\n{} | {}", place.line, place.excerpt)?;
        let before = place.column.saturating_sub(place.first);
        write!(f, "\n{:gutter$} | {:before$}{start}{}{end}", "", "", "^".repeat(place.width))?;
        problem.help.iter().try_for_each(|help| write!(f, "\n{:gutter$} = help: {help}", ""))
    }
}

impl Severity {
    /// Returns the word for the severity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the known word that was probably meant, if one is near enough.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A comparison costs the product of the lengths, and no known word is this long.
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let near = |known: &&str| nearness(&word, &known.to_ascii_lowercase());
    known
        .into_iter()
        .map(|known| (near(&known), known))
        .filter(|(near, _)| *near >= NEAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// Returns the likeness of two words, from 0 to 1. Two swapped letters count as one mistake. A word that contains the
/// other (`warning`, `warn`) is near as well.
fn nearness(word: &str, known: &str) -> f64 {
    let holds = (known.len() > 3 && word.contains(known)) || (word.len() > 3 && known.contains(word));
    let alike = strsim::normalized_damerau_levenshtein(word, known);
    if holds { alike.max(NEAR_ENOUGH) } else { alike }
}

/// Puts the operator's text into backquotes for a message: harmless to a terminal, and at most a line long.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_QUOTE).map(harmless_char).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Characters of a line that are shown.
const LONGEST_EXCERPT: usize = 110;
/// Characters of the operator's text that a message repeats.
const LONGEST_QUOTE: usize = 64;
/// Bytes of a word that "did you mean" considers.
const LONGEST_WORD: usize = 64;
/// Least likeness for "did you mean".
const NEAR_ENOUGH: f64 = 0.6;
