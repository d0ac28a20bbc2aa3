//! `backsoon run`: serves.

use std::path::PathBuf;
use std::process::ExitCode;

use super::exit;

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The config file.
    pub config: PathBuf,
}

/// Serves until told to end.
pub fn run(_options: &Options) -> ExitCode {
    ExitCode::from(exit::INTERNAL)
}
