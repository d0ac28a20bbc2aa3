//! The state of a client's body on its way to an upstream.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// The state of a client's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Not at its end.
    Open,
    /// Read to its end.
    Complete,
    /// Larger than allowed.
    TooLarge,
    /// The client sent nothing for too long.
    TimedOut,
    /// Broken off, or malformed.
    Broken,
}

/// State of a client's body, shared with the rest of the exchange while an upstream reads the body.
#[derive(Debug)]
pub(crate) struct UploadState {
    pub state: Cell<Upload>,
    /// The last move of the body; before that, the instant when the request was sent.
    pub progress: Cell<Instant>,
    /// Bytes that came.
    pub taken: Cell<u64>,
    /// The last move by more than a trickle, and the bytes since.
    flow: Cell<(Instant, usize)>,
    /// The upstream would take more, and the client has not sent it: the upstream cannot be expected to answer.
    pub starved: Cell<bool>,
    /// The upstream has begun to answer: from then on the two may talk as they like, and a client that is silent (a
    /// gRPC stream that only listens) is none that is late.
    pub answered: Cell<bool>,
}

impl UploadState {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: Cell::new(Upload::Open),
            progress: Cell::new(now),
            taken: Cell::new(0),
            flow: Cell::new((now, 0)),
            starved: Cell::new(false),
            answered: Cell::new(false),
        }
    }

    /// Notes that the request is sent now: its client was not waited for before.
    pub(crate) fn start(&self, now: Instant) {
        self.progress.set(now);
        self.flow.set((now, 0));
    }

    /// Notes that this many bytes came.
    pub(super) fn moved(&self, bytes: usize) {
        let now = Instant::now();
        self.progress.set(now);
        self.taken.set(self.taken.get().saturating_add(bytes as u64));
        let (since, before) = self.flow.get();
        let bytes = before.saturating_add(bytes);
        self.flow.set(if bytes >= TRICKLE { (now, 0) } else { (since, bytes) });
    }

    /// Notes whether the upstream waits for more. Time in which it wanted nothing is not the client's.
    pub(super) fn starve(&self, starved: bool) {
        if !self.starved.replace(starved) && starved {
            let now = Instant::now();
            if now.saturating_duration_since(self.progress.get()) > PAUSE {
                self.flow.set((now, 0));
            }
        }
    }

    /// Returns since when the upstream has waited for the client to send more than a trickle, if it does.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        let waited_for = self.state.get() == Upload::Open && self.starved.get() && !self.answered.get();
        waited_for.then(|| self.flow.get().0)
    }
}

/// An upstream that reads on after more than this has paused.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that has sent fewer bytes than this in some time has sent a trickle.
const TRICKLE: usize = 1024;
