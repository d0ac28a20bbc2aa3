//! End-to-end tests: the built command over real sockets with real files, and the files shipped with it.
//!
//! All tests are one binary, so that it links once. Each module makes one claim.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking, in its helpers, too")]
#![allow(clippy::print_stdout, reason = "what was measured is told, and shown with --nocapture")]
#![allow(unreachable_pub, dead_code, reason = "the support module is a small library; not every module uses all of it")]

mod alone;
mod asked;
mod authority;
mod command;
mod load;
mod support;
mod two;
mod wire;

mod balance;
mod banner;
mod begin;
mod believed;
mod breach;
mod browser;
mod chat_forms;
mod chats;
mod checks;
mod cli;
mod clients;
mod comeback;
mod credentials;
mod crowds;
mod deploy;
mod dialects;
mod drain;
mod early;
mod edits;
mod errors;
mod fields;
mod floods;
mod forms;
mod guard;
mod heads;
mod hold;
mod http1;
mod http2;
mod include;
mod intruders;
mod latency;
#[cfg(feature = "layer")]
mod layer;
mod life;
mod lifted;
mod limits;
mod mails;
mod monitoring;
mod notify;
mod once;
mod operators;
mod outcomes;
mod parking;
mod pass;
mod past;
mod pause;
mod planned;
mod planning;
mod proxy_protocol;
mod publish;
mod push_forms;
mod recorded;
mod redirects;
mod replicas;
mod rewriting;
mod route_limits;
mod running;
mod schema;
mod scraped;
mod service;
mod shared_store;
mod shares;
mod shutdown;
mod silence;
mod site;
mod slow;
mod smuggling;
mod soak;
mod status;
mod streaming;
mod subscribers;
mod switches;
mod tenants;
mod tls;
mod told_again;
mod trial;
mod upgrade;
mod watch;
mod watchers;
mod windows;
mod withdrawn;
mod word;
