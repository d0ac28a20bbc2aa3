//! Flag file: the maintenance that is in force or planned, parsed into values that need no further checking.

mod every;
mod lifts;
mod links;
mod parse;
mod past;
mod span;
mod stale;
mod switch;
mod upstreams;
mod window;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::mode::Mode;
use super::problem::{Place, Problem, did_you_mean, quoted};
use super::read::list;
use super::text::Text;
use every::Exception;
pub use every::{Every, Odd, Oddity, Recurrence};
pub use lifts::{is_cut, is_unended, lifts};
pub use links::Link;
pub use past::Past;
pub use span::Span;
pub use stale::{Reading, Stale};
pub use switch::{SwitchNote, Switched, message as switch_message, switched};
pub(in crate::plan) use upstreams::withdrawn;
pub use upstreams::{Withdrawal, Withdrawn};

/// Content of `maintenance.toml`, checked. By default nothing is flagged.
#[derive(Clone, Default, PartialEq)]
pub struct Flags {
    /// `[routes]`: the flags, in the order of the file.
    pub routes: Vec<Flag>,
    /// `[[windows]]`, in the order of the file, without those of the past.
    pub windows: Vec<Window>,
    /// `[[windows]]` that were over long ago.
    pub past: Past,
    /// `[forced]`: instant at which an operator last opened a route by force. Earlier results of its guard and its
    /// checks are overruled.
    pub forced: Vec<(Target, Timestamp)>,
    /// `[lifted]`: instant at which an operator last lifted a route, so that replicas that see it later ramp alike.
    pub lifted: Vec<(Target, Lift)>,
    /// `[revoked]`: bypass links and cookies of a route from before this instant are void.
    pub revoked: Vec<(Target, Timestamp)>,
    /// `[links]`: links of testers that have a name.
    pub links: Vec<Link>,
    /// `[upstreams]`: upstreams that are out.
    pub upstreams: Vec<Withdrawal>,
    /// Switches of the config that are on. They are no part of the file, and act as its flags do.
    pub switched: Vec<Switched>,
}

/// One entry of `[routes]`: short (`web = "offline"`), or with words and an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// Name of a route, or every route (`"*"`).
    pub route: Target,
    /// Mode that the route gets.
    pub mode: Mode,
    /// Instant at which the flag lifts by itself.
    pub until: Option<Timestamp>,
    /// Operator's words for the page.
    pub message: Option<Text>,
    /// Holder: the command that renews `until` while it runs. Visitors are not told.
    pub held_by: Option<String>,
    /// Reaction when `until` has come.
    pub on_overrun: OnOverrun,
}

impl Flag {
    /// Creates a flag without words, holder and end.
    pub(crate) fn new(route: Target, mode: Mode) -> Self {
        Self { route, mode, until: None, message: None, held_by: None, on_overrun: OnOverrun::Open }
    }
}

/// Lifting of a route by an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lift {
    /// Instant of the edit.
    pub at: Timestamp,
    /// Way in which the clients come back.
    pub pace: Pace,
}

/// Way in which clients come back after the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// By the ramp of the route.
    Ramp,
    /// All at once.
    AtOnce,
}

/// Routes that a flag or a window is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Every route: `"*"`.
    Every,
    /// One route by its name, which this proxy may not have.
    Route(String),
}

impl Target {
    /// Returns the key that stands for it in the flag file.
    pub fn key(&self) -> &str {
        match self {
            Self::Every => "*",
            Self::Route(name) => name,
        }
    }
}

/// Planned window: the half-open span [starts, ends).
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Incident reference, unique in the file.
    pub id: String,
    /// Heading of the page.
    pub title: Option<Text>,
    /// Line below the heading.
    pub summary: Option<Text>,
    /// Paragraph of explanation.
    pub message: Option<Text>,
    /// Label beside "live" on the page: any word.
    pub label: Option<Text>,
    /// Plan: once or recurring.
    pub when: When,
    /// Actual start, if it was not `starts`.
    pub started: Option<Timestamp>,
    /// Actual end, if it was not `ends`.
    pub ended: Option<Timestamp>,
    /// Time from the announcement to the start.
    pub announce: Option<Duration>,
    /// Reaction when its end has come.
    pub on_overrun: OnOverrun,
    /// Event that ends it.
    pub opens: Opens,
    /// Affected regions.
    pub regions: Vec<String>,
    /// Impact on customers.
    pub impact: Option<Impact>,
    /// Modes for routes.
    pub routes: Vec<(Target, Mode)>,
    /// Rows of the page's table.
    pub services: Vec<Service>,
    /// Steps of the page's timeline.
    pub steps: Vec<Step>,
}

/// Plan of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// A single span.
    Once {
        /// Planned start.
        starts: Timestamp,
        /// Planned end; after `starts`.
        ends: Timestamp,
    },
    /// A recurring span.
    Every(Box<Every>),
}

/// Reaction when the end of a window or a flag has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverrun {
    /// Bring the routes back.
    #[default]
    Open,
    /// Keep the routes closed until the window is `ended`, moved or removed, or the flag is lifted: the maintenance is
    /// overrunning.
    Stay,
}

/// Event that ends a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opens {
    /// The planned end; `on_overrun` has the last word.
    #[default]
    Time,
    /// Every step that is moved by hand is done, before or after the planned end.
    Steps,
    /// An operator ends it.
    Word,
}

/// Impact on customers: `impact = { level = "low", note = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Impact {
    /// Level as a free word: none, low, medium, high.
    pub level: Text,
    /// Meaning of the level here.
    pub note: Option<Text>,
}

/// Row of the page's table.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Name.
    pub name: Text,
    /// Second line, often a host name.
    pub detail: Option<Text>,
    /// Route whose actual state the row follows.
    pub route: Option<String>,
    /// Status.
    pub status: ServiceStatus,
    /// Expected return.
    pub eta: Option<Timestamp>,
    /// Affected regions.
    pub regions: Vec<String>,
}

/// Status of a [`Service`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceStatus {
    /// Works as it should.
    #[default]
    Operational,
    /// Slow, or works in part.
    Degraded,
    /// Coming back.
    Restarting,
    /// Waiting for its turn.
    Queued,
    /// Down.
    Offline,
}

impl ServiceStatus {
    /// Returns the word for the status in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::Restarting => "restarting",
            Self::Queued => "queued",
            Self::Offline => "offline",
        }
    }
}

/// Step of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Name.
    pub title: Text,
    /// A sentence or two.
    pub detail: Option<Text>,
    /// Event that moves the step by itself; `state` and `progress` are ignored then.
    pub auto: Option<Auto>,
    /// State of the step.
    pub state: StepState,
    /// Progress, such as 3 of 7 schema changes.
    pub progress: Option<Progress>,
    /// Instant at which the step was moved last. In a recurring window, a state from before an occurrence is not its own.
    pub at: Option<Timestamp>,
}

/// Event that moves a step by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auto {
    /// Requests in flight finish.
    Drain,
    /// The upstreams are checked.
    Verify,
    /// Clients come back.
    Ramp,
    /// The guard watches the route.
    Watch,
}

impl Auto {
    /// Returns the word for the event in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Verify => "verify",
            Self::Ramp => "ramp",
            Self::Watch => "watch",
        }
    }
}

/// State of a [`Step`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not begun.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// Finished.
    Done,
    /// Failed.
    Failed,
}

impl StepState {
    /// Returns the word for the state in every output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// Progress of a step: `progress = { done = 3, total = 7, unit = "schema changes" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// At most `total`.
    pub done: u64,
    /// At least 1.
    pub total: u64,
    /// Things that are counted.
    pub unit: Option<Text>,
}

/// Flag file with the places where it names routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Flags and windows.
    pub flags: Flags,
    /// Every route that the file names, once, at its first place. `"*"` is not included.
    pub mentions: Vec<Mention>,
    /// Places of the entries that end.
    ends: stale::Ends,
    /// Places of the entries of `[upstreams]`.
    upstream_places: Vec<Place>,
}

/// Route that a flag file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Name of the route.
    pub route: String,
    /// File, as problems name it.
    pub file: String,
    /// Place in the file.
    pub place: Place,
}

/// Parses a flag file as it is read at an instant. `file` is the name that problems give it.
///
/// Every problem of the text is collected, in the order of the text. Flags are returned if none of them is an error. A
/// text that is empty, or has only comments, flags nothing. Windows that are over do not count to the limits. So a file
/// that is valid stays valid as time goes by.
pub fn parse_at(file: &str, text: &str, now: Timestamp) -> (Option<Parsed>, Vec<Problem>) {
    parse::flags(file, text, now)
}

/// Parses a flag file as if no time had passed: no window is over. A reader that has a clock uses [`parse_at`].
pub fn parse(file: &str, text: &str) -> (Option<Parsed>, Vec<Problem>) {
    parse_at(file, text, Timestamp::MIN)
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { routes, windows, past, forced, lifted, revoked, links, upstreams, switched } = self;
        let mut shown = f.debug_struct("Flags");
        shown.field("routes", routes).field("windows", windows);
        // Most files have no past.
        if *past != Past::default() {
            shown.field("past", past);
        }
        if !upstreams.is_empty() {
            shown.field("upstreams", upstreams);
        }
        if !switched.is_empty() {
            shown.field("switched", switched);
        }
        shown.field("forced", forced).field("lifted", lifted).field("revoked", revoked).field("links", links).finish()
    }
}

impl Flag {
    /// Returns true if the flag closes its routes.
    pub fn acts(&self, now: Timestamp) -> bool {
        self.on_overrun == OnOverrun::Stay || self.until.is_none_or(|until| now < until)
    }

    /// Returns the end that is still to come.
    pub fn end(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| now < *until)
    }

    /// Returns the end at which the flag lifts by itself.
    fn lifts_at(&self) -> Option<Timestamp> {
        self.until.filter(|_| self.on_overrun == OnOverrun::Open)
    }
}

impl Target {
    /// Returns true if a route of this name is meant.
    pub fn is(&self, route: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Route(name) => name == route,
        }
    }
}

impl Flags {
    /// Returns the instant at which an operator last opened a route by force.
    pub fn forced(&self, route: &str) -> Option<Timestamp> {
        latest(&self.forced, route)
    }

    /// Returns the latest lifting of a route by an operator.
    pub fn lifted(&self, route: &str) -> Option<Lift> {
        let of_route = self.lifted.iter().filter(|(target, _)| target.is(route));
        of_route.map(|(_, lift)| *lift).max_by_key(|lift| lift.at)
    }

    /// Returns the instant before which bypass links and cookies of a route are void.
    pub fn revoked(&self, route: &str) -> Option<Timestamp> {
        latest(&self.revoked, route)
    }
}

fn latest(instants: &[(Target, Timestamp)], route: &str) -> Option<Timestamp> {
    instants.iter().filter(|(target, _)| target.is(route)).map(|(_, instant)| *instant).max()
}

impl Parsed {
    /// Warns of the routes that the file names and this proxy does not have. The rest of the file applies, so that one
    /// file can serve a fleet. A name that is nearly right has a warning of its own, all others share one.
    pub fn unknown_routes<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<Problem> {
        let names: Vec<&str> = names.into_iter().collect();
        let known: HashSet<&str> = names.iter().copied().collect();
        let unknown = self.mentions.iter().filter(|mention| !known.contains(mention.route.as_str()));
        let (mut problems, mut foreign) = (Vec::new(), Vec::new());
        for (index, mention) in unknown.enumerate() {
            let looked_for = if index < MOST_LOOKED_FOR { names.as_slice() } else { &[] };
            match did_you_mean(&mention.route, looked_for.iter().copied()) {
                Some(near) => problems.push(mention.misspelt(near)),
                None => foreign.push(mention),
            }
        }
        problems.extend(foreign_routes(&foreign, &names));
        problems
    }
}

impl Mention {
    fn misspelt(&self, near: &str) -> Problem {
        Problem::warning(&self.file, format!("this proxy has no route {}", quoted(&self.route)))
            .at(self.place.clone())
            .help(format!("did you mean `{near}`? the rest of the file applies"))
    }
}

/// Warns of routes that are not this proxy's, at the first of them.
fn foreign_routes(foreign: &[&Mention], names: &[&str]) -> Option<Problem> {
    let first = foreign.first()?;
    let message = match foreign {
        [only] => format!("this proxy has no route {}", quoted(&only.route)),
        several => {
            let shown: Vec<&str> = several.iter().take(MOST_NAMED).map(|mention| mention.route.as_str()).collect();
            let more = several.len() - shown.len();
            let shown = if more == 0 { list(&shown, "and") } else { format!("{} and {more} more", quoted_all(&shown)) };
            format!("this proxy does not have {} routes of this file: {shown}", several.len())
        }
    };
    let help = format!("its routes are {}; the rest of the file applies", some_of(names));
    Some(Problem::warning(&first.file, message).at(first.place.clone()).help(help).expected())
}

/// Lists names, as many as fit a line.
fn some_of(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(MOST_SHOWN));
    match more.len() {
        0 => list(shown, "and"),
        more => format!("{} and {more} more", quoted_all(shown)),
    }
}

fn quoted_all(names: &[&str]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// Most unknown routes for which a similar name is searched. Each is compared with every route, and the file of a fleet
/// names thousands.
const MOST_LOOKED_FOR: usize = 64;
/// Most of this proxy's routes that a warning names.
const MOST_SHOWN: usize = 8;
/// Most foreign routes that a warning names.
const MOST_NAMED: usize = 3;
