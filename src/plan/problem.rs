//! A problem: something wrong in the operator's input, with its place and what would be right.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::words::harmless_char;

/// Something wrong in an input of the operator's.
///
/// Many are collected in one pass; each says where it is, what was found and what would be right.
/// [`fmt::Display`] prints it the way a compiler would, with the excerpt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether the input is refused or only remarked upon.
    pub severity: Severity,
    /// The file as the operator named it.
    pub file: String,
    /// Where in the file; absent when the file as a whole is meant (it cannot be read, say).
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What was found, lowercase, no full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// How much a [`Problem`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused whole: what was live before stays live.
    Error,
    /// The rest of the file applies.
    Warning,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The line's text. A long line is cut around the place, and `…` stands for its first and last character then.
    pub excerpt: String,
    /// The column of the excerpt's first character; 1 unless the line is cut.
    #[serde(skip)]
    pub first: usize,
    /// How many characters of the excerpt, from `column`, are meant; at least 1.
    pub width: usize,
}

impl Problem {
    /// What refuses the file. The place, the help and the file's name are added by those who know them.
    pub fn error(file: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, file: file.to_owned(), place: None, message: message.into(), help: None }
    }

    /// Creates an error about a file as a whole.
    pub fn in_file(file: &Path, message: impl fmt::Display) -> Self {
        Self::error(&file.display().to_string(), message.to_string())
    }

    /// What is only remarked upon.
    pub fn warning(file: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, message) }
    }

    /// The same problem, at a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same problem, with what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns the problem as it prints, with `start` and `end` around its severity and its carets.
    pub fn highlighted(&self, start: impl fmt::Display, end: impl fmt::Display) -> impl fmt::Display {
        Highlighted { problem: self, start, end }
    }

    /// Whether the file is refused because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Place {
    /// The place of a span of bytes in a text. See [`Lines::place`], which is for many places of one text.
    pub fn of(text: &str, span: Range<usize>) -> Self {
        Lines::of(text).place(span)
    }
}

/// A text and where its lines begin: a long file may have thousands of places to tell.
#[derive(Clone, Debug)]
pub struct Lines<'t> {
    text: &'t str,
    /// Ascending; the first is 0.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Finds the lines.
    pub fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { text, starts }
    }

    /// The place of a span of bytes. Any span is taken: one that lies outside of the text, or inside of a character, is
    /// moved to the nearest place that can be shown.
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

/// The nearest boundary between characters at or before an index.
fn floor_char(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// What is shown of a line around a column (both from 0), and the column of its first character. A tab becomes
/// one space, so that a caret below stands where it should; what a terminal would obey becomes U+FFFD.
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
    /// Prints the problem the way a compiler would: what, where, the line with the part that is meant, and what would be
    /// right. The last line has no newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.highlighted("", "").fmt(f)
    }
}

/// A [`Problem`] whose severity and carets stand between two marks, such as a terminal's escape codes.
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
    /// Returns the word for it.
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

/// The one of the known words that was probably meant, if one is near enough.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A comparison costs the product of the lengths; nothing known is this long.
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

/// From 0 to 1: how alike two words are. Two letters swapped, as hasty fingers do, count as one mistake; a word that
/// holds the other (`warning`, `warn`) is near as well.
fn nearness(word: &str, known: &str) -> f64 {
    let holds = (known.len() > 3 && word.contains(known)) || (word.len() > 3 && known.contains(word));
    let alike = strsim::normalized_damerau_levenshtein(word, known);
    if holds { alike.max(NEAR_ENOUGH) } else { alike }
}

/// Text of the operator's in backquotes, for a message: harmless to a terminal, and not longer than a line.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_QUOTE).map(harmless_char).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Characters of a line that are shown; a longer one is cut around the place.
const LONGEST_EXCERPT: usize = 110;
/// Characters of the operator's text that are repeated in a message.
const LONGEST_QUOTE: usize = 64;
/// Bytes of a word that "did you mean" looks at.
const LONGEST_WORD: usize = 64;
/// How alike two words must be for "did you mean".
const NEAR_ENOUGH: f64 = 0.6;
