//! What a worker has for connections to upstreams: descriptors, and time to serve more of them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The connections that one worker may have open to all upstreams together, each of which takes a descriptor.
#[derive(Debug)]
pub(super) struct Budget {
    open: Cell<usize>,
    /// To all upstreams.
    most: usize,
    /// To one upstream, if the config does not say.
    pub usual: usize,
    pub load: Load,
}

impl Budget {
    /// Makes a budget of this many connections.
    pub(super) fn new(most: usize) -> Self {
        Self { open: Cell::new(0), most, usual: most.min(USUAL_CONNECTIONS), load: Load::new() }
    }

    /// Whether all connections are open.
    pub(super) fn is_spent(&self) -> bool {
        self.open.get() >= self.most
    }

    pub(super) fn take(&self) {
        self.open.set(self.open.get() + 1);
    }

    pub(super) fn give_back(&self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// How busy the worker's thread is. Looked at by the thread itself, and only when it matters.
#[derive(Debug)]
pub(super) struct Load {
    looked: Cell<Instant>,
    /// The processor time that the thread had used then.
    used: Cell<Duration>,
    saturated: Cell<bool>,
}

impl Load {
    fn new() -> Self {
        Self { looked: Cell::new(Instant::now()), used: Cell::new(processor_time()), saturated: Cell::new(false) }
    }

    /// Whether the thread has hardly paused lately. Then more connections at a time would not be served any sooner.
    pub(super) fn is_saturated(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked.get());
        if passed >= LOOK_EVERY {
            let used = processor_time();
            let busy = used.saturating_sub(self.used.get());
            self.looked.set(now);
            self.used.set(used);
            self.saturated.set(busy >= passed.mul_f64(SATURATED));
        }
        self.saturated.get()
    }
}

/// Returns the processor time that this thread has used.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// Connections of one worker to one upstream, if the config does not say and the descriptors allow as many.
const USUAL_CONNECTIONS: usize = 4096;

/// Between two looks at the load.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The part of its time that a saturated thread is busy.
const SATURATED: f64 = 0.85;
