//! The flag file: what is under maintenance, parsed into values that need no further checking.

mod every;
mod parse;
mod window;

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::{Place, Problem, did_you_mean, quoted};
use super::read::list;
use super::text::Text;
pub use every::Every;

/// The whole of `maintenance.toml`, checked. The default flags nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// `[routes]`: the switches, in the order of the file.
    pub routes: Vec<Flag>,
    /// `[[windows]]`, in the order of the file.
    pub windows: Vec<Window>,
    /// `[forced]`: when an operator last opened a route whatever was measured. What was found before is overruled.
    pub forced: Vec<(Target, Timestamp)>,
    /// `[revoked]`: bypass links and cookies of a route that were issued before this instant are void.
    pub revoked: Vec<(Target, Timestamp)>,
}

/// One entry of `[routes]`, short (`web = "offline"`) or with words and an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// A route's name, or every route (`"*"`).
    pub route: Target,
    /// What it does to the route.
    pub mode: Mode,
    /// The instant at which it lifts by itself.
    pub until: Option<Timestamp>,
    /// The operator's words for the page.
    pub message: Option<Text>,
}

/// Which routes a flag or a window is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `"*"`.
    Every,
    /// By name. It may be one that this proxy does not have.
    Route(String),
}

/// What a flag does to a route. The order is by strictness: where several meet, the greatest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Safe methods pass, the rest is answered with the page.
    ReadOnly,
    /// Requests wait for the route.
    Hold,
    /// Every request is answered with the page.
    Offline,
}

impl Mode {
    /// All modes, from the mildest to the strictest.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Hold, Self::Offline];

    /// The word for it, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Hold => "hold",
            Self::Offline => "offline",
        }
    }
}

/// A planned window: the half-open span [starts, ends).
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The incident reference, unique in the file.
    pub id: String,
    /// The page's heading.
    pub title: Option<Text>,
    /// One line under it.
    pub summary: Option<Text>,
    /// The explanatory paragraph.
    pub message: Option<Text>,
    /// A free word beside "live".
    pub label: Option<Text>,
    /// When it is.
    pub when: When,
    /// When it really began, if that was not `starts`.
    pub started: Option<Timestamp>,
    /// When it was really over, if that was not `ends`.
    pub ended: Option<Timestamp>,
    /// How long before its start it is told of.
    pub announce: Option<Duration>,
    /// What happens at its end.
    pub on_overrun: OnOverrun,
    /// Where.
    pub regions: Vec<String>,
    /// What customers feel.
    pub impact: Option<Impact>,
    /// What it does to which routes.
    pub routes: Vec<(Target, Mode)>,
    /// The rows of the page's table.
    pub services: Vec<Service>,
    /// The rows of its timeline.
    pub steps: Vec<Step>,
}

/// When a window is.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Once.
    Once {
        /// When it begins.
        starts: Timestamp,
        /// When it ends; after `starts`.
        ends: Timestamp,
    },
    /// Again and again.
    Every(Every),
}

/// What happens at the end of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverrun {
    /// Its routes come back.
    #[default]
    Open,
    /// Its routes stay as they are until the window is `ended`, moved or removed: the maintenance is overrunning.
    Stay,
}

/// `impact = { level = "low", note = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Impact {
    /// A free word: none, low, medium, high.
    pub level: Text,
    /// What that means here.
    pub note: Option<Text>,
}

/// A row of the page's table.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: Text,
    /// A second line, often a host name.
    pub detail: Option<Text>,
    /// The route whose real state it follows.
    pub route: Option<String>,
    /// How it is.
    pub status: ServiceStatus,
    /// When it is expected back.
    pub eta: Option<Timestamp>,
    /// Where.
    pub regions: Vec<String>,
}

/// How a [`Service`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceStatus {
    /// As it should be.
    #[default]
    Operational,
    /// Slow or in part.
    Degraded,
    /// Coming back.
    Restarting,
    /// Waits for its turn.
    Queued,
    /// Down.
    Offline,
}

impl ServiceStatus {
    /// The word for it, everywhere.
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

/// A row of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Its name.
    pub title: Text,
    /// A sentence or two.
    pub detail: Option<Text>,
    /// What it follows, if what really happens moves it; `state` and `progress` are not used then.
    pub auto: Option<Auto>,
    /// How far it is.
    pub state: StepState,
    /// 3 of 7 schema changes.
    pub progress: Option<Progress>,
}

/// What a step follows that moves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auto {
    /// Requests in flight finish.
    Drain,
    /// The upstreams are checked.
    Verify,
    /// Clients come back.
    Ramp,
    /// The route is watched.
    Watch,
}

impl Auto {
    /// The word for it, everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Verify => "verify",
            Self::Ramp => "ramp",
            Self::Watch => "watch",
        }
    }
}

/// How far a [`Step`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Not begun.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// Finished.
    Done,
    /// Gone wrong.
    Failed,
}

impl StepState {
    /// The word for it, everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// `progress = { done = 3, total = 7, unit = "schema changes" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// At most `total`.
    pub done: u64,
    /// At least 1.
    pub total: u64,
    /// Of what.
    pub unit: Option<Text>,
}

/// What a flag file says, and where it names routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// What is under maintenance.
    pub flags: Flags,
    /// Every route that the file names, once, where it first does. `"*"` is not among them.
    pub mentions: Vec<Mention>,
}

/// A route that a flag file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The name.
    pub route: String,
    /// The file, as problems name it.
    pub file: String,
    /// Where it stands.
    pub place: Place,
}

/// Parses a flag file. `file` is the name that problems give it.
///
/// Every problem of the text is collected, in the order of the text. There are flags if none of them is an error. A
/// text that is empty, or has only comments, flags nothing.
pub fn parse(file: &str, text: &str) -> (Option<Parsed>, Vec<Problem>) {
    parse::flags(file, text)
}

impl Window {
    /// The span that matters at an instant: the one in force, else the next.
    pub fn span_at(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.when {
            When::Once { starts, ends } => Some((*starts, *ends)),
            When::Every(every) => every.on(now).or_else(|| every.after(now)),
        }
    }

    /// When it begins next.
    pub fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Once { starts, .. } => Some(*starts).filter(|starts| *starts > now),
            When::Every(every) => every.after(now).map(|(starts, _)| starts),
        }
    }

    /// The span that began last, else the next.
    fn span_begun(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.when {
            When::Once { starts, ends } => Some((*starts, *ends)),
            When::Every(every) => every.before(now).or_else(|| every.after(now)),
        }
    }

    /// The span that an instant is in, or was: what an ended maintenance was planned for.
    pub fn span_of(&self, started: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.span_begun(started)
    }

    /// The span that is in force at an instant.
    pub fn in_force(&self, now: Timestamp) -> Option<Span> {
        // One that is overrunning, or ended late, goes on after its end.
        let (starts, ends) = self.span_begun(now)?;
        let until = match (self.ended, self.on_overrun) {
            (Some(ended), _) if ended >= starts => Some(ended),
            (_, OnOverrun::Stay) if now >= ends => None,
            (_, OnOverrun::Open | OnOverrun::Stay) => Some(ends),
        };
        (starts <= now && until.is_none_or(|until| now < until)).then_some(Span { starts, ends, until })
    }

    /// When the maintenance that began at an instant was over: by the plan, or when it was really ended.
    pub fn over(&self, started: Timestamp) -> Option<Timestamp> {
        let (starts, ends) = self.span_begun(started)?;
        Some(self.ended.filter(|ended| *ended >= starts).unwrap_or(ends))
    }

    /// The span that is announced at an instant.
    pub fn announced(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let (starts, ends) = match &self.when {
            When::Once { starts, ends } => (*starts, *ends),
            When::Every(every) => every.after(now)?,
        };
        (now < starts && self.announced_from(starts)? <= now).then_some((starts, ends))
    }

    /// From when a start is told of ahead.
    fn announced_from(&self, starts: Timestamp) -> Option<Timestamp> {
        let ahead = jiff::SignedDuration::try_from(self.announce?).ok()?;
        Some(starts.checked_sub(ahead).unwrap_or(Timestamp::MIN))
    }

    /// The next instant at which it begins, ends, or is announced.
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

/// A window's span that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began by the plan.
    pub starts: Timestamp,
    /// When it ends by the plan.
    pub ends: Timestamp,
    /// When it ends in truth; `None` if it goes on until somebody ends it.
    pub until: Option<Timestamp>,
}

impl Target {
    /// Whether a route of this name is meant.
    pub fn is(&self, route: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Route(name) => name == route,
        }
    }
}

impl Flags {
    /// When an operator last opened a route whatever was measured.
    pub fn forced(&self, route: &str) -> Option<Timestamp> {
        latest(&self.forced, route)
    }

    /// Before when the bypass links and cookies of a route are void.
    pub fn revoked(&self, route: &str) -> Option<Timestamp> {
        latest(&self.revoked, route)
    }
}

fn latest(instants: &[(Target, Timestamp)], route: &str) -> Option<Timestamp> {
    instants.iter().filter(|(target, _)| target.is(route)).map(|(_, instant)| *instant).max()
}

impl Parsed {
    /// Warns of every route that the file names and this proxy does not have. The rest of the file applies, so that
    /// one file can serve a fleet.
    pub fn unknown_routes<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<Problem> {
        let names: Vec<&str> = names.into_iter().collect();
        let known: HashSet<&str> = names.iter().copied().collect();
        let unknown = self.mentions.iter().filter(|mention| !known.contains(mention.route.as_str()));
        let looked_for = |index| if index < MOST_LOOKED_FOR { names.as_slice() } else { &[] };
        let problems = unknown.enumerate().map(|(index, mention)| {
            let near = did_you_mean(&mention.route, looked_for(index).iter().copied());
            mention.unknown(near, &names)
        });
        problems.collect()
    }
}

impl Mention {
    fn unknown(&self, near: Option<&str>, names: &[&str]) -> Problem {
        let help = match near {
            Some(near) => format!("did you mean `{near}`? the rest of the file applies"),
            None => format!("its routes are {}; the rest of the file applies", some_of(names)),
        };
        Problem::warning(&self.file, format!("this proxy has no route {}", quoted(&self.route)))
            .at(self.place.clone())
            .help(help)
    }
}

/// The names, as far as a line can hold them.
fn some_of(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(MOST_SHOWN));
    match more.len() {
        0 => list(shown, "and"),
        more => format!("{} and {more} more", shown.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// Unknown routes for which a near name is looked for, because each is compared with every route: a file for a whole
/// fleet names thousands that this proxy does not have, and thousands that it has.
const MOST_LOOKED_FOR: usize = 64;
/// Routes that a warning names.
const MOST_SHOWN: usize = 8;
