//! backsoon
pub mod control;
pub mod plan;
