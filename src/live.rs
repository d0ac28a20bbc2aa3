//! The one mutable cell: what is live, between control, which writes it, and the proxy, which cannot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use rustls::ClientConfig;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::plan::snapshot::Snapshot;
use crate::telemetry::{RouteMeter, UpstreamMeter};

/// A snapshot with what belongs to it and is not a plain value: the meters of its routes and upstreams, and the
/// certificates. One request sees one of these and no other.
#[derive(Debug)]
pub struct Generation {
    /// What was compiled.
    pub snapshot: Snapshot,
    /// When it was published: the proxy counts from here and needs no wall clock.
    pub published: Instant,
    /// By the index of the route.
    pub routes: Arc<[Arc<RouteMeter>]>,
    /// By the index of the upstream. Shared by generations between which no upstream has changed.
    pub upstreams: Arc<[LiveUpstream]>,
    /// By the index of the listener; `None` where it speaks clear text.
    pub certificates: Vec<Option<Arc<CertifiedKey>>>,
}

/// What goes with an upstream.
#[derive(Clone, Debug)]
pub struct LiveUpstream {
    /// Its meter, whose id is stable over generations as long as the upstream does not change.
    pub meter: Arc<UpstreamMeter>,
    /// How to speak TLS to it; `None` for clear text.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Makes the cell. Whoever holds the [`Publisher`] may change it, whoever holds a [`Reader`] may look.
pub fn cell(first: Generation) -> (Publisher, Reader) {
    let (told, news) = watch::channel(());
    let cell = Arc::new(ArcSwap::from_pointee(first));
    (Publisher { cell: Arc::clone(&cell), told, retired: Vec::new() }, Reader { cell, news })
}

/// The writing end. Purposefully not `Clone`: there is one control loop.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<ArcSwap<Generation>>,
    /// Wakes those who wait for something new.
    told: watch::Sender<()>,
    /// Generations that were live and that somebody may still look at. Whoever lets go of one last pays for taking it
    /// apart, which takes time with thousands of routes: that shall be the publisher, and never a worker.
    retired: Vec<Arc<Generation>>,
}

impl Publisher {
    /// Makes a generation live. Requests that were decided before keep theirs.
    pub fn publish(&mut self, generation: Generation) {
        self.retired.push(self.cell.swap(Arc::new(generation)));
        self.told.send_replace(());
    }

    /// Takes apart the retired generations that nobody looks at any more. To be called now and then: the workers move on
    /// at least once a second.
    ///
    /// A generation that is no longer live finds no new readers: one that only the publisher holds stays so.
    pub fn release(&mut self) {
        self.retired.retain(|generation| Arc::strong_count(generation) > 1);
    }

    /// What is live.
    pub fn current(&self) -> Arc<Generation> {
        self.cell.load_full()
    }
}

/// The reading end.
#[derive(Clone, Debug)]
pub struct Reader {
    cell: Arc<ArcSwap<Generation>>,
    news: watch::Receiver<()>,
}

impl Reader {
    /// What is live. Not for the request path: see [`Reader::cached`].
    pub fn current(&self) -> Arc<Generation> {
        self.cell.load_full()
    }

    /// Waits until something is published; false when nothing ever will be again. What is live is to be looked at then.
    pub async fn published(&mut self) -> bool {
        self.news.changed().await.is_ok()
    }

    /// A reader for one thread, which looks at no shared memory but the pointer as long as nothing was published.
    pub fn cached(&self) -> CachedReader {
        CachedReader { cache: Cache::new(Arc::clone(&self.cell)) }
    }
}

/// See [`Reader::cached`].
#[derive(Debug)]
pub struct CachedReader {
    cache: Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>,
}

impl CachedReader {
    /// What is live now.
    pub fn load(&mut self) -> &Arc<Generation> {
        self.cache.load()
    }
}

/// Where the process is in its life. Control sets it, the proxy follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Serving.
    Running,
    /// Ending: no new work is looked for, what was begun is finished, at the latest at this instant.
    Draining {
        /// When whatever is left is cut.
        deadline: Instant,
        /// For how long requests on idle connections are still answered.
        grace: Duration,
    },
}
