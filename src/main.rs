//! The command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = std::env::args().nth(3).unwrap_or_default();
    ExitCode::from(backsoon::cli::run::run(&backsoon::cli::run::Options { config: config.into(), port_hint: None }))
}
