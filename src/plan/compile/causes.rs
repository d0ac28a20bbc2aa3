//! Causes: the flags and windows in force, and the routes that they close.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::flags::{Flag, Flags, Mode, Span, Target, Window};
use super::super::lifecycle::Desired;
use super::super::snapshot::Source;

/// Flag or window that is in force.
#[derive(Clone, Copy)]
pub(super) enum Cause<'f> {
    Flag(&'f Flag),
    Window(&'f Window, Mode, Span),
}

impl<'f> Cause<'f> {
    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Flag(flag) => flag.mode,
            Self::Window(_, mode, _) => mode,
        }
    }

    fn until(self) -> Option<Timestamp> {
        match self {
            Self::Flag(flag) => flag.until,
            Self::Window(_, _, span) => span.until,
        }
    }

    fn since(self) -> Option<Timestamp> {
        match self {
            Self::Flag(_) => None,
            Self::Window(window, _, span) => Some(window.started.unwrap_or(span.starts)),
        }
    }

    pub(super) fn has_words(self) -> bool {
        match self {
            Self::Flag(flag) => flag.message.is_some(),
            Self::Window(..) => true,
        }
    }

    pub(super) fn source(self) -> Source {
        match self {
            Self::Flag(_) => Source::Flag,
            Self::Window(window, ..) => Source::Window(window.id.clone()),
        }
    }

    /// Returns a number that is unique among the causes of one flag file.
    pub(super) fn address(self) -> usize {
        match self {
            Self::Flag(flag) => std::ptr::from_ref(flag).addr(),
            Self::Window(window, ..) => std::ptr::from_ref(window).addr(),
        }
    }
}

/// Causes in force, by route.
pub(super) struct Causes<'f> {
    every: Vec<Cause<'f>>,
    by_route: HashMap<&'f str, Vec<Cause<'f>>>,
}

impl<'f> Causes<'f> {
    pub(super) fn new(flags: &'f Flags, now: Timestamp) -> Self {
        let mut causes = Self { every: Vec::new(), by_route: HashMap::new() };
        for window in &flags.windows {
            let Some(span) = window.in_force(now) else { continue };
            for (target, mode) in &window.routes {
                causes.add(target, Cause::Window(window, *mode, span));
            }
        }
        for flag in flags.routes.iter().filter(|flag| flag.until.is_none_or(|until| now < until)) {
            causes.add(&flag.route, Cause::Flag(flag));
        }
        causes
    }

    fn add(&mut self, target: &'f Target, cause: Cause<'f>) {
        match target {
            Target::Every => self.every.push(cause),
            Target::Route(name) => self.by_route.entry(name).or_default().push(cause),
        }
    }

    /// Returns the strictest causes for a route, its own before those for every route; `None` if there are none.
    pub(super) fn of(&self, route: &str) -> Option<Vec<Cause<'f>>> {
        let own = self.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
        let all = || own.iter().chain(&self.every).copied();
        let strictest = all().map(Cause::mode).max()?;
        Some(all().filter(|cause| cause.mode() == strictest).collect())
    }
}

/// Merges causes of one mode: the earliest start, and the latest end.
pub(super) fn desired_of(causes: &[Cause<'_>]) -> Desired {
    let primary = super::primary(causes).unwrap_or(causes[0]);
    Desired {
        mode: primary.mode(),
        source: primary.source(),
        until: causes.iter().map(|cause| cause.until()).reduce(|a, b| Some(a?.max(b?))).flatten(),
        started: causes.iter().filter_map(|cause| cause.since()).min(),
        overruns: matches!(primary, Cause::Window(_, _, span) if span.until.is_none()),
        by_hand: causes.iter().any(|cause| matches!(cause, Cause::Flag(_))),
    }
}

/// Returns the next instant at which a flag or a window begins, ends, or is announced.
pub(super) fn next_change(flags: &Flags, now: Timestamp) -> Option<Timestamp> {
    let untils = flags.routes.iter().filter_map(|flag| flag.until).filter(|&until| until > now);
    let windows = flags.windows.iter().filter_map(|window| window.next_change(now));
    let forced = flags.forced.iter().map(|(_, instant)| *instant).filter(|&instant| instant > now);
    untils.chain(windows).chain(forced).min()
}
