//! Checks for messages that hyper accepts and a proxy must not pass on.

use std::net::Ipv6Addr;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, Version};

use crate::plan::target;
use crate::proxy::error::Error;

use super::fields::{Field, Fields};
use super::headers::plain_length;

/// Checks a request's head and finds its authority: that of the target, else the `Host` field.
///
/// # Errors
/// Returns a client's [`Error`]; the connection must not be used further.
pub(crate) fn request<B>(request: &Request<B>, fields: Fields, most_fields: usize) -> Result<&str, Error> {
    count_fields(request, most_fields)?;
    target::check(request.method(), request.uri()).map_err(Error::BadRequest)?;
    transfer_coding(request.headers(), fields, request.version())?;
    if !is_one_length(request.headers(), fields) {
        return Err(Error::BadRequest("a malformed length, or two"));
    }
    authority(request, fields)
}

/// Counts the fields. HTTP/2 clients send each cookie in a field of its own: those count as one.
fn count_fields<B>(request: &Request<B>, most: usize) -> Result<(), Error> {
    let fields = request.headers().len();
    // Cookies are counted only if the limit is exceeded, since that walks their list.
    let crumbs = if fields > most { request.headers().get_all(COOKIE).iter().count() } else { 0 };
    if fields - crumbs.saturating_sub(1) > most { Err(Error::HeadFields) } else { Ok(()) }
}

/// Accepts only `chunked`, once, and not in HTTP/1.0. Two parties might read anything else differently.
fn transfer_coding(headers: &HeaderMap, fields: Fields, version: Version) -> Result<(), Error> {
    if !fields.has(Field::TransferEncoding) || version == Version::HTTP_11 && is_chunked(headers, fields) {
        Ok(())
    } else {
        Err(Error::BadRequest("a transfer coding other than chunked"))
    }
}

fn is_chunked(headers: &HeaderMap, fields: Fields) -> bool {
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    !fields.repeats(Field::TransferEncoding) && headers.get(TRANSFER_ENCODING).is_some_and(chunked)
}

/// Returns true if all lengths are digits and the same number (RFC 9110 section 8.6). hyper reads a list of equal
/// lengths as one length, and would not write it.
fn is_one_length(headers: &HeaderMap, fields: Fields) -> bool {
    if !fields.has(Field::ContentLength) {
        return true;
    }
    let first = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes).map(plain_length).unwrap_or_default();
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    let is_first = |other: &HeaderValue| !other.is_empty() && plain_length(other.as_bytes()) == first;
    is_number && (!fields.repeats(Field::ContentLength) || headers.get_all(CONTENT_LENGTH).iter().all(is_first))
}

/// Finds the authority (RFC 9112 section 3.2): exactly one `Host` in HTTP/1.1, and the target's authority wins over it.
/// Neither may be empty: the target is an `http` one (RFC 9110 section 4.2.1). HTTP/1.0 has no `Host`.
fn authority<B>(request: &Request<B>, fields: Fields) -> Result<&str, Error> {
    if fields.repeats(Field::Host) {
        return Err(Error::BadRequest("more than one host"));
    }
    let host = request.headers().get(HOST).map(|host| host.to_str().map_err(|_| BAD_HOST)).transpose()?;
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    match (target, host) {
        (Some(target), Some(host)) if request.version() == Version::HTTP_2 && !target.eq_ignore_ascii_case(host) => {
            Err(Error::BadRequest("the host field contradicts the authority"))
        }
        (_, None) if request.version() == Version::HTTP_11 => Err(Error::BadRequest("no host")),
        (None, None) if request.version() == Version::HTTP_2 => Err(Error::BadRequest("no host")),
        (Some(target), None) if is_authority(target) => Ok(target),
        (Some(target), Some(host)) if is_authority(target) && (target == host || is_authority(host)) => Ok(target),
        (None, Some(host)) if is_authority(host) => Ok(host),
        (None, None) => Ok(""),
        (_, Some(_)) | (Some(_), None) => Err(BAD_HOST),
    }
}

/// Returns true for a host or an IP literal, with or without a port. A user, a path, white space, and bytes unsafe in a
/// log, a field or `:authority` are refused.
fn is_authority(text: &str) -> bool {
    if is_name(text) {
        return true;
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if is_ip_literal(address) => (None, rest),
        Some(_) => return false,
        None => text.split_once(':').map_or((Some(text), ""), |(host, _)| (Some(host), &text[host.len()..])),
    };
    let port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    port && host.is_none_or(is_name)
}

fn is_ip_literal(address: &str) -> bool {
    address.parse::<Ipv6Addr>().is_ok()
}

/// Returns true for a name, except that of the DNS root alone, which names no server.
fn is_name(host: &str) -> bool {
    !matches!(host, "" | ".") && host.bytes().all(belongs_in_host)
}

fn belongs_in_host(byte: u8) -> bool {
    HOST_BYTES[usize::from(byte)]
}

/// The bytes of a registered name (RFC 3986 section 3.2.2), but for `%` and `,`.
const HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let punctuation = b"-._~!$&'()*+;=";
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < punctuation.len() {
        table[punctuation[index] as usize] = true;
        index += 1;
    }
    table
};

const BAD_HOST: Error = Error::BadRequest("a malformed host");

/// Checks an upstream's response head.
///
/// # Errors
/// Returns [`Error::BadResponse`]; the connection must not be used further.
pub(crate) fn response<B>(response: &Response<B>, fields: Fields) -> Result<(), Error> {
    let headers = response.headers();
    if !is_one_length(headers, fields) {
        return Err(Error::BadResponse("the upstream sent a malformed length, or two"));
    }
    match fields.has(Field::TransferEncoding) {
        false => Ok(()),
        // A response with both lengths is refused: parties that believe different ones let responses be smuggled.
        true if fields.has(Field::ContentLength) => Err(Error::BadResponse("the upstream sent two lengths")),
        true if is_chunked(headers, fields) => Ok(()),
        true => Err(Error::BadResponse("the upstream sent a transfer coding other than chunked")),
    }
}

/// Returns true if the client waits for `100 Continue`. Reading its body would ask for it.
pub(crate) fn expects_continue(fields: Fields) -> bool {
    fields.has(Field::Expect)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    /// Checks a head as it comes.
    fn request(head: &Request<()>, most_fields: usize) -> Result<&str, Error> {
        super::request(head, Fields::of(head.headers()), most_fields)
    }

    fn head(version: Version, target: &str, fields: &[(&'static str, &str)]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(target);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_host_is_required_once_and_well_formed() {
        let ok = |version, target: &str, fields: &[(&'static str, &str)]| {
            request(&head(version, target, fields), 100).map(str::to_owned).ok()
        };
        assert_eq!(ok(Version::HTTP_11, "/", &[("host", "a.example:80")]).as_deref(), Some("a.example:80"));
        assert_eq!(ok(Version::HTTP_11, "http://b.example/", &[("host", "a.example")]).as_deref(), Some("b.example"));
        assert_eq!(ok(Version::HTTP_10, "/", &[]).as_deref(), Some(""));
        assert_eq!(ok(Version::HTTP_11, "/", &[]), None);
        assert_eq!(ok(Version::HTTP_2, "/", &[]), None);
        assert_eq!(ok(Version::HTTP_2, "/", &[("host", "a")]).as_deref(), Some("a"));
        assert_eq!(ok(Version::HTTP_11, "http://b.example/", &[]), None);
        assert_eq!(ok(Version::HTTP_11, "/", &[("host", "a"), ("host", "a")]), None);
        assert_eq!(ok(Version::HTTP_11, "/", &[("host", "[::1]:80")]).as_deref(), Some("[::1]:80"));
        assert_eq!(ok(Version::HTTP_11, "http://a/", &[("host", "")]), None);
        for bad in [
            "",
            ":80",
            ":",
            ".",
            ".:80",
            "[]",
            "[]:80",
            "[:]",
            "[1]",
            "a:1:2",
            "a%20b",
            "a:b",
            "[::1",
            "[x]",
            "[::1]x",
            "::1",
            "user@host",
            "a/b",
            "a b",
            "a,b",
            "a\\b",
            "a?b",
            "a#b",
            "a\"b",
        ] {
            assert_eq!(ok(Version::HTTP_11, "/", &[("host", bad)]), None, "{bad}");
        }
        assert_eq!(ok(Version::HTTP_2, "http://a.example/", &[("host", "b.example")]), None);
        assert_eq!(ok(Version::HTTP_2, "http://a.example/", &[("host", "A.example")]).as_deref(), Some("a.example"));
    }

    #[test]
    fn a_target_has_the_form_of_its_method() {
        let ok = |method: Method, target: &str| {
            let mut head = head(Version::HTTP_11, target, &[("host", "a")]);
            *head.method_mut() = method;
            request(&head, 100).is_ok()
        };
        assert!(ok(Method::GET, "/x") && ok(Method::GET, "http://a/x") && ok(Method::OPTIONS, "*"));
        assert!(!ok(Method::GET, "*") && !ok(Method::GET, "a:80") && !ok(Method::GET, "ftp://a/x"));
    }

    #[test]
    fn a_length_is_one_number_however_often_it_is_said() {
        let ok = |lengths: &[&'static str]| {
            let mut fields = vec![("host", "a")];
            fields.extend(lengths.iter().map(|length| ("content-length", *length)));
            request(&head(Version::HTTP_2, "http://a/", &fields), 100).is_ok()
        };
        for lengths in [&["5"][..], &["5", "5"], &["5", "05", "005"], &["0"], &["00", "0"]] {
            assert!(ok(lengths), "{lengths:?}");
        }
        for lengths in [&[""][..], &["+5"], &["5, 5"], &["5", "6"], &["5", ""], &["", "5"], &["0", ""], &["50", "5"]] {
            assert!(!ok(lengths), "{lengths:?}");
        }
    }

    #[test]
    fn cookie_crumbs_count_as_one_field() {
        let mut fields = vec![("host", "a")];
        fields.extend(std::iter::repeat_n(("cookie", "x=1"), 200));
        assert!(request(&head(Version::HTTP_2, "http://a/", &fields), 10).is_ok());
        fields.extend(std::iter::repeat_n(("x-field", "1"), 10));
        assert!(matches!(request(&head(Version::HTTP_2, "http://a/", &fields), 10), Err(Error::HeadFields)));
    }

    #[test]
    fn only_exactly_chunked_passes() {
        let coded = |version, values: &[&str]| {
            let mut fields = vec![("host", "a")];
            fields.extend(values.iter().map(|value| ("transfer-encoding", *value)));
            request(&head(version, "/", &fields), 100).is_ok()
        };
        assert!(coded(Version::HTTP_11, &["chunked"]) && coded(Version::HTTP_11, &["Chunked"]));
        for values in [&["gzip, chunked"][..], &["identity"], &["chunked", "chunked"], &["xchunked"], &["chunked;a=b"]]
        {
            assert!(!coded(Version::HTTP_11, values), "{values:?}");
        }
        assert!(!coded(Version::HTTP_10, &["chunked"]));
    }
}
