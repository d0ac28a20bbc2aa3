//! Keys of a route that rewrite paths: `strip_prefix` and `rewrite_answers`.

use std::sync::Arc;

use toml::de::DeValue;

use super::super::path::Prefix;
use super::super::problem::quoted;
use super::super::read::{Report, Value};
use super::super::rewrite::{Rewrite, Stripped};
use super::{Upstream, values};

/// Reads `strip_prefix = true` or `"/app"`: the prefixes that are taken, the longest first.
pub(super) fn strip<'p>(
    value: &Value<'_>,
    paths: impl Iterator<Item = &'p Prefix> + Clone,
    report: &mut Report<'_>,
) -> Vec<Stripped> {
    let written = if let DeValue::Boolean(strips) = value.inner {
        if !strips {
            return Vec::new();
        }
        None
    } else {
        let prefix = value.string("/app", report).and_then(|text| values::prefix_of(value, text, report));
        let Some(prefix) = prefix else { return Vec::new() };
        Some(prefix)
    };
    if let Some(prefix) = &written
        && let Some(other) = paths.clone().find(|path| !prefix.covers(path.as_str()))
    {
        let message =
            format!("the route also has {}, which is not below {}", quoted(other.as_str()), quoted(prefix.as_str()));
        report.wrong(value.span.clone(), message, "strip what all paths of the route begin with, or write `true`");
        return Vec::new();
    }
    let all = written.clone().map_or_else(|| paths.cloned().collect(), |prefix| vec![prefix]);
    let mut stripped: Vec<Stripped> =
        all.into_iter().filter(|prefix| prefix.as_str() != "/").map(Stripped::new).collect();
    if stripped.is_empty() {
        let help = if written.is_some() { "remove it" } else { "give the route a path: `path = \"/app\"`" };
        report.wrong(value.span.clone(), "there is no prefix to strip: the path is `/`", help);
    }
    stripped.sort_by_key(|stripped| std::cmp::Reverse(stripped.prefix.as_str().len()));
    stripped
}

/// Joins what a route rewrites. `None` if that is nothing.
pub(super) fn rewrite(
    strip: Vec<Stripped>,
    answers: Option<&Value<'_>>,
    upstreams: &[Upstream],
    report: &mut Report<'_>,
) -> Option<Arc<Rewrite>> {
    let asked = answers.and_then(|value| value.boolean(report)).unwrap_or(false);
    let rewrites = !strip.is_empty() || upstreams.iter().any(|upstream| !upstream.base.is_root());
    if let (true, false, Some(value)) = (asked, rewrites, answers) {
        let help = "it goes with `strip_prefix`, or with an upstream that has a path: `http://127.0.0.1:3000/app`";
        report.warn(value.key_span.clone(), "`rewrite_answers` has nothing to rewrite: no path changes", help);
    }
    rewrites.then(|| Arc::new(Rewrite { strip, answers: asked }))
}
