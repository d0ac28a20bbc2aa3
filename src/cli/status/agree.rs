//! Agreement of replicas: the files and routes that are in different states.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::status::{FileStatus, Role, RouteStatus, Status};

use super::super::words;
use super::{Replica, Scope};

/// A file or a route that is not the same in all replicas that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) subject: Subject,
    /// The states, each with the listeners of the replicas that have it.
    pub(super) states: Vec<(String, Vec<String>)>,
}

/// The file or the route that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Flags,
    Config,
    Route(String),
}

/// Returns all differences between the replicas that answered.
pub(super) fn differences(replicas: &[&Replica], scope: Scope) -> Vec<Difference> {
    let answers: Vec<(String, &Status)> =
        replicas.iter().filter_map(|one| Some((one.endpoint.to_string(), &one.answer.as_ref().ok()?.0))).collect();
    let file = |role| answers.iter().map(|(name, status)| (name.as_str(), hash(status, role))).collect();
    let mut found = vec![(Subject::Flags, file(Role::Flags))];
    if scope == Scope::All {
        found.push((Subject::Config, file(Role::Config)));
    }
    let mut routes: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for (name, status) in &answers {
        for route in &status.routes {
            routes.entry(&route.name).or_default().push((name, state(route)));
        }
    }
    for (route, mut states) in routes {
        if scope == Scope::All {
            let missing = answers.iter().filter(|(name, _)| !states.iter().any(|(known, _)| known == name));
            let missing: Vec<_> = missing.map(|(name, _)| (name.as_str(), "not there".to_owned())).collect();
            states.extend(missing);
        }
        found.push((Subject::Route(route.to_owned()), states));
    }
    found.into_iter().filter_map(|(subject, states)| Difference::of(subject, states)).collect()
}

/// Returns the hash of the content in force.
fn hash(status: &Status, role: Role) -> String {
    status.file(role).and_then(FileStatus::hash_in_force).map_or("none", |hash| hash).to_owned()
}

/// Returns the phase of a route with its mode, in words.
fn state(route: &RouteStatus) -> String {
    match &route.mode {
        Some(mode) => format!("{}, {mode}", route.phase),
        None => route.phase.clone(),
    }
}

/// Formats subjects for a sentence: `flag files and phases of web and api`.
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
    let phases = (!named.is_empty()).then(|| format!("phases of {}", words::list(&named)));
    let parts = [of(&Subject::Flags, "flag files"), of(&Subject::Config, "configs"), phases];
    words::list(&parts.into_iter().flatten().collect::<Vec<_>>())
}

impl Difference {
    /// Groups listeners by state; `None` if they all have the same.
    fn of(subject: Subject, states: Vec<(&str, String)>) -> Option<Self> {
        let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
        for (name, state) in states {
            match grouped.iter_mut().find(|(known, _)| *known == state) {
                Some((_, names)) => names.push(name.to_owned()),
                None => grouped.push((state, vec![name.to_owned()])),
            }
        }
        (grouped.len() > 1).then_some(Self { subject, states: grouped })
    }

    /// Returns true if the states are hashes.
    pub(super) fn is_of_file(&self) -> bool {
        self.subject.route().is_none()
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
            Self::Flags | Self::Config => None,
            Self::Route(name) => Some(name),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flags => f.write_str("flag file"),
            Self::Config => f.write_str("config"),
            Self::Route(name) => write!(f, "route {}", words::harmless(name)),
        }
    }
}

/// Routes that a sentence names one by one.
const MOST_NAMED: usize = 5;
