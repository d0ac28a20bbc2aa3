//! `[fleet]`: where the text of the flag file comes from, if not from a file.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::super::keys;
use super::super::problem::quoted;
use super::super::read::{Report, Section, Value, did_you_mean_text, no_hint};
use super::mail::is_label;
use super::server::host_and_port;
use super::{HookScheme, HookUrl, authority};

/// Source of the flag file that several proxies share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// Engine that keeps the text.
    pub engine: FleetEngine,
    /// File of the roots that the engine's certificate is checked against; `None` for those of the system.
    pub ca: Option<PathBuf>,
}

/// Engine that keeps the text of the flag file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetEngine {
    /// Kubernetes.
    Kubernetes(FleetKubernetes),
    /// NATS.
    Nats(FleetNats),
    /// Web server.
    Url(FleetUrl),
}

/// Key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetKubernetes {
    /// Namespace.
    pub namespace: String,
    /// Name of the ConfigMap.
    pub configmap: String,
    /// Name of the key.
    pub key: String,
    /// API server; `None` is that of the cluster that we run in.
    pub server: Option<HookUrl>,
    /// File of the token; `None` is that of the pod, or no token for a server that is named.
    pub token_file: Option<PathBuf>,
}

/// Key of a NATS bucket (JetStream KV).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetNats {
    /// Servers of one cluster; at least one.
    pub servers: Vec<NatsServer>,
    /// Name of the bucket.
    pub bucket: String,
    /// Name of the key.
    pub key: String,
    /// File of the credentials; `None` if the servers ask for none.
    pub credentials: Option<PathBuf>,
    /// Name by which the other replicas know this one.
    pub name: Option<String>,
}

/// NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServer {
    /// True for `tls://`. A server may ask for TLS all the same.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Document of a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetUrl {
    /// URL of the document.
    pub url: HookUrl,
    /// Time between two requests.
    pub every: Duration,
    /// Time for which the server may keep a request until the document changes.
    pub wait: Option<Duration>,
    /// File of the token that requests carry.
    pub token_file: Option<PathBuf>,
    /// True if commands may write the document.
    pub edits: bool,
}

impl FleetConfig {
    /// Returns the NATS of the flags: the one engine that carries beats and a lease as well.
    pub(crate) fn nats(&self) -> Option<&FleetNats> {
        match &self.engine {
            FleetEngine::Nats(nats) => Some(nats),
            FleetEngine::Kubernetes(_) | FleetEngine::Url(_) => None,
        }
    }

    /// Returns the word for the engine.
    pub fn kind(&self) -> &'static str {
        match &self.engine {
            FleetEngine::Kubernetes(_) => "kubernetes",
            FleetEngine::Nats(_) => "nats",
            FleetEngine::Url(_) => "url",
        }
    }
}

impl fmt::Display for FleetConfig {
    /// Writes the place of the text, in which no secret stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.engine {
            FleetEngine::Kubernetes(FleetKubernetes { namespace, configmap, key, .. }) => {
                write!(f, "kubernetes://{namespace}/{configmap}/{key}")
            }
            FleetEngine::Nats(FleetNats { servers, bucket, key, .. }) => match servers.first() {
                Some(first) => write!(f, "nats://{}/{bucket}/{key}", authority(&first.host, first.port)),
                None => write!(f, "nats:///{bucket}/{key}"),
            },
            FleetEngine::Url(FleetUrl { url, .. }) => {
                let scheme = if url.scheme == HookScheme::Tls { "https" } else { "http" };
                // A query may hold a signature.
                write!(f, "{scheme}://{}{}", url.authority(), url.target.path())
            }
        }
    }
}

impl fmt::Display for NatsServer {
    /// Writes the server as the config has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}", authority(&self.host, self.port))
    }
}

/// Reads `[fleet]`.
pub(super) fn fleet(value: &Value<'_>, report: &mut Report<'_>) -> Option<FleetConfig> {
    let table = value.table("[fleet]", report)?;
    let mut section = Section::new(&keys::FLEET, "`[fleet]`", value.span.clone(), table);
    let count = ENGINES.iter().filter(|key| section.has(key)).count();
    let nats = nats(&mut section, report);
    let kubernetes = section.take("kubernetes").and_then(|value| kubernetes(&value, report));
    let url = url(&mut section, report);
    let ca = section.take("ca");
    section.finish(report, hint);
    if count != 1 {
        let help = "name one: `nats = \"nats://nats.example.com:4222\"`, `kubernetes = { namespace = \"web\" }` or \
                    `url = \"https://config.example.com/maintenance.toml\"`";
        let what = if count == 0 { "`[fleet]` names no engine" } else { "`[fleet]` names more than one engine" };
        report.wrong(value.key_span.clone(), what, help);
    }
    let kubernetes = kubernetes.map(FleetEngine::Kubernetes);
    let engine = nats.map(FleetEngine::Nats).or(kubernetes).or(url.map(FleetEngine::Url));
    let ca = ca.and_then(|value| ca_of(&value, engine.as_ref(), report));
    Some(FleetConfig { engine: engine?, ca })
}

/// Reads the keys of NATS.
fn nats(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<FleetNats> {
    let servers = section.take("nats").map(|value| {
        let servers = value.one_or_more(report);
        report.at_most(MOST_SERVERS, servers.len(), "servers", value.span.clone());
        servers.iter().filter_map(|value| server(value, report)).collect::<Vec<_>>()
    });
    let own = servers.is_some();
    let mut name = |key: &'static str, example: &'static str, is_name: fn(&str) -> bool| {
        let value = section.take(key)?;
        needs(&value, own, "nats", report);
        let text = value.string(example, report)?;
        if is_name(text) {
            return Some(text.to_owned());
        }
        let help = format!("write it like `{example}`: letters, digits, `_` and `-`");
        report.wrong(value.span.clone(), format!("{} is not the name of a {key}", quoted(text)), help);
        None
    };
    let bucket = name("bucket", DEFAULT_BUCKET, is_bucket);
    let key = name("key", DEFAULT_KEY, is_key);
    let credentials = section.take("credentials").and_then(|value| {
        needs(&value, own, "nats", report);
        value.path("/run/secrets/nats.creds", report)
    });
    let name = section.take("name").and_then(|value| {
        needs(&value, own, "nats", report);
        replica_name(&value, report)
    });
    Some(FleetNats {
        servers: servers.filter(|servers| !servers.is_empty())?,
        bucket: bucket.unwrap_or_else(|| DEFAULT_BUCKET.to_owned()),
        key: key.unwrap_or_else(|| DEFAULT_KEY.to_owned()),
        credentials,
        name,
    })
}

/// Reads the name of a replica.
fn replica_name(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("web-1", report)?;
    let is_part = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b'-' | b'_' | b'.' | b':');
    if text.is_empty() || text.len() > LONGEST_REPLICA || !text.bytes().all(is_part) {
        let help = "write it like `web-1`: letters, digits, `.`, `_`, `-` and `:`, 128 at most";
        report.wrong(value.span.clone(), format!("{} is not the name of a replica", quoted(text)), help);
        return None;
    }
    Some(text.to_owned())
}

/// Reads `kubernetes`.
fn kubernetes(value: &Value<'_>, report: &mut Report<'_>) -> Option<FleetKubernetes> {
    let table = value.table("kubernetes = { namespace = \"web\", configmap = \"backsoon\" }", report)?;
    let mut section = Section::new(&keys::FLEET_KUBERNETES, "`kubernetes`", value.span.clone(), table);
    let name = |value: Value<'_>, is_name: fn(&str) -> bool, report: &mut Report<'_>| {
        let text = value.string("backsoon", report)?;
        if !is_name(text) {
            let help = "write the name as `kubectl get configmaps -A` and `kubectl describe` show it";
            report.wrong(value.span.clone(), format!("{} is not a name of Kubernetes", quoted(text)), help);
            return None;
        }
        Some(text.to_owned())
    };
    let namespace = section.need("namespace", "name the namespace of the ConfigMap: `namespace = \"web\"`");
    let namespace = namespace.and_then(|value| name(value, is_object, report));
    let configmap = section.take("configmap").map(|value| name(value, is_object, report));
    let key = section.take("key").map(|value| name(value, is_config_key, report));
    let server = section.take("server").map(|value| url_of(&value, report));
    let token_file = section.take("token_file");
    warn_of_clear_token(token_file.as_ref(), server.as_ref().and_then(Option::as_ref), report);
    let token_file = token_file.and_then(|value| value.path("/run/secrets/token", report));
    section.finish(report, no_hint);
    Some(FleetKubernetes {
        namespace: namespace?,
        configmap: configmap.unwrap_or_else(|| Some(DEFAULT_BUCKET.to_owned()))?,
        key: key.unwrap_or_else(|| Some(DEFAULT_CONFIG_KEY.to_owned()))?,
        server: server.map_or(Some(None), |server| server.map(Some))?,
        token_file,
    })
}

/// Returns true for the name of a namespace or a ConfigMap (RFC 1123).
fn is_object(text: &str) -> bool {
    let is_lower = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, b'-' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_lower) && text.split('.').all(is_label)
}

/// Returns true for the key of a ConfigMap.
fn is_config_key(text: &str) -> bool {
    let is_part = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_part) && !matches!(text, "." | "..")
}

/// Reads the keys of a web server.
fn url(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<FleetUrl> {
    let written = section.take("url");
    let own = written.is_some();
    let url = written.and_then(|value| url_of(&value, report));
    let mut of_url = |key: &'static str, report: &mut Report<'_>| {
        section.take(key).inspect(|value| needs(value, own, "url", report))
    };
    let every = of_url("every", report).and_then(|value| value.duration(LEAST_EVERY, MOST_EVERY, report));
    let wait = of_url("wait", report).and_then(|value| value.duration(LEAST_EVERY, MOST_WAIT, report));
    let token_file = of_url("token_file", report);
    warn_of_clear_token(token_file.as_ref(), url.as_ref(), report);
    let token_file = token_file.and_then(|value| value.path("/run/secrets/flags", report));
    let edits = of_url("edits", report).and_then(|value| value.boolean(report)).unwrap_or_default();
    Some(FleetUrl { url: url?, every: every.unwrap_or(DEFAULT_EVERY), wait, token_file, edits })
}

/// Refuses a key without the engine that it belongs to.
fn needs(value: &Value<'_>, has_engine: bool, engine: &str, report: &mut Report<'_>) {
    if !has_engine {
        let message = format!("`{}` is only for `{engine}`, which is not written", value.key);
        report.wrong(value.key_span.clone(), message, format!("remove it, or write `{engine}`"));
    }
}

fn server(value: &Value<'_>, report: &mut Report<'_>) -> Option<NatsServer> {
    let text = value.string("nats://nats.example.com:4222", report)?;
    let server = server_of(text.trim());
    if server.is_none() {
        // A text with `@` may hold a password: it is not repeated.
        let shown = if text.contains('@') { "the text".to_owned() } else { quoted(text) };
        let help =
            "write `nats://nats.example.com:4222`, or `tls://…`; a password belongs into the file of `credentials`";
        report.wrong(value.span.clone(), format!("{shown} is not the URL of a NATS server"), help);
    }
    server
}

fn server_of(text: &str) -> Option<NatsServer> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "nats" => false,
        "tls" => true,
        _ => return None,
    };
    let (host, port) = host_and_port(rest, USUAL_PORT)?;
    let is_host = host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.split('.').all(is_label));
    is_host.then(|| NatsServer { tls, host: host.to_ascii_lowercase(), port })
}

/// Returns true for the name of a bucket.
fn is_bucket(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|one| one.is_ascii_alphanumeric() || matches!(one, b'_' | b'-'))
}

/// Returns true for the name of a key: words with dots between.
fn is_key(text: &str) -> bool {
    text.len() <= 256 && text.split('.').all(is_bucket)
}

fn hint(key: &str, _: &DeValue<'_>) -> Option<String> {
    match key {
        "server" | "servers" => Some(did_you_mean_text("nats")),
        "creds" | "credentials_file" => Some(did_you_mean_text("credentials")),
        "interval" | "poll" => Some(did_you_mean_text("every")),
        "long_poll" => Some(did_you_mean_text("wait")),
        "token" | "password" => {
            Some("write it into a file, and name that: `token_file = \"/run/secrets/flags\"`".to_owned())
        }
        _ => None,
    }
}

fn url_of(value: &Value<'_>, report: &mut Report<'_>) -> Option<HookUrl> {
    let text = value.string("https://config.example.com/maintenance.toml", report)?;
    // The text may hold a secret: it is not repeated.
    let url = HookUrl::parse(text.trim());
    url.map_err(|bad| {
        let is_of_hooks = bad.help.contains("slack:");
        let help = if is_of_hooks { "write it like `https://config.example.com/maintenance.toml`" } else { bad.help };
        report.wrong(value.span.clone(), bad.what, help);
    })
    .ok()
}

/// Reads `ca`. Without encryption, it would only look like a check.
fn ca_of(value: &Value<'_>, engine: Option<&FleetEngine>, report: &mut Report<'_>) -> Option<PathBuf> {
    let is_clear = match engine {
        Some(FleetEngine::Url(url)) => url.url.scheme == HookScheme::Clear,
        // A server may ask for TLS by itself.
        Some(FleetEngine::Nats(_) | FleetEngine::Kubernetes(_)) | None => false,
    };
    if is_clear {
        let help = "remove it, or encrypt: `https://` in `url`";
        report.wrong(value.key_span.clone(), "`ca` is only for URLs with `https://`", help);
    }
    value.path("tls/ca.pem", report)
}

/// Warns of a token that others can read on its way.
fn warn_of_clear_token(token: Option<&Value<'_>>, url: Option<&HookUrl>, report: &mut Report<'_>) {
    let is_clear = url.is_some_and(|url| url.scheme == HookScheme::Clear && !url.is_here());
    if let Some(token) = token.filter(|_| is_clear) {
        let help = "use `https://` in `url`, unless the network to the server is your own";
        report.warn(token.key_span.clone(), "the token goes to the server in clear text", help);
    }
}

/// Bytes of the name of a replica.
const LONGEST_REPLICA: usize = 128;
const LEAST_EVERY: Duration = Duration::from_secs(1);
const MOST_EVERY: Duration = Duration::from_secs(3600);
const MOST_WAIT: Duration = Duration::from_secs(300);
const DEFAULT_EVERY: Duration = Duration::from_secs(5);
const ENGINES: [&str; 3] = ["nats", "kubernetes", "url"];
const DEFAULT_CONFIG_KEY: &str = "maintenance.toml";
const DEFAULT_BUCKET: &str = "backsoon";
const DEFAULT_KEY: &str = "flags";
const USUAL_PORT: u16 = 4222;
const MOST_SERVERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_nats_is_a_url_without_more() {
        let is = |tls, host: &str, port| Some(NatsServer { tls, host: host.to_owned(), port });
        assert_eq!(server_of("nats://Nats.example.com"), is(false, "nats.example.com", 4222));
        assert_eq!(server_of("tls://nats:5222/"), is(true, "nats", 5222));
        assert_eq!(server_of("nats://[::1]:1"), is(false, "::1", 1));
        assert_eq!(server_of("nats://[::1]"), is(false, "::1", 4222));
        let bad = [
            "nats",
            "nats://",
            "http://nats",
            "nats://u:p@nats",
            "nats://a:0",
            "nats://a:",
            "nats://a b",
            "nats://a/b",
        ];
        bad.iter().for_each(|bad| assert_eq!(server_of(bad), None, "{bad}"));
        assert!(is_key("web.flags") && !is_key("web..flags") && !is_key("") && !is_key("a.>") && !is_bucket("a.b"));
    }
}
