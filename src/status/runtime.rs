//! The runtime file, by which commands find a proxy that runs.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The runtime file: the address of a running proxy, and the files that it has in force.
///
/// The proxy writes it as `<stem of the config>.runtime.json` into its state directory, so that the commands work while
/// the config on disk is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RuntimeFile {
    /// The process id.
    pub pid: u32,
    /// The address of the admin listener: `127.0.0.1:9901` or `unix:/run/backsoon/admin.sock`. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// The canonical path of the config.
    pub config: PathBuf,
    /// The canonical path of the flag file in force.
    pub maintenance: PathBuf,
    /// Start of the process.
    pub started: Option<Timestamp>,
}

impl RuntimeFile {
    /// The end of the file's name, after the stem of the config's name.
    pub(crate) const ENDING: &str = ".runtime.json";
}
