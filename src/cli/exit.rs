//! Exit codes, after sysexits.h, and error messages of `run`.

use std::fmt;
use std::io::Write;

/// Success.
pub const OK: u8 = 0;
/// `status` found replicas that differ, or a file with an error. `verify` found a route that would not open.
pub const DIFFERS: u8 = 1;
/// `on --wait`: the flag is in force, but requests that began before it are still in flight.
pub const NOT_DRAINED: u8 = 3;
/// `off`: the flags are gone, but something keeps a route from being open.
pub const NOT_OPEN: u8 = 4;
/// The command line, the config or the flag file is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// `--wait`: a proxy refuses the flag file (`EX_DATAERR`).
pub const REFUSED: u8 = 65;
/// A port or an admin listener is not available (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A bug (`EX_SOFTWARE`).
pub const INTERNAL: u8 = 70;
/// A file cannot be read or written (`EX_IOERR`).
pub const IO: u8 = 74;
/// `--wait`: the edit is not in force (`EX_TEMPFAIL`).
pub const TEMPFAIL: u8 = 75;
/// `with`: the command succeeded, and a route could not be opened.
pub const NOT_OPENED: u8 = 123;
/// `with`: the routes were not drained in time, and nothing was run.
pub const UNDRAINED: u8 = 124;
/// `with`: nothing was run, for another reason.
pub const NOT_RUN: u8 = 125;
/// `with`: the command cannot be run.
pub const CANNOT_RUN: u8 = 126;
/// `with`: the command was not found.
pub const NOT_FOUND: u8 = 127;
/// A second signal cut the requests in flight.
pub const CUT: u8 = 1;

/// Writes a line to standard error.
pub fn say(what: fmt::Arguments<'_>) {
    // If standard error is closed, nobody can be told.
    let _ = writeln!(std::io::stderr(), "{what}");
}
