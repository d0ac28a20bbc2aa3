//! Updates of an incident.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::text::Text;
use super::{Key, Stage, Trouble};

/// Change of an incident that the public is told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Key, the same in every replica that sees the same files.
    pub key: Key,
    /// Number of the update within its incident, from 1.
    pub sequence: u32,
    /// Instant of the change, in whole seconds.
    pub at: Timestamp,
    /// Kind of the change.
    #[serde(flatten)]
    pub kind: UpdateKind,
    /// Stage that the incident had afterwards.
    pub stage: Stage,
    /// Operator's message at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
}

/// Kind of an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum UpdateKind {
    /// A window was announced.
    Announced {
        /// Start.
        starts: Timestamp,
        /// End.
        ends: Option<Timestamp>,
    },
    /// The operator's words have changed.
    Reworded,
    /// The window begins at another time.
    Moved {
        /// New start.
        starts: Timestamp,
        /// New end.
        ends: Option<Timestamp>,
    },
    /// The end is expected later.
    Extended {
        /// New end; `None` if it is not known.
        ends: Option<Timestamp>,
    },
    /// The end is expected sooner, or is known at last.
    Expected {
        /// New end.
        ends: Timestamp,
    },
    /// The incident began.
    Began,
    /// A step is done.
    StepDone {
        /// Name of the step.
        title: Text,
        /// Number of steps that are done.
        done: u32,
        /// Number of steps.
        total: u32,
    },
    /// The planned end has passed, and the work goes on.
    Overrun,
    /// The work is done, and the service is checked.
    Checking,
    /// Clients come back step by step.
    Returning,
    /// The route closed again: a problem was found, or an operator closed it.
    ClosedAgain {
        /// Reason, as far as the public is told.
        trouble: Trouble,
    },
    /// Everything is open.
    Over,
    /// The window was called off.
    Cancelled,
}

impl UpdateKind {
    /// Returns the word for the kind in every output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Announced { .. } => "announced",
            Self::Reworded => "reworded",
            Self::Moved { .. } => "moved",
            Self::Extended { .. } => "extended",
            Self::Expected { .. } => "expected",
            Self::Began => "began",
            Self::StepDone { .. } => "step-done",
            Self::Overrun => "overrun",
            Self::Checking => "checking",
            Self::Returning => "returning",
            Self::ClosedAgain { .. } => "closed-again",
            Self::Over => "over",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns what tells this update from others of its kind in the same incident.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Moved { starts, ends } => format!("{starts} {}", end(*ends)),
            Self::Extended { ends } => end(*ends),
            Self::Expected { ends } => ends.to_string(),
            Self::StepDone { title, done, .. } => format!("{done} {}", title.plain),
            Self::Announced { .. }
            | Self::Reworded
            | Self::Began
            | Self::Overrun
            | Self::Checking
            | Self::Returning
            | Self::ClosedAgain { .. }
            | Self::Over
            | Self::Cancelled => String::new(),
        }
    }
}

fn end(ends: Option<Timestamp>) -> String {
    ends.map_or_else(|| "open".to_owned(), |ends| ends.to_string())
}
