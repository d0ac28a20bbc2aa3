//! Notifier: tells operators of events, by chats, webhooks and programs, on a thread of its own.
//!
//! Nothing here delays what clients get: a publication comes first. Whatever waits is bounded, and written down before the
//! state is, so that a crash loses none.

mod deliver;
mod exec;
mod hook;
mod mail;
mod outcome;
mod record;

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver as Done, RecvTimeoutError, TryRecvError, channel as done};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::Access;
use tokio::sync::mpsc::{Sender, channel};

use crate::outbox::store::journal::Waiting;
use crate::plan::compile::Memory;
use crate::plan::config::{Config, Destination, EventKind, MailConfig, Notify, To};
use crate::plan::flags::Flags;
use crate::plan::news::Key;
use crate::plan::notify::{OperatorEvent, Watch};
use crate::plan::problem::Problem;
use crate::plan::snapshot::Snapshot;

use super::certs::Materials;
use super::history::Event;
use super::state::StateDir;

pub(crate) use deliver::{Tools, attempt};
pub(crate) use outcome::Failure;
use record::{GivenUp, Left, Record, Row};

/// Place that is told, with its settings.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Destination, from the config or from its file.
    pub to: Destination,
    /// Settings.
    pub settings: Notify,
    /// Mail server, for a mailbox.
    pub mail: Option<MailConfig>,
}

/// Handle of the thread. Without a place to tell, there is no thread.
pub(super) struct Notifier {
    replica: String,
    watch: Watch,
    places: Vec<Place>,
    record: Record,
    /// True once the places have been told what an earlier process left.
    has_resumed: bool,
    unsaved: bool,
    thread: Option<Thread>,
}

/// Running thread.
struct Thread {
    jobs: Sender<Job>,
    /// Disconnects when the thread ends.
    done: Done<()>,
}

/// Event that one place is to be told of.
#[derive(Debug)]
struct Task {
    place: Place,
    event: OperatorEvent,
    queued: Instant,
    /// Age when it was queued.
    age: Duration,
    origin: Left,
    /// Row; `None` if it could not be written down.
    row: Option<Row>,
}

/// Work for the thread.
#[derive(Debug)]
enum Job {
    /// Tell one place of an event.
    Tell(Box<Task>),
    /// Finish what is under way within this time.
    End(Duration),
}

impl Notifier {
    /// Begins with what an earlier process remembers.
    pub(super) fn new(memory: &Memory, state: StateDir) -> Self {
        Self {
            replica: replica(),
            watch: Watch::after(memory),
            places: Vec::new(),
            record: Record::new(state),
            has_resumed: false,
            unsaved: false,
            thread: None,
        }
    }

    /// Tells of what a publication has changed.
    pub(super) fn published(&mut self, snapshot: &Snapshot, flags: &Flags, config: &Config, materials: &Materials) {
        self.places = places(config, materials);
        if self.places.is_empty() {
            // A place that is added later is told of what lasts then.
            self.watch = Watch::default();
            return;
        }
        self.resume();
        let events = self.watch.look(snapshot, flags);
        self.tell(&events);
    }

    /// Tells of refused edits.
    pub(super) fn edited(&mut self, edit: &Event) {
        let Event::Edit { file, role, taken: false, problems, .. } = edit else { return };
        let what = format!("{file}: {}", problems.first().map_or("it cannot be read", String::as_str));
        let headline = format!("an edit of the {role} file was refused, and the last good one stays");
        self.tell(&[OperatorEvent::of_proxy(EventKind::RefusedEdit, Timestamp::now(), &headline, what)]);
    }

    /// Tells that state or history cannot be written, once until they can be.
    pub(super) fn recorded(&mut self, problems: &[Problem]) {
        let was_told = std::mem::replace(&mut self.unsaved, !problems.is_empty());
        let Some(problem) = problems.first().filter(|_| !was_told) else { return };
        let what = format!("{}: {}", problem.file, problem.message);
        let headline = "state or history cannot be written";
        self.tell(&[OperatorEvent::of_proxy(EventKind::Unsaved, Timestamp::now(), headline, what)]);
    }

    /// Ends the thread. What is under way may take this long. Dropped before, it ends all at once. Cancel safe.
    pub(super) async fn end(&mut self, grace: Duration) {
        let Some(thread) = &self.thread else { return };
        thread.ask(grace);
        let latest = Instant::now() + grace + LAST;
        while !thread.is_over() && Instant::now() < latest {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells each place of the events that concern it, after they are written down.
    fn tell(&mut self, events: &[OperatorEvent]) {
        let places = self.places.clone();
        let pairs = events.iter().flat_map(|event| places.iter().map(move |place| (place, event)));
        let pairs: Vec<_> = pairs.filter(|(place, event)| event.concerns(&place.settings)).collect();
        if pairs.is_empty() {
            return;
        }
        let keys: Vec<Key> = pairs.iter().map(|(place, _)| record::key(&place.to)).collect();
        let entries: Vec<_> = keys.iter().zip(&pairs).map(|(key, (_, event))| (key.as_str(), *event)).collect();
        let mut rows = self.record.add(&entries).into_iter();
        for (place, event) in pairs {
            let (place, event, age, row) = (place.clone(), event.clone(), Duration::ZERO, rows.next());
            self.queue(Task { place, event, queued: Instant::now(), age, origin: Left::Not, row });
        }
    }

    /// Tells what an earlier process left.
    fn resume(&mut self) {
        if std::mem::replace(&mut self.has_resumed, true) {
            return;
        }
        for (Waiting { place, since, event, .. }, row) in self.record.left() {
            let known = self.places.iter().find(|known| record::key(&known.to).as_str() == place).cloned();
            let (place, event) = match known.ok_or(GivenUp::NoPlace).and_then(|place| resumed(place, event, &row)) {
                Ok(found) => found,
                Err(why) => {
                    tracing::error!(why = why.as_str(), since = %since, "operators are not notified");
                    row.end();
                    continue;
                }
            };
            let age = record::age(since, Timestamp::now());
            let (queued, origin) = (Instant::now(), Left::ByEarlierProcess);
            self.queue(Task { place, event, queued, age, origin, row: Some(row) });
        }
    }

    fn queue(&mut self, task: Task) {
        let (to, kind) = (task.place.to.to_string(), task.event.kind.as_str());
        if self.thread.is_none() {
            match Thread::start(self.replica.clone()) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    tracing::error!(to, event = kind, %error, "operators are not notified: no thread can be started");
                    return;
                }
            }
        }
        let Some(thread) = &self.thread else { return };
        if let Err(refused) = thread.jobs.try_send(Job::Tell(Box::new(task))) {
            tracing::error!(to, event = kind, "operators are not notified: too many notifications wait");
            if let Job::Tell(task) = refused.into_inner() {
                task.forget();
            }
        }
    }
}

impl Task {
    /// Forgets the task: it is done, or given up.
    fn forget(self) {
        if let Some(row) = self.row {
            row.end();
        }
    }
}

/// Returns what a place is told again.
fn resumed(place: Place, event: Option<OperatorEvent>, row: &Row) -> Result<(Place, OperatorEvent), GivenUp> {
    let event = event.ok_or(GivenUp::Unreadable)?;
    record::resume(&place.to, row.attempts, deliver::retries(&place))?;
    Ok((place, event))
}

impl Drop for Notifier {
    /// Ends at once. The thread needs a moment to kill programs.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take().filter(|thread| !thread.is_over()) {
            thread.ask(Duration::ZERO);
            if let Err(RecvTimeoutError::Timeout) = thread.done.recv_timeout(LAST) {
                tracing::warn!("notifications that were under way are given up");
            }
        }
    }
}

impl Thread {
    /// Asks the thread to end. A second word shortens the time of the first.
    fn ask(&self, grace: Duration) {
        // If there is no room, the thread ends with this process.
        let _ = self.jobs.try_send(Job::End(grace));
    }

    fn is_over(&self) -> bool {
        matches!(self.done.try_recv(), Err(TryRecvError::Disconnected))
    }

    fn start(replica: String) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, queue) = channel(MOST_JOBS);
        let (tell, done) = done();
        std::thread::Builder::new().name("notify".to_owned()).spawn(move || {
            let _tell = tell;
            // A program's priority is inherited, so this thread keeps its own.
            tokio::task::LocalSet::new().block_on(&runtime, deliver::run(queue, replica));
            runtime.shutdown_background();
        })?;
        Ok(Self { jobs, done })
    }
}

/// Returns the places that a config names. The content of their files is among the materials.
pub(crate) fn places(config: &Config, materials: &Materials) -> Vec<Place> {
    let place = |notify: &Notify| {
        let to = match &notify.to {
            To::Written(to) => to,
            To::File(file) => materials.destinations.get(file)?,
        };
        let mail = config.mail.as_ref().filter(|_| matches!(to, Destination::Mail(_))).cloned();
        Some(Place { to: to.clone(), settings: notify.clone(), mail })
    };
    config.notify.iter().filter_map(place).collect()
}

/// Warns of programs that cannot be run.
pub(super) fn unrunnable(config_file: &Path, config: &Config) -> Vec<Problem> {
    let program = |notify: &Notify| match &notify.to {
        To::Written(Destination::Exec(program)) => program_fault(program),
        To::Written(Destination::Hook(..) | Destination::Mail(_)) | To::File(_) => None,
    };
    let warning = |fault| {
        let help = "install it, or make it executable: `chmod +x`; until then its events are lost";
        Problem::warning(&config_file.display().to_string(), fault).help(help)
    };
    config.notify.iter().filter_map(program).map(warning).collect()
}

/// Returns the reason why a program cannot be run; `None` if it seems that it can.
pub(crate) fn program_fault(program: &Path) -> Option<String> {
    let name = program.display();
    match rustix::fs::access(program, Access::EXEC_OK) {
        Ok(()) if program.is_dir() => Some(format!("the program {name} is a directory")),
        Ok(()) => None,
        Err(error) => Some(format!("the program {name} cannot be run: {}", io::Error::from(error))),
    }
}

/// Returns the name by which operators know this replica: that of its host.
pub(crate) fn replica() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Notifications that may wait for the thread. It hands them over at once.
const MOST_JOBS: usize = 1024;
/// Time to end after the grace.
const LAST: Duration = Duration::from_secs(1);
/// Time between two looks for the end of the thread.
const LOOK_EVERY: Duration = Duration::from_millis(20);
