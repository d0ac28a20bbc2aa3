//! Request for a connection of a pool.

use crate::plan::limits::Limits;
use crate::proxy::queue::Flow;

use super::idle::Reuse;

/// Parameters of a request for a connection.
pub(crate) struct Checkout<'o> {
    /// Starts the task that relieves the queue.
    pub relieve: &'o dyn Fn(),
    pub limits: &'o Limits,
    pub reuse: Reuse,
    /// The PROXY header of a new connection.
    pub introduction: Option<&'o [u8]>,
    /// Returns the client of the request. Called only if the request has to wait.
    pub flow: &'o dyn Fn() -> Flow,
}
