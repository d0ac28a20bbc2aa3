//! backsoon
pub mod plan;
pub mod telemetry;
pub mod live;
pub mod control;
pub mod proxy;

pub mod cli;
