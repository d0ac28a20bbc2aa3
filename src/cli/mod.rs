//! The command: one file per subcommand, and what several of them share.

pub mod edit;
pub mod exit;
pub mod run;
pub mod write;
