//! The fields that a head has, found in one pass. A proxy must act on many fields, of which most heads have few.
//! Looking up each of them in each head would cost more than all other work on the head.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::spoofable;

/// A field that this proxy acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Field {
    Host,
    Accept,
    AcceptLanguage,
    AcceptEncoding,
    SecFetchMode,
    ContentType,
    Cookie,
    ContentLength,
    Expect,
    RequestId,
    // Fields that end at this hop (RFC 9110 section 7.6.1).
    Connection,
    TransferEncoding,
    Te,
    Trailer,
    Upgrade,
    KeepAlive,
    ProxyConnection,
    ProxyAuthenticate,
    ProxyAuthorization,
    Http2Settings,
    /// `traceparent` or `tracestate`.
    Trace,
    /// `Proxy`, which no app may receive: CGI makes `HTTP_PROXY` of it, which many programs obey (httpoxy).
    Proxy,
    /// `X-Maintenance`, by which the upstream tells the requests of testers. Only this proxy sets it.
    Maintenance,
    /// Any field that apps believe to come from a proxy.
    Spoofable,
    /// Any field that becomes another one in CGI, which reads `_` and the like as `-`.
    Disguised,
}

impl Field {
    /// Returns the field of a name.
    pub(crate) fn of(name: &HeaderName) -> Option<Self> {
        Some(match name.as_str() {
            "host" => Self::Host,
            "accept" => Self::Accept,
            "accept-language" => Self::AcceptLanguage,
            "accept-encoding" => Self::AcceptEncoding,
            "sec-fetch-mode" => Self::SecFetchMode,
            "content-type" => Self::ContentType,
            "cookie" => Self::Cookie,
            "content-length" => Self::ContentLength,
            "expect" => Self::Expect,
            "x-request-id" => Self::RequestId,
            "connection" => Self::Connection,
            "transfer-encoding" => Self::TransferEncoding,
            "te" => Self::Te,
            "trailer" => Self::Trailer,
            "upgrade" => Self::Upgrade,
            "keep-alive" => Self::KeepAlive,
            "proxy-connection" => Self::ProxyConnection,
            "proxy-authenticate" => Self::ProxyAuthenticate,
            "proxy-authorization" => Self::ProxyAuthorization,
            "http2-settings" => Self::Http2Settings,
            "traceparent" | "tracestate" => Self::Trace,
            "proxy" => Self::Proxy,
            "x-maintenance" => Self::Maintenance,
            // Most requests have it, and it begins as spoofable ones do.
            "referer" => return None,
            other if !spoofable::may_be_spoofable(other) => return None,
            other if spoofable::is_disguised(other) => Self::Disguised,
            other if spoofable::is_spoofable(other) => Self::Spoofable,
            _ => return None,
        })
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Number of fields.
    const COUNT: usize = Self::Disguised as usize + 1;
}

/// The first values of the fields of a head, found in the same pass.
#[derive(Debug)]
pub(crate) struct Values<'h>([Option<&'h HeaderValue>; Field::COUNT]);

impl<'h> Values<'h> {
    /// Returns the value on the first line of a field.
    pub(crate) fn get(&self, field: Field) -> Option<&'h HeaderValue> {
        self.0[field as usize]
    }
}

/// The fields that a head has, and those that it has more than once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields {
    once: u32,
    again: u32,
}

impl Fields {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for field in headers.iter().filter_map(|(name, _)| Field::of(name)) {
            fields.again |= fields.once & field.bit();
            fields.once |= field.bit();
        }
        fields
    }

    /// Finds the fields together with their values, which a look-up of each would take longer for.
    pub(crate) fn with_values(headers: &HeaderMap) -> (Self, Values<'_>) {
        let mut fields = Self::default();
        let mut values = [None; Field::COUNT];
        for (field, value) in headers.iter().filter_map(|(name, value)| Some((Field::of(name)?, value))) {
            fields.again |= fields.once & field.bit();
            fields.once |= field.bit();
            values[field as usize].get_or_insert(value);
        }
        (fields, Values(values))
    }

    /// Returns true if the head has this field.
    pub(crate) fn has(self, field: Field) -> bool {
        self.once & field.bit() != 0
    }

    /// Returns true if the head has this field on more than one line.
    pub(crate) fn repeats(self, field: Field) -> bool {
        self.again & field.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderValue;

    use super::super::headers::X_REQUEST_ID;

    #[test]
    fn a_field_is_seen_once_or_again_whatever_stands_between() {
        let mut headers = HeaderMap::new();
        for name in ["host", "accept", "cookie", "x_odd", "x-real-ip", "te", "cookie"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        headers.insert(X_REQUEST_ID, HeaderValue::from_static("1"));
        let fields = Fields::of(&headers);
        for field in [Field::Host, Field::Cookie, Field::Disguised, Field::Spoofable, Field::Te, Field::RequestId] {
            assert!(fields.has(field), "{field:?}");
        }
        assert!(fields.repeats(Field::Cookie) && !fields.repeats(Field::Host));
        assert!(!fields.has(Field::Connection) && !fields.has(Field::ContentLength));
    }
}
