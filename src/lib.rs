//! backsoon
pub mod plan;
