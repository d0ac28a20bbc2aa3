//! Values that several tables of the config have.

use std::time::Duration;

use super::super::path::{BadPath, PathPattern, Prefix};
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value};

/// Reads the time that requests may still take.
pub(super) fn duration(value: &Value<'_>, report: &mut Report<'_>) -> Option<Duration> {
    value.duration(Duration::from_millis(1), LONGEST_DURATION, report)
}

/// Reads `retry_after_max`, the longest time that clients are told to wait.
pub(super) fn retry_after_max(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let value = section.take("retry_after_max")?;
    value.duration(Duration::from_secs(1), LONGEST_DURATION, report)
}

/// Reads a path that is a value or a part of one.
pub(super) fn prefix_of(value: &Value<'_>, text: &str, report: &mut Report<'_>) -> Option<Prefix> {
    let help = match text {
        _ if text.contains('*') => "a prefix has no `*`: `/app` covers everything below it".to_owned(),
        _ if text.contains(['?', '#']) => ONLY_PATHS.to_owned(),
        _ if is_of_another_syntax(text) => {
            "a path is a prefix, and is read as it stands: write `/app`; a character that is \
                                            meant itself is written in its escaped form, such as `%7B`"
                .to_owned()
        }
        _ => match Prefix::new(text) {
            Ok(prefix) => return Some(prefix),
            Err(bad) => help_with(bad, text),
        },
    };
    report.wrong(value.span.clone(), format!("{} is not a path", quoted(text)), help);
    None
}

/// Reads a path in which `*` stands for any characters of a segment, and `**` for any segments.
pub(super) fn pattern_of(value: &Value<'_>, text: &str, report: &mut Report<'_>) -> Option<PathPattern> {
    let help = match text {
        _ if text.split('/').any(|segment| segment.contains("**") && segment != "**") => {
            "`**` stands for any segments, alone between two `/`: write `/a/**/b`; `*` stands for a part of one"
                .to_owned()
        }
        _ if text.contains(['?', '#']) => ONLY_PATHS.to_owned(),
        _ if is_of_another_syntax(text) => {
            "write `*` for any characters of a segment, `**` for any segments, `*.php` for an end; a character that is \
             meant itself is written in its escaped form, such as `%7B`"
                .to_owned()
        }
        _ => match PathPattern::new(text) {
            Ok(pattern) => return Some(pattern),
            Err(bad) => help_with(bad, text),
        },
    };
    report.wrong(value.span.clone(), format!("{} is not a path", quoted(text)), help);
    None
}

/// Returns true if a path has a placeholder, or a part of a regular expression: read as it stands, it would match nothing.
fn is_of_another_syntax(text: &str) -> bool {
    let named = |segment: &str| segment.starts_with(':') && segment.len() > 1;
    let expression = |segment: &str| segment == ".*" || segment.contains("(.*") || segment.contains(".*)");
    text.contains(['{', '}', '[', ']', '<', '>', '^', '|'])
        || text.ends_with('$')
        || text.split('/').any(|segment| named(segment) || expression(segment))
}

fn help_with(bad: BadPath, text: &str) -> String {
    match bad {
        BadPath::Relative => format!("a path begins with `/`: {}", quoted(&format!("/{text}"))),
        BadPath::Encoding => "a `%` stands before two hexadecimal digits".to_owned(),
        BadPath::Ambiguous => "no segment is dots with a parameter (`..;x`)".to_owned(),
        BadPath::AboveRoot => "`..` leads above the root".to_owned(),
    }
}

const ONLY_PATHS: &str = "routes are told apart by path only: leave out what follows it";

/// Reads `25%` as a share, above 0 and at most 1.
pub(super) fn percent(text: &str) -> Option<f64> {
    let number = text.trim().strip_suffix('%')?.trim().parse::<f64>().ok()?;
    (number > 0.0 && number <= 100.0).then_some(number / 100.0)
}

/// Longest drain time, and longest of a route's other times.
const LONGEST_DURATION: Duration = Duration::from_secs(24 * 3600);
