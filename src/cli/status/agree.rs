//! Agreement of replicas: the files and routes that are in different states.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::status::{FileStatus, Role, RouteStatus, Status};

use super::super::admin::Offset;
use super::super::words;
use super::{Replica, Scope};

/// A file or a route that is not the same in all replicas that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) subject: Subject,
    /// The states, each with the listeners of the replicas that have it.
    pub(super) states: Vec<(String, Vec<String>)>,
}

/// The file, the clock or the route that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Flags,
    Config,
    Clock,
    Route(String),
}

/// State of a file, a clock or a route, by which replicas are compared.
#[derive(Clone, Debug, PartialEq)]
struct State {
    text: String,
    /// Share of the clients that a ramp admits.
    share: Option<f64>,
}

/// Name of a replica with its state.
type Named = (String, State);

/// Returns all differences between the replicas that answered.
pub(super) fn differences(replicas: &[&Replica], scope: Scope) -> Vec<Difference> {
    let answers: Vec<(String, &Status)> =
        replicas.iter().filter_map(|one| Some((one.whom.to_string(), &one.answer.as_ref().ok()?.0))).collect();
    let mut found = vec![(Subject::Flags, files(&answers, Role::Flags))];
    if scope == Scope::All {
        found.push((Subject::Config, files(&answers, Role::Config)));
    }
    found.extend(clocks(replicas).map(|states| (Subject::Clock, states)));
    found.extend(routes(&answers, scope));
    found.into_iter().filter_map(|(subject, states)| Difference::of(subject, states)).collect()
}

/// Returns the hashes of the content in force.
fn files(answers: &[(String, &Status)], role: Role) -> Vec<Named> {
    let hash = |status: &Status| status.file(role).and_then(FileStatus::hash_in_force).unwrap_or("none").to_owned();
    answers.iter().map(|(name, status)| (name.clone(), State::of_text(hash(status)))).collect()
}

/// Returns the offsets of all clocks, if two of them are apart.
fn clocks(replicas: &[&Replica]) -> Option<Vec<Named>> {
    let clocks: Vec<_> = replicas.iter().filter_map(|one| Some((one.whom.to_string(), one.clock?))).collect();
    let apart = Offset::are_apart(&clocks.iter().map(|(_, clock)| *clock).collect::<Vec<_>>());
    let states = clocks.into_iter().map(|(name, clock)| (name, State::of_text(clock.to_string())));
    apart.then(|| states.collect())
}

/// Returns the states of all routes. A route that is not there is a state, unless only the flags count.
fn routes(answers: &[(String, &Status)], scope: Scope) -> Vec<(Subject, Vec<Named>)> {
    let mut routes: BTreeMap<&str, Vec<Named>> = BTreeMap::new();
    for (name, status) in answers {
        for route in &status.routes {
            routes.entry(&route.name).or_default().push((name.clone(), State::of_route(route)));
        }
    }
    for states in routes.values_mut().filter(|_| scope == Scope::All) {
        let known: HashSet<&String> = states.iter().map(|(known, _)| known).collect();
        let missing = answers.iter().filter(|(name, _)| !known.contains(name));
        let missing: Vec<Named> =
            missing.map(|(name, _)| (name.clone(), State::of_text("not there".to_owned()))).collect();
        states.extend(missing);
    }
    routes.into_iter().map(|(route, states)| (Subject::Route(route.to_owned()), states)).collect()
}

impl State {
    fn of_text(text: String) -> Self {
        Self { text, share: None }
    }

    /// Returns the phase of a route with its mode and the finding of its guard, in words.
    fn of_route(route: &RouteStatus) -> Self {
        let breach = route.breach.as_ref().map(|_| "with a finding of its guard");
        let parts = [Some(route.phase.as_str()), route.mode.as_deref(), breach];
        Self { text: parts.into_iter().flatten().collect::<Vec<_>>().join(", "), share: route.share }
    }

    /// Returns true if two states are the same, but for the steps of a ramp between two answers.
    fn is_like(&self, other: &Self) -> bool {
        let shares = match (self.share, other.share) {
            (Some(one), Some(other)) => (one - other).abs() <= SMALLEST_SHARE,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        shares && self.text == other.text
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        self.share.map_or(Ok(()), |share| write!(f, ", {:.0}% of clients", share * 100.0))
    }
}

/// Formats subjects for a sentence: `flag files and states of web and api`.
pub(super) fn subjects(differences: &[Difference]) -> String {
    let of = |subject: &Subject, name: &str| {
        let is_one = differences.iter().any(|difference| difference.subject == *subject);
        is_one.then(|| name.to_owned())
    };
    let routes: Vec<&str> = differences.iter().filter_map(|difference| difference.subject.route()).collect();
    let mut named: Vec<String> = routes.iter().take(MOST_NAMED).map(|route| words::harmless(route)).collect();
    if routes.len() > MOST_NAMED {
        named.push(format!("{} more routes", routes.len() - MOST_NAMED));
    }
    let states = (!named.is_empty()).then(|| format!("states of {}", words::list(&named)));
    let files = [of(&Subject::Flags, "flag files"), of(&Subject::Config, "configs")];
    let parts = files.into_iter().chain([of(&Subject::Clock, "times"), states]);
    words::list(&parts.flatten().collect::<Vec<_>>())
}

impl Difference {
    /// Groups listeners by state; `None` if they all have the same.
    fn of(subject: Subject, states: Vec<Named>) -> Option<Self> {
        let mut grouped: Vec<(State, Vec<String>)> = Vec::new();
        for (name, state) in states {
            match grouped.iter_mut().find(|(known, _)| known.is_like(&state)) {
                Some((_, names)) => names.push(name),
                None => grouped.push((state, vec![name])),
            }
        }
        let states: Vec<_> = grouped.into_iter().map(|(state, names)| (state.to_string(), names)).collect();
        (states.len() > 1).then_some(Self { subject, states })
    }

    /// Returns true if the states are hashes.
    pub(super) fn is_of_file(&self) -> bool {
        matches!(self.subject, Subject::Flags | Subject::Config)
    }

    /// Returns the difference as `--json` writes it.
    pub(super) fn as_json(&self) -> Value {
        let states: Vec<Value> =
            self.states.iter().map(|(state, names)| json!({ "state": state, "replicas": names })).collect();
        json!({ "subject": self.subject.to_string(), "states": states })
    }
}

impl Subject {
    fn route(&self) -> Option<&str> {
        match self {
            Self::Flags | Self::Config | Self::Clock => None,
            Self::Route(name) => Some(name),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flags => f.write_str("flag file"),
            Self::Config => f.write_str("config"),
            Self::Clock => f.write_str("clock, against this machine's"),
            Self::Route(name) => write!(f, "route {}", words::harmless(name)),
        }
    }
}

/// Difference of two shares that counts. Linear ramps move by a hundredth at a time, and answers come one by one.
const SMALLEST_SHARE: f64 = 0.025;

/// Routes that a sentence names one by one.
const MOST_NAMED: usize = 5;
