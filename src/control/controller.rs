//! The controller takes in changed files and publishes generations.
//!
//! A bad input never changes what is live. The problems are reported, and the last good input stays.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::files::{Change, Files};
use crate::live::{Generation, Publisher};
use crate::plan::compile::{Memory, is_due};
use crate::plan::config::Config;
use crate::plan::lifecycle::Observed;
use crate::plan::problem::Problem;
use crate::plan::snapshot::Snapshot;
use crate::status::ProblemStatus;
use crate::telemetry::Meters;
use crate::telemetry::log::LogHandle;

use super::baselines_file::BaselinesFile;
use super::beats;
use super::finisher::Finisher;
use super::fleet::peers::Peers;
use super::history::Event;
use super::inputs::{self, Effect, Inputs, Reread};
use super::news::{Look, NewsDesk};
use super::notify::Notifier;
use super::observe::Baselines;
use super::page_trial::Tried;
use super::preview::Preview;
use super::publish::Publication;
use super::recorder::Recorder;
use super::report::Report;
use super::runtime_file::RuntimeRecord;
use super::state::StateDir;
use super::subscribers::OutboxView;
use super::transitions::{self, Cause};

/// State of control: the inputs in force, and the means to publish them.
pub(crate) struct Controller {
    inputs: Inputs,
    publication: Publication,
    /// Records what happens. Absent in a preview.
    recorder: Option<Recorder>,
    /// Baselines of the guards for the next process. Absent in a preview.
    baselines: Option<BaselinesFile>,
    /// Tells operators of events. Absent in a preview.
    notifier: Option<Notifier>,
    /// Runtime file of this process. Absent in a preview, and before the listeners are bound.
    runtime: Option<RuntimeRecord>,
    /// Finishes pages after their publication. Without it, they stay uncompressed.
    finisher: Finisher,
    /// Begins of returns that other replicas told at the start.
    returned: HashMap<String, Timestamp>,
    /// Tells the public. Absent before anything is live.
    news: Option<NewsDesk>,
}

/// Changes that the loop is woken for.
pub(super) enum Changed {
    /// Files have changed.
    Files(Vec<Change>),
    /// An edited page was tried.
    Page(Box<Tried>),
    /// The engine of the flags has a new word.
    Fleet,
}

impl Controller {
    /// Reads every input for the first time.
    ///
    /// # Errors
    /// All problems, if at least one is an error.
    pub(crate) fn start(
        config_file: PathBuf,
        files: Files,
        preview: Option<Preview>,
        log: LogHandle,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let previews = preview.is_some();
        let (mut inputs, warnings) = Inputs::read(config_file, files, preview, log)?;
        let mut recorder = (!previews)
            .then(|| Recorder::new(StateDir::of_process(inputs.config_file(), inputs.config().state_dir.as_deref())));
        inputs.known.memory = recorder.as_mut().map(Recorder::memory).unwrap_or_default();
        let publication = Publication::new(inputs.config().listen.clone());
        let baselines = recorder.as_ref().map(|recorder| BaselinesFile::new(recorder.state_dir().clone()));
        let state = recorder.as_ref().map(|recorder| recorder.state_dir().clone());
        let notifier = state.map(|state| Notifier::new(&inputs.known.memory, state));
        let (runtime, news, returned, finisher) = (None, None, HashMap::new(), Finisher::default());
        Ok((Self { inputs, publication, recorder, baselines, notifier, runtime, finisher, returned, news }, warnings))
    }

    /// Returns the config in force.
    pub(crate) fn config(&self) -> &Config {
        self.inputs.config()
    }

    /// Sets the meters, once the number of workers is known.
    pub(crate) fn set_meters(&mut self, meters: Arc<Meters>) {
        self.publication.set_meters(meters);
    }

    /// Makes known where the admin listener is, in the runtime file and in the report.
    pub(crate) fn announce(&mut self, admin: Option<String>) {
        self.inputs.set_admin(admin.clone());
        if let Some(recorder) = &self.recorder {
            let mut runtime = RuntimeRecord::new(self.inputs.config_file(), recorder.state_dir(), admin);
            runtime.write(self.inputs.config_file(), self.inputs.config());
            self.runtime = Some(runtime);
        }
    }

    /// Makes the first generation.
    pub(crate) fn first(&mut self) -> Generation {
        self.inputs.watch();
        let _ = self.inputs.take_switches();
        self.inputs.learn();
        let first = self.publication.make(&self.inputs, None);
        self.inputs.published(self.publication.generation());
        transitions::log_first(&first.snapshot);
        self.note(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() });
        self.notify(&first.snapshot);
        self.record(&first);
        self.notify_unsaved();
        self.inputs.keep_copy();
        // From now on, the previous snapshot remembers.
        self.inputs.known.memory = Memory::default();
        self.returned = self.inputs.known.learned.drain().filter_map(|(name, it)| Some((name, it.returned?))).collect();
        first
    }

    /// Renders the status site for what is live, and follows every publication from then on.
    pub(crate) fn open_site(&mut self, publisher: &mut Publisher) {
        let state = self.recorder.as_ref().map(|recorder| recorder.state_dir().clone());
        let (site, forms) = (publisher.site(), publisher.take_forms());
        let news = NewsDesk::start(state, site, forms, self.look(publisher.current()), self.replica_name());
        self.news = news.inspect_err(|error| tracing::warn!(%error, "the status site stays as it is")).ok();
    }

    /// Returns a view of the other replicas, if the engine of the flags carries their beats.
    pub(super) fn peers(&self) -> Option<Peers> {
        self.inputs.peers()
    }

    /// Returns the name by which the other replicas know this one.
    pub(super) fn replica_name(&self) -> String {
        beats::name(self.inputs.config(), self.inputs.admin())
    }

    /// Returns a view of the outbox.
    pub(super) fn outbox(&self) -> OutboxView {
        self.news.as_ref().map(NewsDesk::outbox).unwrap_or_default()
    }

    fn look(&self, live: Arc<Generation>) -> Look {
        Look { live, flags: Arc::clone(self.inputs.flags()), config: Arc::clone(self.inputs.config()) }
    }

    /// Waits until files have changed, the time for a look has come, or the trial of a page has ended. Cancel safe.
    pub(super) async fn changes(&mut self) -> Changed {
        let due = self.inputs.due();
        let wait = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changes = self.inputs.files.next() => Changed::Files(changes),
            () = inputs::fleet_changed(self.inputs.fleet.as_mut()) => Changed::Fleet,
            tried = self.inputs.trial.tried() => Changed::Page(Box::new(tried)),
            () = wait => Changed::Files(Vec::new()),
        }
    }

    /// Returns when this loop wakes next for the files, whatever happens.
    pub(super) fn next_poll(&self) -> Instant {
        self.inputs.files.next_poll()
    }

    /// Takes in observations of the routes, for the next publication.
    pub(super) fn observe(&mut self, observed: HashMap<String, Observed>) {
        self.inputs.known.observed = observed;
    }

    /// Returns the baselines that an earlier process saved.
    pub(super) fn baselines(&self) -> Baselines {
        self.baselines.as_ref().map(BaselinesFile::load).unwrap_or_default()
    }

    /// Takes the begins of returns that other replicas told at the start.
    pub(super) fn take_returned(&mut self) -> HashMap<String, Timestamp> {
        std::mem::take(&mut self.returned)
    }

    /// Saves the baselines for the next process.
    pub(super) fn save_baselines(&mut self, baselines: &Baselines) {
        if let Some(file) = &mut self.baselines {
            file.save(baselines);
        }
    }

    /// Returns true if time or an observation would change the phase of any route in transition.
    pub(super) fn is_due(&self, live: &Snapshot) -> bool {
        is_due(self.inputs.at_now(Some(live), self.publication.generation()), live)
    }

    /// Takes in changed files or a page, and publishes if they matter.
    pub(super) fn refresh(&mut self, changed: Changed, publisher: &mut Publisher) {
        let effect = match changed {
            Changed::Files(changes) => self.inputs.refresh(&changes, Reread::Changed),
            Changed::Page(tried) => self.inputs.take_tried(*tried),
            Changed::Fleet => {
                let changes = self.inputs.take_word();
                self.inputs.refresh(&changes, Reread::Changed)
            }
        };
        self.settle(effect, publisher, Cause::File);
    }

    /// Reads every file again, changed or not, and publishes if that matters.
    pub(super) fn reload(&mut self, publisher: &mut Publisher) {
        if let Some(recorder) = &mut self.recorder {
            recorder.on_reload();
        }
        let changes = self.inputs.files.force();
        // An input that was refused may be good now without having changed.
        let effect = self.inputs.refresh(&changes, Reread::All);
        self.settle(effect, publisher, Cause::Signal);
    }

    fn settle(&mut self, effect: Effect, publisher: &mut Publisher, cause: Cause) {
        for edit in self.inputs.take_edits() {
            if let Some(notifier) = &mut self.notifier {
                notifier.edited(&edit);
            }
            self.note(edit);
        }
        match effect {
            Effect::Publish => {
                self.publish(publisher, cause);
                if let Some(runtime) = &mut self.runtime {
                    runtime.write(self.inputs.config_file(), self.inputs.config());
                }
            }
            // A refused edit is recorded as well.
            Effect::None => {
                self.inputs.published(self.publication.generation());
                self.flush(self.publication.generation());
            }
        }
        self.inputs.keep_copy();
    }

    /// Compiles for the present instant, and publishes the result.
    pub(super) fn publish(&mut self, publisher: &mut Publisher, cause: Cause) {
        let before = publisher.current();
        self.inputs.known.watchers = before.watchers();
        publisher.publish(self.publication.make(&self.inputs, Some(&before.snapshot)));
        self.inputs.published(self.publication.generation());
        let after = publisher.current();
        self.finish(&after.snapshot);
        // Log after publishing, so that a blocked log cannot delay a publication.
        transitions::log(&before.snapshot, &after.snapshot, cause);
        // Notifications are written down before the state that tells the next process of what is over.
        self.notify(&after.snapshot);
        self.record(&after);
        self.notify_unsaved();
        if let Some(news) = &self.news {
            news.tell(self.look(after));
        }
    }

    /// Queues the pages of a snapshot to be finished.
    pub(super) fn finish(&self, snapshot: &Snapshot) {
        self.finisher.finish(snapshot);
    }

    /// Records that the process was asked to end.
    pub(super) fn record_end(&mut self, generation: u64) {
        self.note(Event::Ended);
        self.flush(generation);
    }

    /// Reports the files and their problems.
    pub(super) fn report(&self) -> Report {
        let recording = self.recorder.as_ref().map(Recorder::recording).unwrap_or_default();
        let mut report = self.inputs.report();
        report.state_good = recording.problems.is_empty();
        report.problems.extend(recording.problems.iter().map(ProblemStatus::from));
        report.history_lost = recording.lost;
        report
    }

    /// Checks the facts that have no event: secrets that others can read, certificates that end, and a disk that can be written again. Returns
    /// true if the report may have changed.
    pub(super) fn look_around(&mut self) -> bool {
        let generation = self.publication.generation();
        let seen = self.inputs.look_at_standing();
        self.recorder.as_mut().is_some_and(|recorder| recorder.retry(generation)) || seen
    }

    /// Tells operators of what a publication has changed.
    fn notify(&mut self, snapshot: &Snapshot) {
        let Some(notifier) = &mut self.notifier else { return };
        let flags = self.inputs.at_now(None, snapshot.generation).flags;
        notifier.published(snapshot, flags, self.inputs.config(), self.inputs.materials());
    }

    /// Tells operators if state or history cannot be written.
    fn notify_unsaved(&mut self) {
        if let (Some(notifier), Some(recorder)) = (&mut self.notifier, &self.recorder) {
            notifier.recorded(&recorder.recording().problems);
        }
    }

    /// Finishes the notifications that are under way.
    pub(super) async fn end_notifications(&mut self) {
        if let Some(notifier) = &mut self.notifier {
            notifier.end(NOTIFY_GRACE).await;
        }
    }

    fn note(&mut self, event: Event) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(event);
        }
    }

    fn record(&mut self, live: &Generation) {
        let flags = self.inputs.flags_hash();
        if let Some(recorder) = &mut self.recorder {
            recorder.record(live, flags.as_deref());
        }
    }

    fn flush(&mut self, generation: u64) {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush(generation);
        }
    }
}

/// Time that notifications may take after all requests have ended.
const NOTIFY_GRACE: Duration = Duration::from_secs(5);
