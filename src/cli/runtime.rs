//! The runtime file, by which a command finds a running proxy while the config on disk is broken.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::control::state::{StateDir, first_of};
use crate::plan::config::Address;
use crate::status::RuntimeFile;

use super::admin::Endpoint;
use super::site::config_text;

/// Finds the runtime file of a config. In a directory that proxies share, a file counts only if it names this config.
pub(super) fn find(config_file: &Path, state_dir: Option<&Path>) -> Option<RuntimeFile> {
    let mut name = config_file.file_stem().unwrap_or("backsoon".as_ref()).to_owned();
    name.push(RuntimeFile::ENDING);
    let beside = StateDir::beside(config_file);
    let own = state_dir.into_iter().chain([&*beside]).find_map(|directory| read(&directory.join(&name)));
    own.or_else(|| {
        let shared = of_systemd("STATE_DIRECTORY").into_iter().chain(of_systemd("RUNTIME_DIRECTORY"));
        let mut shared = shared.chain(SHARED.map(PathBuf::from)).filter_map(|directory| read(&directory.join(&name)));
        shared.find(|file| is_for(file, config_file))
    })
}

/// Returns the admin listener that a runtime file names.
pub(super) fn endpoint(file: &RuntimeFile) -> Option<Endpoint> {
    let admin = file.admin.as_deref()?;
    match admin.parse::<SocketAddr>() {
        Ok(address) => Some(Endpoint::from(&Address::Ip(address))),
        Err(_) => admin.parse().ok(),
    }
}

/// Reads the key `state_dir` of a config that cannot be parsed.
pub(super) fn state_dir(config_file: &Path) -> Option<PathBuf> {
    let text = config_text(config_file)?;
    let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let value = top.filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "state_dir")?.1.trim();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let path = value.split(quote).nth(1).filter(|path| !path.is_empty())?;
    Some(config_file.parent().unwrap_or(Path::new("")).join(path))
}

/// Reads one runtime file; `None` if it is missing, too large, or not one.
fn read(path: &Path) -> Option<RuntimeFile> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let bytes = (size <= LARGEST).then(|| fs::read(path).ok())??;
    serde_json::from_slice(&bytes).ok()
}

/// Returns true if a runtime file belongs to a config, which need not exist any more.
fn is_for(file: &RuntimeFile, config_file: &Path) -> bool {
    let name = config_file.file_name().unwrap_or_default();
    let directory = config_file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = fs::canonicalize(directory).map(|directory| directory.join(name));
    fs::canonicalize(config_file).is_ok_and(|path| path == file.config) || named.is_ok_and(|path| path == file.config)
}

fn of_systemd(variable: &str) -> Option<PathBuf> {
    first_of(std::env::var_os(variable)?)
}

/// Directories that proxies of other configs may use as well.
const SHARED: [&str; 2] = ["/run/backsoon", "/var/lib/backsoon"];
/// Largest runtime file that is read.
const LARGEST: u64 = 64 * 1024;
