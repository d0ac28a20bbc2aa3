//! TLS of a listener: its certificates, its demands on clients, and the library's configuration of both.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};

use crate::files::source::{Content, ReadError};
use crate::plan::config::{ClientAuth, ClientNeed, TlsVersion};
use crate::plan::problem::Problem;

use super::chooser::Chooser;
use super::{provider, root_store};

/// Certificates and demands of a listener.
#[derive(Debug)]
pub(crate) struct Serving {
    /// The certificates.
    pub(super) chooser: Arc<Chooser>,
    /// Check of the clients' certificates.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Oldest version that is spoken.
    pub(super) min_version: TlsVersion,
}

/// Certificates and demands of a listener as they are served, with the library's configuration of them.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    serving: Arc<Serving>,
    /// The configuration, which connections take.
    pub config: Arc<ServerConfig>,
}

impl Served {
    /// Makes the configuration. If only certificates have changed since `before`, sessions are resumed over the change.
    /// Returns `None` if the library refuses its own defaults.
    pub(in crate::control) fn new(serving: &Arc<Serving>, before: Option<&Self>) -> Option<Self> {
        let config = match before {
            Some(before) if Arc::ptr_eq(&before.serving, serving) => return Some(before.clone()),
            Some(before) if before.serving.resumes_as(serving) => {
                let mut config = ServerConfig::clone(&before.config);
                config.cert_resolver = Arc::clone(&serving.chooser) as _;
                config
            }
            Some(_) | None => serving.config()?,
        };
        Some(Self { serving: Arc::clone(serving), config: Arc::new(config) })
    }
}

impl Serving {
    /// Returns true if a session that was begun with these demands may be resumed with others: it comes without a new
    /// check of anything.
    fn resumes_as(&self, other: &Self) -> bool {
        self.clients.is_none() && other.clients.is_none() && self.min_version == other.min_version
    }

    fn config(&self) -> Option<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider());
        let versions: &[_] = match self.min_version {
            TlsVersion::V12 => &[&TLS13, &TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        let builder = builder.with_protocol_versions(versions).ok()?;
        let builder = match &self.clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.chooser) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if self.clients.is_some() {
            // A resumed session would go round the check of the client's certificate, which may have ended since, or whose
            // root may have been taken away.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Some(config)
    }
}

/// Loads the check of clients' certificates.
pub(super) fn clients(
    clients: &ClientAuth,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let file = &clients.ca;
    let content = read(file).map_err(|error| Problem::in_file(file, error))?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(file, &content)?), provider());
    let builder = match clients.need {
        ClientNeed::Required => builder,
        ClientNeed::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| Problem::in_file(file, format!("clients cannot be checked: {error}")))
}
