//! Pairs of a certificate and its key, read from their files. What is wrong is said in the words of who has to mend it.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, OtherError};

use crate::files::source::{Content, ReadError};
use crate::plan::config::TlsFiles;
use crate::plan::problem::Problem;

use super::facts::Facts;
use super::provider;

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The chain and the key.
    pub key: Arc<CertifiedKey>,
    /// Facts of the certificate.
    pub facts: Facts,
    /// The hashes of both files.
    pub hash: String,
}

/// The reason why a certificate and its key cannot be used.
pub(super) enum Fault {
    /// The key does not belong to the certificate, or is not there yet.
    Unpaired(Problem),
    /// One of the two is bad by itself.
    Bad(Problem),
}

impl Fault {
    /// Returns the problem, whichever it is.
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::Unpaired(problem) | Self::Bad(problem) => problem,
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Bad(problem)
    }
}

/// Reads a pair.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn pair(
    files: &TlsFiles,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Pair, Fault> {
    let TlsFiles { cert: cert_file, key: key_file } = files;
    let cert = read(cert_file).map_err(|error| Problem::in_file(cert_file, error))?;
    let key = read(key_file).map_err(|error| Problem::in_file(key_file, error))?;
    let chain = certificates(cert_file, &cert.bytes)?;
    let facts = chain.first().map(Facts::of).unwrap_or_default();
    let private = private_key(key_file, &key.bytes)?;
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| unusable(files, &error))?;
    Ok(Pair { key: Arc::new(certified), facts, hash: format!("{}{}", cert.hash, key.hash) })
}

/// Reads the certificates of a PEM file; at least one.
pub(super) fn certificates(file: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let wrong = |message: &str, help: &str| Problem::in_file(file, message).help(help);
    let pem = text(content);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if is_der(pem) => Err(wrong("this is a certificate in DER, and PEM is needed", FROM_DER)),
        Ok(_) if holds(pem, "PRIVATE KEY-----") => {
            Err(wrong("there is a private key in this file and no certificate", SWAPPED))
        }
        Ok(_) if holds(pem, "BEGIN CERTIFICATE REQUEST") || holds(pem, "BEGIN NEW CERTIFICATE REQUEST") => {
            let help = "give it to the authority: what comes back is the certificate";
            Err(wrong("this is the request for a certificate, not the certificate", help))
        }
        Ok(_) if holds(pem, "BEGIN PKCS7") => {
            let help = "turn it into PEM: `openssl pkcs7 -in FILE -print_certs -out fullchain.pem`";
            Err(wrong("these are certificates in PKCS #7, and PEM is needed", help))
        }
        Ok(_) if holds(pem, "BEGIN TRUSTED CERTIFICATE") => {
            let help = "write it without OpenSSL's additions: `openssl x509 -in FILE -out cert.pem`";
            Err(wrong("this is a certificate in OpenSSL's own form", help))
        }
        Ok(_) => Err(wrong("no certificate in this file", CERT_HELP)),
        Err(error) => Err(wrong(&format!("not a certificate in PEM form: {error}"), CERT_HELP)),
    }
}

/// Reads the key of a PEM file.
fn private_key(file: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    let pem = text(content);
    let error = match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let (message, help) = if is_encrypted(pem) {
        ("the private key is encrypted, and nobody is there to type its password".to_owned(), DECRYPT)
    } else if is_der(pem) {
        ("this is a key in DER, and PEM is needed".to_owned(), KEY_FROM_DER)
    } else if holds(pem, "BEGIN CERTIFICATE") {
        ("there is a certificate in this file and no private key".to_owned(), SWAPPED)
    } else if holds(pem, "BEGIN PUBLIC KEY") {
        ("this is a public key, and the private one is needed".to_owned(), KEY_HELP)
    } else if holds(pem, "BEGIN OPENSSH") {
        ("this is a key of OpenSSH, which no certificate has".to_owned(), KEY_HELP)
    } else {
        (format!("no private key: {error}"), KEY_HELP)
    };
    Err(Problem::in_file(file, message).help(help))
}

/// Says why a chain and a key that can be read cannot be used.
fn unusable(files: &TlsFiles, error: &rustls::Error) -> Fault {
    let TlsFiles { cert: cert_file, key: key_file } = files;
    if let rustls::Error::InconsistentKeys(_) = error {
        let message = if cert_file == key_file {
            "the key does not belong to the certificate in the same file".to_owned()
        } else {
            format!("the key does not belong to the certificate in {}", cert_file.display())
        };
        return Fault::Unpaired(Problem::in_file(key_file, message).help(PAIR_HELP));
    }
    if is_old(error) {
        return Problem::in_file(cert_file, "this is a certificate of X.509 version 1, which no client takes any more")
            .help(VERSION_HELP)
            .into();
    }
    if let rustls::Error::General(message) = error {
        let message = format!("the private key cannot be used: {message}");
        return Problem::in_file(key_file, message).help(KEY_HELP).into();
    }
    Problem::in_file(cert_file, format!("the certificate cannot be used: {error}")).help(CERT_HELP).into()
}

/// Returns true if a certificate has no version, which is that of 1988.
pub(super) fn is_old(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error else { return false };
    cause.downcast_ref::<webpki::Error>() == Some(&webpki::Error::UnsupportedCertVersion)
}

/// Returns a file's text without the mark that Windows' editors put before it.
fn text(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

/// Returns true if a file is not text, and begins as DER does.
fn is_der(content: &[u8]) -> bool {
    content.starts_with(&[0x30, 0x82]) || content.starts_with(&[0x30, 0x81])
}

fn is_encrypted(pem: &[u8]) -> bool {
    holds(pem, "BEGIN ENCRYPTED PRIVATE KEY") || holds(pem, "Proc-Type: 4,ENCRYPTED")
}

/// Returns true if a file has a word anywhere.
pub(super) fn holds(content: &[u8], word: &str) -> bool {
    memchr::memmem::find(content, word.as_bytes()).is_some()
}

pub(super) const CERT_HELP: &str =
    "a PEM file begins with -----BEGIN CERTIFICATE-----, the server's own certificate first";
const PAIR_HELP: &str = "renew both files together, the certificate first; the pair is taken when it fits";
const KEY_HELP: &str = "a PEM file with -----BEGIN PRIVATE KEY-----, not encrypted";
const SWAPPED: &str = "`cert` and `key` may be swapped: write the certificate's file as `cert`, and the key's as `key`";
const FROM_DER: &str = "turn it into PEM: `openssl x509 -inform der -in FILE -out cert.pem`";
const KEY_FROM_DER: &str = "turn it into PEM: `openssl pkey -inform der -in FILE -out key.pem`";
const DECRYPT: &str =
    "write it without one, readable by backsoon alone: `openssl pkey -in FILE -out key.pem && chmod 600 key.pem`";
const VERSION_HELP: &str = "make it again with the names in an extension: write `subjectAltName=DNS:www.example.com` into \
                            `names.ext`, and give `-extfile names.ext` to `openssl x509 -req`";
