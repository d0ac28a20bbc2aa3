//! Beats of this replica: what it tells the others of itself, and answers when somebody asks all.
//!
//! A task beside the loop makes them, never a request. While all is calm, one is told every few seconds; at once if
//! something was published; and whoever asks gets one that was made after the question came.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::files::author;
use crate::live::{Generation, Stage};
use crate::plan::config::{Address, Config};
use crate::plan::lifecycle::GuardCounts;
use crate::plan::snapshot::{Phase, Route};
use crate::plan::units::millis;
use crate::status::beat::{Beat, BeatRoute, LONGEST_NAME, MOST_ROUTES};
use crate::status::concerns::concerns;
use crate::status::{FileStatus, ProblemStatus, Role};

use super::admin::{Shared, status_of};
use super::fleet::peers::{Peers, Wish, pause_for, spread_for};
use super::observe::{Observations, Word};
use super::report::{self, Report};

/// Beats of this replica.
pub(super) struct Beats {
    /// The others.
    pub peers: Peers,
    /// Name of this replica.
    name: String,
    /// Something may have been published.
    news: Notify,
    /// Number of the last beat.
    number: Cell<u64>,
    schedule: RefCell<Schedule>,
}

/// Schedule of the beats.
#[derive(Debug)]
struct Schedule {
    /// Time of the next beat.
    next: Instant,
    /// Time of the last one.
    last: Option<Instant>,
    /// Generation that it told.
    generation: u64,
    /// Time at which a route was not plainly open.
    restless: Option<Instant>,
    /// Time of the last answer.
    answered: Option<Instant>,
    /// True while somebody may wait for an answer.
    is_asked: bool,
}

/// Length of a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// For the other replicas.
    Brief,
    /// For somebody who asks.
    Whole,
}

impl Beats {
    pub(super) fn new(peers: Peers, name: String) -> Self {
        let schedule = RefCell::new(Schedule::new(Instant::now()));
        Self { peers, name, news: Notify::new(), number: Cell::new(0), schedule }
    }

    /// Notes that something may have been published.
    pub(super) fn note(&self) {
        self.news.notify_one();
    }

    /// Tells the others that this process ends.
    pub(super) async fn leave(&self, shared: &Shared) {
        let farewell = self.make(shared, &Wish::default(), Length::Brief);
        self.peers.leave(Beat { routes: Vec::new(), ..farewell }).await;
    }

    /// Makes a beat.
    fn make(&self, shared: &Shared, wish: &Wish, length: Length) -> Beat {
        self.number.set(self.number.get() + 1);
        let (live, report) = (shared.reader.current(), shared.report.borrow());
        let (mut routes, omitted) = routes(&live, &wish.routes, length);
        add_counts(&mut routes, &live, &shared.observations.borrow());
        let beat = Beat {
            replica: self.name.clone(),
            boot: self.peers.boot().to_owned(),
            number: self.number.get(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            at: Some(Timestamp::now()),
            every_ms: millis(self.every(Instant::now())),
            ready: shared.stage.get() == Stage::Running,
            revision: report.fleet.as_ref().and_then(|fleet| fleet.in_force.clone()),
            generation: live.snapshot.generation,
            admin: report.admin.clone(),
            in_flight: live.routes.iter().map(|meter| meter.sum(|cell| cell.in_flight.get())).sum(),
            phases: phases(&live),
            routes,
            omitted,
            ..of_files(&report)
        };
        drop(report);
        match length {
            Length::Brief => beat,
            Length::Whole => Beat { heard: self.peers.acquaintances(), concerns: told(shared), ..beat },
        }
    }

    /// Returns what the others have told last, and what is in force here.
    pub(super) fn word(&self, shared: &Shared) -> Word {
        let report = shared.report.borrow();
        let revision = report.fleet.as_ref().and_then(|fleet| fleet.in_force.clone());
        Word::new(&self.peers, of_files(&report).flags, revision)
    }

    /// Returns the time between two beats.
    fn every(&self, now: Instant) -> Duration {
        pause_for(self.peers.count().0 + 1, self.schedule.borrow().wanted(now))
    }
}

/// Tells beats and answers questions until the process ends.
pub(super) async fn tell(beats: Rc<Beats>, shared: Rc<Shared>) {
    let mut wishes = beats.peers.wishes();
    loop {
        let due = beats.schedule.borrow().due();
        tokio::select! {
            _ = wishes.changed() => beats.schedule.borrow_mut().is_asked = true,
            () = beats.news.notified() => {
                let (generation, replicas) = (shared.reader.current().snapshot.generation, beats.peers.count().0 + 1);
                let delay = spread_for(replicas).mul_f64(fastrand::f64());
                beats.schedule.borrow_mut().on_news(generation, delay, Instant::now());
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
        if beats.schedule.borrow_mut().takes_question(Instant::now()) {
            answer(&beats, &shared);
        }
        if beats.schedule.borrow().next <= Instant::now() {
            say(&beats, &shared);
        }
    }
}

/// Answers those who have asked.
fn answer(beats: &Beats, shared: &Shared) {
    let wish = beats.peers.take_wish();
    if wish.is_begun {
        beats.schedule.borrow_mut().next = Instant::now();
    }
    if wish.is_asked {
        let beat = beats.make(shared, &wish, Length::Whole);
        beats.peers.answer(beat, &wish);
    }
}

/// Tells a beat to all.
fn say(beats: &Beats, shared: &Shared) {
    let live = shared.reader.current();
    let now = Instant::now();
    {
        let mut schedule = beats.schedule.borrow_mut();
        schedule.generation = live.snapshot.generation;
        if !live.snapshot.routes.iter().all(is_plain) {
            schedule.restless = Some(now);
        }
    }
    let every = beats.every(now);
    beats.schedule.borrow_mut().sent(now, every.mul_f64(0.9 + fastrand::f64() / 5.0));
    beats.peers.say(beats.make(shared, &Wish::default(), Length::Brief));
}

impl Schedule {
    fn new(now: Instant) -> Self {
        Self { next: now, last: None, generation: 0, restless: None, answered: None, is_asked: true }
    }

    /// Returns the time of the next beat or answer.
    fn due(&self) -> Instant {
        let answer = self.is_asked.then(|| self.answered.map_or(self.next, |answered| answered + LEAST_PAUSE));
        answer.map_or(self.next, |answer| answer.min(self.next))
    }

    /// Notes a publication, which is told after a delay.
    fn on_news(&mut self, generation: u64, delay: Duration, now: Instant) {
        if generation != self.generation {
            let soonest = self.last.map_or(now, |last| now.max(last + LEAST_PAUSE));
            self.next = self.next.min(soonest + delay);
        }
    }

    /// Notes a beat.
    fn sent(&mut self, now: Instant, pause: Duration) {
        (self.last, self.next) = (Some(now), now + pause);
    }

    /// Returns true if a question waits that may be answered now.
    fn takes_question(&mut self, now: Instant) -> bool {
        let may = self.answered.is_none_or(|answered| now >= answered + LEAST_PAUSE);
        let takes = self.is_asked && may;
        if takes {
            (self.is_asked, self.answered) = (false, Some(now));
        }
        takes
    }

    /// Returns the time between two beats of a small fleet.
    fn wanted(&self, now: Instant) -> Duration {
        let is_restless = self.restless.is_some_and(|at| now.saturating_duration_since(at) < CALM_AFTER);
        if is_restless { RESTLESS } else { CALM }
    }
}

/// Returns true if a route is open, and nothing watches it.
fn is_plain(route: &Route) -> bool {
    route.phase() == Phase::Open && route.state.breach().is_none() && route.watched_until().is_none()
}

/// Returns the routes that are not plainly open, and those that were asked for: what drains first, so that it is the last
/// that has no room. Also returns the number of those that have none.
fn routes(live: &Generation, asked: &BTreeSet<String>, length: Length) -> (Vec<BeatRoute>, u64) {
    let every = asked.contains("*");
    let is_told = |route: &&Route| !is_plain(route) || every || asked.contains(&route.config.name);
    let mut told: Vec<&Route> = live.snapshot.routes.iter().filter(is_told).collect();
    told.sort_by_key(|route| match route.phase() {
        Phase::Draining => 0,
        Phase::Closed | Phase::Verifying | Phase::Ramping => 1,
        Phase::Open => 2,
    });
    let omitted = told.len().saturating_sub(MOST_ROUTES) as u64;
    let described = told.into_iter().take(MOST_ROUTES).map(|route| {
        let status = report::route(route, live, None);
        match length {
            Length::Brief => BeatRoute::brief(&status),
            Length::Whole => BeatRoute::whole(&status),
        }
    });
    (described.collect(), omitted)
}

/// Adds what the guards of the others are told, as far as there is room: counts first, then states that a fresh replica may
/// learn. A route is told all the same without.
fn add_counts(told: &mut [BeatRoute], live: &Generation, observations: &Observations) {
    let now = Instant::now();
    let guard = |(index, told): (usize, &BeatRoute)| {
        let route = live.snapshot.route(&told.name)?;
        Some((index, observations.told(route, &live.routes[route.index].hanging(), now)?))
    };
    let mut guards: Vec<(usize, GuardCounts)> = told.iter().enumerate().filter_map(guard).collect();
    guards.sort_by_key(|(_, guard)| guard.counts.is_none());
    let mut room = ROOM_FOR_COUNTS;
    for (index, guard) in guards {
        let guard = if guard.bytes() > room { guard.thinned() } else { guard };
        let guard = if guard.bytes() > room { GuardCounts { counts: None, ..guard } } else { guard };
        let bytes = guard.bytes();
        if let Some(told) = told.get_mut(index).filter(|_| bytes <= room) {
            (told.guard, room) = (Some(guard), room - bytes);
        }
    }
}

fn phases(live: &Generation) -> BTreeMap<String, u64> {
    let mut phases = BTreeMap::new();
    for route in &live.snapshot.routes {
        *phases.entry(route.phase().as_str().to_owned()).or_default() += 1;
    }
    phases
}

/// Returns what a beat says of the files.
fn of_files(report: &Report) -> Beat {
    let find = |role: Role| FileStatus::find(&report.files, role);
    let in_force = |file: &FileStatus| file.in_force.as_ref().map(|content| content.hash.clone());
    let flags = find(Role::Flags);
    let refused = flags.filter(|file| !file.is_good());
    Beat {
        flags: flags.and_then(in_force),
        read: flags.and_then(|file| file.hash.clone().filter(|read| in_force(file).as_ref() != Some(read))),
        refused: refused.is_some(),
        refusal: refused.map(refusal),
        config: find(Role::Config).and_then(in_force),
        ..Beat::default()
    }
}

/// Returns the reason for which a file is refused.
fn refusal(file: &FileStatus) -> String {
    let why = file.error().map(ProblemStatus::described).or_else(|| file.trouble.clone()).unwrap_or_default();
    cut(&why)
}

/// Returns what is not as it should be, as far as there is room.
fn told(shared: &Shared) -> Vec<String> {
    let all = concerns(&status_of(shared), Timestamp::now());
    let more = all.len().saturating_sub(MOST_CONCERNS);
    let mut told: Vec<String> = all.iter().take(MOST_CONCERNS).map(|concern| cut(&concern.text)).collect();
    if more > 0 {
        told.push(format!("and {more} more: `/status` of its admin listener has all"));
    }
    told
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

/// Returns the name of this replica: the config's, or the host and the port by which operators know it.
pub(super) fn name(config: &Config, admin: Option<&str>) -> String {
    let configured = config.fleet.as_ref().and_then(|fleet| fleet.nats()?.name.clone());
    configured.unwrap_or_else(|| {
        let listened = config.listen.iter().find_map(|listen| match &listen.address {
            Address::Ip(address) if address.port() > 0 => Some(address.port()),
            Address::Ip(_) | Address::Unix(_) => None,
        });
        let bound = admin.and_then(|admin| admin.rsplit_once(':')?.1.parse::<u16>().ok());
        let end = bound.or(listened).map_or_else(|| format!("pid-{}", std::process::id()), |port| port.to_string());
        let host: String = author::host().chars().take(LONGEST_NAME / 4 - 8).collect();
        format!("{host}:{end}")
    })
}

/// Bytes of a beat for what its guards count.
const ROOM_FOR_COUNTS: usize = 32 * 1024;
/// Time between two beats while every route is plainly open.
const CALM: Duration = Duration::from_secs(5);
/// Time between two beats while a route is not.
const RESTLESS: Duration = Duration::from_secs(1);
/// Time for which that lasts afterwards.
const CALM_AFTER: Duration = Duration::from_secs(60);
/// Least time between two beats, and between two answers.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_CONCERNS: usize = 20;
/// Characters of a reason.
const LONGEST_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_told_at_once_but_not_more_than_ten_times_a_second() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut schedule = Schedule::new(begun);
        schedule.sent(at(0), CALM);
        schedule.generation = 1;
        schedule.on_news(1, Duration::ZERO, at(10));
        assert_eq!(schedule.due(), at(5000), "nothing was published");
        schedule.on_news(2, Duration::ZERO, at(20));
        assert_eq!(schedule.due(), at(100));
        schedule.sent(at(100), CALM);
        schedule.generation = 2;
        schedule.on_news(3, Duration::from_millis(40), at(1000));
        schedule.on_news(3, Duration::from_millis(90), at(1001));
        assert_eq!(schedule.due(), at(1040));
    }

    #[test]
    fn questions_are_answered_at_once_but_not_more_than_ten_times_a_second() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut schedule = Schedule::new(begun);
        schedule.sent(at(0), CALM);
        assert!(schedule.takes_question(at(1)), "one of before the start");
        assert!(!schedule.takes_question(at(2)));
        schedule.is_asked = true;
        assert!(!schedule.takes_question(at(50)));
        assert_eq!(schedule.due(), at(101));
        assert!(schedule.takes_question(at(101)));
    }

    #[test]
    fn beats_are_frequent_until_all_was_open_for_a_minute() {
        let begun = Instant::now();
        let mut schedule = Schedule::new(begun);
        assert_eq!(schedule.wanted(begun), CALM);
        schedule.restless = Some(begun);
        assert_eq!(schedule.wanted(begun + Duration::from_secs(59)), RESTLESS);
        assert_eq!(schedule.wanted(begun + Duration::from_secs(61)), CALM);
    }
}
