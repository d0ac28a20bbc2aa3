//! Keys of a route that rewrite paths: `strip_prefix` and `rewrite_answers`.

use std::sync::Arc;

use toml::de::DeValue;

use super::super::path::{PathPattern, Prefix};
use super::super::problem::quoted;
use super::super::read::{Report, Value};
use super::super::rewrite::{Rewrite, Stripped};
use super::{Upstream, values};

/// Reads `strip_prefix = true` or `"/app"`: the prefixes that are taken, the longest first.
pub(super) fn strip<'p>(
    value: &Value<'_>,
    paths: impl Iterator<Item = &'p PathPattern> + Clone,
    report: &mut Report<'_>,
) -> Vec<Stripped> {
    let written = if let DeValue::Boolean(strips) = value.inner {
        if !strips {
            return Vec::new();
        }
        if let Some(pattern) = paths.clone().find(|path| !path.is_prefix()) {
            let message =
                format!("{} is a pattern, and `true` does not tell how much of it is taken", quoted(pattern.as_str()));
            let help = format!("name a prefix that all paths of the route have: {}", example(pattern));
            report.wrong(value.span.clone(), message, help);
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
        let or_all = if paths.clone().all(PathPattern::is_prefix) { ", or write `true`" } else { "" };
        report.wrong(value.span.clone(), message, format!("strip what all paths of the route begin with{or_all}"));
        return Vec::new();
    }
    let of_paths = || paths.filter_map(|path| Prefix::new(path.as_str()).ok()).collect();
    let all = written.clone().map_or_else(of_paths, |prefix| vec![prefix]);
    let mut stripped: Vec<Stripped> =
        all.into_iter().filter(|prefix| prefix.as_str() != "/").map(Stripped::new).collect();
    if stripped.is_empty() {
        let help = if written.is_some() { "remove it" } else { "give the route a path: `path = \"/app\"`" };
        report.wrong(value.span.clone(), "there is no prefix to strip: the path is `/`", help);
    }
    stripped.sort_by_key(|stripped| std::cmp::Reverse(stripped.prefix.as_str().len()));
    stripped
}

/// Returns a prefix to strip from the paths of a pattern, for a help.
fn example(pattern: &PathPattern) -> String {
    match pattern.beginning() {
        "/" => "`strip_prefix = \"/app\"`, with `path = \"/app/*/x\"`".to_owned(),
        beginning => quoted(&format!("strip_prefix = {beginning:?}")),
    }
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
