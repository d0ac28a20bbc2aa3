//! backsoon
pub mod live;
pub mod plan;
pub mod proxy;
pub mod telemetry;
