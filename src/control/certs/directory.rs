//! Directories of certificates: finds the pairs in the layouts that tools leave.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::plan::config::TlsFiles;
use crate::plan::problem::Problem;

/// Content of a directory of certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The pairs, by name.
    pub pairs: Vec<TlsFiles>,
    /// Keys without a certificate.
    pub problems: Vec<Problem>,
    /// The directory itself, and those in which pairs may lie.
    pub dirs: Vec<PathBuf>,
}

/// Says what is wrong with a directory that cannot be listed.
fn wrong_with(dir: &Path, kind: ErrorKind) -> String {
    if kind == ErrorKind::NotFound {
        format!("there is no directory {}", dir.display())
    } else if kind == ErrorKind::NotADirectory {
        format!("{} is a file, and `dir` is a directory", dir.display())
    } else {
        format!("the directory {} cannot be read: {kind}", dir.display())
    }
}

/// Lists a directory, and the directories right below it.
///
/// # Errors
/// What is wrong with the directory, in words.
pub(super) fn list(dir: &Path) -> Result<Listing, String> {
    let names = entries(dir).map_err(|error| wrong_with(dir, error.kind()))?;
    let mut listing = Listing { dirs: vec![dir.to_owned()], ..Listing::default() };
    listing.add(dir, &names);
    for below in names.iter().map(|name| dir.join(name)).filter(|path| path.is_dir()) {
        // One that cannot be read holds nothing for us, such as `lost+found`.
        listing.add(&below, &entries(&below).unwrap_or_default());
        listing.dirs.push(below);
    }
    Ok(listing)
}

impl Listing {
    /// Adds the pairs among the files of a directory.
    fn add(&mut self, dir: &Path, names: &BTreeSet<String>) {
        if let Some((cert, key)) = full_chain(names) {
            self.pairs.push(TlsFiles { cert: dir.join(cert), key: dir.join(key) });
            return;
        }
        let mut keys = BTreeSet::new();
        for cert in names.iter().filter(|name| is_certificate(name, names)) {
            let key = key_of(cert, names).unwrap_or_else(|| cert.clone());
            self.pairs.push(TlsFiles { cert: dir.join(cert), key: dir.join(&key) });
            keys.insert(key);
        }
        for alone in names.iter().filter(|name| name.ends_with(".key") && !keys.contains(*name)) {
            let file = dir.join(alone).display().to_string();
            let stem = alone.trim_end_matches(".key");
            let help = format!("put its certificate beside it, as `{stem}.crt`, or remove it");
            self.problems.push(Problem::warning(&file, "there is no certificate for this key").help(help));
        }
    }
}

/// Returns the names in a directory that are not hidden: Kubernetes and editors keep theirs behind a dot.
fn entries(dir: &Path) -> std::io::Result<BTreeSet<String>> {
    let names = fs::read_dir(dir)?.take(MOST_ENTRIES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// Returns the pair of a directory in which a tool keeps one alone: certbot's `fullchain.pem` and `privkey.pem`, acme.sh's
/// `fullchain.cer` and `NAME.key`. The other files there are parts of it.
fn full_chain(names: &BTreeSet<String>) -> Option<(&String, &String)> {
    let cert = names.iter().find(|name| name.strip_prefix("fullchain.").is_some_and(|end| ENDINGS.contains(&end)))?;
    let usual = ["privkey.pem", "key.pem", "privkey.key"].iter().find_map(|key| names.get(*key));
    let mut keys = names.iter().filter(|name| name.ends_with(".key"));
    Some((cert, usual.or_else(|| keys.next().filter(|_| keys.next().is_none()))?))
}

/// Returns true for the name of a certificate, of which it may be the chain alone, or the key as well.
fn is_certificate(name: &str, names: &BTreeSet<String>) -> bool {
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    // lego leaves the issuer beside its certificates.
    if !ENDINGS.contains(&ending) || stem.ends_with(".issuer") {
        return false;
    }
    let is_key =
        stem.strip_suffix("-key").is_some_and(|of| ENDINGS.iter().any(|end| names.contains(&format!("{of}.{end}"))));
    !is_key
}

/// Returns the name of a certificate's key, if it has a file of its own.
fn key_of(cert: &str, names: &BTreeSet<String>) -> Option<String> {
    let (stem, _) = cert.rsplit_once('.')?;
    let candidates = [format!("{stem}.key"), format!("{stem}-key.pem"), format!("{cert}.key")];
    candidates.into_iter().find(|key| names.contains(key))
}

/// Endings of certificates' names.
const ENDINGS: [&str; 4] = ["pem", "crt", "cer", "cert"];

/// Entries of one directory that are looked at.
const MOST_ENTRIES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs_of(files: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let listing = list(dir.path()).unwrap();
        let name = |path: &Path| path.strip_prefix(dir.path()).unwrap().display().to_string();
        let pairs = listing.pairs.iter().map(|pair| format!("{} {}", name(&pair.cert), name(&pair.key)));
        let alone = listing.problems.iter().map(|problem| format!("alone {}", name(Path::new(&problem.file))));
        pairs.chain(alone).collect()
    }

    #[test]
    fn the_layouts_of_tools_are_known() {
        for (files, pairs) in [
            (&["a.pem", "b.pem"][..], &["a.pem a.pem", "b.pem b.pem"][..]),
            (&["a.pem", "a.pem.key"], &["a.pem a.pem.key"]),
            (&["a.crt", "a.key", "a.issuer.crt", "a.json"], &["a.crt a.key"]),
            (&["a.pem", "a-key.pem"], &["a.pem a-key.pem"]),
            (&["tls.crt", "tls.key", "ca.txt"], &["tls.crt tls.key"]),
            (
                &["README", "a/fullchain.pem", "a/privkey.pem", "a/cert.pem", "a/chain.pem", "a/README"],
                &["a/fullchain.pem a/privkey.pem"],
            ),
            (
                &["a_ecc/fullchain.cer", "a_ecc/a.key", "a_ecc/ca.cer", "a_ecc/a.cer"],
                &["a_ecc/fullchain.cer a_ecc/a.key"],
            ),
            (&["a/a.crt", "a/a.key", "a/a.json"], &["a/a.crt a/a.key"]),
            (&["fullchain.pem", "privkey.pem", "cert.pem"], &["fullchain.pem privkey.pem"]),
            (&["b.key", ".hidden.crt", "a/b/c.pem"], &["alone b.key"]),
            (&["a-key.pem"], &["a-key.pem a-key.pem"]),
            (&[], &[]),
        ] {
            assert_eq!(pairs_of(files), pairs, "{files:?}");
        }
    }

    #[test]
    fn what_is_no_directory_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(list(&file).unwrap_err().ends_with("/file is a file, and `dir` is a directory"));
        assert!(list(&dir.path().join("gone")).unwrap_err().starts_with("there is no directory /"));
    }
}
