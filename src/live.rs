//! The one mutable cell: holds what is live. Control writes it; the proxy can only read it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{mpsc, oneshot, watch};

use crate::plan::news::Site;
use crate::plan::news::forms::{Reply, Visit};
use crate::plan::snapshot::Snapshot;
use crate::telemetry::{FormMeter, RouteMeter, UpstreamMeter};

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
    /// The TLS of the listeners, by index; `None` for clear text.
    pub listeners: Vec<Option<Arc<ServerConfig>>>,
}

impl Generation {
    /// Returns the numbers of clients that watch a closed route, by the route's name.
    pub fn watchers(&self) -> HashMap<String, u64> {
        let closed = self.snapshot.routes.iter().filter(|route| route.closure.is_some());
        let counted = closed.filter_map(|route| {
            let watchers = self.routes.get(route.index)?.sum(|cell| cell.watchers.get());
            (watchers > 0).then(|| (route.config.name.clone(), watchers))
        });
        counted.collect()
    }
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
    let (calls, taken) = mpsc::channel(MOST_CALLS);
    let desk = FormDesk { calls: taken, meter: Arc::default() };
    let door = FormDoor { calls, meter: Arc::clone(&desk.meter) };
    let publisher = Publisher {
        cell: Arc::clone(&cell),
        site: Arc::clone(&site),
        publications,
        retired: Vec::new(),
        forms: Some(desk),
    };
    (publisher, Reader { cell, site, publications: published, forms: door })
}

/// A visit of a form, and the way back to the worker that waits.
#[derive(Debug)]
pub struct FormCall {
    /// The visit.
    pub visit: Visit,
    /// The way back. Whoever waits may have gone.
    pub reply: oneshot::Sender<Reply>,
}

/// The end at which workers hand visits of forms over. They wait for the answer without keeping others waiting.
#[derive(Clone, Debug)]
pub struct FormDoor {
    /// The visits.
    pub calls: mpsc::Sender<FormCall>,
    /// The counters.
    pub meter: Arc<FormMeter>,
}

/// The end at which control takes them.
#[derive(Debug)]
pub struct FormDesk {
    /// The visits.
    pub calls: mpsc::Receiver<FormCall>,
    /// The counters.
    pub meter: Arc<FormMeter>,
}

/// Visits that wait for control.
const MOST_CALLS: usize = 64;

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
    forms: Option<FormDesk>,
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

    /// Returns the end at which visits of forms are taken, once.
    pub fn take_forms(&mut self) -> Option<FormDesk> {
        self.forms.take()
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
    forms: FormDoor,
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
        let (cache, site) = (Cache::new(Arc::clone(&self.cell)), Arc::clone(&self.site));
        CachedReader { cache, site, forms: self.forms.clone() }
    }
}

/// A reader for one thread, made by [`Reader::cached`].
#[derive(Debug)]
pub struct CachedReader {
    cache: Cache<Arc<ArcSwap<Generation>>, Arc<Generation>>,
    site: Arc<ArcSwap<Site>>,
    forms: FormDoor,
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

    /// Returns the end at which visits of forms are handed over.
    pub fn forms(&self) -> FormDoor {
        self.forms.clone()
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
