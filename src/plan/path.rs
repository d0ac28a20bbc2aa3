//! Normal form of a path, on which routes are matched. The original path is forwarded.
//!
//! An upstream may take many spellings for the same path. If the proxy matched the text as it came, `/%61dmin` or
//! `//admin` would slip past a rule for `/admin`. So the text is brought to one form first, and a path without such a
//! form is refused. Every `%XX` is decoded once, `\` reads as `/`, parameters (`;…`) are dropped, empty segments are
//! merged, and `.` and `..` are resolved.

mod order;

use std::borrow::Cow;
use std::fmt;
use std::str::Split;

pub use order::Rank;

/// Path prefix of the config, in normal form: it begins with `/` and ends without, except for `/` itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Box<str>);

/// Path of the config in which `*` stands for any characters of one segment, and `**` for any segments. Covers everything
/// below, as a prefix does.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    prefix: Prefix,
    /// Segments between the `**`, if there is any `*`. The first ones stand at the beginning of the path.
    runs: Box<[Box<[Box<str>]>]>,
}

/// Reason for which a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// The path does not begin with `/`.
    Relative,
    /// A `%` has no two hexadecimal digits, or a decoded byte is a control character.
    Encoding,
    /// A dot segment has a parameter (`..;x`): some servers climb there, others look for a file of that name.
    Ambiguous,
    /// A `..` leads above the root.
    AboveRoot,
}

impl Prefix {
    /// Parses a prefix as an operator writes it.
    ///
    /// # Errors
    /// Returns the reason if it has no normal form.
    pub fn new(path: &str) -> Result<Self, BadPath> {
        let normal = normalize(path)?;
        let trimmed = normal.trim_end_matches('/');
        Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.into()))
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if a path in normal form is this prefix or below it: `/app` covers `/app` and `/app/x`, not
    /// `/apple`.
    pub fn covers(&self, normal: &str) -> bool {
        &*self.0 == "/" || self.below(normal).is_some()
    }

    /// Returns the rest of a path in normal form after this prefix, which is not `/`; `None` if the prefix does not
    /// cover it.
    pub fn below<'p>(&self, normal: &'p str) -> Option<&'p str> {
        normal.strip_prefix(&*self.0).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl PathPattern {
    /// Parses a pattern as an operator writes it: `/login`, `/v1/*/export`, `/report-*`, `/**/git-upload-pack`. Without a
    /// `/` before it, `*.php` is a last part at any depth: `/**/*.php`. A `*` or `**` at the end may be left out, since
    /// everything below is covered anyway.
    ///
    /// # Errors
    /// Returns the reason if it has no normal form.
    pub fn new(path: &str) -> Result<Self, BadPath> {
        let anchored = match path {
            _ if path.starts_with("**/") => format!("/{path}"),
            _ if path.starts_with('*') && path != "*" => format!("/**/{path}"),
            _ => path.to_owned(),
        };
        let mut path = anchored.as_str();
        while let Some(before) = path.strip_suffix("/*").or_else(|| path.strip_suffix("/**")) {
            path = before;
        }
        let prefix = Prefix::new(if path.is_empty() && !anchored.is_empty() { "/" } else { path })?;
        let text = prefix.as_str();
        let run = |run: &str| run.split('/').filter(|segment| !segment.is_empty()).map(Box::from).collect();
        let runs = if text.contains('*') { text.split("/**").map(run).collect() } else { Box::default() };
        Ok(Self { prefix, runs })
    }

    /// Returns the pattern as text.
    pub fn as_str(&self) -> &str {
        self.prefix.as_str()
    }

    /// Returns true if there is no `*`: the pattern is a prefix.
    pub fn is_prefix(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns true if a path in normal form matches the pattern or lies below a match.
    ///
    /// The first place of each run leaves the most for the runs after it, so nothing is tried twice.
    pub fn covers(&self, normal: &str) -> bool {
        let Some((first, others)) = self.runs.split_first() else { return self.prefix.covers(normal) };
        let mut rest = normal.split('/');
        rest.next();
        let Some(mut rest) = after(first, rest) else { return false };
        others.iter().all(|run| {
            loop {
                if let Some(behind) = after(run, rest.clone()) {
                    rest = behind;
                    return true;
                }
                if rest.next().is_none() {
                    return false;
                }
            }
        })
    }
}

/// Returns the segments behind those of a run, if a path goes on with them.
fn after<'p>(run: &[Box<str>], mut segments: Split<'p, char>) -> Option<Split<'p, char>> {
    run.iter().all(|pattern| segments.next().is_some_and(|segment| matches(pattern, segment))).then_some(segments)
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PathPattern").field(&self.as_str()).finish()
    }
}

/// Returns true if a segment matches a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, segment: &str) -> bool {
    let Some((start, pattern)) = pattern.split_once('*') else { return pattern == segment };
    let Some(mut rest) = segment.strip_prefix(start) else { return false };
    let mut parts = pattern.split('*').peekable();
    // The first place of each part leaves the most for the parts after it. The last part ends the segment.
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    true
}

/// Brings a request's path (without the query) to its normal form. Borrows if it already has that form.
///
/// `*`, the target of `OPTIONS *` (RFC 9112 section 3.2.4), reads as `/`.
///
/// # Errors
/// Returns the reason if it has no normal form.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if path == "*" || path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(BadPath::Relative);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    resolve(&decode(path)?).map(Cow::Owned)
}

/// Returns true if a path is in normal form: no escape, parameter, backslash or control byte, no empty or dot segment.
fn is_normal(path: &[u8]) -> bool {
    // Without an early exit the compiler compares sixteen bytes at once, and nearly every path is read to its end
    // anyway.
    let odd = |byte: u8| (byte < 0x20) | (byte == 0x7f) | (byte == b'%') | (byte == b';') | (byte == b'\\');
    let empty_or_dot = |byte: u8, next: u8| (byte == b'/') & ((next == b'/') | (next == b'.'));
    let follows = path.get(1..).unwrap_or_default();
    !path.iter().fold(false, |found, &byte| found | odd(byte))
        & !path.iter().zip(follows).fold(false, |found, (&byte, &next)| found | empty_or_dot(byte, next))
}

/// Decodes every `%XX` once, and drops parameters. Bytes that are not UTF-8 become U+FFFD, which no prefix contains.
pub(super) fn decode(path: &str) -> Result<String, BadPath> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    let mut in_parameter = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let byte = if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2).ok_or(BadPath::Encoding)?;
            rest = tail;
            hex(digits[0])? << 4 | hex(digits[1])?
        } else {
            byte
        };
        let byte = if byte == b'\\' { b'/' } else { byte };
        if byte < 0x20 || byte == 0x7f {
            return Err(BadPath::Encoding);
        }
        if byte == b';' && !in_parameter && ends_in_dots(&bytes) {
            return Err(BadPath::Ambiguous);
        }
        in_parameter = byte != b'/' && (in_parameter || byte == b';');
        if !in_parameter {
            bytes.push(byte);
        }
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Returns true if the last segment so far is `.` or `..`.
fn ends_in_dots(path: &[u8]) -> bool {
    path.ends_with(b"/.") || path.ends_with(b"/..")
}

fn hex(digit: u8) -> Result<u8, BadPath> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(BadPath::Encoding)
}

/// Merges empty segments and resolves `.` and `..` (RFC 3986 section 5.2.4).
fn resolve(path: &str) -> Result<String, BadPath> {
    let mut normal = String::with_capacity(path.len());
    let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                let parent = normal.rfind('/').ok_or(BadPath::AboveRoot)?;
                normal.truncate(parent);
            }
            _ => {
                normal.push('/');
                normal.push_str(segment);
            }
        }
    }
    if directory || normal.is_empty() {
        normal.push('/');
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_path_has_one_form_however_it_is_written() {
        for written in [
            "/admin/x",
            "//admin/x",
            "/%61dmin/x",
            "/a/../admin/x",
            "/./admin/x",
            "/admin;v=1/x",
            "/admin%2Fx",
            "/admin\\x",
            "/admin%5cx",
            "/admin//x",
            "/x/%2e%2e/admin/x",
        ] {
            assert_eq!(normalize(written).as_deref(), Ok("/admin/x"), "{written}");
        }
    }

    #[test]
    fn what_has_no_form_is_refused() {
        assert_eq!(normalize("/.."), Err(BadPath::AboveRoot));
        assert_eq!(normalize("/a/../../b"), Err(BadPath::AboveRoot));
        assert_eq!(normalize("/%"), Err(BadPath::Encoding));
        assert_eq!(normalize("/%4"), Err(BadPath::Encoding));
        assert_eq!(normalize("/%zz"), Err(BadPath::Encoding));
        assert_eq!(normalize("/%00"), Err(BadPath::Encoding));
        assert_eq!(normalize("admin"), Err(BadPath::Relative));
        for path in ["/x/..;/admin", "/x/.;a=b/admin", "/x/%2e%2e;/admin", "/x/..%3b/admin"] {
            assert_eq!(normalize(path), Err(BadPath::Ambiguous), "{path}");
        }
    }

    #[test]
    fn a_double_encoding_is_decoded_once() {
        assert_eq!(normalize("/%2561dmin").as_deref(), Ok("/%61dmin"));
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let app = Prefix::new("/app/").unwrap();
        assert_eq!(app.as_str(), "/app");
        assert!(app.covers("/app") && app.covers("/app/") && app.covers("/app/x"));
        assert!(!app.covers("/apple") && !app.covers("/ap") && !app.covers("/"));
        assert!(Prefix::new("/").unwrap().covers("/anything"));
    }

    #[test]
    fn a_star_stands_for_any_characters_of_one_segment() {
        for (pattern, covered, others) in [
            ("/a*", ["/a", "/apple", "/apple/x"], ["/b", "/", "/x/a"]),
            ("/v1/*/x", ["/v1/7/x", "/v1/long/x/below", "/v1/*/x"], ["/v1/x", "/v1/7/8/x", "/v1/7/xy"]),
            ("/*.ics", ["/a.ics", "/.ics", "/a.ics/x"], ["/a.icsx", "/x/a.ics", "/a"]),
            ("/a*b*c", ["/abc", "/a-b-b-c", "/abcbc"], ["/ac", "/abcd", "/acb"]),
            ("/*a", ["/a", "/aa", "/ba/x"], ["/ab", "/", "/b/a"]),
            ("/login/*", ["/login", "/login/", "/login/x"], ["/loginx", "/", "/log"]),
            ("/*", ["/", "/a", "/a/b"], ["a", "", "*"]),
        ] {
            let parsed = PathPattern::new(pattern).unwrap();
            assert!(covered.iter().all(|path| parsed.covers(path)), "{pattern}");
            assert!(!others.iter().any(|path| path.starts_with('/') && parsed.covers(path)), "{pattern}");
        }
    }

    #[test]
    fn two_stars_stand_for_any_segments() {
        for (pattern, covered, others) in [
            ("/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b/below"], ["/a", "/b", "/x/a/b"]),
            (
                "**/git-upload-pack",
                ["/git-upload-pack", "/g/r.git/git-upload-pack", "/a/git-upload-pack/x"],
                ["/git-receive-pack", "/git-upload-packs", "/"],
            ),
            ("*.php", ["/x.php", "/a/b/x.php", "/a.php/info"], ["/x.phps", "/php", "/"]),
            ("/a/**", ["/a", "/a/", "/a/b/c"], ["/ab", "/", "/b/a"]),
            ("/**", ["/", "/a", "/a/b"], ["a", "", "*"]),
            ("**", ["/", "/a", "/a/b"], ["a", "", "*"]),
            ("/**/a/**/b*", ["/a/b", "/x/a/y/bb", "/a/a/b"], ["/b/a", "/a", "/a/cb"]),
            ("/**/a/*/c", ["/a/b/c", "/a/a/b/c", "/x/a/b/c/d"], ["/a/c", "/a/b/d/c", "/b/c"]),
        ] {
            let parsed = PathPattern::new(pattern).unwrap();
            assert!(covered.iter().all(|path| parsed.covers(path)), "{pattern}");
            assert!(!others.iter().any(|path| path.starts_with('/') && parsed.covers(path)), "{pattern}");
        }
    }

    /// Tries everything: exponential, and plainly right.
    fn naive(pattern: &[&str], path: &[&str]) -> bool {
        let segment = |pattern: &str, segment: &str| {
            fn whole(pattern: &[u8], text: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'*', rest @ ..] => (0..=text.len()).any(|from| whole(rest, &text[from..])),
                    [byte, rest @ ..] => text.first() == Some(byte) && whole(rest, &text[1..]),
                }
            }
            whole(pattern.as_bytes(), segment.as_bytes())
        };
        match pattern {
            [] => true,
            ["**", rest @ ..] => (0..=path.len()).any(|from| naive(rest, &path[from..])),
            [one, rest @ ..] => path.first().is_some_and(|first| segment(one, first)) && naive(rest, &path[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_covers_what_a_naive_search_covers(
            pattern in proptest::collection::vec(proptest::sample::select(vec!["**", "*", "a", "b", "a*", "*b", "a*b*"]), 1..6),
            path in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab", "abb", "bb", "c"]), 0..7),
        ) {
            let parsed = PathPattern::new(&format!("/{}", pattern.join("/"))).unwrap();
            let mut wanted: &[&str] = &pattern;
            while let [before @ .., "*" | "**"] = wanted {
                wanted = before;
            }
            let expected = naive(wanted, &path);
            prop_assert_eq!(parsed.covers(&format!("/{}", path.join("/"))), expected, "{:?} {:?}", pattern, path);
        }
    }

    #[test]
    fn a_long_path_that_nearly_matches_costs_no_more_than_its_length() {
        let pattern = PathPattern::new("/**/a*a*a*a*b/**/a*a*a*b/**/c").unwrap();
        let path = format!("/{}", format!("{}/", "a".repeat(200)).repeat(300));
        let began = std::time::Instant::now();
        assert!(!pattern.covers(&path));
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
