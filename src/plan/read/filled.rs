//! Strings that variables filled: where they stand, and how to tell of them without their values.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::problem::{Problem, quoted};

/// Strings of a file that variables filled.
#[derive(Default)]
pub(in crate::plan) struct Filled {
    /// By the start of the string.
    strings: BTreeMap<usize, (Range<usize>, Fill)>,
    /// Values, with what stands for them in the file.
    written: Vec<(String, String)>,
}

/// Outcome for one string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Fill {
    /// Every variable had a value.
    Whole,
    /// A variable had none, which is reported. The rest of the problems of this string follow from it.
    Broken,
}

impl Filled {
    /// Notes a string.
    pub(in crate::plan) fn note(&mut self, span: Range<usize>, fill: Fill) {
        self.strings.insert(span.start, (span, fill));
    }

    /// Notes a value, which may be a secret, with what is written for it.
    pub(in crate::plan) fn hide(&mut self, value: &str, written: &str) {
        let known = |(other, _): &(String, String)| other == value;
        if !value.is_empty() && !self.written.iter().any(known) {
            self.written.push((value.to_owned(), written.to_owned()));
        }
    }

    /// Returns true if a span is that of a string with a variable in it.
    pub(super) fn has(&self, span: &Range<usize>) -> bool {
        self.strings.get(&span.start).is_some_and(|(own, _)| own == span)
    }

    /// Returns true if a span lies in a string without a value.
    pub(super) fn is_broken(&self, span: &Range<usize>) -> bool {
        let before = self.strings.range(..=span.start).next_back();
        before.is_some_and(|(_, (own, fill))| *fill == Fill::Broken && span.end <= own.end)
    }

    /// Writes the variables in the place of their values. A short value is hidden where it stands alone, since its letters
    /// are those of other words, too.
    pub(super) fn mask(&self, problem: &mut Problem) {
        for (value, written) in &self.written {
            for text in [Some(&mut problem.message), problem.help.as_mut()].into_iter().flatten() {
                *text = text.replace(&quoted(value), &quoted(written));
                *text = text.replace(&format!("\"{value}\""), &format!("\"{written}\""));
                for shown in [Some(value.as_str()), beginning(value, 64), beginning(value, 40)].into_iter().flatten() {
                    if shown.len() >= LEAST_HIDDEN {
                        *text = text.replace(shown, written);
                    }
                }
            }
        }
    }
}

impl Filled {
    /// Hides parts of values in a problem of a string that they fill: a correction may be made of one.
    pub(super) fn mask_parts(&self, span: &Range<usize>, problem: &mut Problem) {
        if !self.has(span) {
            return;
        }
        self.mask(problem);
        let is_part = |part: &&str| part.len() >= LEAST_HIDDEN && !SCHEMES.contains(part);
        let cut = |c: char| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.');
        for (value, written) in &self.written {
            for part in value.split(cut).filter(is_part) {
                problem.message = problem.message.replace(part, written);
                if problem.help.as_ref().is_some_and(|help| help.contains(part)) {
                    problem.help = Some(format!("look at the value of {}", quoted(written)));
                }
            }
        }
    }
}

/// Returns the first characters of a longer text, as messages cut it.
fn beginning(text: &str, length: usize) -> Option<&str> {
    text.char_indices().nth(length).map(|(end, _)| &text[..end])
}

/// Parts of values that are no secrets.
const SCHEMES: [&str; 3] = ["http", "https", "unix"];
/// Bytes of a value from which on it is hidden everywhere.
const LEAST_HIDDEN: usize = 4;
