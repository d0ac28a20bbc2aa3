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
//! - `proxy` *makes it happen*. No files, no templates, no wall clock, and no locks that workers share but for requests
//!   that are held.
//! - `live` is the one mutable cell, between a `Publisher` that only control owns and a `Reader` that cannot write.
//! - `hold` has the queues of requests that wait for their route, for the proxy and the layer.
//! - `net` opens connections to upstreams, for the proxy and for control's checks.
//! - `status` is the JSON that control writes about itself and the command reads.
//! - `telemetry` is what the process counts and writes down: cells of one worker each, summed at a scrape.
//! - `cli` is the command, and the one place that puts control and proxy together.
//! - `layer` (a feature) is the same gate in-process, for axum and hyper apps: it is fed by control's watch of files, and
//!   shares with the proxy what is decided and what is shown, and nothing else.
//!
//! `plan` and `files` import nothing of the crate; `telemetry` imports `plan`; `live` imports `plan` and `telemetry`, because the
//! meters of routes and upstreams outlive the snapshots that name them, and a request must find its meters without a
//! look-up; `hold`, `net` and `status` import `plan`; `control` and `proxy` import those above, never each other. A test enforces
//! these directions.
//!
//! # Invariants
//!
//! Most of them are absences, which cannot be read off the code.
//!
//! 1. A request sees one generation: route, verdict, page, headers and log line come from the same snapshot. A verdict
//!    given stands: a request forwarded before its route closed runs to its end, or to that of the drain time. (A
//!    watcher looks anew: that is what it asked for. A held request is decided anew when its wait is over, by what is live then and nothing else.)
//! 2. One look at what is live per *request*, not per connection: keep-alive connections outlive windows.
//! 3. When a route is closed its upstream sees *zero bytes* of refused requests.
//! 4. The proxy's hot path renders nothing and takes no lock shared between workers. (Requests that wait for their route
//!    have one, since they wait in the order in which they came, on whichever worker. No other request comes near it.)
//! 5. A bad input never changes what is served. At start, bad input is a clear error and exit code 64.
//! 6. `check`, `explain`, `render` and `run` share one code path (`control::load`). There is no second validator.
//! 7. The page needs nothing at view time: no file, no upstream, no sub-resource, no third party. What is published can be
//!    shown to every client; the other languages and the compressed forms are filled in behind the publication, once, and
//!    tell the same ([`plan::page::Page::finish`]).
//! 8. A streaming response, a tunnel, a watcher or a held request does not pin an old snapshot. (An upload does, until its
//!    response begins.)
//! 9. A publication drops no warm upstream connection whose upstream did not change.
//! 10. Every await on a peer has a time-out; every queue, buffer and loop has a named limit ([`plan::limits`]). (A
//!     watcher may listen for as long as it likes, and must take what it is told in time.)
//! 11. What was not read of a request's body is never taken for the next request.
//! 12. Replicas that see the same files and the same clock make the same choices without talking: what a phase counts from
//!     is taken from the file, and what changes by itself changes on a grid.
//!
//! # Words
//!
//! One per concept, from the config's key to the metric's label.
//!
//! | word | is |
//! |---|---|
//! | config | the operator's static file |
//! | flag | an entry of the flag file |
//! | mode | what a flag does to a route: offline, read-only, hold |
//! | window | a planned maintenance, the half-open span [starts, ends) |
//! | phase | where a route is now: open, draining, closed, verifying, ramping ([`plan::lifecycle`]) |
//! | memory | what of a route's phase neither the file nor the clock can tell; kept over a restart |
//! | observed | what control feeds `plan` of a route: what is left in flight, what checks found, how it does |
//! | guard, breach | what a route that comes back is measured by; what it found |
//! | cohort, share | a client's place in a ramp; how many of them are admitted |
//! | standing | where a request in flight is, for the case that its route goes down |
//! | closure | why a route is closed, and the page that says so |
//! | route | host and path, with its upstreams |
//! | upstream | where a route's requests go |
//! | client | who sent the request |
//! | snapshot, generation | the compiled whole, immutable, but that its pages are finished behind it; its number |
//! | compile, publish | inputs to snapshot, purely; to make it live |
//! | decide, verdict | snapshot and request head to what to do |
//! | page, dialect | what a closed route's clients are shown; the form of it: html, text, json, grpc … |
//! | page content, page model | the operator's words and the phase; the same with the times that follow from the clock |
//! | renderer | templates and languages, from which pages are made |
//! | held, place, turn | of a request: waiting for its route; where it waits, among all workers'; when it goes on |
//! | exception | a path that a closed route does not close |
//! | watcher | a client that is told when a page changes, and when its route is back |
//! | problem, error | wrong in the operator's input, with a place; gone wrong while running |
//! | drain | to let what is in flight finish, within a time |
//! | flight | a request's entry in the books, from its head to the end of its response |
//! | lease | an upstream connection, for one request |
//! | journey | a request on its way to an upstream |
//! | parked | of a client connection: idle, and taken apart to the bare socket until its next request |

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
