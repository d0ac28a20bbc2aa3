//! One request: decided, then forwarded, held or answered here, and recorded.

mod arrival;
pub(crate) mod balance;
pub(crate) mod body;
mod call;
mod changes;
pub(crate) mod entry;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod hold;
pub(crate) mod own;
pub(crate) mod prepare;
pub(crate) mod record;
mod redirect;
mod replace;
pub(crate) mod respond;
pub(crate) mod response_context;
mod rewrite;
pub(crate) mod serve;
mod site;
pub(crate) mod tunnel;
pub(crate) mod unread;
mod visit;
