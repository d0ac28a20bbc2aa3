//! Flags that come from an engine: their start, their changes, and the copy of the last good ones.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::files::source::{Content, Hash, ReadError};
use crate::files::{Change, Files};
use crate::plan::compile::Memory;
use crate::plan::config::{Config, FleetConfig, OnMissing};
use crate::plan::flags::Reading;
use crate::plan::problem::Problem;

use super::super::fleet::copy::{Copied, GoodCopy};
use super::super::fleet::peers::Peers;
use super::super::fleet::{Document, Fetched, FleetReport, Follower, Last, Patient, away};
use super::super::learning;
use super::super::load::{self, Loaded, Reader};
use super::super::state::StateDir;
use super::Inputs;

/// Source of the flags, and what was taken of it.
pub(in crate::control) struct FleetInput {
    follower: Follower,
    copy: GoodCopy,
    /// Text that was handed over last, taken or not.
    handed: Option<Document>,
    /// Text in force.
    good: Option<Document>,
}

/// Reads every file for the first time, and begins to follow the engine of the flags, if there is one.
pub(super) fn load(config_file: &Path, files: &mut Files) -> Result<(Loaded, Option<FleetInput>), Vec<Problem>> {
    let mut start = StartReader { files, fleet: None };
    let loaded = load::from(config_file, &mut start)?;
    Ok((loaded, start.fleet))
}

/// Reader of a start: watched files, and flags from an engine that is followed from then on.
struct StartReader<'f> {
    files: &'f mut Files,
    fleet: Option<FleetInput>,
}

impl Reader for StartReader<'_> {
    fn file(&mut self, path: &Path) -> Result<Content, ReadError> {
        self.files.file(path)
    }

    fn listing(&mut self, pattern: &Path) -> Result<Content, ReadError> {
        self.files.listing(pattern)
    }

    fn flags(&mut self, config_file: &Path, config: &Config) -> Fetched {
        let Some(fleet) = &config.fleet else { return self.files.flags(config_file, config) };
        let copy = GoodCopy::new(StateDir::of_process(config_file, config.state_dir.as_deref()), fleet.to_string());
        let copied = copy.load();
        let revision = copied.as_ref().map(|copied| copied.document.revision.clone());
        let follower = match Follower::start(fleet.clone(), revision) {
            Ok(follower) => follower,
            Err(error) => {
                return Fetched { content: Err(ReadError::Unreadable(error.kind())), warning: None };
            }
        };
        let (document, warning) = first(fleet, config, &follower, copied);
        let content = document.as_ref().map(Document::content).ok_or(ReadError::Missing);
        let _ = self.files.hand(&config.maintenance, content.clone());
        self.fleet = Some(FleetInput { follower, copy, handed: document.clone(), good: document });
        Fetched { content, warning }
    }
}

/// Chooses the text to begin with: the engine's, if it is good, else the copy of the last good one.
fn first(
    fleet: &FleetConfig,
    config: &Config,
    follower: &Follower,
    copied: Option<Copied>,
) -> (Option<Document>, Option<Problem>) {
    let (within, patient) = match copied {
        Some(_) => (WITH_COPY, Patient::No),
        None => (WITHOUT_COPY, Patient::Yes),
    };
    match follower.first(within, patient) {
        Last::Document(document) if copied.is_none() || is_good(&document, config) => (Some(document), None),
        // The engine's text is refused later, like an edit, and told then.
        Last::Document(_) => (copied.map(|copied| copied.document), None),
        Last::Missing if config.on_missing == OnMissing::Open => (None, None),
        Last::Missing => (copied.map(|copied| copied.document), None),
        Last::Nothing => {
            let warning = away(fleet, &follower.sight().trouble(), copied.as_ref());
            tracing::warn!(place = %fleet, "{}", warning.message);
            (copied.map(|copied| copied.document), Some(warning))
        }
    }
}

fn is_good(document: &Document, config: &Config) -> bool {
    let reading = Reading { now: Timestamp::now(), before: None };
    load::parse_flags(&config.maintenance, &document.content(), config, reading).0.is_some()
}

/// Waits until the engine has a new word; for ever without an engine. Cancel safe.
pub(in crate::control) async fn changed(fleet: Option<&mut FleetInput>) {
    match fleet {
        Some(fleet) => fleet.follower.changed().await,
        None => std::future::pending().await,
    }
}

impl Inputs {
    /// Takes the engine's last word as a change of the flag file.
    pub(in crate::control) fn take_word(&mut self) -> Vec<Change> {
        let Some(fleet) = &mut self.fleet else { return Vec::new() };
        let content = match fleet.follower.sight().last() {
            Last::Document(document) => {
                let content = document.content();
                fleet.handed = Some(document);
                Ok(content)
            }
            Last::Missing => Err(ReadError::Missing),
            Last::Nothing => return Vec::new(),
        };
        let change = self.files.hand(&self.config.maintenance, content);
        // The same text again has another revision.
        self.take_revision();
        change.into_iter().collect()
    }

    /// Notes the document whose text is in force.
    pub(super) fn take_revision(&mut self) {
        let in_force = self.in_force.hash_of(&self.config.maintenance);
        let Some(fleet) = &mut self.fleet else { return };
        let is_in_force = |document: &&Document| Some(Hash::of(&document.text)) == in_force;
        if let Some(document) = fleet.handed.as_ref().filter(is_in_force) {
            fleet.good = Some(document.clone());
        }
    }

    /// Keeps a copy of the text in force, for a restart while the engine is away. Call this after a publication.
    pub(in crate::control) fn keep_copy(&mut self) {
        if let Some(FleetInput { copy, good: Some(good), .. }) = &mut self.fleet {
            copy.save(good);
        }
    }

    /// Returns a view of the other replicas, if the engine carries their beats.
    pub(in crate::control) fn peers(&self) -> Option<Peers> {
        self.config.fleet.as_ref()?.nats()?;
        Some(self.fleet.as_ref()?.follower.peers().clone())
    }

    /// Learns from the other replicas how the routes are, if no saved state tells it.
    pub(in crate::control) fn learn(&mut self) {
        let is_known = match &self.known.memory {
            Memory::States(_) => true,
            Memory::Fresh | Memory::Lost => false,
        };
        let Some(peers) = self.peers().filter(|_| !is_known) else { return };
        let revision = self.fleet.as_ref().and_then(|fleet| fleet.good.as_ref()).map(|good| good.revision.to_string());
        self.known.learned = learning::learned(&peers, &self.config, (self.flags_hash(), revision));
    }

    /// Reports on the engine.
    pub(super) fn fleet_report(&self) -> Option<FleetReport> {
        let fleet = self.fleet.as_ref()?;
        Some(FleetReport {
            sight: fleet.follower.sight().clone(),
            peers: self.peers(),
            in_force: fleet.good.as_ref().map(|good| good.revision.to_string()),
            unsaved: fleet.copy.trouble().map(str::to_owned),
        })
    }
}

/// Time for the engine's first word, if there is a copy to begin with.
const WITH_COPY: Duration = Duration::from_secs(3);
/// Time for the engine's first word, if there is nothing else.
const WITHOUT_COPY: Duration = Duration::from_secs(10);
