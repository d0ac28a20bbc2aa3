//! TLS of listeners: where the certificates are, and what is asked of clients.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::super::keys;
use super::super::read::{Report, Section, Value};
use super::{HostPattern, address};

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenTls {
    /// Place of the certificates.
    pub certificates: CertSource,
    /// Name whose certificate is served to clients that ask for no name, or for an unknown one; `None` is the first
    /// certificate.
    pub default: Option<String>,
    /// Certificates that clients must show.
    pub clients: Option<ClientAuth>,
    /// Oldest version that is spoken.
    pub min_version: TlsVersion,
}

impl ListenTls {
    /// Returns the pairs that the config names one by one.
    pub fn listed(&self) -> &[TlsFiles] {
        match &self.certificates {
            CertSource::Listed(files) => files,
            CertSource::Dir(_) => &[],
        }
    }

    /// Returns the directory of the certificates.
    pub fn dir(&self) -> Option<&PathBuf> {
        match &self.certificates {
            CertSource::Listed(_) => None,
            CertSource::Dir(dir) => Some(dir),
        }
    }
}

/// Place of a listener's certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertSource {
    /// These pairs; at least one.
    Listed(Vec<TlsFiles>),
    /// Every pair in this directory and in the directories right below it.
    Dir(PathBuf),
}

/// Files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TlsFiles {
    /// Certificate chain in PEM, leaf first.
    pub cert: PathBuf,
    /// Private key in PEM. May be the same file.
    pub key: PathBuf,
}

/// Check of the clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientAuth {
    /// Roots that the certificates are checked against, in PEM.
    pub ca: PathBuf,
    /// Handling of clients without a certificate.
    pub need: ClientNeed,
}

/// Handling of clients without a certificate. A certificate that is not valid is always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientNeed {
    /// Refused in the handshake.
    #[default]
    Required,
    /// Served.
    Optional,
}

/// Version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// Reads `tls`: a pair, a list of pairs, or a table with more.
pub(super) fn tls(value: &Value<'_>, report: &mut Report<'_>) -> Option<ListenTls> {
    if matches!(value.inner, DeValue::Array(_)) {
        let files = pairs(value, report)?;
        return Some(ListenTls {
            certificates: CertSource::Listed(files),
            default: None,
            clients: None,
            min_version: TlsVersion::default(),
        });
    }
    let table = value.table(EXAMPLE, report)?;
    let mut section = Section::new(&keys::TLS, "`tls`", value.span.clone(), table);
    let written = has_one_source(&section, report);
    let (cert, key) = pair(&mut section, report);
    let listed = section.take("certificates").map(|value| pairs(&value, report));
    let dir = section.take("dir").map(|value| value.path("certs", report));
    let default = section.take("default").map(|value| default(&value, report));
    let client_ca = section.take("client_ca");
    let need = section.take("client_auth");
    if let (Some(value), None) = (&need, &client_ca) {
        let help = "say whose certificates are good: `client_ca = \"tls/clients.pem\"`";
        report.wrong(value.key_span.clone(), "`client_auth` needs `client_ca`", help);
    }
    let need = need.map(|value| value.choice(&NEEDS, report));
    let ca = client_ca.map(|value| value.path("tls/clients.pem", report));
    let min_version = section.take("min_version").and_then(|value| version(&value, report));
    let misspelt = table.keys().any(|key| !keys::TLS.has(key.get_ref()));
    section.finish(report, hint);
    let certificates = match written {
        Source::Pair => cert.zip(key).map(|(cert, key)| CertSource::Listed(vec![TlsFiles { cert, key }])),
        Source::List => listed.flatten().map(CertSource::Listed),
        Source::Dir => dir.flatten().map(CertSource::Dir),
        Source::Wrong => None,
        Source::None if misspelt => None,
        Source::None => {
            report.wrong(value.span.clone(), "`tls` has no certificate", HELP);
            None
        }
    };
    let clients = ca.map(|ca| Some(ClientAuth { ca: ca?, need: need.flatten().unwrap_or_default() }));
    Some(ListenTls {
        certificates: certificates?,
        default: default.map_or(Some(None), |name| name.map(Some))?,
        // A root that is wrong must not let everybody in.
        clients: clients.map_or(Some(None), |clients| clients.map(Some))?,
        min_version: min_version.unwrap_or_default(),
    })
}

/// Reads the pair of a table: `cert` and `key`.
fn pair(section: &mut Section<'_>, report: &mut Report<'_>) -> (Option<PathBuf>, Option<PathBuf>) {
    let has = section.has("cert") || section.has("key");
    let mut file = |name: &'static str, example: &str| {
        let value = if has { section.need(name, PAIR_HELP) } else { section.take(name) };
        value.and_then(|value| value.path(example, report))
    };
    (file("cert", "tls/fullchain.pem"), file("key", "tls/key.pem"))
}

/// Reads a table that holds a pair and nothing else, such as `client_cert` of a route.
pub(super) fn files(value: &Value<'_>, report: &mut Report<'_>) -> Option<TlsFiles> {
    let example = format!("{} = {{ cert = \"tls/fullchain.pem\", key = \"tls/key.pem\" }}", value.key);
    let table = value.table(&example, report)?;
    one((value.span.clone(), table), format!("`{}`", value.key), report)
}

fn one((span, table): (Range<usize>, &DeTable<'_>), name: String, report: &mut Report<'_>) -> Option<TlsFiles> {
    let mut section = Section::new(&keys::CERTIFICATE, name, span, table);
    let cert = section.need("cert", PAIR_HELP).and_then(|value| value.path("tls/fullchain.pem", report));
    let key = section.need("key", PAIR_HELP).and_then(|value| value.path("tls/key.pem", report));
    section.finish(report, hint);
    Some(TlsFiles { cert: cert?, key: key? })
}

/// Reads a list of pairs. Returns `None` if one of them is wrong.
fn pairs(value: &Value<'_>, report: &mut Report<'_>) -> Option<Vec<TlsFiles>> {
    let tables = value.tables("listen.tls", report);
    let is_list = matches!(value.inner, DeValue::Array(_));
    if tables.is_empty() && is_list {
        report.wrong(value.span.clone(), format!("`{}` is an empty list", value.key), HELP);
    }
    report.at_most(MOST_CERTIFICATES, tables.len(), "certificates", value.key_span.clone());
    let written = value.inner.as_array().map_or(0, |items| items.len());
    let (mut files, mut seen) = (Vec::new(), HashSet::new());
    for (span, table) in tables.into_iter().take(MOST_CERTIFICATES) {
        let Some(pair) = one((span.clone(), table), format!("a certificate of `{}`", value.key), report) else {
            continue;
        };
        if !seen.insert(pair.cert.clone()) {
            report.wrong(span, "this certificate is listed twice", "remove one of them");
        }
        files.push(pair);
    }
    (written > 0 && files.len() == written).then_some(files)
}

/// The key that says where the certificates are.
enum Source {
    Pair,
    List,
    Dir,
    None,
    /// More than one of them.
    Wrong,
}

fn has_one_source(section: &Section<'_>, report: &mut Report<'_>) -> Source {
    let pair = section.has("cert") || section.has("key");
    match (pair, section.has("certificates"), section.has("dir")) {
        (true, false, false) => Source::Pair,
        (false, true, false) => Source::List,
        (false, false, true) => Source::Dir,
        (false, false, false) => Source::None,
        (_, _, _) => {
            let message = "`tls` has its certificates from more than one place";
            let help = "keep one of `cert` with `key`, `certificates` and `dir`";
            report.wrong(section.span.clone(), message, help);
            Source::Wrong
        }
    }
}

fn default(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    match address::host(value, report)? {
        HostPattern::Exact(name) => Some(name),
        HostPattern::Below(parent) => {
            let message = "`default` is the name of one host";
            let help = format!("write a name that the certificate is for, like `\"www.{parent}\"`");
            report.wrong(value.span.clone(), message, help);
            None
        }
    }
}

fn version(value: &Value<'_>, report: &mut Report<'_>) -> Option<TlsVersion> {
    match value.inner {
        DeValue::Float(number) if VERSIONS.iter().any(|(name, _)| *name == number.as_str()) => {
            let help = format!("write it in quotes: `min_version = \"{}\"`", number.as_str());
            value.mistyped("a word", help, report);
            None
        }
        DeValue::String(text) if is_too_old(text) => {
            let help = "write `\"1.2\"`, which every client of the last ten years speaks, or `\"1.3\"`";
            report.wrong(value.span.clone(), "TLS before 1.2 is broken, and not spoken here", help);
            None
        }
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Integer(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => value.choice(&VERSIONS, report),
    }
}

fn is_too_old(text: &str) -> bool {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    matches!(digits, "1.0" | "1.1" | "1" | "3" | "2")
}

/// Corrects the words of other proxies.
fn hint(key: &str, _: &DeValue<'_>) -> Option<String> {
    Some(match key {
        "certificate" | "cert_file" | "certFile" | "ssl_certificate" | "crt" | "chain" | "fullchain" => {
            "did you mean `cert`?".to_owned()
        }
        "private_key" | "key_file" | "keyFile" | "ssl_certificate_key" | "privkey" => "did you mean `key`?".to_owned(),
        "certs" | "files" => "did you mean `certificates`?".to_owned(),
        "directory" | "folder" | "path" | "crt_list" => "did you mean `dir`?".to_owned(),
        "ca" | "ca_file" | "clientCAs" | "ssl_client_certificate" | "mtls" => {
            "did you mean `client_ca`, for certificates of clients? The server's own chain belongs into `cert`"
                .to_owned()
        }
        "versions" | "ssl_protocols" | "protocols" | "minVersion" | "min_protocol" => {
            "did you mean `min_version`?".to_owned()
        }
        "ciphers" | "ssl_ciphers" | "cipher_suites" => {
            "remove it: only suites that are held to be good are spoken, the best first".to_owned()
        }
        "acme" | "email" | "auto" | "letsencrypt" => {
            "backsoon fetches no certificates: put certbot or another ACME client beside it, see `docs/tls.md`"
                .to_owned()
        }
        _ => return None,
    })
}

const NEEDS: [(&str, ClientNeed); 2] = [("required", ClientNeed::Required), ("optional", ClientNeed::Optional)];
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];

/// Certificates that a listener lists. A directory may have more.
const MOST_CERTIFICATES: usize = 256;

pub(super) const EXAMPLE: &str = "tls = { cert = \"tls/fullchain.pem\", key = \"tls/key.pem\" }";
const PAIR_HELP: &str = "both are needed: `{ cert = \"tls/fullchain.pem\", key = \"tls/key.pem\" }`";
const HELP: &str = "name a certificate, `tls = { cert = \"tls/fullchain.pem\", key = \"tls/key.pem\" }`, or a directory of them, \
     `tls = { dir = \"certs\" }`";
