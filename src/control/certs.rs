//! Certificates for clients, roots for upstreams and secrets for bypasses, loaded from their files.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use crate::plan::config::{BadDestination, Config, Destination, MAIL_HELP, TlsFiles, Trust, Upstream};
use crate::plan::pass::{Key, SHORTEST};
use crate::plan::problem::Problem;
use crate::status::Role;
use crate::telemetry::UpstreamKey;

use crate::files::source::{Content, ReadError};

/// Contents of the files that a config names for TLS and for bypasses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Materials {
    certificates: HashMap<TlsFiles, Arc<CertifiedKey>>,
    roots: HashMap<Trust, Roots>,
    /// The keys of bypasses, by route.
    pub secrets: HashMap<String, Arc<Key>>,
    /// Places to notify, by the file that names them.
    pub destinations: HashMap<PathBuf, Destination>,
}

/// Roots, and the hash of the file that they come from.
#[derive(Clone, Debug)]
struct Roots {
    store: Arc<RootCertStore>,
    hash: Option<String>,
}

impl Materials {
    /// Returns the certificate of a listener.
    pub(crate) fn certificate(&self, files: &TlsFiles) -> Option<Arc<CertifiedKey>> {
        self.certificates.get(files).cloned()
    }

    /// Returns the identity of an upstream, which includes the content of its roots.
    pub(crate) fn key(&self, upstream: &Upstream) -> UpstreamKey {
        let roots = upstream.tls.as_ref().and_then(|trust| self.roots.get(trust)?.hash.clone());
        UpstreamKey { upstream: upstream.clone(), roots }
    }

    /// Returns the TLS client for an upstream; `None` for clear text.
    pub(crate) fn client_config(&self, upstream: &Upstream) -> Option<Arc<ClientConfig>> {
        let roots = self.roots.get(upstream.tls.as_ref()?)?;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        // The default versions always fit their provider.
        let mut config = builder.ok()?.with_root_certificates(Arc::clone(&roots.store)).with_no_client_auth();
        config.alpn_protocols = vec![if upstream.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Some(Arc::new(config))
    }
}

/// Loads every certificate, root and secret that a config names. A problem with the system's roots is reported on
/// `config_file`.
///
/// # Errors
/// Every file that cannot be read or has the wrong content.
pub(crate) fn materials(
    config_file: &Path,
    config: &Config,
    mut read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Materials, Vec<Problem>> {
    let mut materials = Materials::default();
    let mut problems = Vec::new();
    for files in config.listen.iter().filter_map(|listen| listen.tls.as_ref()) {
        match certificate(files, &mut read) {
            Ok(certificate) => drop(materials.certificates.insert(files.clone(), Arc::new(certificate))),
            Err(Fault::Unpaired(problem) | Fault::Bad(problem)) => problems.push(problem),
        }
    }
    let upstreams = config.routes.iter().flat_map(|route| &route.upstreams);
    for trust in upstreams.filter_map(|upstream| upstream.tls.as_ref()) {
        if materials.roots.contains_key(trust) {
            continue;
        }
        match roots(config_file, trust, &mut read) {
            Ok(roots) => drop(materials.roots.insert(trust.clone(), roots)),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(trust) = mail_trust(config)
        && !materials.roots.contains_key(&trust)
    {
        // Mails read the file when they need it. A bad one is refused here all the same.
        problems.extend(roots(config_file, &trust, &mut read).err());
    }
    let mut keys = HashMap::<&Path, Arc<Key>>::new();
    for (route, file) in secret_files(config) {
        let key = match keys.get(file) {
            Some(key) => Ok(Arc::clone(key)),
            None => secret(file, &mut read).map(Arc::new),
        };
        match key {
            Ok(key) => {
                keys.insert(file, Arc::clone(&key));
                materials.secrets.insert(route.to_owned(), key);
            }
            Err(problem) if problems.contains(&problem) => {}
            Err(problem) => problems.push(problem),
        }
    }
    for file in destination_files(config) {
        match destination(file, &mut read) {
            Ok(Destination::Mail(_)) if config.mail.is_none() => {
                let message = "no mail can be sent: the config has no `[mail]`";
                problems.push(Problem::in_file(file, message).help(MAIL_HELP));
            }
            Ok(destination) => drop(materials.destinations.insert(file.to_owned(), destination)),
            Err(problem) if problems.contains(&problem) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(materials) } else { Err(problems) }
}

/// Returns the first key file whose key does not belong to its certificate, although both are good by themselves.
pub(super) fn unpaired(config: &Config, mut read: impl FnMut(&Path) -> Result<Content, ReadError>) -> Option<PathBuf> {
    let mut tls = config.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let is_unpaired = |files: &&TlsFiles| matches!(certificate(files, &mut read), Err(Fault::Unpaired(_)));
    tls.find(is_unpaired).map(|files| files.key.clone())
}

/// Returns the routes with a secret, each with the secret's file.
pub(crate) fn secret_files(config: &Config) -> impl Iterator<Item = (&str, &Path)> {
    config.routes.iter().filter_map(|route| {
        let file = route.policy.bypass.as_ref()?.secret_file.as_ref()?;
        Some((route.name.as_str(), file.as_path()))
    })
}

/// Returns the files that name places to notify.
fn destination_files(config: &Config) -> impl Iterator<Item = &Path> {
    config.notify.iter().filter_map(|notify| notify.to.file())
}

/// Returns the roots that a config names for its mail server.
fn mail_trust(config: &Config) -> Option<Trust> {
    config.mail.as_ref()?.ca.clone().map(Trust::File)
}

/// Returns the place that a file names. The content is not repeated, since it is a secret.
fn destination(
    file: &Path,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Destination, Problem> {
    let help = "write one line into it: `slack:https://hooks.slack.com/services/…`, or another place";
    let content = read(file).map_err(|error| Problem::in_file(file, error).help(help))?;
    let text = std::str::from_utf8(&content.bytes).unwrap_or_default();
    Destination::parse(text).map_err(|BadDestination { what, help }| Problem::in_file(file, what).help(help))
}

/// Returns the files of certificates, keys, secrets and roots that a config names, each with its role.
pub(super) fn files_of(config: &Config) -> impl Iterator<Item = (&Path, Role)> {
    let tls = || config.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let upstreams = config.routes.iter().flat_map(|route| &route.upstreams);
    let roots = upstreams.filter_map(|upstream| match &upstream.tls {
        Some(Trust::File(file)) => Some((file.as_path(), Role::Roots)),
        Some(Trust::System) | None => None,
    });
    let mail = config.mail.iter().filter_map(|mail| Some((mail.ca.as_deref()?, Role::Roots)));
    tls()
        .map(|tls| (tls.cert.as_path(), Role::Certificate))
        .chain(tls().map(|tls| (tls.key.as_path(), Role::Key)))
        .chain(secret_files(config).map(|(_, file)| (file, Role::Secret)))
        .chain(destination_files(config).map(|file| (file, Role::Secret)))
        .chain(roots)
        .chain(mail)
}

/// Warns of secrets that every user of this machine can read.
pub(crate) fn exposed(config: &Config) -> Vec<Problem> {
    let secrets = secret_files(config).map(|(_, file)| file);
    let files: BTreeSet<&Path> = secrets.chain(destination_files(config)).collect();
    let is_exposed = |file: &&Path| fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o007 != 0);
    let warning = |file: &Path| {
        let file = file.display().to_string();
        let help = format!("run `chmod 600 {file}`, and write another secret if somebody may have seen this one");
        Problem::warning(&file, "everybody on this machine can read this secret").help(help)
    };
    files.into_iter().filter(is_exposed).map(warning).collect()
}

/// Returns the key in a secret file.
///
/// # Errors
/// If the file cannot be read, or its content is too short for a secret.
pub(crate) fn secret(file: &Path, read: impl FnOnce(&Path) -> Result<Content, ReadError>) -> Result<Key, Problem> {
    let name = file.display().to_string();
    let help = format!("make one: `openssl rand -hex 32 > {name} && chmod 600 {name}`");
    let content = read(file).map_err(|error| Problem::in_file(file, error).help(help.clone()))?;
    Key::new(&content.bytes).map_err(|length| {
        let found = match length {
            0 => "there is no secret in this file".to_owned(),
            length => format!("this secret has {length} bytes, and at least {SHORTEST} are needed"),
        };
        Problem::in_file(file, found).help(help)
    })
}

/// The reason why a certificate and its key cannot be used.
enum Fault {
    /// The key does not belong to the certificate.
    Unpaired(Problem),
    /// One of the two is bad by itself.
    Bad(Problem),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Bad(problem)
    }
}

fn certificate(
    files: &TlsFiles,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<CertifiedKey, Fault> {
    let TlsFiles { cert: cert_file, key: key_file } = files;
    let cert = read(cert_file).map_err(|error| Problem::in_file(cert_file, error))?;
    let key = read(key_file).map_err(|error| Problem::in_file(key_file, error))?;
    let chain = certificates(&cert.bytes).map_err(|message| Problem::in_file(cert_file, message).help(CERT_HELP))?;
    let key = PrivateKeyDer::from_pem_slice(&key.bytes)
        .map_err(|error| Problem::in_file(key_file, format!("no private key: {error}")).help(KEY_HELP))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            let message = format!("the key does not belong to the certificate in {}", cert_file.display());
            return Fault::Unpaired(Problem::in_file(key_file, message).help(PAIR_HELP));
        }
        Problem::in_file(cert_file, format!("the certificate cannot be used: {error}")).help(CERT_HELP).into()
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("no certificate in this file".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("not a certificate in PEM form: {error}")),
    }
}

fn roots(
    config_file: &Path,
    trust: &Trust,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Roots, Problem> {
    match trust {
        Trust::System => system_roots(config_file),
        Trust::File(file) => {
            let content = read(file).map_err(|error| Problem::in_file(file, error))?;
            let chain =
                certificates(&content.bytes).map_err(|message| Problem::in_file(file, message).help(CERT_HELP))?;
            let mut store = RootCertStore::empty();
            for root in chain {
                let added = store.add(root);
                added.map_err(|error| Problem::in_file(file, format!("not a root certificate: {error}")))?;
            }
            Ok(Roots { store: Arc::new(store), hash: Some(content.hash.to_string()) })
        }
    }
}

/// Returns the system's roots, read once per process. As with other programs, a change of them needs a restart.
fn system_store() -> &'static Arc<RootCertStore> {
    static STORE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    STORE.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    })
}

/// Returns the TLS client for hosts of the internet, which trusts the system's roots.
pub(crate) fn public_client() -> Option<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    // The default versions always fit their provider.
    Some(builder.ok()?.with_root_certificates(Arc::clone(system_store())).with_no_client_auth())
}

fn system_roots(config_file: &Path) -> Result<Roots, Problem> {
    let store = system_store();
    if store.is_empty() {
        let message = "an https:// upstream needs the system's root certificates, and there are none";
        let help = "install them (Debian: ca-certificates), or name the upstream's own with `ca = \"file\"`";
        return Err(Problem::in_file(config_file, message).help(help));
    }
    Ok(Roots { store: Arc::clone(store), hash: None })
}

/// Returns true if this system has root certificates.
pub(super) fn has_roots() -> bool {
    !system_store().is_empty()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const CERT_HELP: &str = "a PEM file begins with -----BEGIN CERTIFICATE-----, the server's own certificate first";
const PAIR_HELP: &str = "renew both files together, the certificate first; the pair is taken when it fits";
const KEY_HELP: &str = "a PEM file with -----BEGIN PRIVATE KEY-----, not encrypted";
