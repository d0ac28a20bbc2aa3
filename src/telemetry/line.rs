//! A line of the access log in its three forms.
//!
//! What comes from a client is escaped, so that it can neither end a line nor a value, and moves no terminal's cursor.

use std::fmt::Display;
use std::io::Write;

use jiff::Timestamp;

use crate::plan::config::{Log, LogField, LogFields, LogFormat};

/// Values of a line. What a line does not have, or what the config does not choose, is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'l> {
    /// Time of the arrival.
    pub time: Timestamp,
    /// Address of the client, taken from a header only if a trusted proxy sent it.
    pub client: Option<&'l str>,
    /// Port of the client.
    pub port: Option<u16>,
    /// Method of the request.
    pub method: Option<&'l str>,
    /// Host as received.
    pub host: Option<&'l str>,
    /// Path without the query.
    pub path: Option<&'l str>,
    /// Query.
    pub query: Option<&'l str>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: Option<&'l str>,
    /// Name of the route, if one matched.
    pub route: Option<&'l str>,
    /// The word of the verdict.
    pub verdict: &'l str,
    /// The generation that decided.
    pub generation: u64,
    /// Status that was sent.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Microseconds from the arrival of the head to the end of the body.
    pub micros: u64,
    /// The upstream that answered, if one did.
    pub upstream: Option<&'l str>,
    /// Version of TLS.
    pub tls: Option<&'l str>,
    /// Name that the client asked for in the TLS handshake.
    pub sni: Option<&'l str>,
    /// `User-Agent`.
    pub user_agent: Option<&'l str>,
    /// `Referer`.
    pub referer: Option<&'l str>,
    /// The request id.
    pub id: Option<&'l str>,
    /// Id of the trace that the request belongs to.
    pub trace: Option<&'l str>,
    /// Failure of the request: `aborted`, or the part that failed.
    pub error: Option<&'l str>,
}

/// Value of a field.
enum Value<'l> {
    Text(&'l str),
    Number(u64),
    Time(Timestamp),
    Missing,
}

impl<'l> Value<'l> {
    fn text(text: Option<&'l str>) -> Self {
        text.map_or(Self::Missing, Self::Text)
    }
}

impl Line<'_> {
    /// Writes the line as the config has it.
    pub(super) fn write_to(&self, out: &mut Vec<u8>, log: &Log) {
        match log.format {
            LogFormat::Json => self.write_json(out, &log.fields),
            LogFormat::Combined => self.write_combined(out, &log.fields),
            LogFormat::Logfmt => self.write_logfmt(out, &log.fields),
        }
        out.push(b'\n');
    }

    fn value(&self, field: LogField) -> Value<'_> {
        match field {
            LogField::Time => Value::Time(self.time),
            LogField::Client => Value::text(self.client),
            LogField::Port => self.port.map_or(Value::Missing, |port| Value::Number(port.into())),
            LogField::Method => Value::text(self.method),
            LogField::Host => Value::text(self.host),
            LogField::Path => Value::text(self.path),
            LogField::Query => Value::text(self.query),
            LogField::Version => Value::text(self.version),
            LogField::Route => Value::text(self.route),
            LogField::Verdict => Value::Text(self.verdict),
            LogField::Generation => Value::Number(self.generation),
            LogField::Status => Value::Number(self.status.into()),
            LogField::Bytes => Value::Number(self.bytes),
            LogField::RequestBytes => Value::Number(self.request_bytes),
            LogField::Micros => Value::Number(self.micros),
            LogField::Upstream => Value::text(self.upstream),
            LogField::Tls => Value::text(self.tls),
            LogField::Sni => Value::text(self.sni),
            LogField::UserAgent => Value::text(self.user_agent),
            LogField::Referer => Value::text(self.referer),
            LogField::Id => Value::text(self.id),
            LogField::Trace => Value::text(self.trace),
            LogField::Error => Value::text(self.error),
        }
    }

    /// Writes an object that has every field, `null` for what is missing.
    fn write_json(&self, out: &mut Vec<u8>, fields: &LogFields) {
        let mut before = "{\"";
        for field in fields.iter() {
            put(out, format_args!("{before}{}\":", field.as_str()));
            before = ",\"";
            match self.value(field) {
                Value::Text(text) => quoted(out, text),
                Value::Number(number) => put(out, number),
                Value::Time(time) => put(out, format_args!("\"{time}\"")),
                Value::Missing => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }

    /// Writes pairs, and leaves out what is missing.
    fn write_logfmt(&self, out: &mut Vec<u8>, fields: &LogFields) {
        let mut before = "";
        for field in fields.iter() {
            let value = self.value(field);
            if matches!(value, Value::Missing) {
                continue;
            }
            put(out, format_args!("{before}{}=", field.as_str()));
            before = " ";
            match value {
                Value::Text(text) if is_bare(text) => out.extend_from_slice(text.as_bytes()),
                Value::Text(text) => quoted(out, text),
                Value::Number(number) => put(out, number),
                Value::Time(time) => put(out, time),
                Value::Missing => {}
            }
        }
    }

    /// Writes the places of the combined form. The second one is always a dash: nobody asks who the user is (RFC 1413);
    /// and so is the third: the proxy checks no passwords.
    fn write_combined(&self, out: &mut Vec<u8>, fields: &LogFields) {
        escaped(out, kept(fields, LogField::Client, self.client));
        let time = self.time.strftime("%d/%b/%Y:%H:%M:%S %z");
        put(out, format_args!(" - - [{time}] \""));
        match (self.method, self.path) {
            (Some(method), Some(path)) => {
                escaped(out, method);
                out.push(b' ');
                escaped(out, path);
                if let Some(query) = self.query.filter(|_| fields.has(LogField::Query)) {
                    out.push(b'?');
                    escaped(out, query);
                }
                // As the others write it.
                let version =
                    self.version.map_or("-", |version| if version == "HTTP/2" { "HTTP/2.0" } else { version });
                put(out, format_args!(" {version}"));
            }
            (Some(_) | None, Some(_) | None) => out.push(b'-'),
        }
        put(out, format_args!("\" {} ", self.status));
        if fields.has(LogField::Bytes) {
            put(out, self.bytes)
        } else {
            out.push(b'-')
        }
        out.extend_from_slice(b" \"");
        escaped(out, kept(fields, LogField::Referer, self.referer));
        out.extend_from_slice(b"\" \"");
        escaped(out, kept(fields, LogField::UserAgent, self.user_agent));
        out.push(b'"');
    }
}

/// Returns a text for the combined form, or the dash in its place.
fn kept<'t>(fields: &LogFields, field: LogField, text: Option<&'t str>) -> &'t str {
    text.filter(|_| fields.has(field)).unwrap_or("-")
}

/// Writes a value that needs no escapes.
fn put(out: &mut Vec<u8>, value: impl Display) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

/// Writes a string of JSON, which logfmt quotes alike.
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut written = 0;
    for (at, special) in text.char_indices().filter(|(_, c)| is_special(*c)) {
        out.extend_from_slice(&text.as_bytes()[written..at]);
        match special {
            '"' | '\\' => out.extend_from_slice(&[b'\\', special as u8]),
            _ => put(out, format_args!("\\u{:04x}", u32::from(special))),
        }
        written = at + special.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
    out.push(b'"');
}

/// Returns true for what ends a string or a line, what a terminal obeys, and what turns the direction of a text.
fn is_special(c: char) -> bool {
    matches!(c, '"' | '\\' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') || c.is_control()
}

/// Returns true for a value that logfmt need not quote.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c == '=' || is_special(c))
}

/// Writes a value between the quotes of the combined form, with nginx's escapes.
fn escaped(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => put(out, format_args!("\\x{byte:02X}")),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, fields: &[LogField], line: &Line<'_>) -> String {
        let fields = if fields.is_empty() { LogFields::default() } else { fields.iter().copied().collect() };
        let mut out = Vec::new();
        line.write_to(&mut out, &Log { format, fields, ..Log::default() });
        String::from_utf8(out).unwrap()
    }

    fn example() -> Line<'static> {
        Line {
            time: "2026-11-28T10:00:00.5Z".parse().unwrap(),
            client: Some("192.0.2.1"),
            port: Some(50_000),
            method: Some("GET"),
            host: Some("shop.example"),
            path: Some("/cart"),
            query: Some("a=1"),
            version: Some("HTTP/2"),
            route: Some("shop"),
            verdict: "forward",
            generation: 3,
            status: 200,
            bytes: 1234,
            request_bytes: 0,
            micros: 650,
            upstream: Some("http://127.0.0.1:3000"),
            tls: None,
            sni: None,
            user_agent: Some("curl/8.5 (x)"),
            referer: None,
            id: Some("0af7"),
            trace: None,
            error: None,
        }
    }

    #[test]
    fn each_form_has_the_same_values() {
        assert_eq!(
            line(LogFormat::Json, &[], &example()),
            "{\"time\":\"2026-11-28T10:00:00.5Z\",\"client\":\"192.0.2.1\",\"port\":50000,\"method\":\"GET\",\
             \"host\":\"shop.example\",\"path\":\"/cart\",\"version\":\"HTTP/2\",\"route\":\"shop\",\
             \"verdict\":\"forward\",\"generation\":3,\"status\":200,\"bytes\":1234,\"request_bytes\":0,\"micros\":650,\
             \"upstream\":\"http://127.0.0.1:3000\",\"tls\":null,\"sni\":null,\"user_agent\":\"curl/8.5 (x)\",\
             \"referer\":null,\"id\":\"0af7\",\"trace\":null,\"error\":null}\n"
        );
        assert_eq!(
            line(LogFormat::Logfmt, &[], &example()),
            "time=2026-11-28T10:00:00.5Z client=192.0.2.1 port=50000 method=GET host=shop.example path=/cart \
             version=HTTP/2 route=shop verdict=forward generation=3 status=200 bytes=1234 request_bytes=0 micros=650 \
             upstream=http://127.0.0.1:3000 user_agent=\"curl/8.5 (x)\" id=0af7\n"
        );
        assert_eq!(
            line(LogFormat::Combined, &[], &example()),
            "192.0.2.1 - - [28/Nov/2026:10:00:00 +0000] \"GET /cart HTTP/2.0\" 200 1234 \"-\" \"curl/8.5 (x)\"\n"
        );
    }

    #[test]
    fn a_list_chooses_fields_and_their_order() {
        let fields = [LogField::Status, LogField::Query, LogField::Path];
        assert_eq!(
            line(LogFormat::Json, &fields, &example()),
            "{\"status\":200,\"query\":\"a=1\",\"path\":\"/cart\"}\n"
        );
        assert_eq!(line(LogFormat::Logfmt, &fields, &example()), "status=200 query=\"a=1\" path=/cart\n");
        assert_eq!(
            line(LogFormat::Combined, &fields, &example()),
            "- - - [28/Nov/2026:10:00:00 +0000] \"GET /cart?a=1 HTTP/2.0\" 200 - \"-\" \"-\"\n"
        );
    }

    #[test]
    fn what_is_not_known_of_a_broken_head_is_left_out() {
        let broken = Line { method: None, path: None, user_agent: None, status: 400, ..example() };
        let combined = line(LogFormat::Combined, &[], &broken);
        assert_eq!(combined, "192.0.2.1 - - [28/Nov/2026:10:00:00 +0000] \"-\" 400 1234 \"-\" \"-\"\n");
        assert!(!line(LogFormat::Logfmt, &[], &broken).contains("method"));
    }

    #[test]
    fn no_client_forges_a_line_or_a_value_in_any_form() {
        let nasty = "a\" status=500\\\r\n\u{1b}[2J\u{9b}\u{2028}\u{202e}\0\u{7f}é=";
        let forged = Line { user_agent: Some(nasty), referer: Some(nasty), path: Some(nasty), ..example() };
        for format in [LogFormat::Json, LogFormat::Combined, LogFormat::Logfmt] {
            let text = line(format, &[], &forged);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(
                !text.trim_end().chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)),
                "{text}"
            );
        }
        let json = line(LogFormat::Json, &[], &forged);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["user_agent"], &read["status"]), (&nasty.into(), &200.into()));
        let combined = line(LogFormat::Combined, &[], &forged);
        assert_eq!(combined.matches('"').count(), 6, "{combined}");
        assert!(combined.contains(r"a\x22 status=500\x5C\x0D\x0A\x1B[2J\xC2\x9B"), "{combined}");
        let logfmt = line(LogFormat::Logfmt, &[LogField::UserAgent], &forged);
        let value = logfmt.trim_end().strip_prefix("user_agent=").unwrap();
        assert_eq!(serde_json::from_str::<String>(value).unwrap(), nasty);
    }
}
