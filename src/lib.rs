//! backsoon
pub mod plan;

pub mod cli;
