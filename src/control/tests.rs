//! Generations compiled from texts, at a time that the test chooses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustls::ClientConfig;

use crate::live::{Generation, LiveUpstream};
use crate::plan::compile::{Inputs, Known, compile};
use crate::plan::config::{self, Config};
use crate::plan::flags::{self, Flags};
use crate::plan::lifecycle::{Baseline, Measured, Verification};
use crate::plan::page::Renderers;
use crate::telemetry::{Meters, UpstreamKey};

/// Routes of a config, and the generation that is live.
pub(super) struct Routes {
    config: Config,
    renderers: Renderers,
    known: Known,
    began: Timestamp,
    tls: Option<Arc<ClientConfig>>,
    pub(super) meters: Meters,
    pub(super) live: Generation,
}

impl Routes {
    /// Begins with nothing flagged, at this instant.
    pub(super) fn begin(routes: &str, began: Timestamp, tls: Option<Arc<ClientConfig>>) -> Self {
        let (config, meters) = (config(routes), Meters::new(2));
        let (renderers, known) = (Renderers::built_in(), Known::default());
        let inputs = Inputs {
            config: &config,
            flags: &Flags::default(),
            renderers: &renderers,
            known: &known,
            previous: None,
            now: began,
            generation: 1,
        };
        let live = generation(inputs, &meters, tls.as_ref());
        Self { config, renderers, known, began, tls, meters, live }
    }

    pub(super) fn new(routes: &str) -> Self {
        Self::begin(routes, "2026-05-19T14:00:00Z".parse().expect("an instant"), None)
    }

    /// Replaces the config.
    pub(super) fn configure(&mut self, routes: &str) {
        self.config = config(routes);
    }

    /// Compiles this flag file, at a time after the beginning.
    pub(super) fn compile(&mut self, flags: &str, after: Duration) {
        let (parsed, problems) = flags::parse("maintenance.toml", flags);
        let flags = parsed.unwrap_or_else(|| panic!("{problems:?}")).flags;
        let inputs = Inputs {
            config: &self.config,
            flags: &flags,
            renderers: &self.renderers,
            known: &self.known,
            previous: Some(&self.live.snapshot),
            now: self.began + SignedDuration::try_from(after).expect("a time of a test"),
            generation: self.live.snapshot.generation + 1,
        };
        self.live = generation(inputs, &self.meters, self.tls.as_ref());
    }

    /// Sets what is observed of a route from now on.
    pub(super) fn observe(&mut self, route: &str, measured: Option<Measured>, lately: Option<Baseline>) {
        let observed = self.known.observed.entry(route.to_owned()).or_default();
        (observed.measured, observed.lately) = (measured, lately);
    }

    /// Sets the results of a route's checks.
    pub(super) fn verify(&mut self, route: &str, verification: Option<Verification>) {
        self.known.observed.entry(route.to_owned()).or_default().verification = verification;
    }
}

fn config(routes: &str) -> Config {
    let (config, problems) = config::parse("backsoon.toml", &format!("{LISTEN}{routes}"));
    config.unwrap_or_else(|| panic!("{problems:?}"))
}

fn generation(inputs: Inputs<'_>, meters: &Meters, tls: Option<&Arc<ClientConfig>>) -> Generation {
    let snapshot = compile(inputs);
    let routes = snapshot.routes.iter().map(|route| meters.route(&route.config.name)).collect();
    let upstreams = snapshot.upstreams.iter().map(|upstream| LiveUpstream {
        meter: meters.upstream(UpstreamKey { upstream: upstream.clone(), roots: None, client_cert: None }),
        tls: tls.filter(|_| upstream.tls.is_some()).cloned(),
    });
    let upstreams = upstreams.collect();
    Generation { snapshot, published: Instant::now(), routes, upstreams, listeners: Vec::new() }
}

const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
