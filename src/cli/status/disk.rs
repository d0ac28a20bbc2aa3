//! The files on this machine's disk, compared with what a proxy on this machine has read.

use std::net::IpAddr;
use std::path::Path;

use crate::files::source;
use crate::status::{FileStatus, Status};

use super::super::admin::Endpoint;

/// Describes the files that differ on disk from the content that the proxy read last. A file that cannot be read from
/// here is left out, as are all files of a proxy elsewhere.
pub(super) fn unread(endpoint: &Endpoint, status: &Status) -> Vec<String> {
    if !is_local(endpoint) {
        return Vec::new();
    }
    status.main_files().filter(|file| differs(file)).map(words).collect()
}

fn words(file: &FileStatus) -> String {
    format!("{} on disk is not what the proxy has read: an edit that it has not seen, or another file", file.path)
}

/// Returns true if the file can be read from here, and its content differs from the one that the proxy read last.
fn differs(file: &FileStatus) -> bool {
    let path = file.real.as_deref().unwrap_or(&file.path);
    // A relative path belongs to the directory that the proxy was started in.
    if !Path::new(path).is_absolute() || file.pending.is_some() {
        return false;
    }
    let (Some(read), Ok(content)) = (&file.hash, source::read(Path::new(path)).content) else { return false };
    content.hash.to_string() != *read
}

/// Returns true if the listener is one of this machine.
fn is_local(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Unix(_) => true,
        Endpoint::Host(host, _) => host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    }
}
