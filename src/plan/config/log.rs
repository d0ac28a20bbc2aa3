//! `[log]`: the log on standard error, and what the access log records of which requests.

use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

use super::super::keys;
use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Report, Section, Value, did_you_mean_text, list, no_hint};

/// Settings of `[log]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Least severe level that is logged: `error`, `warn`, `info` or `debug`.
    pub level: LogLevel,
    /// Requests that the access log records.
    pub access: Access,
    /// File of the access log; `None` is standard output.
    pub access_file: Option<PathBuf>,
    /// Form of a line of the access log.
    pub format: LogFormat,
    /// Content of a line of the access log.
    pub fields: LogFields,
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Something that a person must act on.
    Error,
    /// Something wrong that was handled.
    Warn,
    /// A change of the process: started, published, drained.
    #[default]
    Info,
    /// Every connection.
    Debug,
}

/// Requests that the access log records: `access = "off" | "full" | 0.01`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Access {
    /// No request.
    #[default]
    Off,
    /// A random share of them, above 0 and below 1.
    Sampled(f64),
    /// Every request.
    Full,
}

/// Form of a line of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// The form that Apache and nginx name `combined`, whose places are fixed.
    Combined,
    /// `name=value` pairs.
    Logfmt,
}

/// Field of a line of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogField {
    /// Arrival of the head, in UTC.
    Time,
    /// Address of the client.
    Client,
    /// Port of the client, unless a proxy before this one hides it.
    Port,
    /// Method.
    Method,
    /// Host, as received.
    Host,
    /// Path, as received.
    Path,
    /// Query, as received. Queries carry secrets.
    Query,
    /// Version of HTTP.
    Version,
    /// Name of the route.
    Route,
    /// Word of the verdict.
    Verdict,
    /// Generation that decided.
    Generation,
    /// Status that was sent.
    Status,
    /// Bytes of the answer's body that were sent.
    Bytes,
    /// Bytes of the request's body that were forwarded.
    RequestBytes,
    /// Microseconds from the head of the request to the end of the answer.
    Micros,
    /// Upstream that answered.
    Upstream,
    /// Version of TLS.
    Tls,
    /// Name that the client asked for in the TLS handshake.
    Sni,
    /// `User-Agent`.
    UserAgent,
    /// `Referer`, without its query unless that is wanted.
    Referer,
    /// Id of the request.
    Id,
    /// Id of the trace that the request belongs to.
    Trace,
    /// Failure of the request.
    Error,
}

impl LogField {
    /// All fields, in their usual order.
    pub const ALL: [Self; 23] = [
        Self::Time,
        Self::Client,
        Self::Port,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::Query,
        Self::Version,
        Self::Route,
        Self::Verdict,
        Self::Generation,
        Self::Status,
        Self::Bytes,
        Self::RequestBytes,
        Self::Micros,
        Self::Upstream,
        Self::Tls,
        Self::Sni,
        Self::UserAgent,
        Self::Referer,
        Self::Id,
        Self::Trace,
        Self::Error,
    ];

    /// Returns the word for the field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Client => "client",
            Self::Port => "port",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Query => "query",
            Self::Version => "version",
            Self::Route => "route",
            Self::Verdict => "verdict",
            Self::Generation => "generation",
            Self::Status => "status",
            Self::Bytes => "bytes",
            Self::RequestBytes => "request_bytes",
            Self::Micros => "micros",
            Self::Upstream => "upstream",
            Self::Tls => "tls",
            Self::Sni => "sni",
            Self::UserAgent => "user_agent",
            Self::Referer => "referer",
            Self::Id => "id",
            Self::Trace => "trace",
            Self::Error => "error",
        }
    }

    /// Returns the place of the field in the combined form.
    fn in_combined(self) -> Place {
        match self {
            Self::Time | Self::Method | Self::Path | Self::Version | Self::Status => Place::Always,
            Self::Client | Self::Query | Self::Bytes | Self::UserAgent | Self::Referer => Place::IfChosen,
            Self::Port
            | Self::Host
            | Self::Route
            | Self::Verdict
            | Self::Generation
            | Self::RequestBytes
            | Self::Micros
            | Self::Upstream
            | Self::Tls
            | Self::Sni
            | Self::Id
            | Self::Trace
            | Self::Error => Place::None,
        }
    }

    /// Returns true for a field that a line has unless the config chooses.
    fn is_usual(self) -> bool {
        self != Self::Query
    }
}

/// Place of a field in the combined form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No reader of the form could do without it.
    Always,
    /// A dash stands for it if it is not chosen.
    IfChosen,
    /// There is none.
    None,
}

/// Fields of a line, in their order.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFields {
    order: Box<[LogField]>,
    /// A bit for each of them.
    chosen: u32,
}

impl fmt::Debug for LogFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(LogField::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

impl Default for LogFields {
    fn default() -> Self {
        LogField::ALL.into_iter().filter(|field| field.is_usual()).collect()
    }
}

impl FromIterator<LogField> for LogFields {
    fn from_iter<I: IntoIterator<Item = LogField>>(fields: I) -> Self {
        let order: Box<[LogField]> = fields.into_iter().collect();
        let chosen = order.iter().fold(0, |chosen, field| chosen | 1 << (*field as u32));
        Self { order, chosen }
    }
}

impl LogFields {
    /// Returns true if a line has this field.
    pub fn has(&self, field: LogField) -> bool {
        self.chosen & 1 << (field as u32) != 0
    }

    /// Returns the fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = LogField> {
        self.order.iter().copied()
    }

    /// Returns the same fields as the combined form has them: those that have a place in it, and those that it always
    /// has.
    fn in_combined(&self) -> Self {
        let written = |field: &LogField| match field.in_combined() {
            Place::Always => true,
            Place::IfChosen => self.has(*field),
            Place::None => false,
        };
        LogField::ALL.into_iter().filter(written).collect()
    }
}

/// Reads `[log]`.
pub(super) fn log(value: &Value<'_>, report: &mut Report<'_>) -> Log {
    let Some(table) = value.table("[log]", report) else { return Log::default() };
    let mut section = Section::new(&keys::LOG, "`[log]`", value.span.clone(), table);
    let level = section.take("level").and_then(|value| value.choice(&LEVELS, report));
    let access = section.take("access").and_then(|value| access(&value, report)).unwrap_or_default();
    let file = section.take("access_file");
    let written_format = section.take("format");
    let format = written_format.as_ref().and_then(|value| value.choice(&FORMATS, report)).unwrap_or_default();
    let written_fields = section.take("fields");
    let fields = written_fields.as_ref().and_then(|value| fields(value, format, report)).unwrap_or_default();
    section.finish(report, no_hint);
    if access == Access::Off {
        for value in [&file, &written_format, &written_fields].into_iter().flatten() {
            let help = "switch the access log on: `access = \"full\"`";
            let message = format!("`{}` has no effect while `access` is off", value.key);
            report.warn(value.key_span.clone(), message, help);
        }
    }
    let access_file = file.and_then(|value| value.path("/var/log/backsoon/access.log", report));
    let fields = if format == LogFormat::Combined { fields.in_combined() } else { fields };
    Log { level: level.unwrap_or_default(), access, access_file, format, fields }
}

/// Reads `"off"`, `"full"` or a share.
fn access(value: &Value<'_>, report: &mut Report<'_>) -> Option<Access> {
    let share = match value.inner {
        DeValue::String(text) if value.is_filled(report) && text.parse::<f64>().is_ok() => text.parse().ok(),
        DeValue::String(_) => return value.choice(&[("off", Access::Off), ("full", Access::Full)], report),
        DeValue::Float(share) => share.as_str().parse::<f64>().ok(),
        DeValue::Integer(share) => share.as_str().parse::<f64>().ok(),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            value.mistyped("`\"off\"`, `\"full\"` or a share of the requests", ACCESS_HELP, report);
            return None;
        }
    };
    match share {
        Some(0.0) => Some(Access::Off),
        Some(1.0) => Some(Access::Full),
        Some(share) if share > 0.0 && share < 1.0 => Some(Access::Sampled(share)),
        _ => {
            report.wrong(value.span.clone(), "`access` is out of range: a share lies between 0 and 1", ACCESS_HELP);
            None
        }
    }
}

/// Reads the fields, each once and each with a place in the form.
fn fields(value: &Value<'_>, format: LogFormat, report: &mut Report<'_>) -> Option<LogFields> {
    let mut chosen: Vec<LogField> = Vec::new();
    let items = value.one_or_more(report);
    report.at_most(MOST_FIELDS, items.len(), "fields", value.key_span.clone());
    for item in items.into_iter().take(MOST_FIELDS) {
        let Some(field) = field(&item, report) else { continue };
        if chosen.contains(&field) {
            let message = format!("`fields` names `{}` twice", field.as_str());
            report.wrong(item.span, message, "leave it out here");
        } else if format == LogFormat::Combined && field.in_combined() == Place::None {
            let placed: Vec<&str> = LogField::ALL
                .into_iter()
                .filter(|field| field.in_combined() != Place::None)
                .map(LogField::as_str)
                .collect();
            let help = format!(
                "the form has places for {}; `json` and `logfmt` have one for every field",
                list(&placed, "and")
            );
            report.wrong(item.span, format!("`{}` has no place in the combined form", field.as_str()), help);
        } else {
            chosen.push(field);
        }
    }
    (!chosen.is_empty()).then(|| chosen.into_iter().collect())
}

/// Reads the name of a field.
fn field(item: &Value<'_>, report: &mut Report<'_>) -> Option<LogField> {
    let text = item.string("status", report)?;
    let found = LogField::ALL.into_iter().find(|field| field.as_str() == text);
    if found.is_none() {
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == text).map(|(_, ours)| *ours);
        let words = LogField::ALL.map(LogField::as_str);
        let near = elsewhere.or_else(|| did_you_mean(text, words));
        let all = list(&words, "and");
        let help = match near {
            Some(near) => format!("{} The fields are {all}", did_you_mean_text(near)),
            None => format!("the fields are {all}"),
        };
        report.wrong(item.span.clone(), format!("the access log has no field {}", quoted(text)), help);
    }
    found
}

const LEVELS: [(&str, LogLevel); 4] =
    [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];

const FORMATS: [(&str, LogFormat); 3] =
    [("json", LogFormat::Json), ("combined", LogFormat::Combined), ("logfmt", LogFormat::Logfmt)];

/// Items that the list of fields may have.
const MOST_FIELDS: usize = 64;

/// Names that other servers have for the fields.
const ELSEWHERE: [(&str, &str); 26] = [
    ("agent", "user_agent"),
    ("args", "query"),
    ("body_bytes_sent", "bytes"),
    ("bytes_sent", "bytes"),
    ("client_ip", "client"),
    ("duration", "micros"),
    ("duration_ms", "micros"),
    ("http_referer", "referer"),
    ("http_user_agent", "user_agent"),
    ("ip", "client"),
    ("latency", "micros"),
    ("protocol", "version"),
    ("query_string", "query"),
    ("referrer", "referer"),
    ("remote_addr", "client"),
    ("remote_port", "port"),
    ("request_id", "id"),
    ("request_length", "request_bytes"),
    ("request_method", "method"),
    ("request_time", "micros"),
    ("request_uri", "path"),
    ("server_name", "host"),
    ("size", "bytes"),
    ("ssl_protocol", "tls"),
    ("ssl_server_name", "sni"),
    ("uri", "path"),
];

const ACCESS_HELP: &str = "write `access = \"off\"`, `access = \"full\"`, or a share like `access = 0.01`";
