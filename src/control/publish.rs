//! Publication: makes a generation from a snapshot, with its meters, TLS clients and certificates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;

use crate::live::{Generation, LiveUpstream};
use crate::plan::compile::compile;
use crate::plan::config::{Listen, Upstream};
use crate::plan::snapshot::{Route, Snapshot};
use crate::telemetry::{Meters, RouteMeter, UpstreamKey};

use super::certs::{Materials, Served};
use super::inputs::Inputs;

/// State carried from one publication to the next.
pub(super) struct Publication {
    /// The number of the last publication.
    generation: u64,
    /// The listeners that were bound at the start.
    listeners: Vec<Listen>,
    /// The TLS that each listener served last.
    served: Vec<Option<Served>>,
    meters: Arc<Meters>,
    /// TLS clients by upstream, so that sessions are resumed over generations.
    clients: HashMap<UpstreamKey, Option<Arc<ClientConfig>>>,
    bindings: Option<Bindings>,
}

/// Meters and TLS clients of the routes and upstreams, independent of the flag file and the time.
#[derive(Clone)]
struct Bindings {
    /// The materials that the bindings were made with. A new config brings new materials.
    materials: Arc<Materials>,
    routes: Arc<[Arc<RouteMeter>]>,
    upstreams: Arc<[LiveUpstream]>,
}

impl Publication {
    /// Creates the state before the first publication.
    pub(super) fn new(listeners: Vec<Listen>) -> Self {
        let meters = Arc::new(Meters::new(0));
        Self { generation: 0, listeners, served: Vec::new(), meters, clients: HashMap::new(), bindings: None }
    }

    /// Sets the meters to count into.
    pub(super) fn set_meters(&mut self, meters: Arc<Meters>) {
        self.meters = meters;
        self.bindings = None;
    }

    /// Returns the number of the last publication.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes the next generation, for the present instant.
    pub(super) fn make(&mut self, inputs: &Inputs, previous: Option<&Snapshot>) -> Generation {
        self.generation += 1;
        let snapshot = compile(inputs.at_now(previous, self.generation));
        let Bindings { routes, upstreams, .. } = self.bindings(inputs.materials(), &snapshot);
        self.served = (0..self.listeners.len()).map(|index| self.serve(index, inputs)).collect();
        let listeners = self.served.iter().map(|served| Some(Arc::clone(&served.as_ref()?.config))).collect();
        Generation { snapshot, published: Instant::now(), routes, upstreams, listeners }
    }

    /// Returns the bindings of a snapshot, which are kept as long as the materials stay the same.
    fn bindings(&mut self, materials: &Arc<Materials>, snapshot: &Snapshot) -> Bindings {
        let kept = self.bindings.take().filter(|bindings| Arc::ptr_eq(&bindings.materials, materials));
        let bindings = kept.unwrap_or_else(|| self.bind(materials, snapshot));
        self.bindings.insert(bindings).clone()
    }

    fn bind(&mut self, materials: &Arc<Materials>, snapshot: &Snapshot) -> Bindings {
        let routes = snapshot.routes.iter().map(|route| self.meter(route)).collect();
        let upstreams = snapshot.upstreams.iter().map(|upstream| self.live_upstream(upstream, materials)).collect();
        Bindings { materials: Arc::clone(materials), routes, upstreams }
    }

    fn meter(&self, route: &Route) -> Arc<RouteMeter> {
        let meter = self.meters.route(&route.config.name);
        if route.config.policy.guard.is_some_and(|guard| !guard.statuses.is_empty()) {
            meter.count_statuses();
        }
        meter
    }

    fn live_upstream(&mut self, upstream: &Upstream, materials: &Materials) -> LiveUpstream {
        let key = materials.key(upstream);
        let meter = self.meters.upstream(key.clone());
        let tls = self.clients.entry(key).or_insert_with(|| materials.client_config(upstream)).clone();
        LiveUpstream { meter, tls }
    }

    /// Returns the TLS of a listener, from the files that the config names now. A listener that the config has dropped,
    /// or turned to clear text, keeps its last certificates until the restart.
    fn serve(&self, listener: usize, inputs: &Inputs) -> Option<Served> {
        let listen = self.listeners.get(listener)?;
        let before = self.served.get(listener).and_then(Option::as_ref);
        // A listener of clear text stays one until the restart, too.
        let at_start = listen.tls.as_ref()?;
        let now = inputs.config().listen.iter().find(|now| now.address == listen.address);
        let tls = now.and_then(|now| now.tls.as_ref()).unwrap_or(at_start);
        let serving = inputs.materials().serving(tls);
        serving.and_then(|serving| Served::new(serving, before)).or_else(|| before.cloned())
    }
}
