//! TLS towards clients. The certificate is read from the live generation, so a new one needs no new configuration, and
//! session resumption survives the change.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::live::Reader;

/// Returns the configuration of one listener, shared by all workers.
///
/// # Errors
/// Returns an error if no ticket key can be made.
pub(crate) fn server_config(reader: Reader, listener: usize) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(LiveCertificate { reader, listener }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct LiveCertificate {
    reader: Reader,
    listener: usize,
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.reader.current().certificates.get(self.listener).cloned().flatten()
    }
}
