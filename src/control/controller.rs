//! The desk: what control holds in its hands. Changed files come in, generations go out.
//!
//! A bad input never changes what is live: it becomes problems, and the last good one stays.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::sign::CertifiedKey;

use crate::live::{Generation, LiveUpstream, Publisher};
use crate::plan::compile::{Inputs, Known, compile, is_due};
use crate::plan::config::{Address, Config, Listen, OnMissing, TlsFiles, Upstream};
use crate::plan::flags::Flags;
use crate::plan::lifecycle::Observed;
use crate::plan::page::Renderer;
use crate::plan::problem::Problem;
use crate::plan::snapshot::{Closure, Route, Snapshot, Transition};
use crate::telemetry::log::LogHandle;
use crate::telemetry::{Meters, RouteMeter, UpstreamKey};

use super::certs::{self, Materials};
use super::finisher::Finisher;
use super::history::Event;
use super::load::{self, Loaded, beside, files_of};
use super::pages;
use super::recorder::Recorder;
use super::report::{FileReport, Report};
use super::state::StateDir;
use crate::files::source::{Content, ReadError};
use crate::files::{Change, Files};

/// Why something was published; goes into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    File,
    Time,
    Signal,
    /// Something was observed of a route.
    Observed,
}

/// See the module's description.
pub struct Controller {
    config_file: PathBuf,
    pub(super) files: Files,
    config: Arc<Config>,
    flags: Arc<Flags>,
    flag_file: PathBuf,
    materials: Materials,
    renderer: Arc<Renderer>,
    /// The config that was refused only for the sake of files that it names: those are watched, too.
    waiting: Option<Config>,
    /// By the index of the listener: what it served last, for one that a new config does not have any more.
    served: Vec<Option<Arc<CertifiedKey>>>,
    /// What cannot change while the process runs.
    fixed: Fixed,
    /// By file: what is wrong with the content that was read last, and what is remarked upon in the one in force.
    problems: BTreeMap<PathBuf, Vec<Problem>>,
    /// The same of the page's files, read last: some of these problems are the config's, and go with the files.
    page_problems: Vec<Problem>,
    meters: Arc<Meters>,
    /// How to speak TLS, by upstream, so that sessions are resumed over generations.
    clients: HashMap<UpstreamKey, Option<Arc<ClientConfig>>>,
    /// What goes with the routes and upstreams of the config in force, until that or a file it names changes.
    fittings: Option<Fittings>,
    /// What is remembered and observed of the routes.
    known: Known,
    /// Writes down what happens; not where a page is only shown.
    recorder: Option<Recorder>,
    generation: u64,
    refused: u64,
    log: LogHandle,
    /// Finishes pages behind their publication; without it they are shown as they were published.
    finisher: Option<Finisher>,
    preview: Option<Preview>,
}

/// What is changed of what the files say, so that a page can be shown that is not in force.
pub struct Preview {
    /// Of the config.
    pub config: Box<dyn Fn(&mut Config)>,
    /// Of the flags.
    pub flags: Box<dyn Fn(&mut Flags)>,
}

impl std::fmt::Debug for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preview").finish_non_exhaustive()
    }
}

impl Preview {
    /// Changes what was loaded.
    fn adapt(&self, loaded: Loaded, config_file: &Path, files: &mut Files) -> Result<Loaded, Vec<Problem>> {
        let (mut config, mut flags) = ((*loaded.config).clone(), (*loaded.flags).clone());
        (self.config)(&mut config);
        (self.flags)(&mut flags);
        let (renderer, problems) = pages::renderer(config_file, &config.page, |path| present(files, path));
        let renderer = Arc::new(renderer.ok_or(problems)?);
        Ok(Loaded { config: Arc::new(config), flags: Arc::new(flags), renderer, ..loaded })
    }
}

/// What of a generation depends on neither the flag file nor the time.
#[derive(Clone)]
struct Fittings {
    routes: Arc<[Arc<RouteMeter>]>,
    upstreams: Arc<[LiveUpstream]>,
}

/// What is taken from the config at the start and only then.
struct Fixed {
    listen: Vec<Listen>,
    admin: Option<Address>,
    workers: Option<usize>,
    access_file: Option<PathBuf>,
    connections: Option<usize>,
}

impl Controller {
    /// Reads everything for the first time.
    ///
    /// # Errors
    /// Every problem, if one is an error: nothing is served by half.
    pub fn start(
        config_file: PathBuf,
        mut files: Files,
        preview: Option<Preview>,
        log: LogHandle,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut loaded = load::from(&config_file, |path| settled(&mut files, path))?;
        if let Some(preview) = &preview {
            loaded = preview.adapt(loaded, &config_file, &mut files)?;
        }
        log.set_level(loaded.config.log.level);
        let Loaded { config, flags, flag_file, flags_missing, materials, renderer, warnings } = loaded;
        let fixed = Fixed {
            listen: config.listen.clone(),
            admin: config.admin.clone(),
            workers: config.workers,
            access_file: config.log.access_file.clone(),
            connections: config.limits.connections,
        };
        let mut problems = BTreeMap::<_, Vec<_>>::new();
        for problem in &warnings {
            problems.entry(PathBuf::from(&problem.file)).or_default().push(problem.clone());
        }
        if flags_missing {
            tracing::info!(path = %flag_file.display(), "no flag file: nothing is flagged");
        }
        let mut recorder = preview.is_none().then(|| {
            let from_systemd = std::env::var_os("STATE_DIRECTORY");
            Recorder::new(StateDir::new(&config_file, config.state_dir.as_deref(), from_systemd))
        });
        let memories = recorder.as_mut().map(Recorder::remembered).unwrap_or_default();
        let secrets = materials.secrets.clone();
        let controller = Self {
            config_file,
            files,
            config,
            flags,
            flag_file,
            materials,
            renderer,
            waiting: None,
            served: Vec::new(),
            fixed,
            problems,
            page_problems: Vec::new(),
            meters: Arc::new(Meters::new(0)),
            clients: HashMap::new(),
            fittings: None,
            known: Known { memories, secrets, ..Known::default() },
            recorder,
            generation: 0,
            refused: 0,
            log,
            finisher: Finisher::start().inspect_err(|error| tracing::warn!(%error, "pages stay uncompressed")).ok(),
            preview,
        };
        Ok((controller, warnings))
    }

    /// The config in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where to count, once the number of workers is known.
    pub fn meter(&mut self, meters: Arc<Meters>) {
        self.meters = meters;
        self.fittings = None;
    }

    /// The first generation.
    pub fn first(&mut self) -> Generation {
        self.files.set(self.watched());
        let first = self.make(None);
        warn_of_long(None, &first.snapshot);
        for route in &first.snapshot.routes {
            tell_transitions(route);
        }
        self.note_event(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() });
        self.record(&first.snapshot);
        // From here on it is the snapshots that remember.
        self.known.memories.clear();
        first
    }

    /// Takes in what is observed of the routes, for the next publication.
    pub(super) fn observe(&mut self, observed: HashMap<String, Observed>) {
        self.known.observed = observed;
    }

    /// Whether what is observed, or the time, changes how a route in motion is.
    pub(super) fn is_due(&self, live: &Snapshot) -> bool {
        is_due(self.inputs(Some(live)), live)
    }

    /// The process was told to end.
    pub(super) fn ends(&mut self, generation: u64) {
        self.note_event(Event::Ended);
        if let Some(recorder) = &mut self.recorder {
            recorder.flush(generation);
        }
    }

    fn note_event(&mut self, event: Event) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(event);
        }
    }

    /// Notes that a file has another content.
    fn note_edit(&mut self, file: &Path, taken: bool, problems: &[Problem]) {
        let hash = self.files.get(file).and_then(|state| state.content.as_ref());
        let hash = hash.map(|content| content.hash.to_string()).filter(|_| self.role(file) != "secret");
        let (role, name) = (self.role(file).to_owned(), file.display().to_string());
        let problems = problems.iter().map(|problem| problem.message.clone()).collect();
        self.note_event(Event::Edit { file: name, role, hash, taken, problems });
    }

    fn record(&mut self, live: &Snapshot) {
        let flags = self.files.get(&self.flag_file).and_then(|state| state.content.as_ref());
        let flags = flags.map(|content| content.hash.to_string());
        if let Some(recorder) = &mut self.recorder {
            recorder.record(live, flags.as_deref());
        }
    }

    /// Takes in what happened to files, and publishes if it matters.
    pub(super) fn refresh(&mut self, changes: &[Change], publisher: &mut Publisher, why: Why) {
        let accepted =
            |path: &Path| changes.iter().any(|change| matches!(change, Change::Accepted(file) if file == path));
        // A signal asks for everything to be read again, changed or not: what was refused may fit now.
        let forced = why == Why::Signal;
        let others = changes.iter().any(|change| match change {
            Change::Accepted(file) | Change::Restored(file) => *file != self.flag_file && *file != self.config_file,
            Change::Missing(_) | Change::Unreadable(_) | Change::WatchWarning(_) | Change::Watching => false,
        });
        // A template that is wrong may be mended by removing it.
        let gone = changes.iter().any(|change| matches!(change, Change::Missing(_)));
        let again = (others || gone) && self.waiting.is_some();
        let config = forced || accepted(&self.config_file.clone()) || again;
        let mut matters = config && self.take_config();
        // With a new config everything that it names was read anew.
        let page = pages::files_of(&self.config_file, &self.config.page);
        let materials = changes.iter().any(|change| match change {
            Change::Accepted(file) | Change::Restored(file) => !page.contains(file),
            Change::Missing(_) | Change::Unreadable(_) | Change::WatchWarning(_) | Change::Watching => false,
        });
        if others && materials && !matters {
            matters |= self.take_materials();
        }
        if !(config && matters) && self.pages_changed(changes, forced) {
            matters |= self.take_pages();
        }
        if (forced || accepted(&self.flag_file.clone())) && !(config && matters) {
            matters |= self.take_flags();
        }
        for change in changes {
            matters |= self.note(change);
        }
        if matters {
            self.publish(publisher, why);
        } else if let Some(recorder) = &mut self.recorder {
            // What was refused is worth a line, too.
            recorder.flush(self.generation);
        }
    }

    /// Compiles for now and makes it live.
    pub(super) fn publish(&mut self, publisher: &mut Publisher, why: Why) {
        let before = publisher.current();
        let generation = self.make(Some(&before.snapshot));
        publisher.publish(generation);
        self.finish(&publisher.current().snapshot);
        // Only then is it told: whoever reads the log must not be able to hold it up.
        tell(&before.snapshot, &publisher.current().snapshot, why);
        self.record(&publisher.current().snapshot);
    }

    /// Has the pages of what was published finished.
    pub(super) fn finish(&self, snapshot: &Snapshot) {
        if let Some(finisher) = &self.finisher {
            finisher.finish(snapshot);
        }
    }

    fn make(&mut self, previous: Option<&Snapshot>) -> Generation {
        self.generation += 1;
        let snapshot = compile(self.inputs(previous));
        let fittings = self.fittings.take().unwrap_or_else(|| self.fit(&snapshot));
        let Fittings { routes, upstreams } = self.fittings.insert(fittings).clone();
        self.served = (0..self.fixed.listen.len()).map(|index| self.certificate(index)).collect();
        let certificates = self.served.clone();
        Generation { snapshot, published: Instant::now(), routes, upstreams, certificates }
    }

    fn inputs<'i>(&'i self, previous: Option<&'i Snapshot>) -> Inputs<'i> {
        Inputs {
            config: &self.config,
            flags: &self.flags,
            renderer: &self.renderer,
            known: &self.known,
            previous,
            now: Timestamp::now(),
            generation: self.generation,
        }
    }

    fn fit(&mut self, snapshot: &Snapshot) -> Fittings {
        let routes = snapshot.routes.iter().map(|route| self.meters.route(&route.config.name)).collect();
        let upstreams = snapshot.upstreams.iter().map(|upstream| self.live_upstream(upstream)).collect();
        Fittings { routes, upstreams }
    }

    fn live_upstream(&mut self, upstream: &Upstream) -> LiveUpstream {
        let key = self.materials.key(upstream);
        let meter = self.meters.upstream(key.clone());
        let tls = self.clients.entry(key).or_insert_with(|| self.materials.client_config(upstream)).clone();
        LiveUpstream { meter, tls }
    }

    /// The certificate of a listener that was bound at the start, from wherever the config says it is now. A listener
    /// that the config has no more, or without TLS, goes on with the last one until the restart.
    fn certificate(&self, listener: usize) -> Option<Arc<CertifiedKey>> {
        let listen = &self.fixed.listen[listener];
        let now = self.config.listen.iter().find(|now| now.address == listen.address);
        let files: Option<&TlsFiles> = now.and_then(|now| now.tls.as_ref()).or(listen.tls.as_ref());
        self.materials.certificate(files?).or_else(|| self.served.get(listener).cloned().flatten())
    }

    fn take_config(&mut self) -> bool {
        let Ok(content) = settled(&mut self.files, &self.config_file) else {
            return false;
        };
        let (config, mut problems) = load::parse_config(&self.config_file, &content);
        self.waiting = None;
        let Some(mut config) = config else {
            self.files.set(self.watched());
            return self.refuse(&self.config_file.clone(), problems);
        };
        if let Some(preview) = &self.preview {
            (preview.config)(&mut config);
        }
        let config_file = self.config_file.clone();
        let materials = certs::materials(&config_file, &config, |path| settled(&mut self.files, path));
        let (renderer, remarks) = pages::renderer(&config_file, &config.page, |path| present(&mut self.files, path));
        let (materials, renderer) = match (materials, renderer, self.misses_flags(&config)) {
            (Ok(materials), Some(renderer), None) => (materials, renderer),
            (materials, _, missing) => {
                let mut found = materials.err().unwrap_or_default();
                found.extend(missing);
                found.extend(remarks);
                self.waiting = Some(config);
                self.files.set(self.watched());
                problems.extend(found);
                return self.refuse(&config_file, problems);
            }
        };
        problems.extend(certs::exposed(&config_file, &config));
        problems.extend(self.restarts(&config));
        warn(&problems);
        warn(&remarks);
        self.note_edit(&config_file, true, &problems);
        self.problems.insert(config_file.clone(), problems);
        self.log.set_level(config.log.level);
        self.flag_file = beside(&config_file, &config.maintenance);
        self.config = Arc::new(config);
        self.set_press(renderer, remarks);
        self.set_materials(materials);
        self.files.set(self.watched());
        self.problems.retain(|path, _| self.files.get(path).is_some() || path.is_file());
        // Routes may have come or gone that the flag file names.
        self.take_flags();
        true
    }

    fn take_flags(&mut self) -> bool {
        let flag_file = self.flag_file.clone();
        if self.config.on_missing == OnMissing::Open && self.is_missing(&flag_file) {
            // What it last said was given up with it.
            self.problems.remove(&flag_file);
            self.set_flags(Flags::default());
            return true;
        }
        let Ok(content) = settled(&mut self.files, &flag_file) else {
            return false;
        };
        let (flags, problems) = load::parse_flags(&flag_file, &content, &self.config);
        let Some(flags) = flags else {
            return self.refuse(&flag_file, problems);
        };
        warn(&problems);
        self.note_edit(&flag_file, true, &problems);
        self.problems.insert(flag_file, problems);
        self.set_flags(flags);
        true
    }

    fn set_flags(&mut self, mut flags: Flags) {
        if let Some(preview) = &self.preview {
            (preview.flags)(&mut flags);
        }
        self.flags = Arc::new(flags);
    }

    /// Whether something happened to a file of the page; there or gone, it makes a difference.
    fn pages_changed(&self, changes: &[Change], forced: bool) -> bool {
        let files = pages::files_of(&self.config_file, &self.config.page);
        let changed = |change: &Change| match change {
            Change::Accepted(file) | Change::Restored(file) | Change::Missing(file) => files.contains(file),
            Change::Unreadable(_) | Change::WatchWarning(_) | Change::Watching => false,
        };
        !files.is_empty() && (forced || changes.iter().any(changed))
    }

    /// A template, a message file or the logo has changed. The last good press stays if one of them is wrong.
    fn take_pages(&mut self) -> bool {
        let config = Arc::clone(&self.config);
        let config_file = self.config_file.clone();
        let (renderer, problems) = pages::renderer(&config_file, &config.page, |path| present(&mut self.files, path));
        if let Some(renderer) = renderer {
            let changed = renderer.fingerprint != self.renderer.fingerprint;
            if changed {
                warn(&problems);
            }
            self.set_press(renderer, problems);
            return changed;
        }
        let wrong: Vec<Problem> = problems.iter().filter(|problem| problem.is_error()).cloned().collect();
        self.tell_refused(&wrong);
        self.set_page_problems(problems);
        false
    }

    fn set_press(&mut self, renderer: Renderer, remarks: Vec<Problem>) {
        // A page that tells the same in the same form is not printed again.
        if renderer.fingerprint != self.renderer.fingerprint {
            self.renderer = Arc::new(renderer);
        }
        self.set_page_problems(remarks);
    }

    fn set_page_problems(&mut self, problems: Vec<Problem>) {
        // What the start found stands there.
        for file in pages::files_of(&self.config_file, &self.config.page) {
            self.problems.remove(&file);
        }
        self.page_problems = problems;
    }

    fn is_missing(&self, file: &Path) -> bool {
        self.files.get(file).is_some_and(|state| state.trouble == Some(ReadError::Missing))
    }

    /// A config that names another flag file is not taken before that file is there: with what is flagged in the old
    /// one gone, routes would open that nobody meant to open.
    fn misses_flags(&mut self, config: &Config) -> Option<Problem> {
        let flag_file = beside(&self.config_file, &config.maintenance);
        if flag_file == self.flag_file || config.on_missing == OnMissing::Open {
            return None;
        }
        let trouble = settled(&mut self.files, &flag_file).err()?;
        let name = self.config_file.display().to_string();
        let message = format!("`maintenance` names {}, which cannot be read: {trouble}", flag_file.display());
        Some(
            Problem::error(&name, message)
                .help("write that file first (an empty one flags nothing); then this config is taken"),
        )
    }

    /// A certificate, a key or roots have changed. A pair is taken when both fit: they are seldom written at once.
    fn take_materials(&mut self) -> bool {
        let config = Arc::clone(&self.config);
        match certs::materials(&self.config_file.clone(), &config, |path| settled(&mut self.files, path)) {
            Ok(materials) => {
                let page = pages::files_of(&self.config_file, &config.page);
                let files = files_of(&self.config_file, &config);
                for file in files.iter().filter(|file| **file != self.flag_file && !page.contains(file)) {
                    self.problems.remove(file);
                }
                let remarks = certs::exposed(&self.config_file, &config);
                warn(&remarks);
                for remark in remarks {
                    self.problems.insert(PathBuf::from(&remark.file), vec![remark]);
                }
                self.set_materials(materials);
                true
            }
            Err(problems) => {
                for problem in problems {
                    self.refuse(&PathBuf::from(&problem.file), vec![problem]);
                }
                false
            }
        }
    }

    fn set_materials(&mut self, materials: Materials) {
        self.known.secrets = materials.secrets.clone();
        self.materials = materials;
        self.fittings = None;
    }

    /// Keeps what is live, and says what is wrong. Always `false`.
    fn refuse(&mut self, file: &Path, problems: Vec<Problem>) -> bool {
        self.tell_refused(&problems);
        self.note_edit(file, false, &problems);
        self.problems.insert(file.to_owned(), problems);
        false
    }

    fn tell_refused(&mut self, problems: &[Problem]) {
        self.refused += 1;
        for problem in problems {
            tracing::error!(
                file = problem.file,
                line = problem.place.as_ref().map(|place| place.line),
                column = problem.place.as_ref().map(|place| place.column),
                help = problem.help,
                "refused, the last good one stays: {}",
                problem.message
            );
        }
    }

    /// Notes what happened to a file besides a new content. True if that changes what is served.
    fn note(&mut self, change: &Change) -> bool {
        match change {
            Change::Accepted(_) => {}
            Change::Restored(path) => {
                tracing::info!(path = %path.display(), "the file can be read again");
                // What it says may have been given up when it went missing.
                return *path == self.flag_file && self.take_flags();
            }
            Change::Missing(path) if *path == self.flag_file && self.config.on_missing == OnMissing::Open => {
                tracing::warn!(path = %path.display(), "the flag file is gone: nothing is flagged any more");
                self.set_flags(Flags::default());
                self.problems.remove(path);
                return true;
            }
            Change::Missing(path) if self.is_optional(path) => {
                tracing::info!(path = %path.display(), "the file is gone: the built-in one is shown");
            }
            Change::Missing(path) => {
                tracing::warn!(path = %path.display(), "the file is gone, the last good one stays");
            }
            Change::Unreadable(path) => {
                let trouble = self.files.get(path).and_then(|state| state.trouble);
                let trouble = trouble.map(|trouble| trouble.to_string());
                tracing::warn!(path = %path.display(), trouble, "the file cannot be read, the last good one stays");
            }
            Change::WatchWarning(path) => {
                let caveat = self.files.get(path).and_then(|state| state.caveat).map(|caveat| caveat.to_string());
                tracing::warn!(path = %path.display(), caveat, "changes of the file may not be seen");
            }
            Change::Watching => tracing::warn!(watching = %self.files.watching(), "how files are watched has changed"),
        }
        false
    }

    /// What a new config changes that takes effect only with a restart.
    fn restarts(&self, config: &Config) -> Vec<Problem> {
        let addresses = |listen: &[Listen]| {
            listen.iter().map(|listen| (listen.address.clone(), listen.tls.is_some())).collect::<Vec<_>>()
        };
        let changed = [
            ("listen", addresses(&config.listen) != addresses(&self.fixed.listen)),
            ("admin", config.admin != self.fixed.admin),
            ("workers", config.workers != self.fixed.workers),
            ("access_file", config.log.access_file != self.fixed.access_file),
            ("connections", config.limits.connections != self.fixed.connections),
        ];
        let file = self.config_file.display().to_string();
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed
            .map(|(key, _)| {
                Problem::warning(&file, format!("`{key}` has changed, which takes effect only with a restart"))
                    .help("the rest of the config is in force; restart backsoon when it suits")
            })
            .collect()
    }

    fn watched(&self) -> Vec<PathBuf> {
        let mut files = files_of(&self.config_file, &self.config);
        files.push(self.config_file.clone());
        if let Some(waiting) = &self.waiting {
            files.extend(files_of(&self.config_file, waiting));
            files.sort_unstable();
            files.dedup();
        }
        files
    }

    /// What there is to tell about the files.
    pub(super) fn report(&self) -> Report {
        let there = |path: &PathBuf| !(self.is_optional(path) && self.is_missing(path));
        let files = self.watched().into_iter().filter(there).map(|path| {
            let state = self.files.get(&path);
            let content = state.and_then(|state| state.content.as_ref());
            let trouble = state.and_then(|state| state.trouble).filter(|trouble| !self.expected(&path, *trouble));
            FileReport {
                role: self.role(&path),
                // The hash of a secret would be something to try guesses on.
                hash: content.map(|content| content.hash.to_string()).filter(|_| self.role(&path) != "secret"),
                loaded: content.and_then(|content| Timestamp::try_from(content.loaded).ok()),
                problems: self.problems_of(&path),
                trouble: trouble.map(|trouble| trouble.to_string()),
                caveat: state.and_then(|state| state.caveat).map(|caveat| caveat.to_string()),
                path: path.display().to_string(),
            }
        });
        Report { files: files.collect(), refused: self.refused }
    }

    fn problems_of(&self, path: &Path) -> Vec<Problem> {
        let own = self.problems.get(path).map(Vec::as_slice).unwrap_or_default();
        let of_page = self.page_problems.iter().filter(|problem| Path::new(&problem.file) == path);
        // What the start found of the config may be found again.
        own.iter().chain(of_page.filter(|problem| !own.contains(problem))).cloned().collect()
    }

    /// A template or a message file: without it, the built-in one is shown.
    fn is_optional(&self, path: &Path) -> bool {
        let logo = self.config.page.logo.as_ref().map(|logo| beside(&self.config_file, logo));
        logo.as_deref() != Some(path)
            && pages::files_of(&self.config_file, &self.config.page).iter().any(|file| file == path)
    }

    /// A flag file that never was there is no trouble.
    fn expected(&self, path: &Path, trouble: ReadError) -> bool {
        let never_there = self.files.get(path).is_some_and(|state| state.content.is_none());
        *path == self.flag_file && trouble == ReadError::Missing && never_there
    }

    fn role(&self, path: &Path) -> &'static str {
        let configs = || [Some(&*self.config), self.waiting.as_ref()].into_iter().flatten();
        let tls = || configs().flat_map(|config| &config.listen).filter_map(|listen| listen.tls.as_ref());
        if *path == self.config_file {
            "config"
        } else if *path == self.flag_file {
            "flags"
        } else if tls().any(|tls| beside(&self.config_file, &tls.cert) == path) {
            "certificate"
        } else if tls().any(|tls| beside(&self.config_file, &tls.key) == path) {
            "key"
        } else if pages::files_of(&self.config_file, &self.config.page).iter().any(|file| file == path) {
            "page"
        } else if configs().flat_map(certs::secret_files).any(|(_, file)| beside(&self.config_file, file) == path) {
            "secret"
        } else {
            "roots"
        }
    }
}

/// The last content of a file that may be acted on; a file that is not watched yet is read now.
fn settled(files: &mut Files, path: &Path) -> Result<Content, ReadError> {
    if files.get(path).is_none() {
        files.load_now(path);
    }
    let state = files.get(path).ok_or(ReadError::Missing)?;
    match (&state.content, state.trouble) {
        (Some(content), _) => Ok(content.clone()),
        (None, trouble) => Err(trouble.unwrap_or(ReadError::Missing)),
    }
}

/// [`settled`], but for a file that counts only as long as it is there.
fn present(files: &mut Files, path: &Path) -> Result<Content, ReadError> {
    let content = settled(files, path)?;
    match files.get(path).and_then(|state| state.trouble) {
        Some(ReadError::Missing) => Err(ReadError::Missing),
        Some(_) | None => Ok(content),
    }
}

/// Logs what is remarked upon.
fn warn(problems: &[Problem]) {
    for problem in problems {
        let place = problem.place.as_ref();
        tracing::warn!(
            file = problem.file,
            line = place.map(|place| place.line),
            column = place.map(|place| place.column),
            help = problem.help,
            "{}",
            problem.message
        );
    }
}

/// Logs a publication, and each route whose phase or mode changed: one line a transition.
fn tell(before: &Snapshot, after: &Snapshot, why: Why) {
    let why = match why {
        Why::File => "file",
        Why::Time => "time",
        Why::Signal => "signal",
        Why::Observed => "observed",
    };
    warn_of_long(Some(before), after);
    // A page that only tells how time goes on is no news.
    if (why == "time" || why == "observed") && after.routes.iter().all(|route| is_as_before(before, route)) {
        tracing::debug!(generation = after.generation, why, "published");
        return;
    }
    tracing::info!(generation = after.generation, why, "published");
    for route in &after.routes {
        tell_route(before, route);
    }
}

/// One line a transition; and one where a closed route is closed in another way.
fn tell_route(before: &Snapshot, route: &Route) {
    tell_transitions(route);
    let name = route.config.name.as_str();
    let mode = route.closure.as_ref().map(|closure| closure.mode.as_str());
    let until = route.closure.as_ref().and_then(|closure| closure.until).map(|until| until.to_string());
    if route.transitions.is_empty() && !is_as_before(before, route) {
        let (phase, why) = (route.phase().as_str(), &*route.life.why);
        tracing::info!(route = name, phase, mode, until, why, "route {phase}");
    }
}

fn tell_transitions(route: &Route) {
    let name = route.config.name.as_str();
    let mode = route.closure.as_ref().map(|closure| closure.mode.as_str());
    let until = route.closure.as_ref().and_then(|closure| closure.until).map(|until| until.to_string());
    for Transition { from, to, at, why } in &route.transitions {
        let (from, phase, at) = (from.as_str(), to.as_str(), at.to_string());
        tracing::info!(route = name, phase, from, at, mode, until, why, "route {phase}");
    }
}

/// Whether a route was in the same mode before, or as open.
fn is_as_before(before: &Snapshot, route: &Route) -> bool {
    let mode = |closure: &Option<Arc<Closure>>| closure.as_ref().map(|closure| closure.mode);
    let was = before.route(&route.config.name);
    route.transitions.is_empty() && was.is_some_and(|was| mode(&was.closure) == mode(&route.closure))
}

/// Says once of each route that it may have been forgotten.
fn warn_of_long(before: Option<&Snapshot>, after: &Snapshot) {
    let was_long = |name: &str| before.and_then(|before| before.route(name)).is_some_and(|was| was.long);
    for route in after.routes.iter().filter(|route| route.long && !was_long(&route.config.name)) {
        let (name, since) = (route.config.name.as_str(), route.since().to_string());
        tracing::warn!(route = name, since, "under maintenance for 24 hours: search engines begin to drop its pages");
    }
}
