//! Refusals of the commands that plan: what was asked for makes no sense for the window, or for the clock.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::plan::problem::{did_you_mean, quoted};

use super::{calendar, words};

/// Reason why nothing was planned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The start is not in the future.
    PastStart(Timestamp, TimeZone),
    /// The rule has no occurrence to come.
    NeverComes(String),
    /// Another window has this id.
    Taken(String),
    /// The window is over.
    Over(String, Timestamp),
    /// The window is on.
    On(String),
    /// The window comes again, and its next occurrence has not begun.
    NotBegun(String, Option<Timestamp>, TimeZone),
    /// The window comes once.
    ComesOnce(String),
    /// The window comes again and again, by this rule.
    ComesAgain(String, String),
    /// No occurrence begins that day; the nearest ones.
    NoOccurrence(String, Date, Vec<String>),
    /// The occurrence of that day is over.
    PastOccurrence(String, Date),
    /// The new end is still in the past.
    PastEnd(Timestamp, TimeZone),
    /// The new end is after the start of the next occurrence.
    Meets(String, Timestamp, TimeZone),
    /// No route has this upstream; those that routes have.
    NoUpstream(String, Vec<String>),
}

impl Refusal {
    /// Returns the advice.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::PastStart(..) => "name a time to come; `backsoon on ROUTE --for 1h` closes a route now".to_owned(),
            Self::NeverComes(_) => "take `UNTIL`, `COUNT` or a first day in the future".to_owned(),
            Self::Taken(_) => "name another one, or leave `--id` out".to_owned(),
            Self::Over(..) => "plan a new one with `backsoon plan`, or flag the route with `backsoon on`".to_owned(),
            Self::On(id) => format!("end it: `backsoon off --window {}`", shell(id)),
            Self::NotBegun(..) => "extend it once it is on, or change its rule in the flag file".to_owned(),
            Self::ComesOnce(id) => format!("cancel it: `backsoon cancel {}`", shell(id)),
            Self::ComesAgain(id, _) => {
                format!(
                    "leave one occurrence out: `backsoon skip {0} next`; or all: `backsoon cancel {0} --series`",
                    shell(id)
                )
            }
            Self::NoOccurrence(_, _, near) if near.is_empty() => "it has no occurrence to come".to_owned(),
            Self::NoOccurrence(_, _, near) => format!("the nearest are {}", words::list(near)),
            Self::PastOccurrence(..) => "only what is to come can be left out".to_owned(),
            Self::PastEnd(..) => "extend it by more".to_owned(),
            Self::Meets(..) => "extend it by less".to_owned(),
            Self::NoUpstream(name, known) => match did_you_mean(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`? --force writes it all the same"),
                None => {
                    let shown: Vec<String> = known.iter().take(MOST_SHOWN).cloned().collect();
                    format!("the upstreams are {}; --force writes it all the same", words::list(&shown))
                }
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PastStart(at, zone) => write!(f, "the start is in the past: {}", calendar::moment(*at, zone)),
            Self::NeverComes(rule) => write!(f, "the rule {} has no occurrence to come", quoted(rule)),
            Self::Taken(id) => write!(f, "the flag file has a window {} already", quoted(id)),
            Self::Over(id, at) => {
                write!(f, "window {} is over since {}", quoted(id), calendar::moment(*at, &TimeZone::UTC))
            }
            Self::On(id) => write!(f, "window {} is on", quoted(id)),
            Self::NotBegun(id, next, zone) => {
                write!(f, "window {} is not on", quoted(id))?;
                next.map_or(Ok(()), |next| write!(f, "; it begins {}", calendar::moment(next, zone)))
            }
            Self::ComesOnce(id) => {
                write!(f, "window {} comes once, so there is no occurrence to leave out", quoted(id))
            }
            Self::ComesAgain(id, rule) => write!(f, "window {} comes again: {}", quoted(id), quoted(rule)),
            Self::NoOccurrence(id, day, _) => write!(f, "window {} has no occurrence that begins on {day}", quoted(id)),
            Self::PastOccurrence(id, day) => write!(f, "the occurrence of {} on {day} is over", quoted(id)),
            Self::PastEnd(at, zone) => write!(f, "the new end is in the past: {}", calendar::moment(*at, zone)),
            Self::NoUpstream(name, _) => write!(f, "no route has the upstream {}", quoted(name)),
            Self::Meets(id, next, zone) => {
                write!(f, "window {} begins again before that: {}", quoted(id), calendar::moment(*next, zone))
            }
        }
    }
}

/// Quotes an id for a shell, if it needs that.
pub(crate) fn shell(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if id.chars().all(plain) && !id.starts_with('-') {
        id.to_owned()
    } else {
        format!("'{}'", id.replace('\'', r"'\''"))
    }
}

/// Upstreams that a refusal names.
const MOST_SHOWN: usize = 8;
