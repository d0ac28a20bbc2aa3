//! Model of a page: its content at an instant, before it is rendered in a language and a dialect.
//!
//! [`PageContent`] is written by the operator. [`Timing`] follows from the content and the time, in whole minutes. So a
//! page stays true until the next minute begins ([`PageModel::next_change`]).

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::flags::{Impact, Mode, Service, ServiceStatus, Step, StepState, Window};
use super::super::lifecycle::Phase;
use super::super::text::Text;
use super::answer::{Answer, Tone};

/// Content of a page, apart from the passing of time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageContent {
    /// Mode in force.
    pub mode: Mode,
    /// Phase of the maintenance: closed, verifying or ramping.
    pub phase: Phase,
    /// Trouble with the return of the service.
    pub trouble: Trouble,
    /// Heading.
    pub title: Option<Text>,
    /// Line below the heading.
    pub summary: Option<Text>,
    /// Paragraphs of explanation.
    pub message: Option<Text>,
    /// Incident reference.
    pub id: Option<String>,
    /// Label beside "live": any word.
    pub label: Option<Text>,
    /// Planned span.
    pub planned: Option<(Timestamp, Timestamp)>,
    /// Start of the maintenance.
    pub started: Option<Timestamp>,
    /// Expected end.
    pub until: Option<Timestamp>,
    /// Affected regions.
    pub regions: Vec<String>,
    /// Impact on customers.
    pub impact: Option<Impact>,
    /// Rows of the table.
    pub services: Vec<ServiceRow>,
    /// Steps of the timeline.
    pub steps: Vec<Step>,
}

/// Trouble with the return of the service, as visitors are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Everything goes on as it should.
    #[default]
    None,
    /// The checks take long.
    Slow,
    /// The service had come back, and a problem was found.
    Found,
}

/// Row of the table, with its actual status.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRow {
    /// Name.
    pub name: Text,
    /// Second line.
    pub detail: Option<Text>,
    /// Status; the actual one if the row follows a route.
    pub status: ServiceStatus,
    /// Expected return; `None` for an operational service.
    pub eta: Option<Timestamp>,
    /// Affected regions.
    pub regions: Vec<String>,
}

/// Timing of a content at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Seconds since the start, rounded down.
    pub elapsed: Option<u64>,
    /// Seconds until the expected end, rounded up.
    pub left: Option<u64>,
    /// Expected returns, by the row of the table.
    pub etas: Vec<Option<Eta>>,
    /// State of the plan; `None` without a plan.
    pub schedule: Option<Schedule>,
    /// Expected end that has passed.
    pub missed: Option<Timestamp>,
    /// The planned span has not begun.
    pub ahead: bool,
}

/// Expected return of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eta {
    /// In so many seconds, rounded up.
    In(u64),
    /// Overdue.
    Overdue,
}

/// State of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Everything is expected back before the window ends.
    OnSchedule,
    /// The window has ended, or something is expected back only after its end.
    Overrunning,
}

/// Numbers of services by their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All services.
    pub total: usize,
    /// Offline or restarting.
    pub down: usize,
    /// Degraded.
    pub degraded: usize,
    /// Queued: waiting for their turn, and still working.
    pub queued: usize,
    /// Operational or queued.
    pub healthy: usize,
}

/// Content and timing of a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageModel {
    /// Operator's words and the state of the routes.
    pub content: PageContent,
    /// Timing at the instant of the model.
    pub clock: Timing,
}

/// Model of a page with its version, for an instant.
#[derive(Clone, Copy)]
pub(super) struct VersionedModel<'m> {
    /// Content and timing.
    pub model: &'m PageModel,
    /// Name of the route, if the page shows it.
    pub route: Option<&'m str>,
    /// Host of the route, if the page shows it.
    pub host: Option<&'m str>,
    /// Version of the page.
    pub version: u64,
    /// Instant for which the page is made.
    pub now: Timestamp,
}

impl PageContent {
    /// Returns the content of an entry of `[routes]`, or of a switch.
    pub fn of_flag(mode: Mode, message: Option<&Text>, until: Option<Timestamp>) -> Self {
        Self { message: message.cloned(), ..Self::bare(mode, until) }
    }

    /// Returns the content of a window for one mode. `row` finds the actual state of each service.
    pub fn of_window(
        window: &Window,
        mode: Mode,
        planned: (Timestamp, Timestamp),
        until: Option<Timestamp>,
        mut row: impl FnMut(&Service) -> ServiceRow,
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
            services: window.services.iter().map(|service| row(&window.service_in(service, planned.0))).collect(),
            steps: window.steps.iter().map(|step| window.step_in(step, planned.0)).collect(),
            ..Self::bare(mode, until)
        }
    }

    /// Returns the content for a service in which a problem was found. The words and the plan of the maintenance are not
    /// true any more, and nobody knows the end.
    #[must_use]
    pub fn after_a_problem(self) -> Self {
        let services = self.services.into_iter().map(|row| ServiceRow { eta: None, ..row }).collect();
        Self {
            trouble: Trouble::Found,
            id: self.id,
            started: self.started,
            regions: self.regions,
            services,
            steps: self.steps,
            ..Self::bare(self.mode, None)
        }
    }

    /// Returns the part of the return that the page speaks of; the keys of its messages end in it.
    pub fn stage(&self) -> &'static str {
        match (self.trouble, self.phase) {
            (Trouble::Found, _) => "problem",
            (Trouble::Slow, Phase::Verifying) => "verifying-long",
            (Trouble::None | Trouble::Slow, phase) => phase.as_str(),
        }
    }

    /// Returns the content for an open route, which does not depend on the mode.
    pub fn running() -> Self {
        Self { phase: Phase::Open, ..Self::bare(Mode::Offline, None) }
    }

    /// Returns the content for an open route that a window will take down. The window's message and its steps speak of
    /// the time when it is on, so they are left out.
    pub fn announced(id: &str, title: Option<Text>, mode: Mode, planned: (Timestamp, Timestamp)) -> Self {
        Self { mode, summary: title, id: Some(id.to_owned()), planned: Some(planned), ..Self::running() }
    }

    /// Returns the content of a closure without any words.
    pub fn bare(mode: Mode, until: Option<Timestamp>) -> Self {
        Self {
            mode,
            phase: Phase::Closed,
            trouble: Trouble::None,
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
    /// Returns a row as it is written, or with the actual status and expected return of its route.
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
    /// Returns the word for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnSchedule => "on-schedule",
            Self::Overrunning => "overrunning",
        }
    }
}

impl PageModel {
    /// Builds the model of a content at an instant.
    pub fn new(content: PageContent, now: Timestamp) -> Self {
        let clock = Timing {
            elapsed: content.started.map(|started| rounded_down(now.duration_since(started))),
            left: content.until.map(|until| rounded_up(until.duration_since(now))),
            etas: content.services.iter().map(|service| service.eta.map(|eta| Eta::at(eta, now))).collect(),
            schedule: content.planned.map(|(_, ends)| schedule(&content, ends, now)),
            missed: missed(&content, now),
            ahead: content.planned.is_some_and(|(starts, _)| starts > now),
        };
        Self { content, clock }
    }

    /// Returns the next instant at which the timing changes.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let Self { content, clock } = self;
        let elapsed =
            content.started.zip(clock.elapsed).map(|(started, elapsed)| later(started, elapsed + unit(elapsed)));
        let left = content.until.zip(clock.left).and_then(|(until, left)| before(until, left));
        let etas = content.services.iter().zip(&clock.etas).filter_map(|(service, eta)| match eta {
            Some(Eta::In(left)) => before(service.eta?, *left),
            Some(Eta::Overdue) | None => None,
        });
        let planned = content.planned.into_iter().flat_map(|(starts, ends)| [starts, ends]);
        elapsed.into_iter().chain(left).chain(etas).chain(planned).filter(|&instant| instant > now).min()
    }

    /// Returns a version that changes with the content, but not as time passes. Replicas with the same program and the
    /// same templates agree on it.
    pub fn version(&self, templates: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.content, self.clock.schedule, self.answer(), templates).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns the answer.
    pub fn answer(&self) -> Answer {
        let Self { content, clock } = self;
        match (content.trouble, content.phase) {
            (Trouble::Found, _) => Answer::Problem,
            (Trouble::Slow, Phase::Verifying) => Answer::CheckingLong,
            (Trouble::None, Phase::Verifying) => Answer::Checking,
            (Trouble::None | Trouble::Slow, Phase::Ramping) => Answer::Returning,
            (Trouble::None | Trouble::Slow, Phase::Open) if clock.ahead => Answer::Announced,
            (Trouble::None | Trouble::Slow, Phase::Open) => Answer::Open,
            (Trouble::None | Trouble::Slow, Phase::Draining | Phase::Closed) => self.end(),
        }
    }

    /// Returns the answer while the work goes on.
    fn end(&self) -> Answer {
        match (self.content.mode, self.clock.missed, self.clock.left) {
            (_, Some(_), _) => Answer::Late,
            (Mode::Hold, None, _) => Answer::Held,
            (Mode::Offline | Mode::ReadOnly, None, Some(_)) => Answer::Back,
            (Mode::Offline | Mode::ReadOnly, None, None) => Answer::Unknown,
        }
    }

    /// Returns the tone of the answer.
    pub fn tone(&self) -> Tone {
        let failed = self.content.steps.iter().any(|step| step.state == StepState::Failed);
        match self.answer() {
            Answer::Problem => Tone::Bad,
            _ if failed => Tone::Bad,
            Answer::Late | Answer::Checking | Answer::CheckingLong => Tone::Warn,
            Answer::Back | Answer::Unknown | Answer::Held if self.clock.schedule == Some(Schedule::Overrunning) => {
                Tone::Warn
            }
            Answer::Back | Answer::Unknown | Answer::Held | Answer::Returning | Answer::Announced | Answer::Open => {
                Tone::Calm
            }
        }
    }

    /// Returns true if the page has nothing to tell but the answer.
    pub fn is_bare(&self) -> bool {
        let PageContent { id, planned, started, impact, services, steps, .. } = &self.content;
        let facts = id.is_some() || planned.is_some() || started.is_some() || impact.is_some();
        !facts && services.is_empty() && steps.is_empty()
    }

    /// Returns the numbers of services by status; `None` if none is listed.
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

    /// Returns the current step: the first that runs, else the first that failed, else the first that is still to come.
    pub fn current_step(&self) -> Option<usize> {
        let first = |state| self.content.steps.iter().position(|step| step.state == state);
        first(StepState::Running).or_else(|| first(StepState::Failed)).or_else(|| first(StepState::Pending))
    }

    /// Returns the seconds of the planned span.
    pub fn length(&self) -> Option<u64> {
        self.content.planned.map(|(starts, ends)| seconds(ends.duration_since(starts)))
    }

    /// Returns the seconds after which to ask again: until the end if it is known, within bounds.
    pub fn retry_after(&self) -> u64 {
        self.clock.left.map_or(RETRY_WITHOUT_END, |left| left.clamp(1, LONGEST_RETRY))
    }
}

impl Eta {
    fn at(eta: Timestamp, now: Timestamp) -> Self {
        if eta > now { Self::In(rounded_up(eta.duration_since(now))) } else { Self::Overdue }
    }
}

/// Returns the expected end that has passed, if nothing is expected any more.
fn missed(content: &PageContent, now: Timestamp) -> Option<Timestamp> {
    let expected = content.until.or(content.planned.map(|(_, ends)| ends))?;
    (expected <= now).then_some(expected)
}

fn schedule(content: &PageContent, ends: Timestamp, now: Timestamp) -> Schedule {
    let late = content.services.iter().filter_map(|service| service.eta).any(|eta| eta > ends);
    if late || now >= ends { Schedule::Overrunning } else { Schedule::OnSchedule }
}

/// Returns the unit in which a number of seconds is shown: minutes up to a day, then hours.
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
    // A whole day is still shown in minutes, because it was rounded up.
    seconds.next_multiple_of(unit(seconds.saturating_sub(1)))
}

/// Converts a duration into seconds; 0 if it is negative.
fn seconds(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_secs()).unwrap_or(0)
}

fn later(instant: Timestamp, seconds: u64) -> Timestamp {
    let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns the instant at which the time left until another one, rounded up, becomes less than now.
fn before(instant: Timestamp, left: u64) -> Option<Timestamp> {
    let step = unit(left.checked_sub(1)?);
    let duration = SignedDuration::from_secs(i64::try_from(left.saturating_sub(step)).ok()?);
    instant.checked_sub(duration).ok()
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Seconds after which to ask again if the end is unknown.
pub const RETRY_WITHOUT_END: u64 = 60;
/// Longest time after which to ask again, because plans change.
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
