//! The control loop: waits until something may have changed, then has it compiled and published.

use std::cell::{Cell, RefCell};
use std::mem;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::sync::{oneshot, watch as channel};
use tokio::time::{Interval, MissedTickBehavior};

use crate::live::{Generation, Publisher, Reader, Stage};
use crate::plan::snapshot::{Route, Snapshot};
use crate::telemetry::Meters;
use crate::telemetry::access::AccessWriter;

use super::admin::{self, AdminListener, Followers, Page, Shared, Write};
use super::beats::{self, Beats};
use super::clock;
use super::controller::{Changed, Controller};
use super::health::Health;
use super::limit_log::LimitLog;
use super::lookout::{self, Lookout};
use super::observe::{self, Checks, Observations};
use super::probe::Probes;
use super::signals::{Command, Grace, Signals};
use super::transitions::Cause;

/// Parts that the loop is started with.
pub(crate) struct Start {
    /// The signals, handled from before the first socket is bound.
    pub signals: Signals,
    /// The inputs that were read at the start.
    pub controller: Controller,
    /// The writing end of the live cell.
    pub publisher: Publisher,
    /// The reading end, for the admin listener.
    pub reader: Reader,
    /// The meters that the workers count into.
    pub meters: Arc<Meters>,
    /// Tells the workers that the process is ending.
    pub stage: channel::Sender<Stage>,
    /// Resolves when all workers have ended.
    pub ended: oneshot::Receiver<()>,
    /// The admin listener, if there is one.
    pub admin: Option<AdminListener>,
    /// The access log, which is reopened after its file was rotated.
    pub access: Arc<AccessWriter>,
}

/// The way in which the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All requests in flight were finished, or the drain time was over.
    Drained,
    /// A second signal asked to end at once.
    Cut,
    /// The workers ended without being asked to.
    Died,
}

/// Runs the loop to the end of the process.
pub(crate) async fn run(start: Start) -> End {
    let mut control = Loop::new(start);
    notify(&[NotifyState::Ready]);
    loop {
        let wake = control.wait().await;
        if let ControlFlow::Break(end) = control.handle(wake) {
            if end == End::Drained {
                control.shared.followers.end(&control.shared).await;
                if let Some(beats) = &control.beats {
                    beats.leave(&control.shared).await;
                }
                return control.end_notifications().await;
            }
            return end;
        }
    }
}

/// State of the loop.
struct Loop {
    controller: Controller,
    publisher: Publisher,
    shared: Rc<Shared>,
    /// Beats of this replica, if the engine of the flags carries them.
    beats: Option<Rc<Beats>>,
    probes: Probes,
    health: Health,
    limits: LimitLog,
    /// The last generation that probes and observations were told of.
    followed: u64,
    /// Time at which baselines were saved last.
    remembered_at: Instant,
    wakers: Wakers,
    stage: channel::Sender<Stage>,
    access: Arc<AccessWriter>,
}

/// Everything besides files and checks that the loop waits for.
struct Wakers {
    signals: Signals,
    /// Resolves when the workers have ended.
    ended: oneshot::Receiver<()>,
    watchdog: Watchdog,
    /// Every route is observed.
    observe: Interval,
    /// Guarded routes are observed.
    guard: Interval,
    /// Routes in transition are looked at.
    transition: Interval,
}

/// The reason why the loop woke.
enum Wake {
    Files(Changed),
    /// The clock has reached the next change.
    Clock,
    Command(Command),
    /// The workers have ended.
    Ended,
    Watchdog,
    /// Every route is to be observed.
    Observe(Instant),
    /// Guarded routes are to be observed.
    Guard(Instant),
    /// A route in transition may have moved on.
    Transition,
}

impl Loop {
    fn new(start: Start) -> Self {
        let Start { signals, mut controller, publisher, reader, meters, stage, ended, admin, access } = start;
        let wakers = Wakers::new(signals, ended);
        let shared = Rc::new(Shared {
            followers: Followers::default(),
            page: Page::new(),
            write: Write::default(),
            reader,
            meters,
            report: RefCell::new(controller.report()),
            observations: RefCell::new(Observations::new(Instant::now())),
            lookout: Lookout::default(),
            outbox: controller.outbox(),
            stage: Cell::new(Stage::Running),
            started: Timestamp::now(),
        });
        if let Some(listener) = admin {
            tokio::task::spawn_local(admin::serve(listener, Rc::clone(&shared)));
        }
        tokio::task::spawn_local(look_out(Rc::clone(&shared)));
        let beats = controller.peers().map(|peers| Rc::new(Beats::new(peers, controller.replica_name())));
        if let Some(beats) = &beats {
            tokio::task::spawn_local(beats::tell(Rc::clone(beats), Rc::clone(&shared)));
        }
        controller.finish(&publisher.current().snapshot);
        shared.observations.borrow_mut().learn(controller.take_returned());
        shared.observations.borrow_mut().recall(controller.baselines(), Timestamp::now());
        let (probes, health, limits) = (Probes::new(Timestamp::now), Health::default(), LimitLog::new());
        let remembered_at = Instant::now();
        Self {
            controller,
            publisher,
            shared,
            beats,
            probes,
            health,
            limits,
            followed: 0,
            remembered_at,
            wakers,
            stage,
            access,
        }
    }

    /// Waits until something may have changed.
    async fn wait(&mut self) -> Wake {
        let (next_change, compiled, in_transition) = self.follow();
        self.publisher.release();
        let guarded = self.shared.observations.borrow().has_guarded();
        let Wakers { signals, ended, watchdog, observe, guard, transition } = &mut self.wakers;
        tokio::select! {
            changed = self.controller.changes() => Wake::Files(changed),
            () = clock::moves(next_change, compiled, Timestamp::now, clock::LOOK_EVERY) => Wake::Clock,
            command = signals.next() => Wake::Command(command),
            _ = ended => Wake::Ended,
            () = watchdog.tick() => Wake::Watchdog,
            now = observe.tick() => Wake::Observe(now.into_std()),
            now = guard.tick(), if guarded => Wake::Guard(now.into_std()),
            _ = transition.tick(), if in_transition => Wake::Transition,
            () = self.probes.changed() => Wake::Transition,
            () = self.health.changed() => Wake::Transition,
        }
    }

    /// Tells probes and observations of a new generation. Returns its next change, the time when it was compiled, and
    /// true if any of its routes is in transition.
    fn follow(&mut self) -> (Option<Timestamp>, Timestamp, bool) {
        let live = self.publisher.current();
        let snapshot = &live.snapshot;
        if mem::replace(&mut self.followed, snapshot.generation) != snapshot.generation {
            self.probes.on_publish(&live);
            self.health.on_publish(&live);
            self.shared.observations.borrow_mut().on_publish(&live, Instant::now());
        }
        (snapshot.next_change, snapshot.compiled, snapshot.routes.iter().any(Route::is_in_motion))
    }

    fn handle(&mut self, wake: Wake) -> ControlFlow<End> {
        match wake {
            Wake::Ended => return ControlFlow::Break(self.end_of_workers()),
            Wake::Observe(now) => {
                let busy = self.shared.observations.borrow_mut().observe(&self.shared.meters, now);
                if !busy {
                    self.wakers.observe.reset_at(self.next_idle_observation(now).into());
                }
                self.limits.log(&self.shared.meters, now);
                if now.saturating_duration_since(self.remembered_at) >= REMEMBER_EVERY {
                    self.remember(now);
                }
                if self.controller.look_around() {
                    self.shared.report.replace(self.controller.report());
                }
                // An observation changes nothing else in the report.
                return ControlFlow::Continue(());
            }
            Wake::Guard(now) => self.shared.observations.borrow_mut().observe_guarded(now),
            // A route may go down now, and its last requests belong to the baseline.
            Wake::Files(_) | Wake::Clock | Wake::Command(_) => {
                self.shared.observations.borrow_mut().observe(&self.shared.meters, Instant::now());
            }
            Wake::Watchdog | Wake::Transition => {}
        }
        let live = self.publisher.current();
        self.shared.observations.borrow_mut().observe_returning(Instant::now());
        self.hear(&live);
        let checks = Checks { probes: &self.probes, health: &self.health };
        let observed = observe::observed(&live, &self.shared.observations.borrow(), &checks, Instant::now());
        self.controller.observe(observed);
        match wake {
            Wake::Files(changed) => self.controller.refresh(changed, &mut self.publisher),
            Wake::Clock => self.controller.publish(&mut self.publisher, Cause::Time),
            Wake::Command(Command::Reload) => self.reload(),
            Wake::Command(Command::End(_)) if self.shared.stage.get() != Stage::Running => {
                return ControlFlow::Break(End::Cut);
            }
            Wake::Command(Command::End(grace)) => {
                self.controller.record_end(live.snapshot.generation);
                self.remember(Instant::now());
                self.drain(&live.snapshot, grace);
            }
            Wake::Watchdog => notify(&[NotifyState::Watchdog]),
            Wake::Guard(_) | Wake::Transition if self.controller.is_due(&live.snapshot) => {
                self.controller.publish(&mut self.publisher, Cause::Observed);
            }
            Wake::Guard(_) | Wake::Transition | Wake::Observe(_) | Wake::Ended => return ControlFlow::Continue(()),
        }
        self.shared.report.replace(self.controller.report());
        self.shared.followers.note();
        self.beats.iter().for_each(|beats| beats.note());
        ControlFlow::Continue(())
    }

    /// Takes in what the other replicas tell of the routes that come back.
    fn hear(&self, live: &Generation) {
        let Some(beats) = self.beats.as_ref().filter(|_| live.snapshot.routes.iter().any(observe::is_judged_by_all))
        else {
            return;
        };
        let word = beats.word(&self.shared);
        self.shared.observations.borrow_mut().hear(&word, live, Instant::now(), Timestamp::now());
    }

    /// Returns when the routes are observed next if they have no requests: together with a look at the files. A timer of its
    /// own, even if only a millisecond later, would wake the process once more.
    fn next_idle_observation(&self, now: Instant) -> Instant {
        let poll = self.controller.next_poll();
        let together = if poll < now + observe::OBSERVE_EVERY { poll + observe::OBSERVE_IDLE_EVERY } else { poll };
        together.max(now + observe::OBSERVE_EVERY)
    }

    /// Finishes the notifications that are under way, unless a second signal ends that.
    async fn end_notifications(&mut self) -> End {
        tokio::select! {
            () = self.controller.end_notifications() => End::Drained,
            () = another_end(&mut self.wakers.signals) => End::Cut,
        }
    }

    /// Saves the baselines of the routes with a guard.
    fn remember(&mut self, now: Instant) {
        let live = self.publisher.current();
        self.remembered_at = now;
        self.controller.save_baselines(self.shared.observations.borrow_mut().remember(&live, now, Timestamp::now()));
    }

    /// Returns how the process ended, now that the workers have.
    fn end_of_workers(&self) -> End {
        match self.shared.stage.get() {
            Stage::Running => End::Died,
            Stage::Draining { .. } => End::Drained,
        }
    }

    /// Reads everything again on SIGHUP, whatever events were seen.
    fn reload(&mut self) {
        tracing::info!("reading everything again");
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, now]);
        }
        self.controller.reload(&mut self.publisher);
        notify(&[NotifyState::Ready]);
        self.access.reopen();
    }

    /// Tells the workers to finish, and systemd that the process is stopping.
    fn drain(&self, live: &Snapshot, grace: Grace) {
        let routes = live.routes.iter().filter_map(|route| route.config.policy.drain);
        let longest = routes.fold(live.drain, Duration::max);
        let grace = match grace {
            Grace::Configured => live.limits.grace,
            Grace::None => Duration::ZERO,
        };
        let draining = Stage::Draining { deadline: Instant::now() + longest + grace, grace };
        self.shared.stage.set(draining);
        self.stage.send_replace(draining);
        tracing::info!(drain = ?longest, ?grace, "ending: finishing what is in flight; a second signal ends at once");
        notify(&[NotifyState::Stopping]);
    }
}

/// Waits for a signal that asks to end.
async fn another_end(signals: &mut Signals) {
    while !matches!(signals.next().await, Command::End(_)) {}
}

/// Tries the checks of open routes now and then, until the process ends.
async fn look_out(shared: Rc<Shared>) {
    lookout::watch(&shared.lookout, &shared.reader, || shared.followers.note()).await;
}

impl Wakers {
    fn new(signals: Signals, ended: oneshot::Receiver<()>) -> Self {
        Self {
            signals,
            ended,
            watchdog: Watchdog::new(),
            observe: every(observe::OBSERVE_EVERY),
            guard: every(observe::GUARD_EVERY),
            transition: every(TRANSITION_EVERY),
        }
    }
}

/// Returns an interval that leaves missed ticks out. Its ticks keep their distance, so that intervals wake the process
/// together.
fn every(time: Duration) -> Interval {
    let mut interval = tokio::time::interval(time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// The watchdog of systemd, if it is enabled. Notified at half of its time-out.
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

/// Notifies systemd, if the process runs under it.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Interval at which routes in transition are checked.
const TRANSITION_EVERY: Duration = Duration::from_millis(100);

/// Interval at which baselines are saved.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);

const LEAST_WATCHDOG: Duration = Duration::from_millis(100);
