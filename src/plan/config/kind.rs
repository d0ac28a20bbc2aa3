//! Kinds of events that operators are told of.

use serde::{Deserialize, Serialize};

/// Kind of an event that operators are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A window was announced.
    Announced,
    /// A window begins or ends at another time.
    Moved,
    /// A window was called off before it began.
    Cancelled,
    /// A flag or a window closes a route: clients get the page from now on.
    Closed,
    /// Nothing of a closed route is in flight any more, or its drain time is over.
    Drained,
    /// A step of the timeline is done.
    StepDone,
    /// A window ends soon and opens its routes, although steps are not done.
    Undone,
    /// The planned end has passed, and the window goes on.
    Overrun,
    /// A route has been closed for a day.
    Long,
    /// The maintenance is over, and checks decide when the route opens.
    Verifying,
    /// A check fails, so that the route does not open.
    VerifyFailed,
    /// Clients are let in step by step.
    Ramping,
    /// The route is open.
    Opened,
    /// The guard has closed the route again, holds its ramp, or warns.
    Breach,
    /// The guard finds nothing any more.
    BreachOver,
    /// An upstream fails its checks.
    Unwell,
    /// An upstream passes its checks again.
    Well,
    /// An edit of a file was refused, and the last good one stays.
    RefusedEdit,
    /// State or history cannot be written.
    Unsaved,
    /// An operator tries out whether the place is told.
    Test,
}

impl EventKind {
    /// All kinds that a config may name, in the order of a maintenance.
    pub const ALL: [Self; 19] = [
        Self::Announced,
        Self::Moved,
        Self::Cancelled,
        Self::Closed,
        Self::Drained,
        Self::StepDone,
        Self::Undone,
        Self::Overrun,
        Self::Long,
        Self::Verifying,
        Self::VerifyFailed,
        Self::Ramping,
        Self::Opened,
        Self::Breach,
        Self::BreachOver,
        Self::Unwell,
        Self::Well,
        Self::RefusedEdit,
        Self::Unsaved,
    ];

    /// Kinds that a person should act on.
    pub const BY_DEFAULT: [Self; 8] = [
        Self::Breach,
        Self::Long,
        Self::Overrun,
        Self::RefusedEdit,
        Self::Undone,
        Self::Unsaved,
        Self::Unwell,
        Self::VerifyFailed,
    ];

    /// Returns the word for the kind in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Moved => "moved",
            Self::Cancelled => "cancelled",
            Self::Closed => "closed",
            Self::Drained => "drained",
            Self::StepDone => "step-done",
            Self::Undone => "undone",
            Self::Overrun => "overrun",
            Self::Long => "long",
            Self::Verifying => "verifying",
            Self::VerifyFailed => "verify-failed",
            Self::Ramping => "ramping",
            Self::Opened => "opened",
            Self::Breach => "breach",
            Self::BreachOver => "breach-over",
            Self::Unwell => "unwell",
            Self::Well => "well",
            Self::RefusedEdit => "refused-edit",
            Self::Unsaved => "unsaved",
            Self::Test => "test",
        }
    }
}
