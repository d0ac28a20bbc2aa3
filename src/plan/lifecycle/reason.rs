//! Reasons for being in a phase.

use std::fmt;

use serde::{Serialize, Serializer};

use super::super::flags::Mode;
use super::guard::TRIPPED;
use super::{Breach, Desired, Source};

/// Reason for which a route entered its phase, or for which it stays there.
///
/// Operators read its `Display` in `status`, in logs and in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No flag and no window names the route.
    NotFlagged,
    /// A flag closes the route.
    Flagged(Mode),
    /// A flag closes the route, and a command holds it.
    Held {
        /// The mode in force.
        mode: Mode,
        /// The holder.
        by: String,
        /// The end has passed without a renewal.
        lost: bool,
    },
    /// A window closes the route.
    Window {
        /// The mode in force.
        mode: Mode,
        /// The window's id.
        id: String,
        /// The window goes on after its planned end.
        overruns: bool,
    },
    /// A switch closes the route.
    Switched {
        /// The mode in force.
        mode: Mode,
        /// The file that exists.
        file: String,
    },
    /// Every request that began before the maintenance has ended.
    Drained,
    /// The drain time has passed.
    DrainTimeOver,
    /// The saved state was lost, so that nobody knows whether the checks had passed.
    StateLost,
    /// The process began without a saved state.
    Untold,
    /// The process began without a saved state, and the other replicas admit clients.
    Joined,
    /// A reload of the config added the route: each check has to pass once.
    Added,
    /// A reload of the config moved the route to other upstreams: each check has to pass once.
    Moved,
    /// The process that was draining ended, and its requests with it.
    Restarted,
    /// The flag was lifted while the route was still draining.
    LiftedWhileDraining,
    /// The flag was lifted.
    Lifted,
    /// The window or the flag reached its end.
    TimeOver,
    /// An operator overruled the guard.
    Forced,
    /// An operator overruled the checks.
    ForcedUnchecked,
    /// The config lost its checks while they ran.
    NoChecks,
    /// The config lost its ramp while it ran.
    NoRamp,
    /// Every check has passed often enough.
    ChecksPassed,
    /// Some checks have not passed often enough yet; none has failed.
    ChecksPending {
        /// Checks that have passed often enough.
        passed: usize,
        /// All checks.
        total: usize,
    },
    /// A check failed the last time it ran.
    CheckFailed {
        /// The region it ran from, where regions are configured.
        region: Option<String>,
        /// The check's own words.
        failure: String,
    },
    /// The ramp has admitted everybody.
    Ramped,
    /// An operator ended the ramp.
    RampSkipped,
    /// The guard closed the route, for what it measured.
    GuardTripped(String),
    /// The checks are run before the guard closes the route.
    GuardChecks(String),
    /// The checks have passed, and the guard counts anew before it closes the route.
    GuardCountsAnew(String),
    /// The guard holds the ramp.
    GuardHolds(String),
    /// The guard only warns.
    GuardWarns(String),
    /// The guard finds nothing any more.
    GuardContent,
    /// The guard closed the route, and tries again by itself.
    TriesAgain,
    /// The guard was content with the few clients that tried the route.
    TriedWell,
    /// Text of another version, which this one does not write.
    Other(String),
}

impl Reason {
    /// Returns the reason for being closed as desired.
    pub(super) fn flagged(desired: &Desired) -> Self {
        let Desired { mode, overruns, .. } = *desired;
        match &desired.source {
            Source::Flag => match &desired.held_by {
                Some(by) => Self::Held { mode, by: by.clone(), lost: overruns },
                None => Self::Flagged(mode),
            },
            Source::Window(id) => Self::Window { mode, id: id.clone(), overruns },
            Source::Switch(file) => Self::Switched { mode, file: file.clone() },
        }
    }

    /// Returns the reason for being closed by a guard.
    pub(super) fn tripped(breach: &Breach) -> Self {
        Self::GuardTripped(breach.what.clone())
    }

    /// Returns the reason that `Display` wrote into a state file or a history.
    pub fn parse(text: &str) -> Self {
        let fixed = FIXED.into_iter().find(|reason| reason.to_string() == text);
        fixed
            .or_else(|| parse_finding(text))
            .or_else(|| parse_flagged(text))
            .or_else(|| parse_failure(text))
            .or_else(|| parse_pending(text))
            .unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFlagged => "nothing flags it",
            Self::Flagged(mode) => return write!(f, "{FLAGGED}{}", mode.as_str()),
            Self::Held { mode, by, lost } => {
                let lost = if *lost { LOST } else { "" };
                return write!(f, "{FLAGGED}{}{HELD_BY}{by}{lost}", mode.as_str());
            }
            Self::Window { mode, id, overruns } => {
                let overruns = if *overruns { OVERRUNS } else { "" };
                return write!(f, "{}{BY_WINDOW}{id}{overruns}", mode.as_str());
            }
            Self::Switched { mode, file } => return write!(f, "{}{BY_SWITCH}{file}", mode.as_str()),
            Self::Drained => "nothing is in flight any more",
            Self::DrainTimeOver => "the drain time is over",
            Self::StateLost => "the saved state was lost: checks come first",
            Self::Untold => "nothing is known of it yet: each check has to pass once",
            Self::Joined => "other replicas admit clients: each check has to pass once here",
            Self::Added => "the config has added it: each check has to pass once",
            Self::Moved => "the config has moved it to other upstreams: each check has to pass once",
            Self::Restarted => "the proxy was restarted: nothing is in flight",
            Self::LiftedWhileDraining => "lifted before it was drained",
            Self::Lifted => "the flag was lifted",
            Self::TimeOver => "its time is over",
            Self::Forced => "an operator opened it",
            Self::ForcedUnchecked => "an operator opened it without the checks",
            Self::NoChecks => "no checks are configured any more",
            Self::NoRamp => "no ramp is configured any more",
            Self::ChecksPassed => "every check has passed",
            Self::ChecksPending { passed, total } => return write!(f, "{passed} of {total}{PENDING}"),
            Self::CheckFailed { region: Some(region), failure } => return write!(f, "{FAILS_IN}{region}: {failure}"),
            Self::CheckFailed { region: None, failure } => return write!(f, "{FAILS}{failure}"),
            Self::Ramped => "everybody is admitted",
            Self::RampSkipped => "an operator let everybody in at once",
            Self::GuardTripped(what) => return write!(f, "{TRIPPED}{what}"),
            Self::GuardChecks(what) => return write!(f, "{CHECKS_FIRST}{what}"),
            Self::GuardCountsAnew(what) => return write!(f, "{COUNTS_ANEW}{what}"),
            Self::GuardHolds(what) => return write!(f, "{HOLDS}{what}"),
            Self::GuardWarns(what) => return write!(f, "{WARNS}{what}"),
            Self::GuardContent => "the guard finds nothing any more",
            Self::TriesAgain => "the guard closed it, and tries again",
            Self::TriedWell => "the few clients that tried it did well",
            Self::Other(text) => text,
        })
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Opening of a text that tells what a guard found, with its reason.
type Opening = (&'static str, fn(String) -> Reason);

fn parse_finding(text: &str) -> Option<Reason> {
    let openings: [Opening; 5] = [
        (TRIPPED, Reason::GuardTripped),
        (CHECKS_FIRST, Reason::GuardChecks),
        (COUNTS_ANEW, Reason::GuardCountsAnew),
        (HOLDS, Reason::GuardHolds),
        (WARNS, Reason::GuardWarns),
    ];
    openings.into_iter().find_map(|(opening, reason)| text.strip_prefix(opening).map(|what| reason(what.to_owned())))
}

fn parse_flagged(text: &str) -> Option<Reason> {
    let mode_of = |text: &str| Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
    if let Some(mode) = text.strip_prefix(FLAGGED).and_then(mode_of) {
        return Some(Reason::Flagged(mode));
    }
    if let Some((mode, by)) = text.strip_prefix(FLAGGED).and_then(|text| text.split_once(HELD_BY))
        && let Some(mode) = mode_of(mode)
    {
        let (by, lost) = by.strip_suffix(LOST).map_or((by, false), |by| (by, true));
        return Some(Reason::Held { mode, by: by.to_owned(), lost });
    }
    if let Some((mode, file)) = text.split_once(BY_SWITCH)
        && let Some(mode) = mode_of(mode)
    {
        return Some(Reason::Switched { mode, file: file.to_owned() });
    }
    let (mode, window) = text.split_once(BY_WINDOW)?;
    let (id, overruns) = match window.strip_suffix(OVERRUNS) {
        Some(id) => (id, true),
        None => (window, false),
    };
    Some(Reason::Window { mode: mode_of(mode)?, id: id.to_owned(), overruns })
}

fn parse_failure(text: &str) -> Option<Reason> {
    if let Some(failure) = text.strip_prefix(FAILS) {
        return Some(Reason::CheckFailed { region: None, failure: failure.to_owned() });
    }
    let (region, failure) = text.strip_prefix(FAILS_IN)?.split_once(": ")?;
    Some(Reason::CheckFailed { region: Some(region.to_owned()), failure: failure.to_owned() })
}

fn parse_pending(text: &str) -> Option<Reason> {
    let (passed, total) = text.strip_suffix(PENDING)?.split_once(" of ")?;
    Some(Reason::ChecksPending { passed: passed.parse().ok()?, total: total.parse().ok()? })
}

/// Reasons without fields: each has a fixed text.
const FIXED: [Reason; 22] = [
    Reason::NotFlagged,
    Reason::Joined,
    Reason::StateLost,
    Reason::Untold,
    Reason::Added,
    Reason::Moved,
    Reason::Drained,
    Reason::DrainTimeOver,
    Reason::Restarted,
    Reason::LiftedWhileDraining,
    Reason::Lifted,
    Reason::TimeOver,
    Reason::Forced,
    Reason::ForcedUnchecked,
    Reason::NoChecks,
    Reason::NoRamp,
    Reason::ChecksPassed,
    Reason::Ramped,
    Reason::GuardContent,
    Reason::TriesAgain,
    Reason::TriedWell,
    Reason::RampSkipped,
];
const CHECKS_FIRST: &str = "the guard asks the checks before it closes: ";
const COUNTS_ANEW: &str = "the checks pass, so the guard counts anew: ";
const HOLDS: &str = "the guard holds the ramp: ";
const WARNS: &str = "the guard warns: ";
const FLAGGED: &str = "flagged ";
const HELD_BY: &str = ", held by ";
const LOST: &str = ", who has not renewed it";
const BY_WINDOW: &str = " by window ";
const BY_SWITCH: &str = " by switch ";
const OVERRUNS: &str = ", which is overrunning";
const FAILS: &str = "a check fails: ";
const FAILS_IN: &str = "a check fails in ";
const PENDING: &str = " checks have passed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_again_from_its_text() {
        let window = |mode, overruns| Reason::Window { mode, id: "M-1".to_owned(), overruns };
        let failed = |region: Option<&str>| Reason::CheckFailed {
            region: region.map(str::to_owned),
            failure: "GET / on http://127.0.0.1:1 answered 500, expected 200".to_owned(),
        };
        let others = [
            Reason::Flagged(Mode::ReadOnly),
            Reason::Held { mode: Mode::Offline, by: "anna@ci-7, pid 41".to_owned(), lost: false },
            Reason::Held { mode: Mode::Hold, by: "anna@ci-7".to_owned(), lost: true },
            window(Mode::Hold, false),
            Reason::Switched { mode: Mode::Offline, file: "/srv/app by window x/down".to_owned() },
            window(Mode::Offline, true),
            failed(None),
            failed(Some("eu")),
            Reason::ChecksPending { passed: 1, total: 3 },
            Reason::GuardTripped("6 requests hang".to_owned()),
            Reason::GuardChecks("6 requests hang".to_owned()),
            Reason::GuardCountsAnew("6 requests hang".to_owned()),
            Reason::GuardHolds("6 requests hang".to_owned()),
            Reason::GuardWarns("6 requests hang".to_owned()),
            Reason::Other("words of a later version".to_owned()),
        ];
        for reason in FIXED.into_iter().chain(others) {
            assert_eq!(Reason::parse(&reason.to_string()), reason);
        }
    }
}
