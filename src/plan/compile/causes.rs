//! Causes: the flags, windows and switches in force, and the routes that they close.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::super::flags::{Flag, Flags, Mode, Span, Switched, Target, Window};
use super::super::lifecycle::Desired;
use super::super::snapshot::Source;

/// Flag, window or switch that is in force.
#[derive(Clone, Copy)]
pub(super) enum Cause<'f> {
    /// Flag, with its end if that is still to come.
    Flag(&'f Flag, Option<Timestamp>),
    Window(&'f Window, Mode, Span),
    Switch(&'f Switched),
}

impl<'f> Cause<'f> {
    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Flag(flag, _) => flag.mode,
            Self::Window(_, mode, _) => mode,
            Self::Switch(switch) => switch.mode,
        }
    }

    fn until(self) -> Option<Timestamp> {
        match self {
            Self::Flag(_, until) => until,
            Self::Window(_, _, span) => span.until,
            Self::Switch(_) => None,
        }
    }

    fn since(self) -> Option<Timestamp> {
        match self {
            Self::Flag(..) | Self::Switch(_) => None,
            Self::Window(window, _, span) => Some(window.started.unwrap_or(span.starts)),
        }
    }

    /// Returns true if the end has passed, and the cause goes on.
    fn overruns(self) -> bool {
        match self {
            Self::Flag(flag, until) => until.is_none() && flag.until.is_some(),
            Self::Window(_, _, span) => span.until.is_none(),
            Self::Switch(_) => false,
        }
    }

    fn holder(self) -> Option<&'f str> {
        match self {
            Self::Flag(flag, _) => flag.held_by.as_deref(),
            Self::Window(..) | Self::Switch(_) => None,
        }
    }

    pub(super) fn has_words(self) -> bool {
        match self {
            Self::Flag(flag, _) => flag.message.is_some(),
            Self::Window(..) => true,
            Self::Switch(switch) => switch.message.is_some(),
        }
    }

    pub(super) fn source(self) -> Source {
        match self {
            Self::Flag(..) => Source::Flag,
            Self::Window(window, ..) => Source::Window(window.id.clone()),
            Self::Switch(switch) => Source::Switch(switch.file.clone()),
        }
    }

    /// Returns a number that is unique among the causes of one flag file.
    pub(super) fn address(self) -> usize {
        match self {
            Self::Flag(flag, _) => std::ptr::from_ref(flag).addr(),
            Self::Window(window, ..) => std::ptr::from_ref(window).addr(),
            Self::Switch(switch) => std::ptr::from_ref(switch).addr(),
        }
    }
}

/// Causes in force, by route, and those in force at their ends: windows that touch are one closure.
pub(super) struct Causes<'f> {
    now: InForce<'f>,
    /// Causes in force at the ends of others.
    later: HashMap<Timestamp, InForce<'f>>,
}

impl<'f> Causes<'f> {
    pub(super) fn new(flags: &'f Flags, now: Timestamp) -> Self {
        let now = InForce::new(flags, now);
        let (mut ends, mut later) = (now.ends(), HashMap::new());
        while let Some(end) = ends.pop_first().filter(|_| later.len() < MOST_ENDS) {
            let next = InForce::new(flags, end);
            ends.extend(next.ends().into_iter().filter(|next| *next > end && !later.contains_key(next)));
            later.insert(end, next);
        }
        Self { now, later }
    }

    /// Returns the strictest causes for a route, its own before those for every route; `None` if there are none.
    pub(super) fn of(&self, route: &str) -> Option<Vec<Cause<'f>>> {
        self.now.of(route)
    }

    /// Merges the strictest causes for a route: the earliest start, and the latest end.
    pub(super) fn desired(&self, route: &str) -> Option<Desired> {
        let causes = self.now.of(route)?;
        let primary = super::primary(&causes)?;
        Some(Desired {
            mode: primary.mode(),
            source: primary.source(),
            until: latest_end(&causes).map(|until| self.last_end(route, primary.mode(), until)),
            started: causes.iter().filter_map(|cause| cause.since()).min(),
            overruns: primary.overruns(),
            held_by: primary.holder().map(str::to_owned),
            by_hand: causes.iter().any(|cause| matches!(cause, Cause::Flag(..) | Cause::Switch(_))),
        })
    }

    /// Returns the end of the last of the windows that follow one another without a gap, and without a milder mode.
    fn last_end(&self, route: &str, mode: Mode, until: Timestamp) -> Timestamp {
        let mut end = until;
        while let Some(causes) = self.later.get(&end).and_then(|later| later.of(route)) {
            if causes.iter().all(|cause| cause.mode() < mode) {
                break;
            }
            match latest_end(&causes) {
                Some(later) if later > end => end = later,
                // Without an end it overruns, and is told as planned until then.
                Some(_) | None => break,
            }
        }
        end
    }
}

/// Causes in force at an instant, by route.
struct InForce<'f> {
    every: Vec<Cause<'f>>,
    by_route: HashMap<&'f str, Vec<Cause<'f>>>,
}

impl<'f> InForce<'f> {
    fn new(flags: &'f Flags, now: Timestamp) -> Self {
        let mut causes = Self { every: Vec::new(), by_route: HashMap::new() };
        for window in flags.acting(now) {
            let Some(span) = window.in_force(now) else { continue };
            for (target, mode) in &window.routes {
                causes.add(target, Cause::Window(window, *mode, span));
            }
        }
        for flag in flags.routes.iter().filter(|flag| flag.acts(now)) {
            causes.add(&flag.route, Cause::Flag(flag, flag.end(now)));
        }
        for switch in &flags.switched {
            causes.by_route.entry(&switch.route).or_default().push(Cause::Switch(switch));
        }
        causes
    }

    fn add(&mut self, target: &'f Target, cause: Cause<'f>) {
        match target {
            Target::Every => self.every.push(cause),
            Target::Route(name) => self.by_route.entry(name).or_default().push(cause),
        }
    }

    fn of(&self, route: &str) -> Option<Vec<Cause<'f>>> {
        let own = self.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
        let all = || own.iter().chain(&self.every).copied();
        let strictest = all().map(Cause::mode).max()?;
        Some(all().filter(|cause| cause.mode() == strictest).collect())
    }

    fn ends(&self) -> BTreeSet<Timestamp> {
        self.every.iter().chain(self.by_route.values().flatten()).filter_map(|cause| cause.until()).collect()
    }
}

/// Returns the latest end of causes; `None` if one of them has none.
fn latest_end(causes: &[Cause<'_>]) -> Option<Timestamp> {
    causes.iter().map(|cause| cause.until()).reduce(|a, b| Some(a?.max(b?))).flatten()
}

/// Returns the next instant at which a flag or a window begins, ends, or is announced.
pub(super) fn next_change(flags: &Flags, now: Timestamp) -> Option<Timestamp> {
    let untils = flags.routes.iter().filter_map(|flag| flag.until).filter(|&until| until > now);
    let windows = flags.acting(now).filter_map(|window| window.next_change(now));
    let forced = flags.forced.iter().map(|(_, instant)| *instant).filter(|&instant| instant > now);
    let lifted = flags.lifted.iter().map(|(_, lift)| lift.at).filter(|&instant| instant > now);
    untils.chain(windows).chain(forced).chain(lifted).min()
}

/// Most ends at which is looked for windows that go on. A rule that is always on has one each day.
const MOST_ENDS: usize = 32;
