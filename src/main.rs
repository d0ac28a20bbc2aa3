//! The command `backsoon`. Everything it does is in [`backsoon::cli`].

use std::process::ExitCode;

/// See `Cargo.toml` for why it is not the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    backsoon::cli::main(std::env::args_os())
}
