//! Every key of the config and of the flag file: its form, its default and its meaning.
//!
//! The parsers refuse a key that its table lacks, the documents and the JSON Schemas are made from the tables. Tests
//! hold each entry against the parser: `Section::finish` compares the names, and `keys/tests.rs` the defaults, the
//! ranges and the words.

mod bypass;
mod checks;
mod config;
mod errors;
mod fields;
mod flags;
mod fleet;
mod guard;
mod listen;
mod log;
mod mail;
mod notify;
mod page;
mod redirect;
mod route_page;
mod status;
mod sticky;
mod switch;
mod times;
mod tls;
mod upstream;
mod write;

#[cfg(test)]
mod tests;

pub use bypass::BYPASS;
pub use checks::{CHECK, HEALTH};
pub use config::{ADMIN, CONFIG, EXCEPTION, HOLD, READ_ONLY, ROUTE};
pub use errors::ERRORS;
pub use fields::{REQUEST, RESPONSE};
pub use flags::{FLAG, FLAGS, IMPACT, LIFT, LINK, PROGRESS, SERVICE, STEP, WINDOW};
pub use fleet::{FLEET, FLEET_KUBERNETES};
pub use guard::GUARD;
pub use listen::LISTEN;
pub use log::LOG;
pub use mail::{DKIM, MAIL};
pub use notify::NOTIFY;
pub use page::PAGE;
pub use redirect::{LISTEN_REDIRECT, ROUTE_REDIRECT};
pub use route_page::{LINKS, ROUTE_PAGE};
pub use status::{STATUS, STATUS_SERVICE};
pub use sticky::STICKY;
pub use switch::SWITCH;
pub use tls::{CERTIFICATE, TLS};
pub use upstream::UPSTREAM;
pub use write::ADMIN_WRITE;
