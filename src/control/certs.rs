//! Certificates for clients and upstreams, roots and secrets for bypasses, loaded from their files.

mod chooser;
mod directory;
mod facts;
mod pair;
mod secrets;
mod serving;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use crate::plan::config::{Config, Destination, ListenTls, MAIL_HELP, TlsFiles, Trust, Upstream};
use crate::plan::pass::Key;
use crate::plan::problem::Problem;
use crate::status::Role;
use crate::telemetry::UpstreamKey;

use crate::files::source::{self, Content, ReadError};

use chooser::Chooser;
pub(crate) use facts::Facts;
use pair::{Fault, Pair, certificates};
use secrets::{destination, destination_files};
pub(crate) use secrets::{exposed, secret, secret_files};
pub(super) use serving::{Served, Serving};

/// Contents of the files that a config names for TLS and for bypasses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Materials {
    /// Certificates and demands of each listener with TLS.
    listeners: HashMap<ListenTls, Arc<Serving>>,
    /// Every pair in use.
    pairs: BTreeMap<TlsFiles, Arc<Pair>>,
    /// The pairs that directories hold, good or not.
    found: BTreeSet<TlsFiles>,
    /// The directories of certificates, and those below them.
    dirs: BTreeSet<PathBuf>,
    /// A key file in a directory that does not belong to its certificate.
    unsettled: Option<PathBuf>,
    /// Files in directories that are left out, and names that several certificates have.
    odd: Vec<Problem>,
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
    /// Returns what a listener serves.
    pub(super) fn serving(&self, tls: &ListenTls) -> Option<&Arc<Serving>> {
        self.listeners.get(tls)
    }

    /// Returns the identity of an upstream, which includes the content of its files.
    pub(crate) fn key(&self, upstream: &Upstream) -> UpstreamKey {
        let roots = upstream.tls.as_ref().and_then(|trust| self.roots.get(trust)?.hash.clone());
        let client_cert = upstream.client_cert.as_ref().and_then(|files| Some(self.pairs.get(files)?.hash.clone()));
        UpstreamKey { upstream: upstream.clone(), roots, client_cert }
    }

    /// Returns the TLS client for an upstream; `None` for clear text.
    pub(crate) fn client_config(&self, upstream: &Upstream) -> Option<Arc<ClientConfig>> {
        let roots = self.roots.get(upstream.tls.as_ref()?)?;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        // The default versions always fit their provider.
        let builder = builder.ok()?.with_root_certificates(Arc::clone(&roots.store));
        let own = upstream.client_cert.as_ref().and_then(|files| self.pairs.get(files));
        let mut config = match own {
            Some(pair) => {
                let own = SingleCertAndKey::from(rustls::sign::CertifiedKey::clone(&pair.key));
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if upstream.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Some(Arc::new(config))
    }

    /// Returns the files that were found in directories, each with its role.
    pub(super) fn found(&self) -> impl Iterator<Item = (&Path, Role)> {
        self.found.iter().flat_map(roles)
    }

    /// Returns the directories whose entries matter.
    pub(super) fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter()
    }

    /// Returns the key in a directory that does not belong to its certificate, perhaps because that was written first.
    pub(super) fn unsettled(&self) -> Option<&PathBuf> {
        self.unsettled.as_ref()
    }

    /// Returns the facts of the certificate in a file, if it is in use.
    pub(super) fn facts(&self, file: &Path) -> Option<&Facts> {
        let (_, pair) = self.pairs.iter().find(|(files, _)| files.cert == file)?;
        Some(&pair.facts)
    }

    /// Warns of what is taken nevertheless: files in directories that are left out, and certificates that are not valid
    /// now, or not for long.
    pub(crate) fn warnings(&self, now: Timestamp) -> Vec<Problem> {
        let aging = self.pairs.iter().filter_map(|(files, pair)| pair.facts.aging(&files.cert, now));
        self.odd.iter().cloned().chain(aging).collect()
    }
}

/// Loads every certificate, root and secret that a config names. A problem with the system's roots is reported on
/// `config_file`. Of a pair in a directory that is bad now, the one in `before` stays.
///
/// # Errors
/// Every file that cannot be read or has the wrong content.
pub(crate) fn materials(
    config_file: &Path,
    config: &Config,
    before: Option<&Materials>,
    mut read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Materials, Vec<Problem>> {
    let mut materials = Materials::default();
    let mut problems = Vec::new();
    for tls in listeners(config) {
        if let Err(found) = materials.serve(config_file, tls, before, &mut read) {
            problems.extend(found);
        }
    }
    for files in client_certs(config) {
        problems.extend(materials.load(files, &mut read).err().map(Fault::problem));
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

impl Materials {
    /// Loads what a listener serves.
    fn serve(
        &mut self,
        config_file: &Path,
        tls: &ListenTls,
        before: Option<&Self>,
        read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
    ) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let pairs = match tls.dir() {
            None => {
                let loaded = tls.listed().iter().map(|files| Ok((files.clone(), self.load(files, read)?)));
                let (good, bad): (Vec<_>, Vec<_>) = loaded.partition(|loaded: &Result<_, Fault>| loaded.is_ok());
                problems.extend(bad.into_iter().filter_map(|bad| bad.err().map(Fault::problem)));
                good.into_iter().flatten().collect()
            }
            Some(dir) => match self.load_dir(dir, before, read) {
                Ok(pairs) => pairs,
                Err(message) => {
                    let problem = Problem::in_file(config_file, message).help(DIR_HELP);
                    return self.keep(tls, before, problem).map_err(|problem| vec![problem]);
                }
            },
        };
        let clients = tls.clients.as_ref().map(|clients| serving::clients(clients, read)).transpose();
        let clients = clients.unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        // A list has at least one pair, and so has a directory that was loaded.
        let Some((chooser, odd)) = Chooser::new(&pairs, tls.default.as_deref(), config_file) else { return Ok(()) };
        self.note_odd(odd);
        let serving = Serving { chooser: Arc::new(chooser), clients, min_version: tls.min_version };
        self.listeners.insert(tls.clone(), Arc::new(serving));
        Ok(())
    }

    /// Goes on with what a listener served before, because its directory holds nothing any more.
    fn keep(&mut self, tls: &ListenTls, before: Option<&Self>, problem: Problem) -> Result<(), Problem> {
        self.dirs.extend(tls.dir().cloned());
        let Some((before, serving)) = before.and_then(|before| Some((before, before.listeners.get(tls)?))) else {
            return Err(problem);
        };
        self.listeners.insert(tls.clone(), Arc::clone(serving));
        let kept = before.pairs.iter().filter(|(files, _)| before.found.contains(files));
        self.pairs.extend(kept.map(|(files, pair)| (files.clone(), Arc::clone(pair))));
        let message = format!("{}: the last good ones are served", problem.message);
        let warning = Problem::warning(&problem.file, message);
        self.note_odd(vec![problem.help.into_iter().fold(warning, Problem::help)]);
        Ok(())
    }

    /// Loads the good pairs of a directory, in the order of their names; at least one.
    ///
    /// # Errors
    /// What is wrong with the directory, in words.
    fn load_dir(
        &mut self,
        dir: &Path,
        before: Option<&Self>,
        read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
    ) -> Result<Vec<(TlsFiles, Arc<Pair>)>, String> {
        let listing = directory::list(dir)?;
        self.dirs.extend(listing.dirs);
        self.note_odd(listing.problems);
        let mut pairs = Vec::new();
        for files in listing.pairs {
            self.found.insert(files.clone());
            match self.load(&files, read) {
                Ok(pair) => pairs.push((files, pair)),
                Err(fault) => {
                    let (key, problem) = left_out(&files, fault, read);
                    if key == Half::Missing && self.unsettled.is_none() {
                        self.unsettled = Some(files.key.clone());
                    }
                    let kept = before.and_then(|before| before.pairs.get(&files)).cloned();
                    let fate = if kept.is_some() { "the last good one is served" } else { "it is left out" };
                    self.note_odd(vec![Problem { message: format!("{}: {fate}", problem.message), ..problem }]);
                    if let Some(pair) = kept {
                        self.pairs.insert(files.clone(), Arc::clone(&pair));
                        pairs.push((files, pair));
                    }
                }
            }
        }
        if pairs.is_empty() {
            let bad = self.odd.iter().filter(|problem| Path::new(&problem.file).starts_with(dir));
            let bad: String =
                bad.take(MOST_TOLD).map(|problem| format!("; {}: {}", problem.file, problem.message)).collect();
            return Err(format!("no certificate in {} can be served{bad}", dir.display()));
        }
        Ok(pairs)
    }

    fn load(
        &mut self,
        files: &TlsFiles,
        read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
    ) -> Result<Arc<Pair>, Fault> {
        if let Some(known) = self.pairs.get(files) {
            return Ok(Arc::clone(known));
        }
        let pair = Arc::new(pair::pair(files, read)?);
        self.pairs.insert(files.clone(), Arc::clone(&pair));
        Ok(pair)
    }

    /// Notes what is left out, each once: two listeners may have the same directory.
    fn note_odd(&mut self, odd: Vec<Problem>) {
        for problem in odd {
            if !self.odd.contains(&problem) {
                self.odd.push(problem);
            }
        }
    }
}

/// State of the other half of a pair, which may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Missing,
    There,
}

/// Returns the warning of a pair in a directory that cannot be served.
fn left_out(
    files: &TlsFiles,
    fault: Fault,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> (Half, Problem) {
    let content = read(&files.cert).ok().filter(|_| files.cert == files.key);
    let has = |word| content.as_ref().is_some_and(|content| pair::holds(&content.bytes, word));
    let is_alone = has("BEGIN CERTIFICATE---") && !has("PRIVATE KEY-----");
    let (half, problem) = match fault {
        Fault::Unpaired(problem) => (Half::Missing, problem),
        Fault::Bad(_) if is_alone => {
            let stem = files.cert.file_stem().unwrap_or_default().display().to_string();
            let help = format!("put it beside, as `{stem}.key`, or into the same file");
            (Half::Missing, Problem::in_file(&files.cert, "there is no key for this certificate").help(help))
        }
        Fault::Bad(problem) => (Half::There, problem),
    };
    let warning = Problem::warning(&problem.file, problem.message);
    (half, problem.help.into_iter().fold(warning, Problem::help))
}

/// Returns the TLS of every listener, the status site's included.
fn listeners(config: &Config) -> impl Iterator<Item = &ListenTls> {
    config.listen.iter().filter_map(|listen| listen.tls.as_ref())
}

/// Returns the certificates that are shown to upstreams.
fn client_certs(config: &Config) -> impl Iterator<Item = &TlsFiles> {
    let upstreams = config.routes.iter().flat_map(|route| &route.upstreams);
    upstreams.filter_map(|upstream| upstream.client_cert.as_ref())
}

/// Returns the pairs that a config names one by one.
fn named_pairs(config: &Config) -> impl Iterator<Item = &TlsFiles> {
    listeners(config).flat_map(ListenTls::listed).chain(client_certs(config))
}

/// Returns the directories of certificates that a config names.
pub(super) fn dirs_of(config: &Config) -> impl Iterator<Item = &PathBuf> {
    listeners(config).filter_map(ListenTls::dir)
}

/// Returns the first key file whose key does not belong to its certificate, although both are good by themselves.
pub(super) fn unpaired(config: &Config, mut read: impl FnMut(&Path) -> Result<Content, ReadError>) -> Option<PathBuf> {
    let is_unpaired = |files: &&TlsFiles| matches!(pair::pair(files, &mut read), Err(Fault::Unpaired(_)));
    named_pairs(config).find(is_unpaired).map(|files| files.key.clone())
}

fn roles(files: &TlsFiles) -> [(&Path, Role); 2] {
    [(files.cert.as_path(), Role::Certificate), (files.key.as_path(), Role::Key)]
}

/// Returns the roots that a config names for its mail server.
fn mail_trust(config: &Config) -> Option<Trust> {
    config.mail.as_ref()?.ca.clone().map(Trust::File)
}

/// Returns the files of certificates, keys, secrets and roots that a config names, each with its role. Directories have
/// more, see [`Materials::found`].
pub(super) fn files_of(config: &Config) -> impl Iterator<Item = (&Path, Role)> {
    let upstreams = config.routes.iter().flat_map(|route| &route.upstreams);
    let roots = upstreams.filter_map(|upstream| match &upstream.tls {
        Some(Trust::File(file)) => Some((file.as_path(), Role::Roots)),
        Some(Trust::System) | None => None,
    });
    let mail = config.mail.iter().filter_map(|mail| Some((mail.ca.as_deref()?, Role::Roots)));
    let clients = listeners(config).filter_map(|tls| Some((tls.clients.as_ref()?.ca.as_path(), Role::Roots)));
    named_pairs(config)
        .flat_map(roles)
        .chain(secret_files(config).map(|(_, file)| (file, Role::Secret)))
        .chain(destination_files(config).map(|file| (file, Role::Secret)))
        .chain(roots)
        .chain(clients)
        .chain(mail)
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
            Ok(Roots { store: Arc::new(root_store(file, &content)?), hash: Some(content.hash.to_string()) })
        }
    }
}

/// Reads the roots of a PEM file; at least one.
fn root_store(file: &Path, content: &Content) -> Result<RootCertStore, Problem> {
    let mut store = RootCertStore::empty();
    for root in certificates(file, &content.bytes)? {
        let added = store.add(root);
        added.map_err(|error| Problem::in_file(file, format!("not a root certificate: {error}")))?;
    }
    Ok(store)
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
    client_of(None).ok()
}

/// Returns the TLS client for a host whose certificate is checked against the roots of a file, or those of the system.
///
/// # Errors
/// If the file cannot be read, or has no roots.
pub(super) fn client_of(ca: Option<&Path>) -> Result<ClientConfig, Problem> {
    let store = match ca {
        None => Arc::clone(system_store()),
        Some(file) => {
            let content = source::read(file).content.map_err(|error| Problem::in_file(file, error))?;
            Arc::new(root_store(file, &content)?)
        }
    };
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Problem::error("", error.to_string()))?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
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

/// Bad files of a directory that are told when none is good.
const MOST_TOLD: usize = 3;
const DIR_HELP: &str = "put one there: `NAME.pem` with chain and key, `NAME.crt` with `NAME.key`, or `NAME/fullchain.pem` \
                        with `NAME/privkey.pem`";
