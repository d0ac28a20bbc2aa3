//! **backsoon**: a reverse proxy that knows how to pause.
//!
//! backsoon stands in front of one or more upstreams and forwards. When a watched file flags a route, that route is
//! answered from memory with a finished maintenance page (503) until the flag is lifted or the window ends.
//!
//! | to | go to |
//! |---|---|
//! | put maintenance into an axum, tower or hyper app | the [`layer`] module, with `default-features = false` and the feature `layer` |
//! | run the proxy | the command: `cargo install backsoon`, then `backsoon demo` |
//! | work on backsoon | the rest of this page |
//!
//! The public API is [`layer`], with the types of [`plan`] that it takes and returns. All other modules are internals: they are
//! public for the command and the benchmarks of this crate, hidden here, and change without notice.
//!
//! # Architecture
//!
//! There are three kinds of code, so there are three folders, and one small cell between them.
//!
//! ```text
//! files ─▶ control: read ─▶ Inputs{config, flags, renderer, known, previous, now} ─▶ plan: compile ─▶ Snapshot
//! clock ─▶ control: wake                                                                          │ publish
//!                                                            proxy: one read per request ◀─ live ◀┘
//!                                                     decide(head) ─▶ Forward · Show · Hold · Refuse
//! ```
//!
//! - [`plan`] decides *what should happen*. Values only: no I/O, no clock, no async, no locks, no logging.
//! - `files` watches, reads and writes files, and knows nothing of maintenance.
//! - `control` decides *when it changes*. Slow, may block, may fail, never touches a request.
//! - `proxy` *makes it happen*. No files, no templates, no wall clock, and no locks that workers share, except for
//!   held requests.
//! - `live` is the one mutable cell, between a `Publisher` that only control owns and a `Reader` that cannot write.
//! - `hold` has the queues of requests that wait for their route, for the proxy and the layer.
//! - `net` opens connections to upstreams, for the proxy and for control's checks.
//! - `outbox` keeps subscribers and what they are still to be told, and tells them. It runs on a thread of its own.
//! - `status` is the JSON that control writes about itself and the command reads.
//! - `telemetry` counts and logs: cells of one worker each, summed at a scrape.
//! - `cli` is the command, and the one place that puts control and proxy together.
//! - `layer` (a feature) is the same gate in-process, for axum and hyper apps. With the proxy it shares the decision, the
//!   pages and the hold queues, and nothing else.
//!
//! `plan` and `files` import nothing of the crate. `telemetry`, `hold`, `net`, `outbox` and `status` import `plan`. `live` imports `plan` and
//! `telemetry`: meters outlive the snapshots that name their routes, and a request must find its meters without a look-up.
//! `control` and `proxy` import what they need of these, never each other. A test enforces these directions.
//!
//! # Invariants
//!
//! Most of these rules forbid something, so the code alone does not show them.
//!
//! 1. A request sees one generation: route, verdict, page, headers and log line come from the same snapshot. A verdict
//!    given stands: a request forwarded before its route closed runs to its end, or to the end of the drain time. (A
//!    watcher looks again at every publication. A held request is decided anew when its wait is over, by the snapshot
//!    that is live then.)
//! 2. Each *request* looks once at what is live, because keep-alive connections outlive windows.
//! 3. When a route is closed its upstream sees *zero bytes* of refused requests.
//! 4. The proxy's hot path renders nothing and takes no lock shared between workers. (Held requests share one,
//!    because they wait in order of arrival over all workers. No other request comes near it.)
//! 5. A bad input never changes what is served. At start, bad input is a clear error and exit code 64.
//! 6. `check`, `explain`, `render` and `run` share one code path (`control::load`). There is no second validator.
//! 7. The page needs nothing at view time: no file, no upstream, no sub-resource, no third party. A published page can
//!    be shown to every client. Other languages and compressed forms follow after the publication, once, and with the
//!    same content ([`plan::page::Page::finish`]).
//! 8. A streaming response, a tunnel, a watcher or a held request does not pin an old snapshot. (An upload does, until its
//!    response begins.)
//! 9. A publication drops no warm upstream connection whose upstream did not change.
//! 10. Every await on a peer has a time-out; every queue, buffer and loop has a named limit (`plan::limits`). (A
//!     watcher may listen as long as it likes, but must read each event in time.)
//! 11. Unread bytes of a request's body are never taken for the next request.
//! 12. Replicas with the same files and the same clock make the same choices without talking. Times count from instants in
//!     the file, and values that change by themselves change on a grid of time.
//!
//! # Words
//!
//! One per concept, from the config's key to the metric's label. Words that mean here what they mean in every proxy (route,
//! upstream, client, drain, verdict, lease) are not listed.
//!
//! | word | meaning |
//! |---|---|
//! | flag | an entry of the flag file |
//! | mode | the way in which a flag closes a route: offline, read-only, hold |
//! | window | a planned maintenance, the half-open span [starts, ends) |
//! | phase | the state of a route: open, draining, closed, verifying, ramping (`plan::lifecycle`) |
//! | guard, breach | the limits that a returning route must keep; the limit that it broke |
//! | turn, cohort, share | what is the same about a client in all ramps; its place in one; the part that is admitted |
//! | closure | the reason why a route is closed, with its page |
//! | exception | a path that a closed route leaves open |
//! | snapshot, generation | the compiled whole, immutable except for pages that are finished behind it; its number |
//! | compile, publish | to make a snapshot from the inputs; to make it live |
//! | dialect | the form of an answer: html, text, json, grpc … |
//! | page content, page model | the operator's words and the phase; the same with the times that follow from the clock |
//! | renderer | templates and languages, from which pages are made |
//! | held | of a request: waiting for its route |
//! | watcher | a client that is told when a page changes, and when its route is back |
//! | problem, error | a mistake in the operator's input, with its place; a failure while running |
//! | parked | of an idle client connection: reduced to the bare socket until its next request |

#![cfg_attr(not(feature = "layer"), allow(rustdoc::broken_intra_doc_links, reason = "the layer is another feature"))]

pub mod plan;

#[cfg(any(feature = "proxy", feature = "layer"))]
mod hold;
#[cfg(feature = "proxy")]
#[doc(hidden)]
pub mod live;
#[cfg(feature = "proxy")]
mod net;
#[cfg(feature = "proxy")]
#[doc(hidden)]
pub mod outbox;
#[cfg(any(feature = "proxy", feature = "layer"))]
#[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "the layer writes a status, and reads none"))]
mod status;
#[cfg(feature = "proxy")]
#[doc(hidden)]
pub mod telemetry;

#[cfg(any(feature = "proxy", feature = "layer"))]
mod files;

#[cfg(any(feature = "proxy", feature = "layer"))]
#[doc(hidden)]
pub mod control;
#[cfg(feature = "proxy")]
#[doc(hidden)]
pub mod proxy;

#[cfg(feature = "proxy")]
#[doc(hidden)]
#[allow(rustdoc::bare_urls, reason = "these docs are the text of --help")]
pub mod cli;

#[cfg(feature = "layer")]
pub mod layer;

#[cfg(test)]
mod tidy;
