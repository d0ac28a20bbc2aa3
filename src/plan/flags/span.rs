//! Spans of a window: when it is in force, announced and over.

use jiff::Timestamp;

use super::{OnOverrun, Opens, Service, Step, StepState, When, Window};

impl Window {
    /// Returns the span in force at an instant, else the next.
    pub fn span_at(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.when {
            When::Once { starts, ends } => Some((*starts, *ends)),
            When::Every(every) => every.on(now).or_else(|| every.after(now)),
        }
    }

    /// Returns true if the window comes again.
    pub fn recurs(&self) -> bool {
        match self.when {
            When::Once { .. } => false,
            When::Every(_) => true,
        }
    }

    /// Returns the next span that begins after an instant.
    pub fn next_span(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.when {
            When::Once { starts, ends } => Some((*starts, *ends)).filter(|(starts, _)| *starts > now),
            When::Every(every) => every.after(now),
        }
    }

    /// Returns the next start after an instant.
    pub fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { starts, .. } => Some(*starts).filter(|starts| *starts > now),
            When::Every(every) => every.after(now).map(|(starts, _)| starts),
        }
    }

    /// Returns the span that began last, else the next.
    fn span_begun(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.when {
            When::Once { starts, ends } => Some((*starts, *ends)),
            When::Every(every) => every.before(now).or_else(|| every.after(now)),
        }
    }

    /// Returns the span that contains an instant: the plan of a maintenance that began then.
    pub fn span_of(&self, started: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.span_begun(started)
    }

    /// Returns the span in force at an instant.
    pub fn in_force(&self, now: Timestamp) -> Option<Span> {
        // A span that overruns, or ended late, goes on after its planned end.
        let (starts, ends) = self.span_begun(now)?;
        let ended = self.ended.filter(|ended| *ended >= starts);
        if ended.is_none() && self.opens == Opens::Steps && self.undone().next().is_none() {
            return None;
        }
        let until = ended.or_else(|| (!self.stays() || now < ends).then_some(ends));
        (starts <= now && until.is_none_or(|until| now < until)).then_some(Span { starts, ends, until })
    }

    /// Returns true if the window goes on after its planned end, until something else ends it.
    pub fn stays(&self) -> bool {
        self.on_overrun == OnOverrun::Stay || self.opens != Opens::Time
    }

    /// Returns the steps that are moved by hand and not done.
    pub fn undone(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.auto.is_none() && step.state != StepState::Done)
    }

    /// Returns true if the window is still to begin, and will not: the steps that end it are all done.
    pub fn is_done_early(&self, now: Timestamp) -> bool {
        let begins = self.next_start(now).filter(|starts| self.ended.is_none_or(|ended| ended < *starts));
        begins.is_some() && self.opens == Opens::Steps && self.undone().next().is_none()
    }

    /// Returns the end of the maintenance that began at an instant: the planned or the actual end.
    pub fn over(&self, started: Timestamp) -> Option<Timestamp> {
        // An occurrence that is left out while it is on is not over: what began then is cancelled.
        let (starts, ends) = self.span_begun(started).filter(|(_, ends)| !self.recurs() || started < *ends)?;
        Some(self.ended.filter(|ended| *ended >= starts).unwrap_or(ends))
    }

    /// Returns the span that is announced at an instant.
    pub fn announced(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let (starts, ends) = match &self.when {
            When::Once { starts, ends } => (*starts, *ends),
            When::Every(every) => every.after(now)?,
        };
        (now < starts && self.announced_from(starts)? <= now).then_some((starts, ends))
    }

    /// Returns true if the window begins at an instant by its plan, announced or not.
    pub fn begins_at(&self, instant: Timestamp) -> bool {
        match &self.when {
            When::Once { starts, .. } => *starts == instant,
            When::Every(every) => every.before(instant).is_some_and(|(starts, _)| starts == instant),
        }
    }

    /// Returns the instant from which a start is announced.
    fn announced_from(&self, starts: Timestamp) -> Option<Timestamp> {
        let ahead = jiff::SignedDuration::try_from(self.announce?).ok()?;
        Some(starts.checked_sub(ahead).unwrap_or(Timestamp::MIN))
    }

    /// Returns a step as it is in the occurrence that begins at an instant. A state from before belongs to another one.
    pub fn step_in(&self, step: &Step, starts: Timestamp) -> Step {
        let is_earlier = self.recurs() && step.at.is_some_and(|at| at < starts);
        if is_earlier {
            return Step { state: StepState::Pending, progress: None, at: None, ..step.clone() };
        }
        // Pages are compared by content, and `at` is not shown.
        Step { at: None, ..step.clone() }
    }

    /// Returns a service as it is in the occurrence that begins at an instant. A return that was expected before belongs to
    /// another one.
    pub fn service_in(&self, service: &Service, starts: Timestamp) -> Service {
        let eta = service.eta.filter(|eta| !self.recurs() || *eta >= starts);
        Service { eta, ..service.clone() }
    }

    /// Returns the next instant at which the window begins, ends, or is announced.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let of = |(starts, ends): (Timestamp, Timestamp)| [Some(starts), Some(ends), self.announced_from(starts)];
        let next = match &self.when {
            When::Once { .. } => None,
            When::Every(every) => every.after(now),
        };
        let spans = self.span_at(now).into_iter().chain(next);
        spans.flat_map(of).chain([self.ended]).flatten().filter(|instant| *instant > now).min()
    }
}

/// Span of a window that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Planned start.
    pub starts: Timestamp,
    /// Planned end.
    pub ends: Timestamp,
    /// Actual end; `None` if it goes on until somebody ends it.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn states_and_returns_of_an_earlier_occurrence_are_not_those_of_the_next() {
        let text = "[[windows]]\nid = \"W\"\nroutes = { web = \"offline\" }\nEVERY\nservices = [{ name = \"db\", status = \
                    \"offline\", eta = 2026-05-17T03:00:00Z }]\nsteps = [{ title = \"Vacuum\", state = \"done\", progress = { \
                    done = 7, total = 7 }, at = 2026-05-17T02:30:00Z }, { title = \"Old\", state = \"running\" }]\n";
        let once = "starts = 2026-05-24T02:00:00Z\nends = 2026-05-24T04:00:00Z";
        for (when, starts, state, has_eta) in [
            ("every = \"Sun 02:00-04:00 UTC\"", "2026-05-17T02:00:00Z", StepState::Done, true),
            ("every = \"Sun 02:00-04:00 UTC\"", "2026-05-24T02:00:00Z", StepState::Pending, false),
            (once, "2026-05-24T02:00:00Z", StepState::Done, true),
        ] {
            let window = parse("flags", &text.replace("EVERY", when)).0.unwrap().flags.windows.remove(0);
            let starts = starts.parse().unwrap();
            let [vacuum, old] = [0, 1].map(|index: usize| window.step_in(&window.steps[index], starts));
            assert_eq!((vacuum.state, vacuum.progress.is_some()), (state, state == StepState::Done), "{when} {starts}");
            assert_eq!(old.state, StepState::Running, "a state without an instant is that of every occurrence");
            assert_eq!(window.service_in(&window.services[0], starts).eta.is_some(), has_eta, "{when} {starts}");
        }
    }

    #[test]
    fn years_of_windows_that_are_over_have_no_file_refused() {
        let windows = |count: usize, when: &str| -> String {
            (0..count)
                .map(|id| format!("[[windows]]\nid = \"{id}\"\nroutes = {{ web = \"hold\" }}\n{when}\n"))
                .collect()
        };
        let over = windows(2048, "starts = 2020-05-24T02:00:00Z\nends = 2020-05-24T04:00:00Z");
        assert!(parse("flags", &over).0.is_some());
        let (parsed, problems) = parse("flags", &windows(257, "every = \"Sun 02:00-04:00 UTC\""));
        assert!(parsed.is_none() && problems[0].message.contains("recurring windows"), "{problems:#?}");
    }
}
