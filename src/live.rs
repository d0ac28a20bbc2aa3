//! The one mutable cell: holds what is live. Control writes it; the proxy can only read it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use rustls::ClientConfig;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::plan::news::Site;
use crate::plan::snapshot::Snapshot;
use crate::telemetry::{RouteMeter, UpstreamMeter};

/// A snapshot, with what belongs to it but is not a plain value: meters, TLS clients and certificates.
///
/// Each request sees exactly one generation.
#[derive(Debug)]
pub struct Generation {
    /// The compiled snapshot.
    pub snapshot: Snapshot,
    /// The time of publication. The proxy counts from here, and needs no wall clock.
    pub published: Instant,
    /// The meters of the routes, by index.
    pub routes: Arc<[Arc<RouteMeter>]>,
    /// The upstreams, by index. Generations share them as long as no upstream changes.
    pub upstreams: Arc<[LiveUpstream]>,
    /// The certificates of the listeners, by index; `None` for clear text.
    pub certificates: Vec<Option<Arc<CertifiedKey>>>,
}

/// An upstream's meter and TLS client.
#[derive(Clone, Debug)]
pub struct LiveUpstream {
    /// The meter. Its id stays the same over generations, as long as the upstream does not change.
    pub meter: Arc<UpstreamMeter>,
    /// The TLS client; `None` for clear text.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Makes the cell. The [`Publisher`] writes, and a [`Reader`] reads.
pub fn cell(first: Generation) -> (Publisher, Reader) {
    let (publications, published) = watch::channel(());
    let cell = Arc::new(ArcSwap::from_pointee(first));
    let site = Arc::new(ArcSwap::from_pointee(Site::default()));
    let publisher = Publisher { cell: Arc::clone(&cell), site: Arc::clone(&site), publications, retired: Vec::new() };
    (publisher, Reader { cell, site, publications: published })
}

/// The writing end. Not `Clone` on purpose, because there is one control loop.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<ArcSwap<Generation>>,
    site: Arc<ArcSwap<Site>>,
    /// Wakes readers that wait for a publication.
    publications: watch::Sender<()>,
    /// Earlier generations that may still be in use. Dropping one takes time if it has thousands of routes. Kept here,
    /// the publisher drops it, and never a worker.
    retired: Vec<Arc<Generation>>,
}

impl Publisher {
    /// Publishes a generation. A request that was decided before keeps the old one.
    pub fn publish(&mut self, generation: Generation) {
        self.retired.push(self.cell.swap(Arc::new(generation)));
        self.publications.send_replace(());
    }

    /// Drops the retired generations that nobody uses any more. Call it now and then: workers move on at least once a
    /// second.
    ///
    /// A retired generation gets no new readers, so one that only the publisher holds stays unused.
    pub fn release(&mut self) {
        self.retired.retain(|generation| Arc::strong_count(generation) > 1);
    }

    /// Returns the live generation.
    pub fn current(&self) -> Arc<Generation> {
        self.cell.load_full()
    }

    /// Returns the writing end of the status site.
    pub fn site(&self) -> SitePublisher {
        SitePublisher { site: Arc::clone(&self.site), publications: self.publications.clone() }
    }
}

/// The writing end of the status site. The site is published apart from generations: to render it takes longer than a
/// switch may take.
#[derive(Clone, Debug)]
pub struct SitePublisher {
    site: Arc<ArcSwap<Site>>,
    publications: watch::Sender<()>,
}

impl SitePublisher {
    /// Returns the site that is published.
    pub fn current(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Publishes a finished site, and wakes those who watch.
    pub fn publish(&self, site: Site) {
        self.site.store(Arc::new(site));
        self.publications.send_replace(());
    }
}

/// The reading end.
#[derive(Clone, Debug)]
pub struct Reader {
    cell: Arc<ArcSwap<Generation>>,
    site: Arc<ArcSwap<Site>>,
    publications: watch::Receiver<()>,
}

impl Reader {
    /// Returns the live generation. For the request path, see [`Reader::cached`].
    pub fn current(&self) -> Arc<Generation> {
        self.cell.load_full()
    }

    /// Waits until something is published. Returns false if the publisher is gone.
    pub async fn published(&mut self) -> bool {
        self.publications.changed().await.is_ok()
    }

    /// Returns a reader for one thread. As long as nothing is published, it reads no shared memory but the pointer.
    pub fn cached(&self) -> CachedReader {
        CachedReader { cache: Cache::new(Arc::clone(&self.cell)), site: Arc::clone(&self.site) }
    }
}

/// A reader for one thread, made by [`Reader::cached`].
#[derive(Debug)]
pub struct CachedReader {
    cache: Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>,
    site: Arc<ArcSwap<Site>>,
}

impl CachedReader {
    /// Returns the live generation.
    pub fn load(&mut self) -> &Arc<Generation> {
        self.cache.load()
    }

    /// Returns the status site.
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }
}

/// The stage of the process's life. Control sets it, and the proxy follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Requests are served.
    Running,
    /// The process is ending. Running requests are finished, and no new ones are looked for.
    Draining {
        /// Time at which everything left is cut.
        deadline: Instant,
        /// Time in which requests on idle connections are still answered.
        grace: Duration,
    },
}
