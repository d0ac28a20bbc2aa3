//! Marks: the values of the cookie by which a client keeps to an upstream.

use std::time::Duration;

use http::HeaderValue;
use sha2::{Digest, Sha256};

/// Marks of a route's upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    name: Box<str>,
    /// True if a client gets its mark with every answer, since browsers forget it after a while.
    renews: bool,
    /// Marks in the order of the route's upstreams.
    each: Box<[Mark]>,
}

/// Mark of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    value: [u8; LENGTH],
    http: HeaderValue,
    https: HeaderValue,
}

/// Attributes of the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Name.
    pub name: String,
    /// Path below which browsers send it.
    pub path: String,
    /// Time after which browsers forget it; `None` is the end of their session.
    pub max_age: Option<Duration>,
    /// Handling of requests that begin at other sites.
    pub same_site: SameSite,
}

/// Handling of requests that begin at other sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Sent when somebody follows a link.
    #[default]
    Lax,
    /// Not sent.
    Strict,
    /// Sent. Browsers take that over https alone.
    None,
}

impl Marks {
    /// Makes the marks of upstreams, by their names.
    pub fn new(attributes: &Attributes, upstreams: impl Iterator<Item = String>) -> Self {
        let each = upstreams.map(|upstream| {
            let value = value(&upstream);
            let cookie = |is_https| {
                let text =
                    format!("{}={}{}", attributes.name, String::from_utf8_lossy(&value), attributes.text(is_https));
                HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
            };
            Mark { value, http: cookie(false), https: cookie(true) }
        });
        Self { name: attributes.name.as_str().into(), renews: attributes.max_age.is_some(), each: each.collect() }
    }

    /// Returns the place of the upstream that a client keeps to, by the lines of its `Cookie` fields. Values that mean no
    /// upstream of the route are passed over.
    pub fn find<'l>(&self, mut lines: impl Iterator<Item = &'l [u8]>) -> Option<usize> {
        lines.find_map(|line| {
            let mut values = line.split(|&byte| byte == b';').filter_map(|pair| self.value(pair)).take(MOST_TRIED);
            values.find_map(|value| self.each.iter().position(|mark| mark.value == value))
        })
    }

    /// Returns true if a pair of a `Cookie` field is this cookie.
    pub fn is(&self, pair: &[u8]) -> bool {
        self.value(pair).is_some()
    }

    fn value<'p>(&self, pair: &'p [u8]) -> Option<&'p [u8]> {
        let value = pair.trim_ascii_start().strip_prefix(self.name.as_bytes())?;
        value.strip_prefix(b"=").map(<[u8]>::trim_ascii)
    }

    /// Returns the `Set-Cookie` for an answer of the upstream at a place; `None` if the client `has` that mark, and keeps
    /// it.
    pub fn cookie(&self, place: usize, has: Option<usize>, is_https: bool) -> Option<&HeaderValue> {
        let mark = self.each.get(place).filter(|_| self.renews || has != Some(place))?;
        Some(if is_https { &mark.https } else { &mark.http })
    }
}

impl Attributes {
    /// Returns what follows the value.
    fn text(&self, is_https: bool) -> String {
        let lasts = self.max_age.map_or_else(String::new, |age| format!("; Max-Age={}", age.as_secs()));
        let secure = if is_https { "; Secure" } else { "" };
        let same_site = match self.same_site {
            SameSite::None if is_https => "None",
            SameSite::Lax | SameSite::None => "Lax",
            SameSite::Strict => "Strict",
        };
        format!("; Path={}{lasts}{secure}; HttpOnly; SameSite={same_site}", self.path)
    }
}

/// Returns the value for an upstream: the same in every worker, replica and process.
fn value(upstream: &str) -> [u8; LENGTH] {
    let hash = Sha256::new().chain_update(b"backsoon sticky cookie\0").chain_update(upstream).finalize();
    let mut value = [0; LENGTH];
    for (digits, byte) in value.chunks_exact_mut(2).zip(&hash) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    value
}

/// Bytes of a mark.
const LENGTH: usize = 16;
/// Cookies of the name that are tried in one line. A client sends one, and others may add to it.
const MOST_TRIED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes { name: "sid".into(), path: "/app".into(), max_age: None, same_site: SameSite::Lax }
    }

    fn marks(attributes: &Attributes) -> Marks {
        Marks::new(attributes, ["http://10.0.0.2:8080", "app-3"].map(str::to_owned).into_iter())
    }

    #[test]
    fn a_cookie_has_safe_attributes_and_no_address() {
        let marks = marks(&attributes());
        let cookie = |is_https| marks.cookie(0, None, is_https).unwrap().to_str().unwrap().to_owned();
        // The value must stay: clients have it.
        assert_eq!(cookie(false), "sid=441592d33a1a6d93; Path=/app; HttpOnly; SameSite=Lax");
        assert_eq!(cookie(true), "sid=441592d33a1a6d93; Path=/app; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(marks.cookie(0, Some(0), false), None, "the client has it");
        assert!(marks.cookie(0, Some(1), false).is_some());
    }

    #[test]
    fn a_cookie_that_lasts_is_set_anew_and_none_without_https_is_lax() {
        let attributes =
            Attributes { max_age: Some(Duration::from_secs(3600)), same_site: SameSite::None, ..attributes() };
        let marks = marks(&attributes);
        let cookie = |is_https| marks.cookie(1, Some(1), is_https).unwrap().to_str().unwrap().to_owned();
        assert!(cookie(false).ends_with("; Path=/app; Max-Age=3600; HttpOnly; SameSite=Lax"));
        assert!(cookie(true).ends_with("; Path=/app; Max-Age=3600; Secure; HttpOnly; SameSite=None"));
    }

    #[test]
    fn an_upstream_is_found_among_other_cookies_and_nothing_else_is() {
        let marks = marks(&attributes());
        let own = |place: usize| String::from_utf8(marks.each[place].value.to_vec()).unwrap();
        let find = |lines: &[String]| marks.find(lines.iter().map(String::as_bytes));
        assert_eq!(find(&[format!("a=b; sid={}", own(1))]), Some(1));
        assert_eq!(find(&["a=b".into(), format!("sid={} ;c=d", own(0))]), Some(0));
        assert_eq!(find(&[format!("sid=; sid=0123456789abcdef; sid={}", own(1))]), Some(1), "others are passed over");
        for wrong in ["", "sid", "sid=", ";;;", "xsid=VALUE", "sid2=VALUE", "sid=VALUE.x", "sid=\"VALUE\"", "SID=VALUE"]
        {
            assert_eq!(find(&[wrong.replace("VALUE", &own(0))]), None, "{wrong}");
        }
        let many = "sid=x;".repeat(10_000);
        assert_eq!(find(&[format!("{many}sid={}", own(0))]), None, "few are tried");
    }
}
