//! Requests that pass a read-only route, besides those that change nothing.

use http::Method;

use super::super::keys;
use super::super::methods::named;
use super::super::path::PathPattern;
use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, no_hint};
use super::values;

/// Requests that pass a read-only route: those of one method, or of any, at a path and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The method; `None` is any.
    pub method: Option<Method>,
    /// The path and everything below it.
    pub path: PathPattern,
}

/// Reads `read_only = { allow = ["POST /login", "/search"] }`.
pub(super) fn read_only(value: &Value<'_>, report: &mut Report<'_>) -> Vec<Allowed> {
    let Some(table) = value.table("read_only = { allow = [\"POST /login\"] }", report) else { return Vec::new() };
    let mut section = Section::new(&keys::READ_ONLY, "`read_only`", value.span.clone(), table);
    let mut allowed = Vec::new();
    if let Some(value) = section.take("allow") {
        let items = value.any_number();
        report.at_most(MOST_ALLOWED, items.len(), "exceptions", value.key_span.clone());
        allowed.extend(items.iter().take(MOST_ALLOWED).filter_map(|item| self::allowed(item, report)));
    }
    section.finish(report, no_hint);
    allowed
}

/// Reads `POST /login` or `/search`.
fn allowed(value: &Value<'_>, report: &mut Report<'_>) -> Option<Allowed> {
    let text = value.string("POST /login", report)?.trim();
    let (method, path) = match text.split_once(char::is_whitespace) {
        Some((word, path)) => (Some(method(word, value, report)?), path.trim()),
        None => (None, text),
    };
    Some(Allowed { method, path: values::pattern_of(value, path, report)? })
}

fn method(word: &str, value: &Value<'_>, report: &mut Report<'_>) -> Option<Method> {
    let upper = word.to_ascii_uppercase();
    if let Some(method) = named(&upper) {
        return Some(method);
    }
    // An app may have methods of its own, whose names are told apart by case (RFC 9110 section 9.1).
    match (did_you_mean(&upper, super::super::methods::NAMES), Method::from_bytes(word.as_bytes())) {
        (Some(near), _) => {
            let help = format!("did you mean `{near}`?");
            report.wrong(value.span.clone(), format!("{} is not a method", quoted(word)), help);
            None
        }
        (None, Ok(method)) => Some(method),
        (None, Err(_)) => {
            let help = "write a method and a path, `POST /login`, or a path alone for every method";
            report.wrong(value.span.clone(), format!("{} is not a method", quoted(word)), help);
            None
        }
    }
}

const MOST_ALLOWED: usize = 256;
