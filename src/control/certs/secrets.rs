//! Secrets: keys of bypasses, and places to notify. Their contents are never repeated.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::files::source::{Content, ReadError};
use crate::plan::config::{BadDestination, Config, Destination};
use crate::plan::pass::{Key, SHORTEST};
use crate::plan::problem::Problem;

/// Returns the routes with a secret, each with the secret's file.
pub(crate) fn secret_files(config: &Config) -> impl Iterator<Item = (&str, &Path)> {
    config.routes.iter().filter_map(|route| {
        let file = route.policy.bypass.as_ref()?.secret_file.as_ref()?;
        Some((route.name.as_str(), file.as_path()))
    })
}

/// Returns the files that name places to notify.
pub(super) fn destination_files(config: &Config) -> impl Iterator<Item = &Path> {
    config.notify.iter().filter_map(|notify| notify.to.file())
}

/// Returns the place that a file names. The content is not repeated, since it is a secret.
pub(super) fn destination(
    file: &Path,
    read: &mut impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Destination, Problem> {
    let help = "write one line into it: `slack:https://hooks.slack.com/services/…`, or another place";
    let content = read(file).map_err(|error| Problem::in_file(file, error).help(help))?;
    let text = std::str::from_utf8(&content.bytes).unwrap_or_default();
    Destination::parse(text).map_err(|BadDestination { what, help }| Problem::in_file(file, what).help(help))
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
