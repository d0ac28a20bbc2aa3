//! Reader of TOML files, section by section. Every problem is collected, not only the first.
//!
//! A result counts only if no problem was reported. A bad value leaves its default, so that the rest of the file is
//! still read.

mod filled;
mod notation;
mod syntax;
mod value;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Table;
use super::problem::{Lines as TextLines, Place, Problem, did_you_mean, quoted};
use super::words;

pub(super) use filled::{Fill, Filled};
pub(super) use syntax::document;
pub(super) use value::{Lines, Value};

/// Function that returns the correction for an unknown key of a table.
pub(super) type Correction = fn(&'static Table, &str) -> Option<String>;

/// Collector of the problems of one file, and of those that it includes.
///
/// Spans count through all of the texts: those of an included text begin where the last one ended.
pub(super) struct Report<'t> {
    /// Texts in the order in which they were added; the first is the file itself.
    sources: Vec<Source<'t>>,
    /// Folder for relative paths in the file.
    folder: &'t Path,
    /// Corrections for unknown keys that are known elsewhere.
    corrections: Correction,
    filled: Filled,
    problems: Vec<Problem>,
    /// Number of problems after [`MOST_PROBLEMS`].
    unshown: usize,
}

/// Text with its file.
struct Source<'t> {
    file: &'t str,
    /// Offset of the text in the spans.
    base: usize,
    length: usize,
    lines: TextLines<'t>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        let source = Source { file, base: 0, length: text.len(), lines: TextLines::of(text) };
        Self {
            sources: vec![source],
            folder: Path::new(""),
            corrections: |_, _| None,
            filled: Filled::default(),
            problems: Vec::new(),
            unshown: 0,
        }
    }

    /// Sets the corrections for unknown keys that are known elsewhere, which come before likeness.
    pub(super) fn knowing(self, corrections: Correction) -> Self {
        Self { corrections, ..self }
    }

    /// Sets the folder for relative paths to that of `file`.
    pub(super) fn beside(self, file: &'t Path) -> Self {
        Self { folder: file.parent().unwrap_or(Path::new("")), ..self }
    }

    /// Adds an included text, and returns the offset of its spans.
    pub(super) fn include(&mut self, file: &'t str, text: &'t str) -> usize {
        let base = self.sources.last().map_or(0, |last| last.base + last.length + 1);
        self.sources.push(Source { file, base, length: text.len(), lines: TextLines::of(text) });
        base
    }

    /// Adds the problems of a report of its own.
    pub(super) fn absorb(&mut self, other: Report<'_>) {
        let (_, problems) = other.finish(());
        self.problems.extend(problems.into_iter().take(MOST_PROBLEMS));
    }

    /// Returns the strings that variables filled.
    pub(super) fn filled(&mut self) -> &mut Filled {
        &mut self.filled
    }

    /// Resolves a path against the folder of the file.
    pub(super) fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// Adds an error without help.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.push(Problem::error("", message), span);
    }

    /// Adds an error with a correction.
    pub(super) fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::error("", message).help(help), span);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::warning("", message).help(help), span);
    }

    /// Adds a warning about what may well be meant.
    pub(super) fn advise(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::warning("", message).help(help).expected(), span);
    }

    /// Adds an error about the file as a whole.
    pub(super) fn whole(&mut self, message: impl Into<String>, help: impl Into<String>) {
        let file = self.source(0).file;
        self.problems.push(Problem::error(file, message).help(help));
    }

    /// Adds an error if a list holds more than a limit.
    pub(super) fn at_most(&mut self, limit: usize, count: usize, what: &str, span: Range<usize>) {
        if count > limit {
            self.error(span, format!("too many {what}: {count}, and at most {limit} are allowed"));
        }
    }

    /// Returns the place of a span.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let source = self.source(span.start);
        source.lines.place(span.start.saturating_sub(source.base)..span.end.saturating_sub(source.base))
    }

    /// Returns the line of a span, as `file:line`.
    pub(super) fn line(&self, span: Range<usize>) -> String {
        format!("{}:{}", self.source(span.start).file, self.place(span).line)
    }

    /// Returns the value if no problem refuses it, and all problems, in the order of the file.
    pub(super) fn finish<T>(mut self, value: T) -> (Option<T>, Vec<Problem>) {
        // An error is never among those that are not shown unless another one is.
        let refused = self.problems.iter().any(Problem::is_error);
        let order = |file: &str| self.sources.iter().position(|source| source.file == file);
        self.problems.sort_by_key(|problem| {
            problem.place.as_ref().map(|place| (order(&problem.file), place.line, place.column))
        });
        if self.unshown > 0 {
            let more = format!("{} more problems are not shown", self.unshown);
            let kind = if refused { Problem::error } else { Problem::warning };
            self.problems.push(kind(self.source(0).file, more));
        }
        self.problems.iter_mut().for_each(|problem| self.filled.mask(problem));
        ((!refused).then_some(value), self.problems)
    }

    fn source(&self, start: usize) -> &Source<'t> {
        let next = self.sources.partition_point(|source| source.base <= start);
        &self.sources[next.saturating_sub(1)]
    }

    fn push(&mut self, problem: Problem, span: Range<usize>) {
        if self.filled.is_broken(&span) {
            return;
        }
        if self.problems.len() >= MOST_PROBLEMS {
            self.unshown += 1;
            // An error takes the place of a warning: warnings alone refuse nothing.
            let warning = self.problems.iter().rposition(|problem| !problem.is_error());
            let Some(warning) = warning.filter(|_| problem.is_error()) else { return };
            self.problems.remove(warning);
        }
        let place = self.place(span.clone());
        let file = self.source(span.start).file.to_owned();
        let mut problem = Problem { file, ..problem }.at(place);
        self.filled.mask_parts(&span, &mut problem);
        self.problems.push(problem);
    }
}

/// Table whose keys are taken one by one. A key that is left at the end is unknown.
pub(super) struct Section<'d> {
    keys: &'static Table,
    /// Name in messages: "route `web`".
    pub(super) name: String,
    /// Span of the header, or of the inline table.
    pub(super) span: Range<usize>,
    table: &'d DeTable<'d>,
    /// Keys that were taken.
    taken: Vec<&'static str>,
    /// Missing keys with a correction.
    missing: Vec<(&'static str, String)>,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        keys: &'static Table,
        name: impl Into<String>,
        span: Range<usize>,
        table: &'d DeTable<'d>,
    ) -> Self {
        Self { keys, name: name.into(), span, table, taken: Vec::new(), missing: Vec::new() }
    }

    /// Takes a key's value. The key must be one of the table's.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'d>> {
        if !self.taken.contains(&key) {
            self.taken.push(key);
        }
        let (name, value) = self.table.get_key_value(key)?;
        Some(Value::new(key, name, value))
    }

    /// Returns true if a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Returns the place of a key's name, if it is written.
    pub(super) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(name, _)| name.span())
    }

    /// Takes a key's value. Its absence is reported at the end, with this correction.
    pub(super) fn need(&mut self, key: &'static str, help: &str) -> Option<Value<'d>> {
        let value = self.take(key);
        if value.is_none() {
            self.missing.push((key, help.to_owned()));
        }
        value
    }

    /// Reports every unknown and every missing key. `hint` may have a better correction for an unknown key.
    pub(super) fn finish(self, report: &mut Report<'_>, hint: impl Fn(&str, &DeValue<'_>) -> Option<String>) {
        debug_assert!(self.taken.iter().copied().eq(self.keys.names()), "{}: {:?}", self.keys.header, self.taken);
        let mut helps = Vec::new();
        let mut understood = 0;
        for (key, value) in in_order(self.table) {
            if self.keys.has(key.get_ref()) {
                continue;
            }
            let message = format!("unknown key {} in {}", quoted(key.get_ref()), self.name);
            let hint = hint(key.get_ref(), value.get_ref());
            let hint = hint.or_else(|| (report.corrections)(self.keys, key.get_ref()));
            understood += usize::from(hint.is_some());
            let help = hint.unwrap_or_else(|| self.suggest(key.get_ref()));
            report.wrong(key.span(), message, help.clone());
            helps.push(help);
        }
        // If every key is unknown, with a known correction, the missing keys are only a consequence.
        if understood > 0 && helps.len() == self.table.len() {
            return;
        }
        for (key, help) in self.missing {
            // A misspelt key is not missing as well.
            if !helps.contains(&did_you_mean_text(key)) {
                report.wrong(self.span.clone(), format!("{} has no `{key}`", self.name), help);
            }
        }
    }

    fn suggest(&self, key: &str) -> String {
        match did_you_mean(key, self.keys.names()) {
            Some(near) => did_you_mean_text(near),
            None => format!("the keys here are {}", list(&self.keys.names().collect::<Vec<_>>(), "and")),
        }
    }
}

/// Returns the correction for a word that resembles another, or has another name here.
pub(super) fn did_you_mean_text(meant: &str) -> String {
    format!("did you mean {}?", quoted(meant))
}

/// Gives no correction; for [`Section::finish`].
pub(super) fn no_hint(_: &str, _: &DeValue<'_>) -> Option<String> {
    None
}

/// Returns a table's entries in the order of the file. The table itself sorts them by key.
pub(super) fn in_order<'d>(
    table: &'d DeTable<'d>,
) -> Vec<(&'d Spanned<toml::de::DeString<'d>>, &'d Spanned<DeValue<'d>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Joins words in backquotes: "`a`, `b` and `c`".
pub(super) fn list(words: &[&str], between: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words::list(&quoted, between)
}

/// Most problems of one file that are shown; the rest is counted.
const MOST_PROBLEMS: usize = 100;
