//! Judgement of one `/status`: the edit is in force there, or the reasons why it is not.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::control::load;
use crate::plan::flags::{self, Flags};
use crate::plan::problem::quoted;
use crate::plan::snapshot::Phase;
use crate::status::{FileStatus, ProblemStatus, Role, RouteStatus, Status};

use super::super::admin::Answer;
use super::super::remains;
use super::super::words::{self, harmless};
use super::{Claim, Disk, Wish, Word};

/// Reason why an edit is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// The proxy reads another file.
    OtherFile {
        /// The file that it reads.
        reads: String,
        /// The file that was edited.
        edited: PathBuf,
    },
    /// The proxy has not taken the text yet.
    NotTaken,
    /// The proxy has seen the text and does not believe it yet.
    Pending(String),
    /// The proxy refuses the text, for these problems.
    Refused(Vec<String>),
    /// The running proxy does not have the route.
    NoRoute {
        /// Name of the route.
        name: String,
        /// True if the config on disk differs from the one in force.
        config_differs: bool,
    },
    /// The route is not closed.
    NotClosed {
        /// Name of the route.
        name: String,
        /// The word of its phase.
        phase: String,
        /// Reason in words.
        why: String,
    },
    /// The route's mode is milder than asked.
    Milder {
        /// Name of the route.
        name: String,
        /// Mode in force, in words.
        being: &'static str,
    },
    /// A later edit of the file took the flag back.
    TakenBack(String),
}

impl Objection {
    /// Returns true if time alone does not remove the objection. A config that is just being read may remove it.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::OtherFile { .. }
            | Self::NoRoute { .. }
            | Self::NotClosed { .. }
            | Self::Milder { .. }
            | Self::TakenBack(_) => true,
            Self::NotTaken | Self::Pending(_) | Self::Refused(_) => false,
        }
    }

    /// Returns true if the objection is the proxy's last word on the text.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherFile { reads, edited } => write!(f, "it reads `{reads}`, not `{}`", edited.display()),
            Self::NotTaken => f.write_str("it has not taken the edit yet"),
            Self::Pending(why) => write!(f, "it has seen the edit and waits: {why}"),
            Self::Refused(problems) => write!(f, "it refuses the flag file: {}", problems.join("; ")),
            Self::NoRoute { name, config_differs } => {
                let why = if *config_differs { ": its config is not the one on disk" } else { "" };
                write!(f, "the running proxy has no route {}{why}", quoted(name))
            }
            Self::NotClosed { name, phase, why } => write!(f, "{name} is {phase}: {why}"),
            Self::Milder { name, being } => write!(f, "{name} is only {being}"),
            Self::TakenBack(name) => write!(f, "a later edit opened {name} again"),
        }
    }
}

/// Judges an answer. The file is read again first, so that a later edit is recognized.
pub(super) fn word(claim: &Claim, disk: &mut Disk, answer: Answer) -> Word {
    disk.look(&claim.file);
    let objections = objections(claim, disk, &answer);
    if objections.is_empty() { Word::InForce(Box::new(answer.status)) } else { Word::Not(objections) }
}

fn objections(claim: &Claim, disk: &Disk, answer: &Answer) -> Vec<Objection> {
    let status = &answer.status;
    let Some(file) = status.file(Role::Flags) else { return vec![Objection::NotTaken] };
    if let Some(reads) = other_file(&claim.file, file) {
        return vec![Objection::OtherFile { reads, edited: claim.file.clone() }];
    }
    if let Some(objection) = not_taken(claim, disk, file) {
        return vec![objection];
    }
    let Wish::Closed(..) = claim.wish else { return Vec::new() };
    let missing = claim.asked.0.iter().filter(|name| *name != "*" && !has(status, name));
    let config_differs = config_differs(&claim.config, status) == Some(true);
    let missing = missing.map(|name| Objection::NoRoute { name: name.clone(), config_differs });
    let asked = status.routes.iter().filter(|route| claim.asked.has(&route.name));
    let flags = flags::parse_at("", &disk.text, Timestamp::now()).0.map(|parsed| parsed.flags);
    missing.chain(asked.filter_map(|route| not_closed(claim, flags.as_ref(), route, answer.clock))).collect()
}

/// Returns true if a guard, a flag or a window keeps an asked route closed, which time alone may never change.
pub(super) fn is_stuck(claim: &Claim, disk: &Disk, status: &Status) -> bool {
    let now = Timestamp::now();
    let Some(flags) = flags::parse_at("", &disk.text, now).0.map(|parsed| parsed.flags) else { return false };
    let asked = status.routes.iter().filter(|route| claim.asked.has(&route.name) && !route.is(Phase::Open));
    asked.into_iter().any(|route| remains::keeps(&flags, route, now).is_some())
}

fn has(status: &Status, name: &str) -> bool {
    status.routes.iter().any(|route| route.name == name)
}

/// Returns the file that a proxy reads, if that is not the one that was edited.
pub(in super::super) fn other_file(edited: &Path, file: &FileStatus) -> Option<String> {
    let own = real(edited)?;
    let inode = fs::metadata(&own).map(|metadata| format!("{}:{}", metadata.dev(), metadata.ino()));
    // A mount in between gives the same file another path.
    if inode.is_ok_and(|inode| file.inode.as_deref() == Some(inode.as_str())) {
        return None;
    }
    let reads = [file.real.as_ref(), Some(&file.path)].into_iter().flatten();
    let reads: Vec<PathBuf> = reads.filter_map(|path| real(Path::new(path))).collect();
    // A path that does not exist here proves nothing.
    if reads.is_empty() || reads.contains(&own) {
        return None;
    }
    Some(harmless(&reads[0].display().to_string()))
}

/// Follows the links of a path. The file itself need not exist, but its directory must.
fn real(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent });
    let beside = || Some(fs::canonicalize(directory?).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(beside)
}

/// Returns the objection if neither the text of the claim nor a later one is in force.
fn not_taken(claim: &Claim, disk: &Disk, file: &FileStatus) -> Option<Objection> {
    let known = |hash: &str| disk.hashes.iter().any(|known| known == hash);
    let read = file.hash.as_deref();
    let in_force = match &file.in_force {
        Some(in_force) => Some(in_force.hash.as_str()),
        None => read.filter(|_| file.is_good()),
    };
    if in_force.is_some_and(known) {
        return None;
    }
    // Two edits within a tick of the kernel's clock have the same change time.
    let later = file.changed.zip(claim.changed).is_some_and(|(read, own)| read > own);
    if later && in_force == read && file.is_good() {
        return None;
    }
    if read.is_some_and(known) && !file.is_good() {
        let errors = file.problems.iter().filter(|problem| ProblemStatus::is_error(problem));
        let errors = errors.map(|problem| harmless(&problem.described())).chain(file.trouble.as_deref().map(harmless));
        return Some(Objection::Refused(errors.collect()));
    }
    Some(match &file.pending {
        Some(pending) => Objection::Pending(harmless(&pending.why)),
        None => Objection::NotTaken,
    })
}

/// Returns the objection to a route that is not as closed as the claim says.
fn not_closed(claim: &Claim, disk: Option<&Flags>, route: &RouteStatus, clock: Option<Timestamp>) -> Option<Objection> {
    let Wish::Closed(asked, until) = claim.wish else { return None };
    let name = harmless(&route.name);
    let now = Timestamp::now();
    let flagged = disk.map(|flags| remains::mode_of(flags, &route.name, now));
    // A route on its way to a milder mode is as closed as that, or closer.
    let eases = flagged.flatten().is_some_and(|mode| mode >= asked);
    let eases = eases && (route.is(Phase::Verifying) || route.is(Phase::Ramping));
    let down = route.is(Phase::Closed) || route.is(Phase::Draining) || eases;
    let mode = route.mode.as_deref().and_then(remains::mode);
    if down && mode.is_none_or(|mode| mode >= asked) {
        return None;
    }
    // The claim's own flag may be over, which is no objection.
    let over = until.is_some_and(|until| until <= now);
    Some(match (flagged, mode.filter(|_| down)) {
        (Some(None), None) if !over => Objection::TakenBack(name),
        (_, Some(mode)) => Objection::Milder { name, being: words::being(mode) },
        (_, None) => {
            let why = ahead(until, clock, now).unwrap_or_else(|| harmless(&route.why));
            Objection::NotClosed { name, phase: harmless(&route.phase), why }
        }
    })
}

/// Returns the reason if a flag is over by the proxy's clock, and not by this one.
fn ahead(until: Option<Timestamp>, clock: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let (until, clock) = (until?, clock?);
    let ahead = clock.duration_since(now);
    let over = until <= clock && until > now && ahead > SMALLEST_SKEW;
    over.then(|| format!("its clock is {} ahead, and the flag is over by it", words::span(now, clock)))
}

/// Returns true if the config in force is not the one on disk; `None` if that cannot be told.
pub(super) fn config_differs(config: &Path, status: &Status) -> Option<bool> {
    let file = status.file(Role::Config)?;
    let own = fs::canonicalize(config).ok()?;
    let theirs = file.real.as_ref().map(PathBuf::from).or_else(|| fs::canonicalize(&file.path).ok())?;
    if own != theirs {
        return None;
    }
    let disk = load::hash_on_disk(config)?.to_string();
    let in_force = file.in_force.as_ref().map(|in_force| in_force.hash.as_str());
    let in_force = in_force.or(file.hash.as_deref().filter(|_| file.is_good()));
    Some(in_force != Some(disk.as_str()))
}

/// Difference of two clocks that is told. `Date` has whole seconds.
const SMALLEST_SKEW: SignedDuration = SignedDuration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::super::remains::Asked;
    use super::super::hash;
    use super::*;
    use crate::plan::flags::Mode;
    use crate::status::{InForceStatus, PendingStatus};

    const OWN: &str = "[routes]\nweb = \"offline\"\n";
    const LATER: &str = "[routes]\nweb = \"offline\"\napi = \"hold\"\n";
    const OTHER: &str = "[routes]\n";

    fn claim() -> Claim {
        let wish = Wish::Closed(Mode::Offline, None);
        let mut claim = Claim::new(
            Path::new("/nonexistent/maintenance.toml"),
            Path::new("/nonexistent/backsoon.toml"),
            OWN.to_owned(),
            Asked(vec!["web".to_owned()]),
            wish,
        );
        claim.changed = Some("2026-05-19T14:00:00.5Z".parse().unwrap());
        claim
    }

    fn read(text: &str) -> FileStatus {
        FileStatus { hash: Some(hash(text.as_bytes())), ..FileStatus::default() }
    }

    fn in_force(text: &str) -> Option<InForceStatus> {
        Some(InForceStatus { hash: hash(text.as_bytes()), ..InForceStatus::default() })
    }

    fn error() -> Vec<ProblemStatus> {
        vec![ProblemStatus { severity: "error".to_owned(), message: "bad".to_owned(), ..ProblemStatus::default() }]
    }

    #[test]
    fn a_text_is_taken_if_it_or_a_later_one_is_in_force() {
        let disk = Disk { text: LATER.to_owned(), hashes: vec![hash(OWN.as_bytes()), hash(LATER.as_bytes())] };
        let changed = |at: &str| Some(at.parse::<Timestamp>().unwrap());
        let refused = Some(Objection::Refused(vec!["bad".to_owned()]));
        let cases = [
            (read(OWN), None),
            (read(LATER), None),
            (read(OTHER), Some(Objection::NotTaken)),
            (FileStatus::default(), Some(Objection::NotTaken)),
            // A later edit that this command did not see on disk, an edit of the same tick, and an earlier one.
            (FileStatus { changed: changed("2026-05-19T14:00:00.6Z"), ..read(OTHER) }, None),
            (FileStatus { changed: changed("2026-05-19T14:00:00.5Z"), ..read(OTHER) }, Some(Objection::NotTaken)),
            (FileStatus { changed: changed("2026-05-19T14:00:00.4Z"), ..read(OTHER) }, Some(Objection::NotTaken)),
            // The content read last is refused, and the content in force counts.
            (FileStatus { problems: error(), in_force: in_force(OWN), ..read(OTHER) }, None),
            (FileStatus { problems: error(), in_force: in_force(OTHER), ..read(OWN) }, refused.clone()),
            (FileStatus { problems: error(), ..read(OWN) }, refused),
            (
                FileStatus { changed: changed("2026-05-19T14:00:01Z"), problems: error(), ..read(OTHER) },
                Some(Objection::NotTaken),
            ),
            (
                FileStatus { pending: Some(PendingStatus { since: None, why: "x".to_owned() }), ..read(OTHER) },
                Some(Objection::Pending("x".to_owned())),
            ),
        ];
        for (file, expected) in cases {
            assert_eq!(not_taken(&claim(), &disk, &file), expected, "{file:?}");
        }
    }

    #[test]
    fn a_route_must_be_as_closed_as_asked() {
        let now = Timestamp::now();
        let hour = SignedDuration::from_hours(1);
        let route = |phase: &str, mode: Option<&str>| RouteStatus {
            name: "web".to_owned(),
            phase: phase.to_owned(),
            mode: mode.map(str::to_owned),
            why: "so".to_owned(),
            ..RouteStatus::default()
        };
        let judge = |route: &RouteStatus, disk: &str, until, clock| {
            let claim = Claim { wish: Wish::Closed(Mode::Hold, until), ..claim() };
            let flags = flags::parse("", disk).0.map(|parsed| parsed.flags);
            not_closed(&claim, flags.as_ref(), route, clock).map(|objection| objection.to_string())
        };
        for (phase, mode) in [("closed", "hold"), ("draining", "offline"), ("closed", "words of a later version")] {
            assert_eq!(judge(&route(phase, Some(mode)), OWN, None, None), None, "{phase} {mode}");
        }
        let says = |route: &RouteStatus, disk: &str, until, clock| judge(route, disk, until, clock).unwrap();
        assert_eq!(says(&route("closed", Some("read-only")), OWN, None, None), "web is only read-only");
        assert_eq!(says(&route("open", None), OWN, None, None), "web is open: so");
        assert_eq!(judge(&route("ramping", Some("offline")), OWN, None, None), None, "on its way to a milder mode");
        assert_eq!(says(&route("open", None), OTHER, None, None), "a later edit opened web again");
        assert_eq!(says(&route("verifying", Some("hold")), OTHER, None, None), "a later edit opened web again");
        let ahead = Some(now + hour + hour);
        assert!(says(&route("open", None), OWN, Some(now + hour), ahead).contains("its clock is 2 h ahead"));
        assert_eq!(says(&route("open", None), OWN, Some(now + hour), Some(now)), "web is open: so");
        assert_eq!(says(&route("open", None), OTHER, Some(now - hour), Some(now)), "web is open: so");
    }
}
