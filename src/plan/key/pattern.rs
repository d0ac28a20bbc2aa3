//! Forms of strings, as regular expressions for editors.
//!
//! Each pattern takes everything that its parser takes. The parser refuses more.

/// Form of a string.
#[derive(Debug)]
pub struct Pattern {
    /// The name for it in the documents.
    pub name: &'static str,
    /// A valid string.
    pub example: &'static str,
    /// Regular expression (ECMA-262, and Rust's `regex`, but for look-ahead).
    pub regex: &'static str,
}

impl Pattern {
    const fn new(name: &'static str, example: &'static str, regex: &'static str) -> Self {
        Self { name, example, regex }
    }
}

pub(in crate::plan) const FILE: Pattern = Pattern::new("path of a file", "some/file", r"\S");
pub(in crate::plan) const INCLUDED: Pattern = Pattern::new("path of files", "routes/*.toml", r"^[^*]*[^/]+$");
pub(in crate::plan) const DIRECTORY: Pattern = Pattern::new("path of a directory", "some/directory", r"\S");
pub(in crate::plan) const ADDRESS: Pattern = Pattern::new(
    "address",
    "0.0.0.0:8080",
    r"^(unix:/.+|\[[0-9A-Fa-f:.%]+\]:[0-9]{1,5}|[0-9]{1,3}(\.[0-9]{1,3}){3}:[0-9]{1,5})$",
);
pub(in crate::plan) const ENDPOINT: Pattern = Pattern::new(
    "address of an admin listener",
    "replica-1:9901",
    r"^((http\+)?unix:/.+|(http://|dns:)?(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}/*)$",
);
pub(in crate::plan) const UPSTREAM: Pattern = Pattern::new(
    "upstream",
    "http://127.0.0.1:3000",
    r"^(unix:/.+|[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s]+(/[^/?#\s][^?#\s]*)?)$",
);
pub(in crate::plan) const MODE: Pattern = Pattern::new("octal digits", "0660", r"^0?[0-7]{3}$");
pub(in crate::plan) const ACCOUNT: Pattern = Pattern::new("name or number", "0", r"^[^\s:-][^\s:]*$");
pub(in crate::plan) const LISTENER_NAME: Pattern =
    Pattern::new("name of a listener", "internal", r"^[A-Za-z0-9_.-]{1,64}$");
pub(in crate::plan) const COOKIE_NAME: Pattern =
    Pattern::new("name of a cookie", "app-server", r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$");
pub(in crate::plan) const COOKIE_PATH: Pattern = Pattern::new("path", "/app", r"^/[A-Za-z0-9/._~-]*$");
pub(in crate::plan) const HTTPS: Pattern = Pattern::new("`https` or `https:PORT`", "https", r"^https(:[0-9]{1,5})?$");
pub(in crate::plan) const URL: Pattern =
    Pattern::new("URL", "https://example.com", r"^[Hh][Tt][Tt][Pp][Ss]?://[^/@?#\s]+[^\s]*$");
pub(in crate::plan) const HOST: Pattern =
    Pattern::new("host", "www.example.com", r"^((\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]\.?)$");
pub(in crate::plan) const PREFIX: Pattern = Pattern::new("path prefix", "/app", r"^/[^*?#]*$");
pub(in crate::plan) const PATH_PATTERN: Pattern = Pattern::new("path", "/app", r"^[/*][^?#]*$");
pub(in crate::plan) const OWN_PREFIX: Pattern = Pattern::new("path prefix", "/own", r"^/[A-Za-z0-9/._~-]+$");
pub(in crate::plan) const SITE: Pattern =
    Pattern::new("URL", "https://status.example.com", r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^/@?#\s][^@?#\s]*\s*$");
pub(in crate::plan) const REQUEST_TARGET: Pattern = Pattern::new("path and query", "/healthz", r"^/[^#\s]*$");
pub(in crate::plan) const EXCEPTION: Pattern =
    Pattern::new("method and path, or path", "POST /login", r"^\s*([^\s/]+\s+)?[/*][^?#]*$");
pub(in crate::plan) const NETWORK: Pattern = Pattern::new(
    "network or IP address",
    "192.0.2.0/24",
    r"^([0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,3})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?)$",
);
pub(in crate::plan) const PROXY: Pattern = Pattern::new(
    "network, IP address or `unix:`",
    "10.0.0.0/8",
    r"^(unix:|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,3})?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?)$",
);
pub(in crate::plan) const ORIGIN: Pattern = Pattern::new(
    "origin",
    "https://app.example.com",
    r"^(\*|[Hh][Tt][Tt][Pp][Ss]?://(\*\.)?[A-Za-z0-9._\[\]-]+(:[0-9]{1,5})?)$",
);
pub(in crate::plan) const FRAMER: Pattern = Pattern::new(
    "origin",
    "https://app.example.com",
    r"^[Hh][Tt][Tt][Pp][Ss]?://(\*\.)?[A-Za-z0-9._\[\]-]+(:[0-9]{1,5})?$",
);
pub(in crate::plan) const PROGRAM: Pattern =
    Pattern::new("name of a template", "openai.json", r"^[A-Za-z0-9_-][A-Za-z0-9._-]*\.(json|xml)$");
pub(in crate::plan) const LINK: Pattern = Pattern::new(
    "link",
    "https://status.example.com",
    r#"^([Hh][Tt][Tt][Pp][Ss]?://|[Mm][Aa][Ii][Ll][Tt][Oo]:|[Tt][Ee][Ll]:|/(?!/))[^\s"<>]*$"#,
);
pub(in crate::plan) const DESTINATION: Pattern = Pattern::new(
    "place to notify",
    "slack:https://hooks.slack.com/services/T0/B0/x",
    r"^\s*((slack|discord|teams|ntfy|webhook):[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s]+[^#\s]*|mail:[^@\s]+@[A-Za-z0-9._-]+|exec:/\S*[^/\s])\s*$",
);
pub(in crate::plan) const MAIL_SERVER: Pattern = Pattern::new(
    "mail server",
    "smtp://mail.example.com:587",
    r"^[Ss][Mm][Tt][Pp][Ss]?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$",
);
pub(in crate::plan) const NATS: Pattern = Pattern::new(
    "NATS server",
    "nats://nats.example.com:4222",
    r"^\s*([Nn][Aa][Tt][Ss]|[Tt][Ll][Ss])://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?\s*$",
);
pub(in crate::plan) const KUBERNETES_NAME: Pattern =
    Pattern::new("name in Kubernetes", "backsoon", r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$");
pub(in crate::plan) const CONFIG_MAP_KEY: Pattern =
    Pattern::new("key of a ConfigMap", "maintenance.toml", r"^[A-Za-z0-9._-]+$");
pub(in crate::plan) const NATS_BUCKET: Pattern =
    Pattern::new("name of a bucket", "backsoon", r"^[A-Za-z0-9_-]{1,128}$");
pub(in crate::plan) const NATS_KEY: Pattern =
    Pattern::new("name of a key", "flags", r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$");
pub(in crate::plan) const REPLICA: Pattern = Pattern::new("name of a replica", "web-1", r"^[A-Za-z0-9._:-]{1,128}$");
pub(in crate::plan) const DATABASE: Pattern = Pattern::new(
    "URL of a database",
    "postgres://backsoon@db.example.com/status",
    r"^[Pp][Oo][Ss][Tt][Gg][Rr][Ee][Ss]([Qq][Ll])?://([^:/?#\s]*@)?[^@#\s]*$",
);
pub(in crate::plan) const MAILBOX: Pattern =
    Pattern::new("mailbox", "Example status <status@example.com>", r"^[^<>]*<?[^<>@\s]+@[A-Za-z0-9._-]+>?\s*$");
pub(in crate::plan) const DNS_NAME: Pattern =
    Pattern::new("name of a domain", "example.com", r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$");
pub(in crate::plan) const SELECTOR: Pattern =
    Pattern::new("name of a key", "s1", r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$");
pub(in crate::plan) const COLOR: Pattern = Pattern::new("colour", "#0b6b53", r"^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$");
pub(in crate::plan) const LANGUAGE: Pattern =
    Pattern::new("language tag", "de", r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$");
/// Name of a header field.
pub const FIELD_NAME: Pattern =
    Pattern::new("name of a header field", "X-Maintenance-Key", r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$");
pub(in crate::plan) const RATE: Pattern = Pattern::new("rate", "50/s", r"^\s*\+?0*[1-9][0-9]*\s*/[sm]$");
pub(in crate::plan) const ERROR_RATE: Pattern = Pattern::new(
    "error rate",
    "baseline + 1%",
    concat!(
        r"^\s*((at most\s*)?[0-9.eE+-]+\s*%",
        r"|baseline\s*\+\s*[0-9.eE+-]+\s*%\s*(,\s*at most\s*[0-9.eE+-]+\s*%)?)\s*$"
    ),
);
pub(in crate::plan) const TIME_OF_DAY: Pattern =
    Pattern::new("time of day", "08:00 Europe/Berlin", r"^\s*([01][0-9]|2[0-3]):[0-5][0-9](\s+[A-Za-z0-9/_+-]+)?\s*$");
pub(in crate::plan) const TIMES_BASELINE: Pattern =
    Pattern::new("multiple of the baseline", "baseline * 1.5", r"^\s*baseline\s*\*\s*[0-9.eE+-]+\s*(,\s*at most .+)?$");
pub(in crate::plan) const TRAFFIC: Pattern =
    Pattern::new("drop in traffic", "baseline - 80%", r"^\s*baseline\s*-\s*[0-9.eE+-]+\s*%\s*$");
pub(in crate::plan) const ZOMBIES: Pattern = Pattern::new(
    "number of requests",
    "baseline + 10",
    concat!(r"^\s*((at most\s*)?\+?[0-9]+", r"|baseline\s*\+\s*\+?[0-9]+\s*(,\s*at most\s*\+?[0-9]+)?)\s*$"),
);
pub(in crate::plan) const RAMP_POINT: Pattern =
    Pattern::new("point of a ramp", "100% at 5m", r"^\s*[0-9.eE+-]+\s*%\s* at .+$");
pub(in crate::plan) const AUTHORITY: Pattern =
    Pattern::new("host, with or without a port", "www.example.com", r"^[A-Za-z0-9._~%:\[\]-]+$");
pub(in crate::plan) const GRPC_SERVICE: Pattern =
    Pattern::new("name of a gRPC service", "shop.Cart", r"^[A-Za-z0-9._/-]*$");
/// Name of a status or of a class of them, as a key.
pub const STATUS_NAME: Pattern = Pattern::new("status or class of statuses", "4xx", r"^[1-5]([0-9][0-9]|[Xx][Xx])$");
pub(in crate::plan) const STATUS_CLASS: Pattern = Pattern::new("class of statuses", "2xx", r"^[1-5][Xx][Xx]$");
pub(in crate::plan) const REGEX: Pattern = Pattern::new("regular expression", "ready|ok", r"\S");
pub(in crate::plan) const RECURRENCE: Pattern = Pattern::new("recurrence", "Sun 02:00-04:00 Europe/Berlin", r"\S");
pub(in crate::plan) const OCCASION: Pattern =
    Pattern::new("date, or [instant](#types)", "2026-12-27", r"^[+-]?[0-9]{4,6}-?[0-9]{2}-?[0-9]{2}([Tt ].*)?$");

/// Name of a route.
pub const ROUTE_NAME: Pattern = Pattern::new("name of a route", "web", r"^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}$");
/// Name of a route, or every route.
pub const TARGET: Pattern = Pattern::new("name of a route, or `*`", "web", r"^(\*|[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63})$");
/// Number of bytes with a unit.
pub const SIZE: Pattern = Pattern::new("size", "64KiB", r"^\s*[0-9]+\s*([KkMmGg][Ii]?)?[Bb]\s*$");
/// Date and time with an offset.
pub const INSTANT: Pattern = Pattern::new(
    "date and time with an offset",
    "2026-05-19T14:00:00Z",
    r"^[+-]?[0-9]{4,6}-?[0-9]{2}-?[0-9]{2}[Tt ][0-9:.,]+([Zz]|[+-][0-9:]+)(\[[^\]]*\])*$",
);
/// Duration with units.
pub const DURATION: Pattern = Pattern::new(
    "duration",
    "30s",
    concat!(
        r"^\s*\+?((([0-9]+([.,][0-9]*)?|[.,][0-9]+)\s*",
        "(h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms|msecs?|millis?|milliseconds?",
        "|[uµμ]s|[uµμ]secs?|micros?|microseconds?|ns|nsecs?|nanos?|nanoseconds?)",
        r"\s*,?\s*)+|[0-9]+:[0-9]{2}:[0-9]{2}([.,][0-9]+)?)\s*$",
    ),
);
