//! Rule by which a client keeps to one upstream. The parser of `sticky`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::super::keys;
use super::super::marks::{Attributes, Marks, SameSite};
use super::super::path::PathPattern;
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, did_you_mean_text};
use super::{Share, Upstream, values};

/// Rule by which a client keeps to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// By the client's address.
    Address,
    /// By a cookie with the mark of the upstream.
    Cookie(Arc<Marks>),
}

/// `sticky` as it is written.
pub(super) enum Written {
    Address,
    Cookie(Attributes),
}

/// Word of `sticky`.
#[derive(Clone, Copy)]
enum Word {
    Address,
    Cookie,
}

/// Reads `"address"`, `"cookie"`, or `{ cookie = "NAME", … }`. `paths` are those of the route.
pub(super) fn sticky(
    value: &Value<'_>,
    paths: &[(PathPattern, Range<usize>)],
    report: &mut Report<'_>,
) -> Option<Written> {
    let DeValue::Table(table) = value.inner else {
        return Some(match value.choice(&WORDS, report)? {
            Word::Address => Written::Address,
            Word::Cookie => Written::Cookie(Attributes {
                name: NAME.to_owned(),
                path: path_of(paths),
                max_age: None,
                same_site: SameSite::default(),
            }),
        });
    };
    let mut section = Section::new(&keys::STICKY, "`sticky`", value.span.clone(), table);
    let name = section.need("cookie", "say which: `cookie = \"NAME\"`").and_then(|value| name(&value, report));
    let path = section.take("path").and_then(|value| path(&value, report));
    let max_age = section.take("max_age").and_then(|value| value.duration(SHORTEST, LONGEST, report));
    let same_site = section.take("same_site").and_then(|value| value.choice(&SAME_SITES, report));
    section.finish(report, |key, _| hint(key));
    Some(Written::Cookie(Attributes {
        name: name?,
        path: path.unwrap_or_else(|| path_of(paths)),
        max_age,
        same_site: same_site.unwrap_or_default(),
    }))
}

/// Returns the rule for the upstreams of a route, with the shares of each.
pub(super) fn rule(written: Written, upstreams: &[Upstream], shares: &[Share]) -> Sticky {
    let names = upstreams.iter().zip(shares);
    let names = names.map(|(upstream, share)| share.name.clone().unwrap_or_else(|| upstream.to_string()));
    match written {
        Written::Address => Sticky::Address,
        Written::Cookie(attributes) => Sticky::Cookie(Arc::new(Marks::new(&attributes, names))),
    }
}

/// Returns a correction for an unknown key.
fn hint(key: &str) -> Option<String> {
    let text = match key.to_ascii_lowercase().as_str() {
        "name" => return Some(did_you_mean_text("cookie")),
        "expires" | "maxage" | "max-age" | "ttl" | "lifetime" => return Some(did_you_mean_text("max_age")),
        "samesite" | "same-site" => return Some(did_you_mean_text("same_site")),
        "domain" => "there is no key: the cookie is for the host that set it",
        "secure" | "httponly" | "http_only" => {
            "there is no key: the cookie is always `HttpOnly`, and `Secure` over https"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn name(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = value.string(NAME, report)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let help = if name.starts_with("__") {
        "browsers take such a name over https alone, and backsoon sets it wherever the client is: leave the `__` out"
    } else if OWN.iter().any(|own| name.starts_with(own)) {
        "backsoon has cookies of such a name: choose another"
    } else if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        "a name is made of 1 to 64 letters, digits, `_`, `.` and `-`"
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "let it begin with a letter or a digit"
    } else {
        return Some(name.to_owned());
    };
    report.wrong(value.span.clone(), format!("{} cannot be the name of a cookie", quoted(name)), help);
    None
}

fn path(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("/", report)?;
    let path = values::prefix_of(value, text, report)?;
    if is_plain(path.as_str()) {
        return Some(path.as_str().to_owned());
    }
    let help = "write it of letters, digits, `/`, `.`, `_`, `~` and `-`, or a shorter one";
    report.wrong(value.span.clone(), format!("{} cannot be the path of a cookie", quoted(text)), help);
    None
}

/// Returns the path of the route if it has one that browsers compare as it stands, and else `/`, also for a pattern.
fn path_of(paths: &[(PathPattern, Range<usize>)]) -> String {
    match paths {
        [(path, _)] if is_plain(path.as_str()) => path.as_str().to_owned(),
        _ => "/".to_owned(),
    }
}

fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte))
}

const WORDS: [(&str, Word); 2] = [("address", Word::Address), ("cookie", Word::Cookie)];
const SAME_SITES: [(&str, SameSite); 3] =
    [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
/// Name of the cookie if the config has none.
const NAME: &str = "backsoon-sticky";
/// Beginnings of the names of the proxy's other cookies.
const OWN: [&str; 2] = ["backsoon-ramp", "backsoon-bypass-"];
const LONGEST_NAME: usize = 64;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
