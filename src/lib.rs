//! backsoon
pub mod control;
pub mod live;
pub mod plan;
pub mod proxy;
pub mod telemetry;

pub mod cli;
