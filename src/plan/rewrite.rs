//! Rewriting of a path on its way to an upstream, and of the places that the answer names.
//!
//! Routes are chosen by the normal form of a path, but the original bytes are forwarded. So what is taken from their
//! beginning must be a prefix in every reading: the part before the cut has the prefix as its normal form, and the part
//! behind it has the rest of the path's. A path that cannot be cut like that is refused.

use std::sync::Arc;

use super::path::{BadPath, Prefix, decode, normalize};

/// Rewriting of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Prefixes that are taken from paths, the longest first.
    pub strip: Vec<Stripped>,
    /// True if `Location` and the like name the places as clients know them.
    pub answers: bool,
}

/// Prefix that is taken from paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// The prefix.
    pub prefix: Prefix,
    /// The same, as it stands in a URL.
    pub written: Arc<str>,
}

/// Path below which an upstream has the app, as it stands in a URL: empty, or with a `/` before and none behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BasePath(Box<str>);

/// Path without its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<'p> {
    /// Bytes of the original path behind the prefix; they begin with one `/`, or are empty.
    pub path: &'p str,
    /// The prefix; `None` if nothing was taken.
    pub stripped: Option<&'p Stripped>,
}

impl BasePath {
    /// Reads the path of an upstream's URL. `None` if it is not plain: a normal form that needs no escape.
    pub fn new(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let plain = path.bytes().all(|byte| byte == b'/' || is_plain(byte));
        let prefix = Prefix::new(path).ok().filter(|prefix| plain && prefix.as_str() == path && path != "/")?;
        Some(Self(prefix.as_str().into()))
    }

    /// Returns the path as it stands in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the upstream has the app at its root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl Stripped {
    /// Returns the prefix with its form in a URL.
    pub fn new(prefix: Prefix) -> Self {
        let mut written = String::with_capacity(prefix.as_str().len());
        for byte in prefix.as_str().bytes() {
            if byte == b'/' || is_plain(byte) {
                written.push(char::from(byte));
            } else {
                written.push_str(&format!("%{byte:02X}"));
            }
        }
        Self { prefix, written: written.into() }
    }
}

impl Rewrite {
    /// Takes the prefix from a path, as it came from a client.
    ///
    /// # Errors
    /// If the place where the path leads, or where its prefix ends, depends on who reads it.
    pub fn rest<'p>(&'p self, path: &'p str) -> Result<Rest<'p>, BadPath> {
        let normal = normalize(path)?;
        let is_normal = *normal == *path;
        if !is_normal && climbs_unclearly(path) {
            return Err(BadPath::Ambiguous);
        }
        let Some(stripped) = self.strip.iter().find(|stripped| stripped.prefix.covers(&normal)) else {
            return Ok(Rest { path, stripped: None });
        };
        let prefix = &stripped.prefix;
        let rest = if is_normal { prefix.below(path) } else { behind(path, &normal, prefix) };
        let rest = rest.and_then(single_slash).ok_or(BadPath::Ambiguous)?;
        Ok(Rest { path: rest, stripped: Some(stripped) })
    }
}

/// Returns true if a path climbs, and has a `/` or `\` that some readers see and others do not. For those who do not, the
/// path may climb higher.
fn climbs_unclearly(path: &str) -> bool {
    let escaped = |two: &[u8]| {
        two.first() == Some(&b'%') && (two[1..].eq_ignore_ascii_case(b"2f") || two[1..].eq_ignore_ascii_case(b"5c"))
    };
    let hides = path.contains('\\') || path.as_bytes().windows(3).any(escaped);
    hides && decode(path).is_ok_and(|decoded| decoded.split('/').any(|segment| segment == ".."))
}

/// Returns a path, or `/` for an empty one.
fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Returns the part of a path behind a prefix of its normal form.
fn behind<'p>(path: &'p str, normal: &str, prefix: &Prefix) -> Option<&'p str> {
    let depth = prefix.as_str().matches('/').count();
    let (before, rest) = path.split_at_checked(cut(path, depth)?)?;
    let is_prefix = Prefix::new(before).is_ok_and(|before| before == *prefix);
    let is_rest = normalize(or_root(rest)).is_ok_and(|rest| *rest == *or_root(prefix.below(normal).unwrap_or("?")));
    (is_prefix && is_rest).then_some(rest)
}

/// Returns where the segments that remain of a prefix end: at the first `/` from which on the path has as many segments
/// as the prefix, and never fewer again.
fn cut(path: &str, depth: usize) -> Option<usize> {
    let (mut now, mut cut, mut start) = (0_usize, None, 0);
    while start < path.len() {
        let end = path[start + 1..].find('/').map_or(path.len(), |slash| start + 1 + slash);
        for segment in decode(&path[start..end]).ok()?.split('/') {
            match segment {
                "" | "." => {}
                ".." => now = now.checked_sub(1)?,
                _ => now += 1,
            }
            if now < depth {
                cut = None;
            }
        }
        if now == depth && cut.is_none() {
            cut = Some(end);
        }
        start = end;
    }
    cut
}

/// Leaves one slash at the beginning of a path: `//host` would be the name of a host. `None` if the last of several is a
/// `\`, which some take for a slash.
fn single_slash(path: &str) -> Option<&str> {
    let behind = path.trim_start_matches(['/', '\\']);
    let slashes = path.len() - behind.len();
    if slashes < 2 { Some(path) } else { path.get(slashes - 1..).filter(|path| path.starts_with('/')) }
}

/// Returns true for a byte that stands in a path without an escape (RFC 3986 section 3.3). `;` is none of them, since the
/// normal form has no parameters.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

/// Places of an upstream, and of its clients, in the fields of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Prefix that clients have and the upstream has not, as it stands in a URL; empty if there is none.
    pub prefix: &'a str,
    /// Path below which the upstream has the app.
    pub base: &'a BasePath,
    /// Names of the upstream, each perhaps with a port: its address, and the `Host` that it got.
    pub upstream: [&'a str; 2],
    /// Host, perhaps with a port, that the client asked.
    pub asked: &'a str,
}

impl Places<'_> {
    /// Rewrites a URL of the upstream to that of the clients. `None` if it is left as it is: it leads elsewhere, or is
    /// relative.
    pub fn url(&self, url: &str) -> Option<String> {
        let (before, path) = divide(url)?;
        let authority = before.rsplit("//").next().unwrap_or_default();
        let before = match before {
            "" => "",
            _ if is_same(authority, self.asked) => before,
            _ if self.upstream.iter().any(|own| is_same(authority, own)) => "",
            _ => return None,
        };
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let (path, tail) = path.split_at(end);
        let path = self.path(if path.is_empty() { "/" } else { path })?;
        Some(format!("{before}{path}{tail}"))
    }

    /// Rewrites an absolute path. `None` if the upstream has it outside of the base.
    fn path(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix(self.base.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        let rewritten = format!("{}{below}", self.prefix);
        let behind = rewritten.trim_start_matches(['/', '\\']);
        // Two slashes would begin the name of a host.
        Some(if rewritten.len() - behind.len() == 1 { rewritten } else { format!("/{behind}") })
    }

    /// Rewrites the URL in a `Refresh` field: `5; url=/x`.
    pub fn refresh(&self, value: &str) -> Option<String> {
        let lower = value.to_ascii_lowercase();
        let start = lower.find("url=").filter(|at| value[..*at].trim_end().ends_with([';', ',']))? + "url=".len();
        let (before, url) = value.split_at_checked(start)?;
        let quote = url.chars().next().filter(|first| matches!(first, '"' | '\''));
        let inner = url.trim_matches(|c| Some(c) == quote);
        let (open, close) =
            quote.map_or((String::new(), String::new()), |quote| (quote.to_string(), quote.to_string()));
        Some(format!("{before}{open}{}{close}", self.url(inner)?))
    }

    /// Rewrites the `Path` of a `Set-Cookie` field.
    pub fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = value.split(|byte| *byte == b';').map(<[u8]>::to_vec).collect();
        let mut changed = false;
        for part in parts.iter_mut().skip(1) {
            let Ok(text) = std::str::from_utf8(part) else { continue };
            let Some((name, path)) = text.split_once('=') else { continue };
            if !name.trim().eq_ignore_ascii_case("path") || !path.trim().starts_with('/') {
                continue;
            }
            let Some(mut rewritten) = self.path(path.trim()) else { continue };
            // A cookie for `/app/` would not be sent for `/app`.
            if rewritten.len() > 1 && rewritten.strip_suffix('/') == Some(self.prefix) {
                rewritten.pop();
            }
            *part = format!("{name}={rewritten}").into_bytes();
            changed = true;
        }
        changed.then(|| parts.join(&b';'))
    }
}

/// Divides a URL before its path. `None` if the URL is relative, or of another scheme.
fn divide(url: &str) -> Option<(&str, &str)> {
    let scheme = ["https:", "http:"]
        .into_iter()
        .find(|scheme| url.get(..scheme.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(scheme)));
    let behind = url.get(scheme.map_or(0, str::len)..)?;
    if let Some(rest) = behind.strip_prefix("//") {
        let authority = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        return Some(url.split_at(url.len() - rest.len() + authority));
    }
    let is_path = scheme.is_none() && url.starts_with('/') && !url.starts_with("/\\");
    is_path.then_some(("", url))
}

/// Compares two authorities. The usual ports count as none.
fn is_same(one: &str, other: &str) -> bool {
    let bare = |authority: &str| {
        let end = [":80", ":443"].into_iter().find_map(|port| authority.strip_suffix(port).map(str::len));
        authority[..end.unwrap_or(authority.len())].to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests;
