//! Beat of a replica: what each one tells the others, and answers when a command asks the fleet.
//!
//! A reader may meet a replica of another version: a field that is left out reads as empty, and words are kept as text.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fleet::FleetStatus;
use super::{BreachStatus, FileStatus, InForceStatus, NextStatus, ProblemStatus, Role, RouteStatus, Status};
use crate::plan::lifecycle::GuardCounts;
use crate::plan::problem::Severity;

/// Beat of a replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Beat {
    /// Name of the replica.
    pub replica: String,
    /// Random id of the process.
    pub boot: String,
    /// Number of the beat, which grows.
    pub number: u64,
    /// Version of the program.
    pub version: String,
    /// Id of the process on its machine.
    pub pid: u32,
    /// Instant at which the beat was made, by the replica's own clock.
    pub at: Option<Timestamp>,
    /// Milliseconds to the next beat, about.
    pub every_ms: u64,
    /// True if this is the last one: the process ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// True until the process was asked to end.
    pub ready: bool,
    /// SHA-256 of the flags in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// SHA-256 of the text that was read last, if that one is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// True if the text that was read last is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// Reason for that, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// SHA-256 of the config in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Revision of the flags in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Number of the live generation.
    pub generation: u64,
    /// Address of the admin listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Requests of all routes that were forwarded and are not finished.
    pub in_flight: u64,
    /// Number of routes by the word of their phase.
    pub phases: BTreeMap<String, u64>,
    /// Replicas that this one has heard of and not forgotten. Only answers have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Acquaintance>,
    /// Concerns, in words. Only answers have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub concerns: Vec<String>,
    /// Routes that are not plainly open, and those that were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<BeatRoute>,
    /// Number of such routes that had no room.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

/// Replica that another one has heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Acquaintance {
    /// Name.
    pub replica: String,
    /// Random id of its process.
    pub boot: String,
    /// Milliseconds since its last beat.
    pub ago_ms: u64,
}

/// Route in a beat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BeatRoute {
    /// Name of the route.
    pub name: String,
    /// Word of its phase.
    pub phase: String,
    /// Word of the mode that closes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Share of clients that its ramp admits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Begin of the phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// End of the maintenance, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Finding of its guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breach: Option<BreachStatus>,
    /// Requests that were forwarded and are not finished.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_flight: u64,
    /// Number of those that began before the route went down. Present while it drains, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Counts of its guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardCounts>,
    /// Reason for the phase, in words. Only answers have it, as all that follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Source of the closure: `flag`, `window` with its id, `switch` with its file, `guard`, or `lost state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Phase that comes next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStatus>,
    /// Check that fails, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// Question to all replicas. Each answers with a beat that was made after the question came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Question {
    /// Routes that the answer is to have even if they are plainly open; `*` stands for every route.
    pub routes: Vec<String>,
}

impl Beat {
    /// Parses a message; `None` if it is no beat, or larger than any.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let beat: Self = serde_json::from_slice(bytes.get(..bytes.len().min(LARGEST_BEAT + 1))?).ok()?;
        let is_name = |text: &str, longest: usize| !text.is_empty() && text.len() <= longest;
        (is_name(&beat.replica, LONGEST_NAME) && is_name(&beat.boot, LONGEST_BOOT)).then_some(beat)
    }

    /// Writes the message. Routes that have no room are left out, the last ones first, and counted.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut beat = self.clone();
        loop {
            // A beat has neither maps with keys of other types, nor anything else that cannot be written.
            let bytes = serde_json::to_vec(&beat).unwrap_or_default();
            if bytes.len() <= LARGEST_BEAT {
                return bytes;
            }
            if !beat.routes.is_empty() {
                let keep = beat.routes.len() / 2;
                beat.omitted += (beat.routes.len() - keep) as u64;
                beat.routes.truncate(keep);
            } else if beat.heard.is_empty() && beat.concerns.is_empty() {
                return Vec::new();
            } else {
                beat.heard.truncate(beat.heard.len() / 2);
                beat.concerns.truncate(beat.concerns.len() / 2);
            }
        }
    }

    /// Returns the same as a status, for those who judge either. `place` is the name of the flags.
    pub(crate) fn status(&self, place: &str) -> Status {
        let in_force = |hash: &Option<String>| {
            let hash = hash.clone()?;
            Some(InForceStatus { hash, generation: self.generation, since: None })
        };
        let refusal = ProblemStatus {
            severity: Severity::Error.as_str().to_owned(),
            file: place.to_owned(),
            message: self.refusal.clone().unwrap_or_default(),
            ..ProblemStatus::default()
        };
        let flags = FileStatus {
            path: place.to_owned(),
            role: Role::Flags.as_str().to_owned(),
            hash: self.read.clone().or_else(|| self.flags.clone()),
            in_force: in_force(&self.flags),
            problems: self.refused.then_some(refusal).into_iter().collect(),
            ..FileStatus::default()
        };
        let config = FileStatus {
            role: Role::Config.as_str().to_owned(),
            hash: self.config.clone(),
            in_force: in_force(&self.config),
            ..FileStatus::default()
        };
        let (source, kind) = (place.to_owned(), "nats".to_owned());
        let fleet = FleetStatus { source, kind, in_force: self.revision.clone(), ..FleetStatus::default() };
        Status {
            version: self.version.clone(),
            pid: self.pid,
            generation: self.generation,
            now: self.at,
            stage: if self.ready { "running" } else { "draining" }.to_owned(),
            admin: self.admin.clone(),
            fleet: Some(fleet),
            files: vec![flags, config],
            routes: self.routes.iter().map(BeatRoute::status).chain(self.unlisted()).collect(),
            ..Status::default()
        }
    }

    /// Returns a route for each phase in which more routes are than had room, so that nobody takes them for open.
    fn unlisted(&self) -> Vec<RouteStatus> {
        if self.omitted == 0 {
            return Vec::new();
        }
        let listed = |phase: &String| self.routes.iter().filter(|route| route.phase == *phase).count() as u64;
        let more = self.phases.iter().filter_map(|(phase, count)| {
            let more = count.checked_sub(listed(phase)).filter(|more| *more > 0)?;
            Some(RouteStatus { name: format!("{more} more routes"), phase: phase.clone(), ..RouteStatus::default() })
        });
        more.collect()
    }
}

impl BeatRoute {
    /// Describes a route for the other replicas.
    pub(crate) fn brief(route: &RouteStatus) -> Self {
        Self {
            name: route.name.clone(),
            phase: route.phase.clone(),
            mode: route.mode.clone(),
            share: route.share,
            since: route.since,
            until: route.until,
            breach: route.breach.clone(),
            in_flight: route.in_flight,
            before: route.remaining,
            ..Self::default()
        }
    }

    /// Describes a route for a command that asks.
    pub(crate) fn whole(route: &RouteStatus) -> Self {
        Self {
            why: route.why.clone(),
            source: route.source.clone(),
            next: route.next.clone(),
            failing: route.failing.clone(),
            ..Self::brief(route)
        }
    }

    /// Returns the same as a route's status.
    fn status(&self) -> RouteStatus {
        RouteStatus {
            name: self.name.clone(),
            phase: self.phase.clone(),
            mode: self.mode.clone(),
            share: self.share,
            since: self.since,
            until: self.until,
            breach: self.breach.clone(),
            in_flight: self.in_flight,
            remaining: self.before,
            why: self.why.clone(),
            source: self.source.clone(),
            next: self.next.clone(),
            failing: self.failing.clone(),
            ..RouteStatus::default()
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Bytes of a beat.
pub(crate) const LARGEST_BEAT: usize = 64 * 1024;
/// Routes of a beat.
pub(crate) const MOST_ROUTES: usize = 200;
/// Bytes of a replica's name.
pub(crate) const LONGEST_NAME: usize = 256;
/// Bytes of a process's id.
const LONGEST_BOOT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn beat() -> Beat {
        Beat { replica: "a:9901".to_owned(), boot: "b".to_owned(), ..Beat::default() }
    }

    #[test]
    fn a_beat_of_another_version_is_read() {
        let told = r#"{"replica":"a:9901","boot":"7","news":[1],"routes":[{"name":"web","phase":"asleep"}]}"#;
        let beat = Beat::parse(told.as_bytes()).unwrap();
        assert_eq!((beat.replica.as_str(), beat.routes[0].phase.as_str()), ("a:9901", "asleep"));
        for bad in ["", "[]", "{}", r#"{"replica":"a"}"#, r#"{"replica":"","boot":"7"}"#, "{\"replica\""] {
            assert_eq!(Beat::parse(bad.as_bytes()), None, "{bad}");
        }
        let long = Beat { version: "v".repeat(LARGEST_BEAT), ..self::beat() };
        assert_eq!(Beat::parse(&serde_json::to_vec(&long).unwrap()), None);
    }

    #[test]
    fn a_beat_that_would_be_too_large_counts_what_it_leaves_out() {
        let route = BeatRoute { name: "n".repeat(1000), phase: "closed".to_owned(), ..BeatRoute::default() };
        let large = Beat { routes: vec![route; MOST_ROUTES], ..beat() };
        let bytes = large.to_bytes();
        assert!(bytes.len() <= LARGEST_BEAT, "{}", bytes.len());
        let read = Beat::parse(&bytes).unwrap();
        assert!(!read.routes.is_empty());
        assert_eq!(read.routes.len() as u64 + read.omitted, MOST_ROUTES as u64);
        assert_eq!(Beat::parse(&beat().to_bytes()), Some(beat()));
    }
}
