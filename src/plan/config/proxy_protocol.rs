//! `proxy_protocol` of a listener.

use toml::de::DeValue;

use super::super::read::{Report, Value};
use super::{Address, ProxyHeaders};

/// Reads `proxy_protocol = true`. `trusts` is true if the config names trusted proxies.
pub(super) fn headers(
    value: &Value<'_>,
    address: Option<&Address>,
    trusts: bool,
    report: &mut Report<'_>,
) -> Option<ProxyHeaders> {
    let headers = match value.inner {
        DeValue::Boolean(true) => ProxyHeaders::Required,
        DeValue::Boolean(false) => ProxyHeaders::Off,
        DeValue::String(_) => value.choice(&WORDS, report)?,
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            value.mistyped("`true`, `false`, `\"required\"` or `\"optional\"`", "both versions are read", report);
            return None;
        }
    };
    if let (ProxyHeaders::Optional, Some(Address::Unix(_))) = (headers, address) {
        let help = "write `true`: what comes over a unix socket cannot be looked at before it is read";
        report.wrong(value.span.clone(), "`proxy_protocol` cannot be `optional` on a unix socket", help);
    }
    if headers != ProxyHeaders::Off && !trusts {
        let help = "name the proxies whose headers are believed: `trusted_proxies = [\"10.0.0.0/8\"]`";
        report.warn(value.key_span.clone(), "`proxy_protocol` has no effect without `trusted_proxies`", help);
    }
    Some(headers)
}

const WORDS: [(&str, ProxyHeaders); 2] = [("required", ProxyHeaders::Required), ("optional", ProxyHeaders::Optional)];
