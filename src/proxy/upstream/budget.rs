//! The connections that a worker may have open to upstreams.

use std::cell::Cell;

/// The connections that one worker may have open to all upstreams together, each of which takes a descriptor.
#[derive(Debug)]
pub(crate) struct Budget {
    open: Cell<usize>,
    /// To all upstreams.
    pub most: usize,
    /// To one upstream, if the config does not say.
    pub usual: usize,
}

impl Budget {
    /// Makes a budget of this many connections.
    pub(crate) fn new(most: usize) -> Self {
        Self { open: Cell::new(0), most, usual: most.min(USUAL_CONNECTIONS) }
    }

    /// Returns true if all connections are open.
    pub(crate) fn is_spent(&self) -> bool {
        self.open.get() >= self.most
    }

    pub(crate) fn take(&self) {
        self.open.set(self.open.get() + 1);
    }

    pub(crate) fn give_back(&self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// Connections of one worker to one upstream, if the config does not say and the descriptors allow as many.
const USUAL_CONNECTIONS: usize = 4096;
