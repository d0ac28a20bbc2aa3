//! Concerns: everything in a status that is not as it should be. The command and the admin listener's page say the
//! same.

use jiff::Timestamp;

use super::fleet::FleetStatus;
use super::outbox::SenderReport;
use super::{FileStatus, ProblemStatus, Role, RouteStatus, Status};
use crate::plan::snapshot::Phase;
use crate::plan::words;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Concern {
    /// The kind, by which concerns are weighed.
    pub kind: Kind,
    /// The concern in words: where it is, and what it means.
    pub text: String,
}

/// The kind of a concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file has an error or cannot be read, so that an earlier content is in force.
    File,
    /// An edit was seen, and is not believed yet.
    Pending,
    /// Files are polled although events were wanted.
    Polling,
    /// A file is in force, but a part of it has no effect.
    Warning,
    /// A route is not as it was meant to be: a finding of its guard, a failing check, a window that overruns.
    Route,
    /// The engine that the flags come from is away, or has lost something.
    Engine,
    /// Subscribers are not told, or not all of them.
    Outbox,
    /// Something besides the files is wrong.
    Other,
    /// A route goes without an upstream that fails its checks.
    LeftOut,
    /// A route uses upstreams that fail their health checks, because no other is left.
    Unwell,
    /// A route would not open if it were closed now.
    Outlook,
}

/// Problems of the same kind, of which one stands for all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group<'p> {
    /// The problems to show.
    pub shown: Vec<&'p ProblemStatus>,
    /// The number of problems that are only counted.
    pub more: usize,
}

/// Returns everything that is not as it should be, the gravest first.
pub(crate) fn concerns(status: &Status, now: Timestamp) -> Vec<Concern> {
    let refused = status.files.iter().filter(|file| !file.is_good()).map(refused);
    let pending = status.files.iter().filter_map(|file| pending(file, now));
    let polling = status.watching.iter().filter_map(|watching| {
        let why = watching.trouble.as_deref()?;
        let text = format!("files are watched by {}, so edits take seconds: {why}", watching.by);
        Some(Concern { kind: Kind::Polling, text })
    });
    let routes = status.routes.iter().flat_map(of_route);
    let others = status.other_problems().map(|problem| told(Kind::Other, problem));
    let sender = status.outbox.iter().filter_map(|outbox| outbox.sender.as_ref()).flat_map(of_sender);
    let silent = status.outbox.iter().filter_map(|outbox| {
        let text = format!("subscribers are not told: {}", outbox.error.as_deref()?);
        Some(Concern { kind: Kind::Outbox, text })
    });
    let others = others.chain(silent).chain(sender).chain(status.fleet.iter().flat_map(|fleet| of_engine(fleet, now)));
    let warnings = status.files.iter().flat_map(warnings);
    let left_out = status.routes.iter().flat_map(left_out);
    let outlooks = status.routes.iter().filter_map(|route| outlook(route, now));
    let unwell = status.routes.iter().filter_map(unwell);
    let without = status.routes.iter().filter_map(without);
    let routes = routes.chain(left_out).chain(without).chain(unwell).chain(outlooks);
    refused.chain(pending).chain(routes).chain(polling).chain(others).chain(warnings).collect()
}

/// Returns the concerns about the lease by which one replica tells subscribers.
fn of_sender(sender: &SenderReport) -> impl Iterator<Item = Concern> {
    let trouble = sender.trouble.as_ref().map(|why| format!("the sender's lease cannot be asked for: {why}"));
    let differs = sender.differs.as_ref().zip(sender.replica.as_ref()).map(|(differs, replica)| {
        format!("{replica} tells subscribers, and knows others than this replica: {differs}")
    });
    [trouble, differs].into_iter().flatten().map(|text| Concern { kind: Kind::Outbox, text })
}

/// Returns the concerns about the engine of the flags.
fn of_engine(fleet: &FleetStatus, now: Timestamp) -> impl Iterator<Item = Concern> {
    let source = &fleet.source;
    let away = fleet.trouble.as_ref().map(|why| {
        let since = fleet.stale_since.map(|since| format!(" since {}", words::instant(since, now))).unwrap_or_default();
        format!("the engine of the flags, {source}, is away{since}, the last good flags stay: {why}")
    });
    let is_deleted = fleet.deleted && fleet.in_force.is_some();
    let deleted = is_deleted.then(|| format!("{source} has no flags any more, the last good ones stay"));
    let lost = fleet.lost.as_ref().map(|lost| format!("{source} has gone back in its revisions, {lost}: it lost data"));
    let unsaved = fleet.unsaved.as_ref().map(|why| format!("the flags in force cannot be kept for a restart: {why}"));
    let unheard = fleet.peers.as_ref().and_then(|peers| peers.trouble.as_ref()).filter(|_| fleet.trouble.is_none());
    let unheard = unheard.map(|why| format!("the other replicas are not heard, and do not hear of this one: {why}"));
    [away, deleted, lost, unsaved, unheard].into_iter().flatten().map(|text| Concern { kind: Kind::Engine, text })
}

/// Returns the concerns about a route. An operator's own maintenance is none.
fn of_route(route: &RouteStatus) -> impl Iterator<Item = Concern> {
    let name = &route.name;
    let down = route.is(Phase::Closed) || route.is(Phase::Draining);
    let by_guard = if down { "is closed by its guard" } else { "is open, and its guard objects" };
    let breach = route.breach.as_ref().map(|breach| format!("{name} {by_guard}: {}", breach.what));
    let failing = route.failing.as_ref().map(|failing| format!("{name} does not open: {failing}"));
    let overruns = route.overruns.then(|| match (&route.held_by, &route.source) {
        (Some(holder), _) => format!("{name} is still closed: {holder} held it, and has not renewed that in time"),
        (None, Some(source)) => format!("{name} is still closed: {source} is past its planned end"),
        (None, None) => format!("{name} is still closed after the planned end"),
    });
    let tried = route.tried.then(|| format!("{name} is closed by its guard, which lets a few clients try it again"));
    [breach, tried, failing, overruns, undone(route)]
        .into_iter()
        .flatten()
        .map(|text| Concern { kind: Kind::Route, text })
}

/// Tells of steps that are not done although the route opens soon.
fn undone(route: &RouteStatus) -> Option<String> {
    let steps = words::list(&route.undone, "and");
    let (name, source) = (&route.name, route.source.as_deref().unwrap_or("its window"));
    let undone = if route.undone.len() == 1 { "is not done" } else { "are not done" };
    (!route.undone.is_empty()).then(|| format!("{name} opens soon, at the end of {source}, but {steps} {undone}"))
}

fn left_out(route: &RouteStatus) -> impl Iterator<Item = Concern> {
    let failures = route.upstreams.iter().filter_map(|upstream| Some((&upstream.name, upstream.left_out.as_ref()?)));
    failures.map(|(name, failure)| {
        let text = format!("{} goes without {name}: {failure}", route.name);
        Concern { kind: Kind::LeftOut, text }
    })
}

/// Tells of a route that the flag file leaves no upstream.
fn without(route: &RouteStatus) -> Option<Concern> {
    let all_out = !route.upstreams.is_empty() && route.upstreams.iter().all(|upstream| upstream.withdrawn.is_some());
    let text = format!("no upstream is left for {}: the flag file takes all of them out", route.name);
    all_out.then_some(Concern { kind: Kind::LeftOut, text })
}

/// Tells of upstreams that are used although they fail: all others do, too.
fn unwell(route: &RouteStatus) -> Option<Concern> {
    let failures = route.upstreams.iter().filter_map(|upstream| Some((&upstream.name, upstream.unwell.as_ref()?)));
    let failures: Vec<String> = failures.map(|(name, failure)| format!("{name}: {failure}")).collect();
    let text = format!(
        "{} has no upstream that passes its health checks, and uses them all the same: {}",
        route.name,
        failures.join("; ")
    );
    (!failures.is_empty()).then_some(Concern { kind: Kind::Unwell, text })
}

fn outlook(route: &RouteStatus, now: Timestamp) -> Option<Concern> {
    let outlook = route.outlook.as_ref().filter(|outlook| !outlook.opens)?;
    let closes = outlook.closes.map(|at| format!(", and a window closes it {}", words::instant(at, now)));
    let failures = outlook.failures.join("; ");
    let text = format!("the checks of {} would fail now{}: {failures}", route.name, closes.unwrap_or_default());
    Some(Concern { kind: Kind::Outlook, text })
}

fn refused(file: &FileStatus) -> Concern {
    let errors = file.problems.iter().filter(|problem| problem.is_error()).count();
    let text = match &file.trouble {
        Some(trouble) => format!("{}: {trouble}", file.path),
        None if errors == 1 => format!("{} has an error, and is not in force as it stands", file.path),
        None => format!("{} has {errors} errors, and is not in force as it stands", file.path),
    };
    Concern { kind: Kind::File, text }
}

fn told(kind: Kind, problem: &ProblemStatus) -> Concern {
    let file = if problem.file.is_empty() { String::new() } else { format!("{}: ", problem.file) };
    Concern { kind, text: file + &problem.message }
}

/// Returns the warnings about a file that count: those of the page are advice.
fn warnings(file: &FileStatus) -> impl Iterator<Item = Concern> {
    let counted = file.is_good() && file.role != Role::Page.as_str();
    let problems = file.problems.iter().filter(move |problem| counted && !problem.is_error() && !problem.expected);
    problems.map(|problem| told(Kind::Warning, problem))
}

fn pending(file: &FileStatus, now: Timestamp) -> Option<Concern> {
    let pending = file.pending.as_ref()?;
    let since = pending.since.map(|since| format!(" since {}", words::instant(since, now))).unwrap_or_default();
    let text = format!("an edit of {} is seen{since}, but not believed yet: {}", file.path, pending.why);
    Some(Concern { kind: Kind::Pending, text })
}

/// Groups problems by kind, in the order in which a kind appears first. Problems of a kind have the same severity, file
/// and message, apart from the names in backquotes.
pub(crate) fn by_kind<'p>(problems: impl IntoIterator<Item = &'p ProblemStatus>) -> Vec<Group<'p>> {
    let mut kinds: Vec<(String, Vec<&ProblemStatus>)> = Vec::new();
    for problem in problems {
        let kind = format!("{} {} {}", problem.severity, problem.file, unquoted(&problem.message));
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, same)) => same.push(problem),
            None => kinds.push((kind, vec![problem])),
        }
    }
    kinds.into_iter().map(|(_, same)| Group::of(same)).collect()
}

/// Returns a message without its names, which stand between backquotes.
fn unquoted(message: &str) -> String {
    message.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

impl<'p> Group<'p> {
    fn of(mut same: Vec<&'p ProblemStatus>) -> Self {
        let all = same.len();
        same.truncate(if all > MOST_SHOWN { SHOWN_OF_MANY } else { all });
        Self { more: all - same.len(), shown: same }
    }
}

impl Status {
    /// Returns the problems that are told nowhere else. Trouble with watching is told beside the files.
    pub(crate) fn other_problems(&self) -> impl Iterator<Item = &ProblemStatus> {
        let trouble = self.watching.as_ref().and_then(|watching| watching.trouble.as_deref());
        self.problems.iter().filter(move |problem| trouble != Some(problem.message.as_str()))
    }

    /// Returns the two files that every proxy has: the flag file and the config.
    pub(crate) fn main_files(&self) -> impl Iterator<Item = &FileStatus> {
        [Role::Flags, Role::Config].into_iter().filter_map(|role| self.file(role))
    }
}

/// Problems of one kind that are shown one by one.
const MOST_SHOWN: usize = 5;
/// Problems shown of a kind that has more.
const SHOWN_OF_MANY: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{PendingStatus, UpstreamStatus, WatchingStatus};

    fn now() -> Timestamp {
        "2026-05-19T14:30:00Z".parse().unwrap()
    }

    fn texts(status: &Status) -> Vec<String> {
        concerns(status, now()).into_iter().map(|concern| concern.text).collect()
    }

    fn file() -> FileStatus {
        FileStatus { path: "maintenance.toml".to_owned(), role: "flags".to_owned(), ..FileStatus::default() }
    }

    fn problem(message: &str, severity: &str) -> ProblemStatus {
        let (message, severity) = (message.to_owned(), severity.to_owned());
        ProblemStatus { message, severity, file: "maintenance.toml".to_owned(), ..ProblemStatus::default() }
    }

    #[test]
    fn each_kind_of_concern_is_told() {
        let of_file = |file| Status { files: vec![file], ..Status::default() };
        let pending = Some(PendingStatus { since: Some(now()), why: "it is empty".to_owned() });
        let polls = |trouble: Option<&str>| {
            let watching = WatchingStatus { by: "polling".to_owned(), trouble: trouble.map(str::to_owned) };
            Status { watching: Some(watching), ..Status::default() }
        };
        let expected = ProblemStatus { expected: true, ..problem("no route `x`", "warning") };
        let told_twice = Status { problems: vec![problem("no watches", "warning")], ..polls(Some("no watches")) };
        for (status, told) in [
            (told_twice, vec!["files are watched by polling, so edits take seconds: no watches"]),
            (of_file(file()), vec![]),
            (
                of_file(FileStatus { trouble: Some("it cannot be read".to_owned()), ..file() }),
                vec!["maintenance.toml: it cannot be read"],
            ),
            (
                of_file(FileStatus { problems: vec![problem("x", "error")], ..file() }),
                vec!["maintenance.toml has an error, and is not in force as it stands"],
            ),
            (
                of_file(FileStatus { problems: vec![problem("over", "warning")], ..file() }),
                vec!["maintenance.toml: over"],
            ),
            (of_file(FileStatus { problems: vec![expected], ..file() }), vec![]),
            (
                of_file(FileStatus { problems: vec![problem("x", "warning")], role: "page".to_owned(), ..file() }),
                vec![],
            ),
            (
                of_file(FileStatus { pending, ..file() }),
                vec!["an edit of maintenance.toml is seen since 14:30 UTC, but not believed yet: it is empty"],
            ),
            (polls(None), vec![]),
            (
                polls(Some("no watches are left")),
                vec!["files are watched by polling, so edits take seconds: no watches are left"],
            ),
            (
                Status { problems: vec![problem("the state is damaged", "warning")], ..Status::default() },
                vec!["maintenance.toml: the state is damaged"],
            ),
        ] {
            assert_eq!(texts(&status), told);
        }
    }

    #[test]
    fn a_route_whose_upstreams_all_fail_is_one_concern() {
        let upstream = |name: &str, unwell: Option<&str>| UpstreamStatus {
            name: name.to_owned(),
            unwell: unwell.map(str::to_owned),
            ..UpstreamStatus::default()
        };
        for (upstreams, told) in [
            (vec![upstream("http://a", None)], vec![]),
            (
                vec![upstream("http://a", Some("answered 500")), upstream("http://b", Some("timed out"))],
                vec![
                    "web has no upstream that passes its health checks, and uses them all the same: \
                     http://a: answered 500; http://b: timed out",
                ],
            ),
        ] {
            let route = RouteStatus { name: "web".to_owned(), upstreams, ..RouteStatus::default() };
            assert_eq!(texts(&Status { routes: vec![route], ..Status::default() }), told);
        }
    }

    #[test]
    fn many_problems_of_one_kind_are_counted() {
        let mut problems: Vec<_> = (0..100).map(|n| problem(&format!("no route `r{n}`"), "warning")).collect();
        problems.push(problem("unknown mode `of`", "error"));
        let counted: Vec<_> = by_kind(&problems).iter().map(|group| (group.shown.len(), group.more)).collect();
        assert_eq!(counted, [(1, 99), (1, 0)]);
    }
}
