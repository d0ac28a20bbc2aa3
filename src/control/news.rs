//! The news: keeps the ledger of incidents, and renders the status site, on a thread of its own.
//!
//! The thread is told of each publication, and is never waited for. A look that it has not come to is left out if there
//! are many: the ledger tells what has changed since its last look, whenever that was.

mod ledger_file;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use crate::live::{FormDesk, Generation, SitePublisher};
use crate::plan::config::Config;
use crate::plan::flags::Flags;
use crate::plan::news::{Ledger, News, PublicKeys, RouteSight, Sight, Site, Told, elsewhere};
use crate::plan::page::{Renderer, STACK_FOR_TEMPLATES};
use crate::telemetry::FormMeter;

use ledger_file::LedgerFile;

use super::chore;
use super::forms::FormThread;
use super::state::StateDir;
use super::subscribers::{OutboxView, Subscribers};

/// Handle of the news thread. Dropping it ends the thread.
pub(super) struct NewsDesk {
    queue: Arc<LookQueue>,
    outbox: OutboxView,
    thread: Option<JoinHandle<()>>,
}

/// Publication to look at.
#[derive(Clone)]
pub(super) struct Look {
    /// The generation.
    pub(super) live: Arc<Generation>,
    /// The flags that it was made of.
    pub(super) flags: Arc<Flags>,
    /// The config that it was made of.
    pub(super) config: Arc<Config>,
}

/// Result of a wait.
enum Taken {
    /// A publication.
    Look(Look),
    /// Nothing has come.
    Nothing,
    /// Nothing will come.
    End,
}

#[derive(Default)]
struct LookQueue {
    work: Mutex<Work>,
    available: Condvar,
}

#[derive(Default)]
struct Work {
    looks: VecDeque<Look>,
    closed: bool,
}

impl NewsDesk {
    /// Looks for the first time, and starts the thread. Without a state directory the news are forgotten with the
    /// process.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start(
        state: Option<StateDir>,
        site: SitePublisher,
        forms: Option<FormDesk>,
        first: Look,
        replica: String,
    ) -> io::Result<Self> {
        let meter = forms.as_ref().map(|forms| Arc::clone(&forms.meter)).unwrap_or_default();
        let forms = forms.map(FormThread::new);
        let mut newsroom = Newsroom::new(state, site, forms, meter, replica);
        let outbox = newsroom.view.clone();
        // The site is whole from the first request on.
        let mut newsroom = chore::run(STACK_FOR_TEMPLATES, move || {
            newsroom.look(&first);
            newsroom.render(&first);
            newsroom
        })?;
        let queue = Arc::new(LookQueue::default());
        let shared = Arc::clone(&queue);
        let thread =
            std::thread::Builder::new().name("news".to_owned()).stack_size(STACK_FOR_TEMPLATES).spawn(move || {
                // If the priority cannot be lowered, the thread works all the same.
                let _ = rustix::process::setpriority_process(None, NICE);
                loop {
                    let look = match shared.take(newsroom.patience()) {
                        Taken::Look(look) => look,
                        Taken::Nothing => {
                            newsroom.render_again();
                            continue;
                        }
                        Taken::End => break,
                    };
                    newsroom.look(&look);
                    // What is looked at next is rendered as well.
                    if shared.is_empty() {
                        newsroom.render(&look);
                    }
                }
            })?;
        Ok(Self { queue, outbox, thread: Some(thread) })
    }

    /// Returns a view of the outbox.
    pub(super) fn outbox(&self) -> OutboxView {
        self.outbox.clone()
    }

    /// Tells of a publication.
    pub(super) fn tell(&self, look: Look) {
        let mut work = self.queue.work();
        let dropped = (work.looks.len() >= MOST_LOOKS).then(|| work.looks.pop_front());
        work.looks.push_back(look);
        drop(work);
        // A generation is dropped outside of the lock.
        drop(dropped);
        self.queue.available.notify_one();
    }
}

impl Drop for NewsDesk {
    fn drop(&mut self) {
        self.queue.work().closed = true;
        self.queue.available.notify_one();
        if let Some(thread) = self.thread.take() {
            // Joining fails only after a panic, which was logged.
            let _ = thread.join();
        }
    }
}

impl LookQueue {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a look, or this long. The end comes once the desk was dropped and everything was looked at.
    fn take(&self, patience: Duration) -> Taken {
        let idle = |work: &mut Work| work.looks.is_empty() && !work.closed;
        let waited = self.available.wait_timeout_while(self.work(), patience, idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match work.looks.pop_front() {
            Some(look) => Taken::Look(look),
            None if work.closed => Taken::End,
            None => Taken::Nothing,
        }
    }

    fn is_empty(&self) -> bool {
        self.work().looks.is_empty()
    }
}

/// State of the news thread.
struct Newsroom {
    ledger: Ledger,
    file: Option<LedgerFile>,
    state: Option<StateDir>,
    /// Name of this replica.
    replica: String,
    /// Outbox; `None` while this proxy tells no subscribers.
    subscribers: Option<Subscribers>,
    view: OutboxView,
    forms: Option<FormThread>,
    site: SitePublisher,
    version: u64,
    /// Inputs of the last rendering.
    rendered: Option<Rendered>,
    /// Publication that was rendered without the keys of the outbox, which were not known then.
    keyless: Option<Look>,
}

/// Inputs of a rendering, to know whether another would be the same.
struct Rendered {
    changed: Timestamp,
    flags: Arc<Flags>,
    config: Arc<Config>,
    renderer: Arc<Renderer>,
    keys: PublicKeys,
}

impl Newsroom {
    fn new(
        state: Option<StateDir>,
        site: SitePublisher,
        forms: Option<FormThread>,
        meter: Arc<FormMeter>,
        replica: String,
    ) -> Self {
        let mut file = state.clone().map(LedgerFile::new);
        let known = file.as_mut().and_then(LedgerFile::load);
        let ledger = known.unwrap_or_else(|| Ledger::new(Timestamp::now()));
        let view = OutboxView::new(meter);
        let (subscribers, rendered, keyless) = (None, None, None);
        Self { ledger, file, state, replica, subscribers, view, forms, site, version: 0, rendered, keyless }
    }

    /// Looks at a publication: tells, saves and forgets.
    fn look(&mut self, look: &Look) {
        if let Some(known) = self.file.as_mut().and_then(LedgerFile::found_again) {
            // What was told since is told by the same keys.
            self.ledger = known;
        }
        let snapshot = &look.live.snapshot;
        let routes = RouteSight::all(snapshot);
        let elsewhere = elsewhere(&look.config);
        let sight = Sight { flags: &look.flags, routes: &routes, elsewhere: &elsewhere, now: snapshot.compiled };
        let told = self.ledger.observe(sight);
        self.log(&told);
        // Subscribers come before the file of the ledger: what a crash cuts short is found there, and told again.
        self.tell_subscribers(look, &told);
        self.ledger.forget(snapshot.compiled, look.config.status.keep);
        if let Some(file) = &mut self.file {
            file.save(&self.ledger);
        }
    }

    fn log(&self, told: &[Told]) {
        for told in told {
            let incident = &self.ledger.incidents()[told.incident];
            let update = &incident.updates[told.update];
            let reference = incident.facts.reference.as_deref().unwrap_or("unplanned");
            let (key, kind, sequence) = (incident.key.as_str(), update.kind.as_str(), update.sequence);
            tracing::info!(incident = key, window = reference, kind, sequence, "news");
        }
    }

    fn tell_subscribers(&mut self, look: &Look, told: &[Told]) {
        let config = &look.config;
        let renderer = &look.live.snapshot.renderer;
        let runs = self.subscribers.as_ref().is_some_and(|subscribers| subscribers.is_for(config));
        if !runs {
            // The old one has let go of its file before the next one opens it.
            self.subscribers = None;
            self.view.show(None);
            self.subscribers = self.state.as_ref().and_then(|state| Subscribers::start(state, config, &self.replica));
            self.subscribers.iter().for_each(|subscribers| subscribers.show_in(&self.view));
        }
        let Some(subscribers) = &self.subscribers else { return };
        let news = News::new(&look.config, &self.ledger, &look.flags.windows);
        if !runs {
            subscribers.repeat(&news, &self.ledger, renderer, look.live.snapshot.compiled);
            return;
        }
        for told in told {
            let incident = &self.ledger.incidents()[told.incident];
            subscribers.tell(&news, incident, &incident.updates[told.update], renderer);
        }
    }

    /// Returns the time after which to look again without a publication.
    fn patience(&self) -> Duration {
        if self.keyless.is_some() { KEYS_EVERY } else { LONGEST_WAIT }
    }

    /// Renders the site with the keys of the outbox, if they are known by now.
    fn render_again(&mut self) {
        if let Some(look) = self.keyless.take() {
            self.render(&look);
        }
    }

    /// Renders the site if something has changed.
    fn render(&mut self, look: &Look) {
        let renderer = &look.live.snapshot.renderer;
        let last = self.rendered.as_ref();
        let last = last.filter(|last| Arc::ptr_eq(&last.config, &look.config) && Arc::ptr_eq(&last.renderer, renderer));
        let keys = self.subscribers.as_ref().map(Subscribers::public_keys).unwrap_or_default();
        let waits = self.subscribers.is_some() && keys.is_empty();
        self.keyless = waits.then(|| look.clone());
        let is_same = |last: &Rendered| {
            let is_told = last.changed == self.ledger.changed() && last.keys == keys;
            is_told && last.flags.windows == look.flags.windows
        };
        if last.is_some_and(is_same) {
            return;
        }
        let before = last.map(|_| self.site.current()).unwrap_or_default();
        self.version += 1;
        let mut news = News::new(&look.config, &self.ledger, &look.flags.windows).with_keys(keys.clone());
        if self.subscribers.is_none() {
            // Without an outbox nobody could be told.
            news.ways.clear();
        }
        // Answers come before the page that asks.
        if let Some(forms) = &mut self.forms {
            forms.show(self.subscribers.as_ref().and_then(|subscribers| subscribers.scene(&news, renderer)));
        }
        self.site.publish(Site::render(self.version, &news, renderer, &before));
        let (flags, config, renderer) = (Arc::clone(&look.flags), Arc::clone(&look.config), Arc::clone(renderer));
        self.rendered = Some(Rendered { changed: self.ledger.changed(), flags, config, renderer, keys });
    }
}

/// Time between two looks for keys that are not known yet.
const KEYS_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a publication at a time.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Niceness of the thread, so that the workers come first.
const NICE: i32 = 10;
/// Publications that wait to be looked at.
const MOST_LOOKS: usize = 16;
