//! Watch of the flag file: a thread that reads, compiles and publishes, as control does for the proxy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Method;
use jiff::Timestamp;

use crate::control::{clock, judge};
use crate::files::source::{Content, ReadError};
use crate::files::{Change, Files, Options};
use crate::hold::HoldQueues;
use crate::plan::compile::{Inputs, Known, compile};
use crate::plan::config::{
    Access, Config, Errors, Exception, Hold, Log, OnMissing, PageConfig, Policy, RouteConfig, SocketFile, StatusConfig,
    Trace, TrustedProxies, WellKnown,
};
use crate::plan::encoding;
use crate::plan::flags::{self, Flags, Mode};
use crate::plan::limits::Limits;
use crate::plan::page::{Renderer, Renderers, Sources};
use crate::plan::path::PathPattern;
use crate::plan::problem::Problem;
use crate::plan::snapshot::{Route, Snapshot};
use crate::status::{FileStatus, InForceStatus, PendingStatus, ProblemStatus, Role};

use super::events::{Telling, Watchers};
use super::flights::{Eras, Flight};

/// State shared by the clones of a layer and their services.
#[derive(Debug)]
pub(super) struct Shared {
    live: ArcSwap<Live>,
    pub(super) hold: Hold,
    pub(super) holds: Arc<HoldQueues>,
    pub(super) started: Timestamp,
    pub(super) watchers: Watchers,
    file: ArcSwap<FileStatus>,
    /// Number of times that the file was refused.
    refused: AtomicU64,
}

/// Snapshot that is live, and the time of its publication.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) snapshot: Snapshot,
    pub(super) published: Instant,
    pub(super) eras: Eras,
    pub(super) telling: Telling,
}

impl Live {
    /// Returns the app's route: the only one, for every host and path.
    pub(super) fn route(&self) -> &Route {
        self.snapshot.routes.first().expect("a layer's config has one route")
    }

    /// Returns the mode that closes the app.
    fn mode(&self) -> Option<Mode> {
        self.route().closure.as_ref().map(|closure| closure.mode)
    }
}

impl Shared {
    /// Returns what is live. Called once for each request.
    pub(super) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Returns what is live, and counts a request by it. A closing that is published in between is looked at again, so that
    /// no request slips in uncounted.
    pub(super) fn enter(&self, method: &Method) -> (Arc<Live>, Flight) {
        let mut live = self.live();
        loop {
            let flight = live.eras.begin(method);
            let now = self.live();
            if Arc::ptr_eq(&live, &now) {
                return (live, flight);
            }
            live = now;
        }
    }

    /// Returns the state of the flag file.
    pub(super) fn file(&self) -> FileStatus {
        FileStatus::clone(&self.file.load())
    }

    /// Returns the number of held requests.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.holds.held(&self.live().route().config.name)
    }

    /// Returns how often the file was refused, and the last good one stayed live.
    #[cfg(test)]
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }
}

/// Reads the flag file and starts to watch it.
///
/// # Errors
/// The problems of the file or of the page.
pub(super) fn start(
    flag_file: PathBuf,
    page: PageConfig,
    telling: Telling,
    mut config: Config,
) -> Result<Arc<Shared>, Vec<Problem>> {
    // An app answers its own errors.
    let page = PageConfig { errors: false, ..page };
    let (renderer, problems) = Renderer::new(&page, &Sources::default(), "the layer");
    let renderers = Renderers::from(Arc::new(renderer.ok_or(problems)?));
    let hold = config.routes.first().map(|route| route.policy.hold).unwrap_or_default();
    config.page = page;
    let (ready, started) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("maintenance".to_owned());
    let spawned = thread.spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(vec![start_problem(&error)]))),
        };
        runtime.block_on(async {
            let mut watch = FlagWatch::new(config, flag_file, renderers, telling);
            match watch.read_first() {
                Err(problems) => drop(ready.send(Err(problems))),
                Ok(live) => {
                    let shared = Shared {
                        live: ArcSwap::from_pointee(live),
                        hold,
                        holds: Arc::default(),
                        started: Timestamp::now(),
                        watchers: Watchers::default(),
                        file: ArcSwap::from_pointee(watch.file_status()),
                        refused: AtomicU64::new(0),
                    };
                    let shared = Arc::new(shared);
                    let weak = Arc::downgrade(&shared);
                    if ready.send(Ok(shared)).is_ok() {
                        watch.run(weak).await;
                    }
                }
            }
        });
    });
    spawned.map_err(|error| vec![start_problem(&error)])?;
    started.recv().unwrap_or_else(|_| Err(vec![Problem::error("the layer", "its thread has ended")]))
}

fn start_problem(error: &std::io::Error) -> Problem {
    Problem::error("the layer", format!("cannot be started: {error}"))
}

/// Returns a config with a single route, for every host and path.
pub(super) fn config(route: String, always_open: Vec<Exception>, policy: Policy) -> Config {
    let route = RouteConfig {
        name: route,
        hosts: Vec::new(),
        paths: PathPattern::new("/").into_iter().collect(),
        upstreams: Vec::new(),
        redirect: None,
        listen: Vec::new(),
        keep_host: true,
        request: None,
        response: None,
        rewrite: None,
        always_open,
        well_known: WellKnown::Pass,
        limits: None,
        dialect: None,
        errors: Errors::default(),
        page: None,
        template: None,
        balance: None,
        switch: None,
        policy,
    };
    Config {
        maintenance: PathBuf::new(),
        on_missing: OnMissing::Keep,
        state_dir: None,
        workers: None,
        trusted_proxies: TrustedProxies::default(),
        drain: Duration::ZERO,
        trace: Trace::Pass,
        response: None,
        listen: Vec::new(),
        admin: None,
        admin_file: SocketFile::default(),
        admin_write: None,
        replicas: Vec::new(),
        fleet: None,
        limits: Limits::default(),
        log: Log { access: Access::Off, ..Log::default() },
        page: PageConfig::default(),
        status: StatusConfig::default(),
        notify: Vec::new(),
        mail: None,
        routes: vec![Arc::new(route)],
    }
}

/// State of the watching thread.
///
/// Control's `Controller` is another type: besides flags, it tends a config file, certificates, meters and saved state. Both
/// share the watch of files, the clock and the compiler.
struct FlagWatch {
    config: Config,
    flag_file: PathBuf,
    files: Files,
    flags: Flags,
    renderers: Renderers,
    generation: u64,
    telling: Telling,
    /// Content in force.
    in_force: Option<InForceStatus>,
    /// Problems of the content read last.
    problems: Vec<ProblemStatus>,
}

impl FlagWatch {
    fn new(config: Config, flag_file: PathBuf, renderers: Renderers, telling: Telling) -> Self {
        let files = Files::new(Options::default());
        Self {
            config,
            flag_file,
            files,
            flags: Flags::default(),
            renderers,
            generation: 0,
            telling,
            in_force: None,
            problems: Vec::new(),
        }
    }

    fn read_first(&mut self) -> Result<Live, Vec<Problem>> {
        self.files.set([self.flag_file.clone()]);
        if let Some(content) = self.content() {
            let (flags, problems) = parse(&self.flag_file, &content, &self.config);
            self.problems = problems.iter().map(ProblemStatus::from).collect();
            self.take(flags.ok_or(problems)?, &content);
        }
        let live = self.compile(None, 0);
        finish(&live);
        Ok(live)
    }

    /// Watches until no layer and no request is left.
    async fn run(&mut self, shared: Weak<Shared>) {
        loop {
            let Some(alive) = shared.upgrade() else { return };
            let live = alive.live();
            let (next_change, compiled) = (live.snapshot.next_change, live.snapshot.compiled);
            let holds = Arc::clone(&alive.holds);
            let next_turn = holds.call(&live.snapshot, tokio::time::Instant::now());
            drop((alive, live));
            let outcome = tokio::select! {
                changes = self.files.next() => self.accept(&changes),
                () = clock::moves(next_change, compiled, Timestamp::now, clock::LOOK_EVERY) => Outcome::Publish,
                () = holds.due(next_turn) => Outcome::Unchanged,
                // Looks now and then whether anybody is left.
                () = tokio::time::sleep(LOOK_EVERY) => Outcome::Unchanged,
            };
            let Some(shared) = shared.upgrade() else { return };
            if outcome == Outcome::Publish {
                let watchers = shared.watchers.count();
                let live = self.compile(Some(&shared.live()), watchers);
                shared.live.store(Arc::new(live));
                shared.holds.call(&shared.live().snapshot, tokio::time::Instant::now());
            }
            // Each watcher reads the state that is published now.
            if outcome == Outcome::Publish {
                shared.watchers.wake();
            }
            // After the publication: what is said to be in force is in force.
            shared.file.store(Arc::new(self.file_status()));
            match outcome {
                // After the publication, because compressed forms and other languages take a moment.
                Outcome::Publish => finish(&shared.live()),
                Outcome::Refused => {
                    shared.refused.fetch_add(1, Ordering::AcqRel);
                }
                Outcome::Unchanged => {}
            }
        }
    }

    /// Accepts changes of the file. A file that is wrong, or gone, changes nothing.
    fn accept(&mut self, changes: &[Change]) -> Outcome {
        let new = |change: &Change| matches!(change, Change::Accepted(_) | Change::Restored(_));
        let Some(content) = self.content().filter(|_| changes.iter().any(new)) else {
            for change in changes.iter().filter(|change| !matches!(change, Change::Noted(_))) {
                tracing::warn!(?change, "the flag file");
            }
            return Outcome::Unchanged;
        };
        let (flags, mut problems) = parse(&self.flag_file, &content, &self.config);
        problems.extend(self.refusal().filter(|_| flags.is_some()));
        self.problems = problems.iter().map(ProblemStatus::from).collect();
        for problem in &problems {
            let kept = if problem.is_error() { "refused, the last good one stays: " } else { "" };
            tracing::warn!(file = problem.file, help = problem.help, "{kept}{}", problem.message);
        }
        match flags {
            Some(flags) if !problems.iter().any(Problem::is_error) => self.take(flags, &content),
            Some(_) | None => return Outcome::Refused,
        }
        Outcome::Publish
    }

    /// Takes flags, and has the file's next contents compared with them.
    fn take(&mut self, flags: Flags, content: &Content) {
        let judge = judge::of(Arc::new(flags.clone()), content.bytes.clone());
        self.files.set_judge(&self.flag_file, judge);
        self.flags = flags;
        let since = Timestamp::try_from(content.loaded).ok();
        self.in_force = Some(InForceStatus { hash: content.hash.to_string(), generation: self.generation + 1, since });
    }

    /// Describes the flag file. A missing one is no trouble: it flags nothing, or what it flagged stays.
    fn file_status(&self) -> FileStatus {
        let state = self.files.get(&self.flag_file);
        let content = state.and_then(|state| state.content.as_ref());
        let error = state.and_then(|state| state.error).filter(|error| *error != ReadError::Missing);
        let pending = state.and_then(|state| state.pending).map(|pending| PendingStatus {
            since: Timestamp::try_from(pending.since).ok(),
            why: "it was seen, and has not lasted yet".to_owned(),
        });
        let changed = content.and_then(|content| {
            let (seconds, nanoseconds) = content.file.changed();
            Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
        });
        FileStatus {
            path: self.flag_file.display().to_string(),
            role: Role::Flags.as_str().to_owned(),
            hash: content.map(|content| content.hash.to_string()),
            loaded: content.and_then(|content| Timestamp::try_from(content.loaded).ok()),
            real: content.and_then(|_| Some(self.files.real(&self.flag_file)?.display().to_string())),
            inode: content.map(|content| content.file.to_string()),
            changed,
            in_force: self.in_force.clone(),
            pending,
            problems: self.problems.clone(),
            trouble: error.map(|error| error.to_string()),
            caveat: None,
            certificate: None,
        }
    }

    /// Returns the problem of a content that is valid, and lifts flags by mistake.
    fn refusal(&self) -> Option<Problem> {
        judge::refusal(&self.flag_file, self.files.get(&self.flag_file)?.doubt)
    }

    fn content(&self) -> Option<Content> {
        self.files.get(&self.flag_file)?.content.clone()
    }

    fn compile(&mut self, previous: Option<&Live>, watchers: u64) -> Live {
        self.generation += 1;
        let names = self.config.routes.iter().map(|route| (route.name.clone(), watchers));
        let known = Known { watchers: names.collect(), ..Known::default() };
        let snapshot = compile(Inputs {
            config: &self.config,
            flags: &self.flags,
            renderers: &self.renderers,
            known: &known,
            previous: previous.map(|previous| &previous.snapshot),
            now: Timestamp::now(),
            generation: self.generation,
        });
        let mut live = Live { snapshot, published: Instant::now(), eras: Eras::default(), telling: self.telling };
        if let Some(previous) = previous {
            live.eras = previous.eras.next(previous.mode(), live.mode());
        }
        live
    }
}

/// Outcome of a look at the file and the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Publish,
    Refused,
    Unchanged,
}

fn parse(path: &Path, content: &Content, config: &Config) -> (Option<Flags>, Vec<Problem>) {
    let file = path.display().to_string();
    let text = match encoding::decode(path, &content.bytes) {
        Ok(text) => text,
        Err(problem) => return (None, vec![problem]),
    };
    let (parsed, mut problems) = flags::parse_at(&file, text, Timestamp::now());
    if let Some(parsed) = &parsed {
        problems.extend(parsed.unknown_routes(config.routes.iter().map(|route| route.name.as_str())));
    }
    (parsed.map(|parsed| parsed.flags), problems)
}

fn finish(live: &Live) {
    live.snapshot.pages.values().for_each(|page| page.finish());
}

/// Interval between looks for a remaining layer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
