//! Spans of a window: when it is in force, announced and over.

use jiff::Timestamp;

use super::{OnOverrun, When, Window};

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
        let until = match (self.ended, self.on_overrun) {
            (Some(ended), _) if ended >= starts => Some(ended),
            (_, OnOverrun::Stay) if now >= ends => None,
            (_, OnOverrun::Open | OnOverrun::Stay) => Some(ends),
        };
        (starts <= now && until.is_none_or(|until| now < until)).then_some(Span { starts, ends, until })
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

    /// Returns the instant from which a start is announced.
    fn announced_from(&self, starts: Timestamp) -> Option<Timestamp> {
        let ahead = jiff::SignedDuration::try_from(self.announce?).ok()?;
        Some(starts.checked_sub(ahead).unwrap_or(Timestamp::MIN))
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
