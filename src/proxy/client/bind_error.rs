//! Failure to listen on an address, with the way out.

use std::fmt;
use std::io;

use crate::plan::config::Address;

/// Failure to listen on an address.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// The reason.
    pub(super) cause: Cause,
}

/// Reason why an address cannot be listened on.
#[derive(Debug)]
pub(super) enum Cause {
    /// The system says no.
    System(io::Error),
    /// A file is in the way that is no socket.
    NoSocket,
    /// No user has this name.
    NoUser(String),
    /// No group has this name.
    NoGroup(String),
    /// The socket's file cannot be given away, or its mode cannot be set.
    Access(io::Error),
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl BindError {
    /// Returns true if another process listens there.
    pub fn in_use(&self) -> bool {
        self.is(io::ErrorKind::AddrInUse)
    }

    fn is(&self, kind: io::ErrorKind) -> bool {
        matches!(&self.cause, Cause::System(error) if error.kind() == kind)
    }

    /// Returns true if the machine does not speak the family of the address.
    fn lacks_family(&self) -> bool {
        let code = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
        matches!(&self.cause, Cause::System(error) if error.raw_os_error() == Some(code))
    }

    /// Returns the port if it is one that only privileged processes listen on by default.
    fn privileged_port(&self) -> Option<u16> {
        match &self.address {
            Address::Ip(address) => Some(address.port()).filter(|port| *port < FIRST_FREE_PORT),
            Address::Unix(_) => None,
        }
    }

    /// Returns what helps, if that does not depend on how the address was written.
    pub fn advice(&self) -> Option<String> {
        match (&self.cause, &self.address) {
            (Cause::NoUser(_) | Cause::NoGroup(_), _) => {
                Some("names are looked up in /etc/passwd and /etc/group: write the number of any other".to_owned())
            }
            (Cause::Access(_), _) => {
                Some("only root gives files to other users; others give them to groups that they belong to".to_owned())
            }
            (Cause::NoSocket, _) => Some("remove it, or name another path".to_owned()),
            (Cause::System(_), Address::Ip(address)) if self.lacks_family() && address.is_ipv6() => {
                Some(format!("write `0.0.0.0:{}` in its place, or switch IPv6 on", address.port()))
            }
            (Cause::System(_), Address::Ip(_)) if self.is(io::ErrorKind::AddrNotAvailable) => Some(
                "`ip address` shows those that it has; `0.0.0.0` stands for all of IPv4, `[::]` for all".to_owned(),
            ),
            (Cause::System(_), Address::Ip(_)) if self.is(io::ErrorKind::PermissionDenied) => {
                self.privileged_port().map(|port| {
                    format!(
                        "let systemd listen (deploy/backsoon.socket), or give the unit `AmbientCapabilities=\
                         CAP_NET_BIND_SERVICE`, the program `setcap cap_net_bind_service=+ep`, or the machine `sysctl \
                         net.ipv4.ip_unprivileged_port_start={port}`; or listen on a port from {FIRST_FREE_PORT}"
                    )
                })
            }
            (Cause::System(_), Address::Unix(_)) if self.is(io::ErrorKind::NotFound) => {
                Some("make its directory first; systemd does with `RuntimeDirectory=backsoon`".to_owned())
            }
            (Cause::System(_), Address::Unix(_)) if self.is(io::ErrorKind::PermissionDenied) => {
                Some("the user that runs backsoon must be able to write in its directory".to_owned())
            }
            (Cause::System(_), _) => None,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        match &self.cause {
            Cause::NoSocket => write!(f, "{address} is there already, and is no socket"),
            Cause::NoUser(name) => write!(f, "{address} cannot belong to `{name}`: no user has this name"),
            Cause::NoGroup(name) => write!(f, "{address} cannot belong to `{name}`: no group has this name"),
            Cause::Access(_) => write!(f, "{address} cannot get its owner, group or mode"),
            Cause::System(_) if self.in_use() => write!(f, "{address} is in use by another process"),
            Cause::System(_) if self.lacks_family() => {
                write!(f, "cannot listen on {address}: this machine has no IPv6")
            }
            Cause::System(_) if self.is(io::ErrorKind::AddrNotAvailable) => {
                write!(f, "cannot listen on {address}: this machine does not have the address")
            }
            Cause::System(_) => match self.privileged_port().filter(|_| self.is(io::ErrorKind::PermissionDenied)) {
                Some(port) => write!(f, "cannot listen on {address}: port {port} is for privileged processes"),
                None => write!(f, "cannot listen on {address}"),
            },
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::System(error) | Cause::Access(error) => (!self.in_use()).then_some(error),
            Cause::NoSocket | Cause::NoUser(_) | Cause::NoGroup(_) => None,
        }
    }
}

/// Lowest port that any process may listen on, unless the machine says otherwise (ip_unprivileged_port_start).
const FIRST_FREE_PORT: u16 = 1024;
