//! Methods: those that change nothing, and requests that ask for another method than their own.

use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;

/// Returns true if a method only reads, by its definition (RFC 9110 section 9.2.1 and the registry of methods).
pub(crate) fn is_safe(method: &Method) -> bool {
    method.is_safe() || matches!(method.as_str(), "PROPFIND" | "QUERY" | "REPORT" | "SEARCH")
}

/// Returns true if a request asks to be handled as one of another method, and that method may change something.
///
/// Some frameworks take the method from a field or from `_method` in the query, a few of them even for GET.
pub(crate) fn is_overridden(headers: &HeaderMap, query: Option<&str>) -> bool {
    let fields = OVERRIDES.iter().flat_map(|name| headers.get_all(name));
    let mut by_field = fields.map(|value| value.as_bytes());
    by_field.any(changes) || query.is_some_and(|query| query.split('&').filter_map(asked).any(changes))
}

/// Returns the method that a part of a query asks for.
fn asked(part: &str) -> Option<&[u8]> {
    let (name, method) = part.split_once('=')?;
    let name = percent_decode_str(name).map(|byte| byte.to_ascii_lowercase());
    name.eq(*b"_method").then_some(method.as_bytes())
}

/// Returns true unless a word names a method that only reads.
fn changes(word: &[u8]) -> bool {
    let word = word.trim_ascii().to_ascii_uppercase();
    !word.is_empty() && !Method::from_bytes(&word).is_ok_and(|method| is_safe(&method))
}

/// Returns the registered method of this name in capital letters.
pub(crate) fn named(name: &str) -> Option<Method> {
    NAMES.contains(&name).then(|| Method::from_bytes(name.as_bytes()).ok()).flatten()
}

/// Registered methods, without those that the proxy never forwards.
pub(crate) const NAMES: [&str; 36] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "VERSION-CONTROL",
];

static OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_for_another_method_is_found() {
        let empty = HeaderMap::new();
        for (query, overridden) in [
            ("_method=DELETE", true),
            ("a=1&_METHOD=put", true),
            ("%5fmethod=DELETE", true),
            ("_method=%44ELETE", true),
            ("_method=PROPFIND", false),
            ("_method=get", false),
            ("_method=", false),
            ("method=DELETE", false),
            ("q=_method", false),
            ("a%20b=1", false),
            ("%zzmethod=DELETE&%=1&%5=2&=3", false),
        ] {
            assert_eq!(is_overridden(&empty, Some(query)), overridden, "{query}");
        }
        for (value, overridden) in [("DELETE", true), ("delete", true), ("GET", false), ("", false), ("a b", true)] {
            let mut headers = HeaderMap::new();
            headers.insert("x-http-method-override", HeaderValue::from_static(value));
            assert_eq!(is_overridden(&headers, None), overridden, "{value}");
        }
        assert!(!is_overridden(&empty, None));
    }
}
