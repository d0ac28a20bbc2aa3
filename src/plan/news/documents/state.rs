//! States of an incident in the words that programs read. They are always English.

use super::super::{Kind, Stage, Update, UpdateKind};

/// State of an incident after an update. The variants are those of Statuspage, and there are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Scheduled,
    InProgress,
    Verifying,
    Completed,
    Investigating,
    Identified,
    Monitoring,
    Resolved,
}

impl State {
    /// Returns the state of an incident after an update.
    pub(super) fn after(kind: Kind, update: &Update) -> Self {
        match (kind, update.stage) {
            (Kind::Planned, Stage::Scheduled) => Self::Scheduled,
            (Kind::Planned, Stage::InProgress) => Self::InProgress,
            (Kind::Planned, Stage::Checking | Stage::Returning) => Self::Verifying,
            (Kind::Planned, Stage::Over | Stage::Cancelled) => Self::Completed,
            (Kind::Unplanned, Stage::Scheduled | Stage::InProgress) => of_interruption(&update.kind),
            (Kind::Unplanned, Stage::Checking | Stage::Returning) => Self::Monitoring,
            (Kind::Unplanned, Stage::Over | Stage::Cancelled) => Self::Resolved,
        }
    }

    /// Returns the words for people, and for programs that read Atom.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::InProgress => "In progress",
            Self::Verifying => "Verifying",
            Self::Completed => "Completed",
            Self::Investigating => "Investigating",
            Self::Identified => "Identified",
            Self::Monitoring => "Monitoring",
            Self::Resolved => "Resolved",
        }
    }

    /// Returns the word of the status API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::InProgress => "in_progress",
            Self::Verifying => "verifying",
            Self::Completed => "completed",
            Self::Investigating => "investigating",
            Self::Identified => "identified",
            Self::Monitoring => "monitoring",
            Self::Resolved => "resolved",
        }
    }
}

/// Returns the state while an interruption lasts. Once its end or its steps are told, its cause is known.
fn of_interruption(kind: &UpdateKind) -> State {
    match kind {
        UpdateKind::Extended { .. } | UpdateKind::Expected { .. } | UpdateKind::StepDone { .. } => State::Identified,
        UpdateKind::Announced { .. }
        | UpdateKind::Reworded
        | UpdateKind::Moved { .. }
        | UpdateKind::Began
        | UpdateKind::Overrun
        | UpdateKind::Checking
        | UpdateKind::Returning
        | UpdateKind::ClosedAgain { .. }
        | UpdateKind::Over
        | UpdateKind::Cancelled => State::Investigating,
    }
}
