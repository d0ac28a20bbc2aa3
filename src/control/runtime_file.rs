//! The runtime file: names the admin address of this process and its files in force, for commands that find no usable
//! config.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::files::write;
use crate::plan::config::Config;
use crate::status::RuntimeFile;

use super::state::StateDir;

/// Writer of the runtime file, which is also its owner: the file ends with it.
pub(super) struct RuntimeRecord {
    /// Places of the file: the state directory, and the directory that the service manager gives.
    places: Vec<PathBuf>,
    admin: Option<String>,
    started: Timestamp,
    /// The text that was written last.
    written: Option<String>,
}

impl RuntimeRecord {
    /// Creates a writer. Writes nothing yet.
    pub(super) fn new(config_file: &Path, state: &StateDir, admin: Option<String>) -> Self {
        let mut places = vec![state.file(RuntimeFile::ENDING)];
        let systemd = env::var("RUNTIME_DIRECTORY").ok();
        let first = systemd.as_deref().and_then(|list| list.split(':').next()).filter(|first| !first.is_empty());
        // The same name as in the state directory: several proxies may share either.
        let shared = StateDir::new(config_file, first.map(Path::new), None).file(RuntimeFile::ENDING);
        if first.is_some() && !places.contains(&shared) {
            places.push(shared);
        }
        Self { places, admin, started: Timestamp::now(), written: None }
    }

    /// Writes the file if its content is new. The proxy serves even if that fails: the state directory then has a
    /// problem of its own.
    pub(super) fn write(&mut self, config_file: &Path, config: &Config) {
        let file = RuntimeFile {
            pid: std::process::id(),
            admin: self.admin.clone(),
            config: canonical(config_file),
            maintenance: canonical(&config.maintenance),
            started: Some(self.started),
        };
        let Ok(text) = serde_json::to_string_pretty(&file) else { return };
        if self.written.as_ref() == Some(&text) {
            return;
        }
        for place in &self.places {
            if let Err(error) = write::readably(place, text.as_bytes()) {
                tracing::debug!(path = %place.display(), %error, "the runtime file cannot be written");
            }
        }
        self.written = Some(text);
    }
}

impl Drop for RuntimeRecord {
    /// Removes the file, unless another process with the same config has taken its place.
    fn drop(&mut self) {
        for place in &self.places {
            if fs::read_to_string(place).is_ok_and(|text| Some(text) == self.written) {
                let _ = fs::remove_file(place);
            }
        }
    }
}

/// Returns the path of the flag file in force, if a proxy with this config is running.
pub(crate) fn flags_in_force(config_file: &Path, config: &Config) -> Option<PathBuf> {
    let state = StateDir::of_process(config_file, config.state_dir.as_deref());
    let text = fs::read_to_string(state.file(RuntimeFile::ENDING)).ok()?;
    let running: RuntimeFile = serde_json::from_str(&text).ok()?;
    // In a container, every first process has the same id. So this process may have the id of a proxy that was killed.
    let other = Some(running.pid).filter(|pid| *pid != std::process::id())?;
    let pid = Pid::from_raw(i32::try_from(other).ok()?)?;
    // A process that was killed has left its file behind. A process of another user exists, but cannot be signalled.
    let is_there = test_kill_process(pid).err().is_none_or(|error| error == Errno::PERM);
    (is_there && running.config == canonical(config_file)).then_some(running.maintenance)
}

/// Returns the path with all symlinks followed. The file itself need not exist.
pub(crate) fn canonical(path: &Path) -> PathBuf {
    let beside = || {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(fs::canonicalize(directory).ok()?.join(path.file_name()?))
    };
    fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}
