//! Unix sockets with a file: its access, and the files that dead processes left.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{Gid, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::accounts;
use crate::plan::config::{Account, SocketFile};

use super::bind_error::Cause;

/// Binds a unix socket. Replaces a socket file on which nobody listens, since it is left over from a process that died.
///
/// # Errors
/// The reason why it cannot be bound, or cannot get its owner and mode.
pub(super) fn bind(path: &Path, access: &SocketFile, backlog: i32) -> Result<UnixListener, Cause> {
    let (owner, group) = (user(access.owner.as_ref())?, group(access.group.as_ref())?);
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            make_room(path, error)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    // Until it listens, nobody can connect. So nobody does who will not be allowed to.
    if let Err(error) = give(path, (owner, group), access.mode) {
        // The file would be in the way of nobody, but it is of no use either.
        let _ = fs::remove_file(path);
        return Err(Cause::Access(error));
    }
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Removes the file of a dead process.
fn make_room(path: &Path, error: io::Error) -> Result<(), Cause> {
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        return Err(Cause::NoSocket);
    }
    match UnixStream::connect(path) {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        _ => Err(Cause::System(error)),
    }
}

fn give(path: &Path, (owner, group): (Option<Uid>, Option<Gid>), mode: Option<u32>) -> io::Result<()> {
    if owner.is_some() || group.is_some() {
        rustix::fs::chown(path, owner, group)?;
    }
    // The last step: a change of the owner may clear bits of the mode.
    mode.map_or(Ok(()), |mode| fs::set_permissions(path, Permissions::from_mode(mode)))
}

fn user(account: Option<&Account>) -> Result<Option<Uid>, Cause> {
    let found = account.map(|account| accounts::user(account).ok_or_else(|| Cause::NoUser(account.to_string())));
    found.transpose()
}

fn group(account: Option<&Account>) -> Result<Option<Gid>, Cause> {
    let found = account.map(|account| accounts::group(account).ok_or_else(|| Cause::NoGroup(account.to_string())));
    found.transpose()
}
