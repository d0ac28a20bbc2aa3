//! Telemetry: what the process counts and logs about itself.
//!
//! A counter is a cell that one worker writes and a scrape sums. Counting takes no lock, and shares no cache line
//! between workers. The meters of routes and upstreams outlive the generations that name them.

pub mod access;
pub mod cell;
pub mod forms;
pub mod histogram;
pub mod line;
mod links;
pub mod log;
pub mod meters;
pub mod recent;
pub mod statuses;

pub use cell::{Cell, Gauge};
pub use forms::{FormEnd, FormMeter};
pub use histogram::{Counts, Histogram};
pub use links::LinkCell;
pub use meters::{
    Limit, Meters, RouteCell, RouteMeter, SERVER_ERROR, UpstreamCell, UpstreamKey, UpstreamMeter, WorkerCell,
};
pub use recent::{Recent, Seen, Summary};
