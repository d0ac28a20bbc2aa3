//! The format of `/metrics` that a scraper accepts.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use crate::plan::accept;

/// Format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum MetricsFormat {
    /// The text format 0.0.4 of Prometheus.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// Chooses by `Accept`; the text format unless OpenMetrics is preferred to it, in the version that is spoken.
    pub(in crate::control) fn accepted(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
        let ranges = fields.flat_map(|field| field.split(|&byte| byte == b','));
        let offers = [(Self::Text, "text/plain"), (Self::OpenMetrics, "application/openmetrics-text")];
        accept::choose(ranges.filter(|range| is_spoken(range)), &offers).unwrap_or(Self::Text)
    }

    /// Returns the `Content-Type`.
    pub(in crate::control) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// Returns false for a range that names a version of a format that is not spoken.
fn is_spoken(range: &[u8]) -> bool {
    let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let kind = parts.next().unwrap_or_default();
    let version = parts.find_map(|part| part.split_at_checked(VERSION.len()).filter(|(name, _)| is_version(name)));
    let Some((_, version)) = version else { return true };
    let version = version.strip_prefix(b"\"").and_then(|version| version.strip_suffix(b"\"")).unwrap_or(version);
    let spoken: &[u8] = if kind.eq_ignore_ascii_case(b"text/plain") { b"0.0.4" } else { b"1.0.0" };
    version == spoken
}

fn is_version(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(VERSION)
}

const VERSION: &[u8] = b"version=";

#[cfg(test)]
mod tests {
    use super::MetricsFormat::{OpenMetrics, Text};
    use super::*;

    #[test]
    fn the_text_format_is_given_unless_openmetrics_is_preferred() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                            escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, format) in [
            (None, Text),
            (Some("*/*"), Text),
            (Some("text/html, */*;q=0.8"), Text),
            (Some("text/plain"), Text),
            (Some("application/json"), Text),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("Application/OpenMetrics-Text; Version=\"1.0.0\""), OpenMetrics),
            (Some("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5"), Text),
            (Some("application/openmetrics-text;version=2.0.0, text/plain;q=0.1"), Text),
            (Some("application/openmetrics-text;q=0.4, text/plain;q=0.5"), Text),
            (Some("application/openmetrics-text;q=0.5, text/plain;q=0.4"), OpenMetrics),
            (Some("application/openmetrics-text;q=0, */*"), Text),
            (Some("text/plain, application/openmetrics-text"), Text),
            (Some("application/openmetrics-text, */*"), OpenMetrics),
            (Some(prometheus_2), OpenMetrics),
            (Some(prometheus_3), OpenMetrics),
        ] {
            let headers = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))).into_iter().collect();
            assert_eq!(MetricsFormat::accepted(&headers), format, "{accept:?}");
        }
    }
}
