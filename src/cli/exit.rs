//! Exit codes, after sysexits.h, and the last words of a command that failed.

use std::fmt;
use std::io::Write;

/// It went well.
pub const OK: u8 = 0;
/// `status` found replicas that do not agree, or a file with an error.
pub const DIFFERS: u8 = 1;
/// `on --wait`: it is live, and something that began before is still in flight.
pub const NOT_DRAINED: u8 = 3;
/// The command line, the config or the flag file is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// Something that is needed cannot be had: a port, an admin listener (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// A bug (`EX_SOFTWARE`).
pub const INTERNAL: u8 = 70;
/// A file cannot be read or written (`EX_IOERR`).
pub const IO: u8 = 74;
/// It may go well later: what was waited for did not happen in time (`EX_TEMPFAIL`).
pub const TEMPFAIL: u8 = 75;
/// A second signal cut what was in flight.
pub const CUT: u8 = 1;

/// Says something on standard error.
pub fn say(what: fmt::Arguments<'_>) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{what}");
}
