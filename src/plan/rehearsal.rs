//! Proxy without sockets and files, for tests: each compilation goes on from the one before.

use std::sync::Arc;

use jiff::Timestamp;

use super::compile::{Inputs, Known, Memory, compile, is_due};
use super::config::{Config, PageConfig};
use super::flags::{self, Flags};
use super::page::{Renderer, Renderers, Sources};
use super::snapshot::{Route, Snapshot};

/// Inputs and the latest snapshot.
pub(crate) struct Rehearsal {
    pub(crate) config: Config,
    pub(crate) flags: Flags,
    pub(crate) known: Known,
    /// Latest snapshot, if there is one.
    pub(crate) live: Option<Snapshot>,
    renderers: Renderers,
    generation: u64,
}

impl Rehearsal {
    /// Creates a proxy in which nothing is flagged.
    pub(crate) fn new(config: Config) -> Self {
        let (flags, known) = (Flags::default(), Known::default());
        Self { config, flags, known, live: None, renderers: renderers(), generation: 0 }
    }

    /// Replaces the flag file.
    pub(crate) fn flag(&mut self, text: &str) -> &mut Self {
        let (parsed, problems) = flags::parse("maintenance.toml", text);
        self.flags = parsed.unwrap_or_else(|| panic!("{problems:?}")).flags;
        self
    }

    /// Compiles for an instant.
    pub(crate) fn compile(&mut self, now: Timestamp) -> &Snapshot {
        self.generation += 1;
        let next = compile(self.inputs(now));
        self.live.insert(next)
    }

    /// Returns true if the controller would compile again.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.live.as_ref().is_some_and(|live| is_due(self.inputs(now), live))
    }

    /// Collects the inputs of the next compilation.
    pub(crate) fn inputs(&self, now: Timestamp) -> Inputs<'_> {
        let Self { config, flags, known, renderers, generation, .. } = self;
        Inputs { config, flags, renderers, known, previous: self.live.as_ref(), now, generation: *generation }
    }

    /// Ends the process and starts it anew, with the saved states.
    pub(crate) fn restart(&mut self) -> &mut Self {
        let Some(live) = self.live.take() else { return self };
        let worth = live.routes.iter().filter(|route| !route.state.is_plain());
        let through_file = |route: &Route| {
            let text = serde_json::to_string(&*route.state).expect("a state can be written");
            (route.config.name.clone(), serde_json::from_str(&text).expect("a state can be read"))
        };
        self.known.memory = Memory::States(worth.map(through_file).collect());
        self
    }
}

/// Creates renderers once and in one language, because rendering takes a while.
fn renderers() -> Renderers {
    thread_local! {
        static RENDERERS: Renderers = {
            let page = PageConfig { languages: vec!["en".to_owned()], ..PageConfig::default() };
            let renderer = Renderer::new(&page, &Sources::default(), "backsoon.toml").0.expect("a renderer");
            Renderers::from(Arc::new(renderer))
        };
    }
    RENDERERS.with(Clone::clone)
}
