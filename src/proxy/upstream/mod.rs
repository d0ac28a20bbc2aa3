//! The upstream's side: connections opened, pooled, leased to one request, and avoided when they fail.

pub(crate) mod adaptive_limit;
pub(crate) mod answer_fields;
pub(crate) mod budget;
pub(crate) mod checkout;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod health;
pub(crate) mod idle;
pub(crate) mod lease;
mod name;
pub(crate) mod pool;
