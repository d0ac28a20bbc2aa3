//! The JSON of `/status`, written by the admin listener and read by `backsoon status` and `--wait`.
//!
//! A reader may meet a proxy of another version: a field that is left out reads as empty, and words are kept as text.

#[cfg(feature = "proxy")]
pub(crate) mod beat;
pub(crate) mod concerns;
pub(crate) mod counts;
pub(crate) mod fleet;
pub(crate) mod judged;
pub(crate) mod outbox;
#[cfg(feature = "proxy")]
mod runtime;
pub(crate) mod story;
pub(crate) mod verified;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use judged::JudgedStatus;
#[cfg(feature = "proxy")]
pub(crate) use runtime::RuntimeFile;
use verified::OutlookStatus;

use crate::plan::problem::{Problem, Severity};
use crate::plan::snapshot::Phase;

/// The body of `/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// The version of the proxy.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// Start of the process.
    pub started: Option<Timestamp>,
    /// The number of the live generation.
    pub generation: u64,
    /// Time of its publication.
    pub published: Option<Timestamp>,
    /// The time on the proxy's clock at this answer. Events do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// `running` or `draining`.
    pub stage: String,
    /// The number of threads that serve requests.
    pub workers: usize,
    /// The address of the admin listener that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// The way in which changes of files are noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watching: Option<WatchingStatus>,
    /// The outbox, if this proxy tells subscribers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<outbox::OutboxReport>,
    /// The engine of the flags, if they do not come from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<fleet::FleetStatus>,
    /// Problems that belong to no watched file, such as an unreadable state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemStatus>,
    /// The watched files, sorted by path.
    pub files: Vec<FileStatus>,
    /// The routes, sorted by name.
    pub routes: Vec<RouteStatus>,
}

/// The way in which changes of files are noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WatchingStatus {
    /// `events` or `polling`.
    pub by: String,
    /// Reason for polling although events were wanted, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A watched file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileStatus {
    /// The path of the file.
    pub path: String,
    /// The word of a [`Role`].
    pub role: String,
    /// The SHA-256 of the content read last, accepted or not, as `sha256sum` prints it. Absent for a secret.
    pub hash: Option<String>,
    /// Time at which that content was read.
    pub loaded: Option<Timestamp>,
    /// The path with all symlinks followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<String>,
    /// The file that was read: `device:inode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<String>,
    /// Change time (`ctime`) of that file. A later edit has a later time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// The content in force, which differs from the one read last while that one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force: Option<InForceStatus>,
    /// A newer content that is not believed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
    /// Problems of that content.
    pub problems: Vec<ProblemStatus>,
    /// Error of reading the file, in words.
    pub trouble: Option<String>,
    /// Reason why changes may never be seen, in words.
    pub caveat: Option<String>,
    /// The certificate in force, if the file is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateStatus>,
}

/// A certificate in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CertificateStatus {
    /// The names that it is for.
    pub names: Vec<String>,
    /// Time from which it is valid.
    pub starts: Option<Timestamp>,
    /// Time to which it is valid.
    pub ends: Option<Timestamp>,
}

/// The content of a file that is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InForceStatus {
    /// The SHA-256 of the content.
    pub hash: String,
    /// The first generation that was made of it.
    pub generation: u64,
    /// Time at which it was read.
    pub since: Option<Timestamp>,
}

/// A content that was seen and is not believed yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PendingStatus {
    /// Time at which it was seen first.
    pub since: Option<Timestamp>,
    /// Reason for the wait, in words: `it is empty`.
    pub why: String,
}

/// A problem of a watched file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProblemStatus {
    /// `error` or `warning`.
    pub severity: String,
    /// The file as the operator named it.
    pub file: String,
    /// The line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The text of the line, cut if it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// The number of characters that the problem is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// The problem in words.
    pub message: String,
    /// The correction, if one is known.
    pub help: Option<String>,
    /// True for a warning about something that may be intended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expected: bool,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RouteStatus {
    /// The route's name.
    pub name: String,
    /// The word of its [`Phase`].
    pub phase: String,
    /// The word of the mode that closes it.
    pub mode: Option<String>,
    /// Begin of the phase.
    pub since: Option<Timestamp>,
    /// Reason for the phase, in words.
    pub why: String,
    /// The phase that comes next, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStatus>,
    /// Begin of the maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// End of the maintenance, if known.
    pub until: Option<Timestamp>,
    /// `flag`, `window` with its id, `guard`, or `lost state`.
    pub source: Option<String>,
    /// The share of clients that is admitted, while the route ramps or `read-only` suspends its ramp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// End of the guard's watch after the return of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watched_until: Option<Timestamp>,
    /// Keys of the guard that are not judged, because nothing is known of the time before the maintenance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<String>,
    /// Replicas whose counts the guard judges together, while it watches. Absent if there is one replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged: Option<JudgedStatus>,
    /// Finding of the guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breach: Option<BreachStatus>,
    /// The check that fails and keeps the route from opening, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// Command that holds the flag of the route, and renews it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// True if a window or a flag keeps the route closed after its planned end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overruns: bool,
    /// Windows to come that are announced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<AnnouncedStatus>,
    /// Next occurrence of each window to come, announced or not, soonest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<PlannedStatus>,
    /// True once the route has been under maintenance for 24 hours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub long: bool,
    /// True while a guard that closed the route lets a few clients try it again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tried: bool,
    /// Steps that are not done although the window that closes the route opens it soon.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<String>,
    /// Named links of testers, and how often this proxy saw each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkStatus>,
    /// Requests that were forwarded and are not finished.
    pub in_flight: u64,
    /// Requests in flight that began before the route went down. Present while it drains, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Requests that wait for the route.
    pub held: u64,
    /// Outcomes since the process started.
    pub requests: RequestsStatus,
    /// The rate over the last minute, or over the time since the start.
    pub requests_per_second: f64,
    /// The latency in the last minute; absent if there was no request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyStatus>,
    /// Outcome of its checks if it were closed now. Present while it is open, if they were tried lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlook: Option<OutlookStatus>,
    /// The upstreams, in the order of the config.
    pub upstreams: Vec<UpstreamStatus>,
}

/// Named link of testers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LinkStatus {
    /// Name in the flag file.
    pub name: String,
    /// Times that it was opened since the process started.
    pub uses: u64,
    /// The last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// The next phase of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NextStatus {
    /// The word of the [`Phase`].
    pub phase: String,
    /// Begin of that phase, if known.
    pub at: Option<Timestamp>,
}

/// The finding of a route's guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BreachStatus {
    /// Time of the finding.
    pub at: Option<Timestamp>,
    /// The measured and the allowed value, in words.
    pub what: String,
}

/// An announced window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AnnouncedStatus {
    /// The id of the window.
    pub window: String,
    /// The word of its mode.
    pub mode: String,
    /// Start of the window.
    pub starts: Option<Timestamp>,
    /// End of the window.
    pub ends: Option<Timestamp>,
}

/// The next occurrence of a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PlannedStatus {
    /// The id of the window.
    pub window: String,
    /// The word of its mode.
    pub mode: String,
    /// Start of the occurrence.
    pub starts: Option<Timestamp>,
    /// End of the occurrence.
    pub ends: Option<Timestamp>,
    /// True if clients are told of it.
    pub announced: bool,
    /// The rule of a window that comes again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
}

/// The number of a route's requests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RequestsStatus {
    /// Requests answered by an upstream.
    pub forwarded: u64,
    /// Requests answered with the page.
    pub maintenance: u64,
    /// Requests answered with an error, or cut, because the upstream failed.
    pub failed: u64,
    /// Requests that the client gave up.
    pub aborted: u64,
}

/// Percentiles in milliseconds, from a request's head to its response's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LatencyStatus {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// An upstream of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UpstreamStatus {
    /// The upstream as the config writes it.
    pub name: String,
    /// Requests sent and not answered to the end.
    pub pending: u64,
    /// Connections open.
    pub connections: u64,
    /// Connections that failed to open.
    pub connect_failures: u64,
    /// Requests that failed before a response.
    pub failures: u64,
    /// Workers that avoid the upstream now.
    pub ejected: u64,
    /// Failure, in words, for which the route leaves the upstream out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Failure of its health checks, in words, although the route uses the upstream: no other is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwell: Option<String>,
    /// Way in which the flag file takes the upstream out: `drain` or `down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
}

/// The role of a watched file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The config.
    Config,
    /// A file that the config includes.
    Included,
    /// The flag file.
    Flags,
    /// A listener's certificate.
    Certificate,
    /// The key of a certificate.
    Key,
    /// A template, a message file or the logo.
    Page,
    /// A switch of routes.
    Switch,
    /// The secret of a bypass.
    Secret,
    /// The roots that an upstream is checked against.
    Roots,
}

impl Role {
    /// Returns the word for the role in `/status`, the metrics and the history.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Included => "included",
            Self::Flags => "flags",
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Page => "page",
            Self::Switch => "switch",
            Self::Secret => "secret",
            Self::Roots => "roots",
        }
    }
}

impl Status {
    /// Returns the file with a role. For roles that only one file has.
    pub(crate) fn file(&self, role: Role) -> Option<&FileStatus> {
        FileStatus::find(&self.files, role)
    }
}

impl FileStatus {
    /// Returns the file with a role. For roles that only one file has.
    pub(crate) fn find(files: &[Self], role: Role) -> Option<&Self> {
        files.iter().find(|file| file.role == role.as_str())
    }

    /// Returns true if the content is in force as it stands.
    pub(crate) fn is_good(&self) -> bool {
        self.trouble.is_none() && self.error().is_none()
    }

    /// Returns the first error for which the content read last is refused.
    pub(crate) fn error(&self) -> Option<&ProblemStatus> {
        self.problems.iter().find(|problem| problem.is_error())
    }

    /// Returns the error for which the content with this hash is refused. Errors of another content do not count, since
    /// this one may mend them.
    pub(crate) fn error_of(&self, hash: &str) -> Option<&ProblemStatus> {
        self.error().filter(|_| self.hash.as_deref() == Some(hash))
    }

    /// Returns the hash of the content in force. An older proxy tells only the one read last.
    pub(crate) fn hash_in_force(&self) -> Option<&str> {
        self.in_force.as_ref().map(|content| content.hash.as_str()).or(self.hash.as_deref())
    }
}

impl ProblemStatus {
    /// Describes the problem in one line, with the line that it is in.
    #[cfg(feature = "proxy")]
    pub(crate) fn described(&self) -> String {
        let line = self.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}{}", self.message)
    }

    /// Returns true if the file is refused because of the problem.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error.as_str()
    }
}

impl From<&Problem> for ProblemStatus {
    fn from(problem: &Problem) -> Self {
        let place = problem.place.as_ref();
        Self {
            severity: problem.severity.as_str().to_owned(),
            file: problem.file.clone(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            excerpt: place.map(|place| place.excerpt.clone()),
            width: place.map(|place| place.width),
            message: problem.message.clone(),
            help: problem.help.clone(),
            expected: problem.expected,
        }
    }
}

impl RouteStatus {
    /// Returns true if the route is in this phase.
    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.phase == phase.as_str()
    }
}
