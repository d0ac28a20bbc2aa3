//! Choice of a certificate by the name that a client asks for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::plan::config::TlsFiles;
use crate::plan::problem::Problem;
use crate::plan::words;

use super::pair::Pair;

/// Certificates of a listener, by name. Never changes: a new certificate makes a new chooser.
#[derive(Debug)]
pub(crate) struct Chooser {
    /// The certificates for one host each, and those for all hosts right below a domain (`example.com` for `*.example.com`).
    exact: HashMap<String, Arc<CertifiedKey>>,
    below: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl Chooser {
    /// Makes the choice between pairs; `None` if there is none. Of two pairs for one name the first is served, and a
    /// warning says so.
    pub(super) fn new(
        pairs: &[(TlsFiles, Arc<Pair>)],
        default: Option<&str>,
        place: &Path,
    ) -> Option<(Self, Vec<Problem>)> {
        let mut warnings = Vec::new();
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        let mut first = HashMap::<&str, &PathBuf>::new();
        for (files, pair) in pairs {
            let mut claimed = Vec::new();
            for name in &pair.facts.names {
                if let Some(other) = first.get(name.as_str()) {
                    claimed.push((name, *other));
                    continue;
                }
                first.insert(name, &files.cert);
                match name.strip_prefix("*.") {
                    Some(parent) => below.insert(parent.to_owned(), Arc::clone(&pair.key)),
                    None => exact.insert(name.clone(), Arc::clone(&pair.key)),
                };
            }
            warnings.extend(claimed_twice(&claimed, &files.cert));
        }
        let (_, first) = pairs.first()?;
        let mut chooser = Self { exact, below, default: Arc::clone(&first.key) };
        if let Some(name) = default {
            match chooser.find(name).cloned() {
                Some(key) => chooser.default = key,
                None => warnings.push(no_default(name, place)),
            }
        }
        Some((chooser, warnings))
    }

    /// Finds the certificate for a name. One for this very name goes before a wildcard, which stands for one label.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| self.below.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The name is in lower case already.
        let found = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(found.unwrap_or(&self.default)))
    }
}

/// Warns of a certificate with names that others have as well.
fn claimed_twice(claimed: &[(&String, &PathBuf)], file: &Path) -> Option<Problem> {
    let ((name, first), more) = claimed.split_first()?;
    let names = match more.len() {
        0 => format!("{name} is"),
        more => format!("{name} and {} are", words::count(more, "more name")),
    };
    let message = format!("{names} in the certificate of {} as well, which is served", first.display());
    let help = "remove one of the two, or have it issued for other names";
    Some(Problem::warning(&file.display().to_string(), message).help(help))
}

fn no_default(name: &str, place: &Path) -> Problem {
    let message = format!("no certificate is for {name}, which `default` names: the first one is served instead");
    Problem::warning(&place.display().to_string(), message).help("add its certificate, or name another host")
}
