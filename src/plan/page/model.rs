//! The facts: what a page tells at an instant, in no language and no dialect yet. Every dialect is made of these.
//!
//! What the operator wrote is the [`PageContent`]. What follows from it and from the time, and is never typed, is the [`Timing`]:
//! in whole minutes, so that a page stays true until the next of them begins ([`PageModel::next_change`]).

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::flags::{Flag, Impact, Mode, Service, ServiceStatus, Step, StepState, Window};
use super::super::lifecycle::Phase;
use super::super::text::Text;

/// What a page tells, apart from the passing of time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageContent {
    /// What clients meet.
    pub mode: Mode,
    /// How far the maintenance is: closed, verifying or ramping.
    pub phase: Phase,
    /// The heading.
    pub title: Option<Text>,
    /// One line under it.
    pub summary: Option<Text>,
    /// The explanatory paragraphs.
    pub message: Option<Text>,
    /// The incident reference.
    pub id: Option<String>,
    /// A free word beside "live".
    pub label: Option<Text>,
    /// The planned span.
    pub planned: Option<(Timestamp, Timestamp)>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it is expected to be over.
    pub until: Option<Timestamp>,
    /// Where.
    pub regions: Vec<String>,
    /// What customers feel.
    pub impact: Option<Impact>,
    /// The rows of the table.
    pub services: Vec<ServiceRow>,
    /// The rows of the timeline.
    pub steps: Vec<Step>,
}

/// A row of the table, with the status that it has in truth.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRow {
    /// Its name.
    pub name: Text,
    /// A second line.
    pub detail: Option<Text>,
    /// How it is: where it is bound to a route, as that is.
    pub status: ServiceStatus,
    /// When it is expected back; never of one that is operational.
    pub eta: Option<Timestamp>,
    /// Where.
    pub regions: Vec<String>,
}

/// What follows from a story and the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Seconds since it began, rounded down.
    pub elapsed: Option<u64>,
    /// Seconds until it is expected to be over, rounded up.
    pub left: Option<u64>,
    /// By the row of the table.
    pub etas: Vec<Option<Eta>>,
    /// Whether the plan holds; `None` where there is none.
    pub schedule: Option<Schedule>,
}

/// When a service is expected back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eta {
    /// In so many seconds, rounded up.
    In(u64),
    /// It should have been back.
    Overdue,
}

/// Whether a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Everything is expected back before the window ends.
    OnSchedule,
    /// The window has ended, or something is expected back only after its end.
    Overrunning,
}

/// How many services are how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Offline or restarting.
    pub down: usize,
    /// Degraded.
    pub degraded: usize,
    /// Waiting for their turn, and working until then.
    pub queued: usize,
    /// Operational or queued.
    pub healthy: usize,
}

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageModel {
    /// What was written, and how the routes are.
    pub content: PageContent,
    /// What follows from the time.
    pub clock: Timing,
}

impl PageContent {
    /// What an entry of `[routes]` tells.
    pub fn of_flag(flag: &Flag, until: Option<Timestamp>) -> Self {
        Self { message: flag.message.clone(), ..Self::bare(flag.mode, until) }
    }

    /// What a window tells that closes in a mode; `row` knows how its services are.
    pub fn of_window(
        window: &Window,
        mode: Mode,
        planned: (Timestamp, Timestamp),
        until: Option<Timestamp>,
        row: impl FnMut(&Service) -> ServiceRow,
    ) -> Self {
        Self {
            title: window.title.clone(),
            summary: window.summary.clone(),
            message: window.message.clone(),
            id: Some(window.id.clone()),
            label: window.label.clone(),
            planned: Some(planned),
            started: Some(window.started.unwrap_or(planned.0)),
            regions: window.regions.clone(),
            impact: window.impact.clone(),
            services: window.services.iter().map(row).collect(),
            steps: window.steps.clone(),
            ..Self::bare(mode, until)
        }
    }

    /// What is told where nothing was written.
    pub fn bare(mode: Mode, until: Option<Timestamp>) -> Self {
        Self {
            mode,
            phase: Phase::Closed,
            title: None,
            summary: None,
            message: None,
            id: None,
            label: None,
            planned: None,
            started: None,
            until,
            regions: Vec::new(),
            impact: None,
            services: Vec::new(),
            steps: Vec::new(),
        }
    }
}

impl ServiceRow {
    /// A row as it is written, or with the status that its route has in truth and the end of its closure.
    pub fn new(service: &Service, real: Option<(ServiceStatus, Option<Timestamp>)>) -> Self {
        let (status, until) = real.unwrap_or((service.status, None));
        Self {
            name: service.name.clone(),
            detail: service.detail.clone(),
            status,
            eta: service.eta.or(until).filter(|_| status != ServiceStatus::Operational),
            regions: service.regions.clone(),
        }
    }
}

impl Schedule {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnSchedule => "on-schedule",
            Self::Overrunning => "overrunning",
        }
    }
}

impl PageModel {
    /// Works out what follows from a story at an instant.
    pub fn new(content: PageContent, now: Timestamp) -> Self {
        let clock = Timing {
            elapsed: content.started.map(|started| rounded_down(now.duration_since(started))),
            left: content.until.map(|until| rounded_up(until.duration_since(now))),
            etas: content.services.iter().map(|service| service.eta.map(|eta| Eta::at(eta, now))).collect(),
            schedule: content.planned.map(|(_, ends)| schedule(&content, ends, now)),
        };
        Self { content, clock }
    }

    /// The next instant at which something else is to be told.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let Self { content, clock } = self;
        let elapsed =
            content.started.zip(clock.elapsed).map(|(started, elapsed)| later(started, elapsed + unit(elapsed)));
        let left = content.until.zip(clock.left).and_then(|(until, left)| before(until, left));
        let etas = content.services.iter().zip(&clock.etas).filter_map(|(service, eta)| match eta {
            Some(Eta::In(left)) => before(service.eta?, *left),
            Some(Eta::Overdue) | None => None,
        });
        let ends = content.planned.map(|(_, ends)| ends);
        elapsed.into_iter().chain(left).chain(etas).chain(ends).filter(|&instant| instant > now).min()
    }

    /// Tells two pages apart that say different things, though not the passing of time: the same on every replica that
    /// runs the same version with the same templates.
    pub fn version(&self, templates: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.content, self.clock.schedule, templates).hash(&mut hasher);
        hasher.finish()
    }

    /// How many services are how; `None` where none is listed.
    pub fn counts(&self) -> Option<Counts> {
        let mut counts = Counts { total: self.content.services.len(), ..Counts::default() };
        for service in &self.content.services {
            match service.status {
                ServiceStatus::Operational => counts.healthy += 1,
                ServiceStatus::Degraded => counts.degraded += 1,
                ServiceStatus::Queued => {
                    counts.queued += 1;
                    counts.healthy += 1;
                }
                ServiceStatus::Restarting | ServiceStatus::Offline => counts.down += 1,
            }
        }
        (counts.total > 0).then_some(counts)
    }

    /// The step that is current: the first that runs, else the first that failed, else the first that is still to come.
    pub fn current_step(&self) -> Option<usize> {
        let first = |state| self.content.steps.iter().position(|step| step.state == state);
        first(StepState::Running).or_else(|| first(StepState::Failed)).or_else(|| first(StepState::Pending))
    }

    /// Seconds of the planned span.
    pub fn length(&self) -> Option<u64> {
        self.content.planned.map(|(starts, ends)| seconds(ends.duration_since(starts)))
    }

    /// Seconds after which it may be worth to ask again: to the end if it is known, within bounds.
    pub fn retry_after(&self) -> u64 {
        self.clock.left.map_or(RETRY_WITHOUT_END, |left| left.clamp(1, LONGEST_RETRY))
    }
}

impl Eta {
    fn at(eta: Timestamp, now: Timestamp) -> Self {
        if eta > now { Self::In(rounded_up(eta.duration_since(now))) } else { Self::Overdue }
    }
}

fn schedule(content: &PageContent, ends: Timestamp, now: Timestamp) -> Schedule {
    let late = content.services.iter().filter_map(|service| service.eta).any(|eta| eta > ends);
    if late || now >= ends { Schedule::Overrunning } else { Schedule::OnSchedule }
}

/// What a number of seconds is told in: minutes for a day, then hours.
fn unit(seconds: u64) -> u64 {
    if seconds < DAY { MINUTE } else { HOUR }
}

fn rounded_down(duration: SignedDuration) -> u64 {
    let seconds = seconds(duration);
    seconds - seconds % unit(seconds)
}

fn rounded_up(duration: SignedDuration) -> u64 {
    let whole = seconds(duration);
    let seconds = whole + u64::from(duration.subsec_nanos() > 0);
    // A day is told in minutes still: it was rounded up to.
    seconds.next_multiple_of(unit(seconds.saturating_sub(1)))
}

/// 0 for what is over.
fn seconds(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_secs()).unwrap_or(0)
}

fn later(instant: Timestamp, seconds: u64) -> Timestamp {
    let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// When the time that is left of an instant, rounded up, becomes less than what it is now.
fn before(instant: Timestamp, left: u64) -> Option<Timestamp> {
    let step = unit(left.checked_sub(1)?);
    let duration = SignedDuration::from_secs(i64::try_from(left.saturating_sub(step)).ok()?);
    instant.checked_sub(duration).ok()
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Seconds after which to ask again when nobody knows the end.
pub const RETRY_WITHOUT_END: u64 = 60;
/// Longer than this nobody is sent away: plans change.
pub const LONGEST_RETRY: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(clock: &str) -> Timestamp {
        format!("2026-05-19T{clock}Z").parse().unwrap()
    }

    fn content(started: &str, until: &str) -> PageContent {
        PageContent {
            planned: Some((at("14:00:00"), at("15:00:00"))),
            started: Some(at(started)),
            until: Some(at(until)),
            ..PageContent::bare(Mode::Offline, None)
        }
    }

    #[test]
    fn what_is_told_stays_true_until_the_next_change_and_no_longer() {
        let mut now = at("14:13:59.5");
        let content = content("14:13:40", "15:00:10");
        let mut changes = 0;
        while now < at("15:00:00") {
            let model = PageModel::new(content.clone(), now);
            let next = model.next_change(now).expect("time goes on");
            assert!(next > now, "{now}");
            let just_before = next.checked_sub(SignedDuration::from_nanos(1)).unwrap();
            assert_eq!(PageModel::new(content.clone(), just_before), model, "from {now} to {next}");
            assert_ne!(PageModel::new(content.clone(), next), model, "at {next}");
            now = next;
            changes += 1;
        }
        assert_eq!(changes, 46 * 2 + 1, "elapsed and left, each minute, and the end of the window");
    }

    #[test]
    fn elapsed_is_rounded_down_and_what_is_left_up() {
        let model = |now| PageModel::new(content("14:14:00", "14:40:00"), at(now)).clock;
        assert_eq!((model("14:28:00").elapsed, model("14:28:00").left), (Some(840), Some(720)));
        assert_eq!((model("14:28:59").elapsed, model("14:28:59").left), (Some(840), Some(720)));
        assert_eq!((model("14:39:59.999").elapsed, model("14:39:59.999").left), (Some(1500), Some(60)));
        assert_eq!((model("14:00:00").elapsed, model("14:50:00").left), (Some(0), Some(0)));
    }

    #[test]
    fn a_plan_holds_until_the_window_ends_or_something_is_expected_later() {
        let mut content = content("14:14:00", "15:00:00");
        let schedule = |content: &PageContent, now| PageModel::new(content.clone(), at(now)).clock.schedule;
        assert_eq!(schedule(&content, "14:59:59"), Some(Schedule::OnSchedule));
        assert_eq!(schedule(&content, "15:00:00"), Some(Schedule::Overrunning));
        let window = super::super::samples::full(at("14:28:00")).windows.remove(0);
        content.services = window.services.iter().map(|service| ServiceRow::new(service, None)).collect();
        content.services[0].eta = Some(at("15:00:01"));
        assert_eq!(schedule(&content, "14:20:00"), Some(Schedule::Overrunning));
        content.planned = None;
        assert_eq!(schedule(&content, "14:20:00"), None);
    }
}
