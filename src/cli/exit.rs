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
/// A second signal cut the requests in flight.
pub const CUT: u8 = 1;

/// Writes a line to standard error.
pub fn say(what: fmt::Arguments<'_>) {
    // If standard error is closed, nobody can be told.
    let _ = writeln!(std::io::stderr(), "{what}");
}
