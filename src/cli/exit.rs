//! The exit codes, all of them: those of sysexits(3) wherever it has one.

/// It was done, or all is well.
pub const OK: u8 = 0;
/// `status` found replicas that do not agree, or errors in force.
pub const DIFFERS: u8 = 1;
/// The command line, the config or the flag file is wrong.
pub const USAGE: u8 = 64;
/// An address cannot be had, or an admin listener cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// The program cannot go on, and nobody outside of it is to blame.
pub const INTERNAL: u8 = 70;
/// A file, or the output, cannot be read or written.
pub const IO: u8 = 74;
/// It was not done in time; trying again may help.
pub const TEMPORARY: u8 = 75;
