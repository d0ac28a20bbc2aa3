//! The loop: waits until something may have changed, and has it compiled and published.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch as channel};
use tokio::time::{Interval, MissedTickBehavior};

use crate::live::{Generation, Publisher, Reader, Stage};
use crate::plan::snapshot::Route;
use crate::telemetry::Meters;
use crate::telemetry::access::AccessWriter;

use super::admin::{self, AdminListener, Shared};
use super::clock;
use super::controller::Controller;
use super::limit_log::LimitLog;
use super::observe::{self, Observations};
use super::probe::Probes;
use super::transitions::Cause;
use crate::files::Change;

/// What the loop is started with.
pub struct Start {
    /// What was read so far.
    pub controller: Controller,
    /// The writing end of the live cell.
    pub publisher: Publisher,
    /// The reading end, for the admin listener.
    pub reader: Reader,
    /// Where the workers count.
    pub meters: Arc<Meters>,
    /// Tells the workers that the process ends.
    pub stage: channel::Sender<Stage>,
    /// Answers when all workers have ended.
    pub ended: oneshot::Receiver<()>,
    /// The admin listener, if there is one.
    pub admin: Option<AdminListener>,
    /// Is told when log files were rotated.
    pub access: Arc<AccessWriter>,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything in flight was finished, or the drain time was over.
    Drained,
    /// A second signal asked for the end at once.
    Cut,
    /// The workers ended without being asked to.
    Died,
}

/// Runs the loop to the end of the process.
///
/// # Errors
/// When signals cannot be received.
pub async fn run(start: Start) -> io::Result<End> {
    let Start { mut controller, mut publisher, reader, meters, stage, mut ended, admin, access } = start;
    let mut signals = Signals::new()?;
    let shared = Rc::new(Shared {
        reader,
        meters,
        report: RefCell::new(controller.report()),
        observations: RefCell::new(Observations::new(Instant::now())),
        stage: Cell::new(Stage::Running),
        started: Timestamp::now(),
    });
    if let Some(listener) = admin {
        tokio::task::spawn_local(admin::serve(listener, Rc::clone(&shared)));
    }
    controller.finish(&publisher.current().snapshot);
    notify(&[NotifyState::Ready]);
    let mut watchdog = Watchdog::new();
    let mut observing = every(observe::OBSERVE_EVERY);
    let mut transitions = every(TRANSITION_EVERY);
    let mut guarding = every(observe::GUARD_EVERY);
    let (mut probes, mut limits) = (Probes::new(Timestamp::now), LimitLog::new());
    let mut published = 0;
    loop {
        let live = publisher.current();
        let (next_change, compiled) = (live.snapshot.next_change, live.snapshot.compiled);
        let in_transition = live.snapshot.routes.iter().any(Route::is_in_motion);
        if std::mem::replace(&mut published, live.snapshot.generation) != live.snapshot.generation {
            on_publish(&live, &mut probes, &shared);
        }
        let guards = shared.observations.borrow().has_guarded();
        drop(live);
        publisher.release();
        let wake = tokio::select! {
            changes = controller.changes() => Wake::Files(changes),
            () = clock::moves(next_change, compiled, Timestamp::now, clock::LOOK_EVERY) => Wake::Clock,
            command = signals.next() => Wake::Command(command),
            _ = &mut ended => return Ok(end_of(&shared)),
            () = watchdog.tick() => Wake::Watchdog,
            now = observing.tick() => {
                observe(&shared, &mut limits, now.into_std());
                // Nothing happened that the report would tell.
                continue;
            }
            now = guarding.tick(), if guards => {
                shared.observations.borrow_mut().observe_guarded(now.into_std());
                Wake::Observation
            }
            _ = transitions.tick(), if in_transition => Wake::Observation,
            () = probes.changed() => Wake::Observation,
        };
        let live = publisher.current();
        controller.observe(observe::observed(&live, &shared.observations.borrow(), &probes, Instant::now()));
        match wake {
            Wake::Files(changes) => controller.refresh(&changes, &mut publisher),
            Wake::Clock => controller.publish(&mut publisher, Cause::Time),
            Wake::Command(Command::Reload) => {
                reload(&mut controller, &mut publisher);
                access.reopen();
            }
            Wake::Command(Command::End(_)) if shared.stage.get() != Stage::Running => return Ok(End::Cut),
            Wake::Command(Command::End(grace)) => {
                controller.record_end(live.snapshot.generation);
                drain(&publisher, &stage, &shared, grace);
            }
            Wake::Watchdog => notify(&[NotifyState::Watchdog]),
            Wake::Observation if controller.is_due(&live.snapshot) => {
                controller.publish(&mut publisher, Cause::Observed)
            }
            Wake::Observation => continue,
        }
        shared.report.replace(controller.report());
    }
}

/// Looks at what was counted.
fn observe(shared: &Shared, limits: &mut LimitLog, now: std::time::Instant) {
    shared.observations.borrow_mut().observe(&shared.meters, now);
    limits.log(&shared.meters, now);
}

/// Something was published.
fn on_publish(live: &Generation, probes: &mut Probes, shared: &Shared) {
    probes.on_publish(live);
    shared.observations.borrow_mut().on_publish(live, Instant::now());
}

/// What it means that the workers have ended.
fn end_of(shared: &Shared) -> End {
    if shared.stage.get() == Stage::Running { End::Died } else { End::Drained }
}

/// Ticks that are never made up for.
fn every(time: Duration) -> Interval {
    let mut interval = tokio::time::interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// What the loop was woken by.
enum Wake {
    Files(Vec<Change>),
    Clock,
    Command(Command),
    Watchdog,
    /// Something may be observed of a route that is in motion.
    Observation,
}

/// SIGHUP: everything is read again, whatever the events said.
fn reload(controller: &mut Controller, publisher: &mut Publisher) {
    tracing::info!("reading everything again");
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    controller.reload(publisher);
    notify(&[NotifyState::Ready]);
}

/// Tells the workers to end, and the world to send its traffic elsewhere.
fn drain(publisher: &Publisher, stage: &channel::Sender<Stage>, shared: &Shared, grace: Grace) {
    let live = publisher.current();
    let routes = live.snapshot.routes.iter().filter_map(|route| route.config.policy.drain);
    let longest = routes.fold(live.snapshot.drain, Duration::max);
    let grace = match grace {
        Grace::Configured => live.snapshot.limits.grace,
        Grace::None => Duration::ZERO,
    };
    let draining = Stage::Draining { deadline: Instant::now() + longest + grace, grace };
    shared.stage.set(draining);
    stage.send_replace(draining);
    tracing::info!(drain = ?longest, ?grace, "ending: finishing what is in flight; a second signal ends at once");
    notify(&[NotifyState::Stopping]);
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Reload,
    End(Grace),
}

/// Whether idle connections are still answered for a while. Whoever presses Ctrl-C does not wait for anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    Configured,
    None,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.hangup.recv() => Command::Reload,
            _ = self.terminate.recv() => Command::End(Grace::Configured),
            _ = self.interrupt.recv() => Command::End(Grace::None),
        }
    }
}

/// systemd's watchdog, if it watches: told at half of its time.
struct Watchdog {
    interval: Option<Interval>,
}

impl Watchdog {
    fn new() -> Self {
        Self {
            interval: sd_notify::watchdog_enabled().map(|time| tokio::time::interval((time / 2).max(LEAST_WATCHDOG))),
        }
    }

    async fn tick(&mut self) {
        match &mut self.interval {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}

/// Tells systemd, where it listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// How often routes in motion are looked at.
const TRANSITION_EVERY: Duration = Duration::from_millis(100);

const LEAST_WATCHDOG: Duration = Duration::from_millis(100);
