//! Running proxy that goes by an earlier content of the flag file than the one on disk.
//!
//! The files alone would say that nothing is flagged, for example where the flag file was emptied or removed.

use std::fmt;
use std::path::Path;

use crate::files::source::ReadError;
use crate::plan::problem::Problem;
use crate::status::{FileStatus, Role};

use super::admin::{self, Endpoint};
use super::confirm::other_file;
use super::place::Place;
use super::site;
use super::words::harmless;

/// Proxy whose flags in force are not those of the file on disk.
pub(super) struct Behind {
    endpoint: Endpoint,
    file: String,
    lag: Lag,
}

/// Reason for which the proxy goes by an earlier content.
enum Lag {
    /// The proxy has not taken the content yet, for this reason.
    Pending(String),
    /// The proxy does not take the content, for this reason.
    Refused(String),
}

impl Behind {
    /// Asks the running proxy of a config; `None` if none answers, or if it goes by the file as it is.
    pub(super) fn find(config_file: &Path, place: &Place) -> Option<Self> {
        let flag_file = &place.path;
        let (endpoint, _) = site::listener(config_file).ok()?;
        let status = admin::ask_at_once(&endpoint).ok()?;
        let told = status.file(Role::Flags).filter(|told| other_file(flag_file, told).is_none())?;
        let lag = lag(place, told)?;
        Some(Self { endpoint, file: flag_file.display().to_string(), lag })
    }

    /// Returns the problem of a file that the proxy does not take.
    pub(super) fn problem(&self, flag_file: &Path) -> Option<Problem> {
        match &self.lag {
            Lag::Pending(_) => None,
            Lag::Refused(why) => {
                let message = format!("the running proxy at {} does not take it: {why}", self.endpoint);
                Some(Problem::in_file(flag_file, message))
            }
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Lag::Pending(why) | Lag::Refused(why)) = &self.lag;
        let Self { endpoint, file, .. } = self;
        write!(f, "the running proxy at {endpoint} goes by an earlier content of `{file}`: {why}; ")?;
        f.write_str("`backsoon status` says what is live")
    }
}

fn lag(place: &Place, told: &FileStatus) -> Option<Lag> {
    let in_force = told.in_force.as_ref()?;
    let (unread, error) = match place.read().map(|content| content.hash.to_string()) {
        Ok(hash) if hash == in_force.hash => return None,
        Ok(hash) => (Some(Lag::Pending("it has not taken the content on disk yet".to_owned())), told.error_of(&hash)),
        // The proxy may be told to open everything then.
        Err(ReadError::Missing) => (None, told.error()),
        Err(ReadError::NotAFile(_) | ReadError::TooLarge(_) | ReadError::Changing | ReadError::Unreadable(_)) => {
            return None;
        }
    };
    let refused = error.map(|error| &error.message).or(told.trouble.as_ref());
    let pending = told.pending.as_ref().map(|pending| Lag::Pending(harmless(&pending.why)));
    pending.or_else(|| refused.map(|why| Lag::Refused(harmless(why)))).or(unread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::source;
    use crate::status::{InForceStatus, ProblemStatus};

    #[test]
    fn an_error_of_an_earlier_content_is_no_refusal_of_the_one_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("maintenance.toml");
        std::fs::write(&file, "[routes]\nweb = \"offline\"\n").unwrap();
        let own = source::read(&file).content.unwrap().hash.to_string();
        let lag = |read: &str| {
            let error = ProblemStatus { severity: "error".to_owned(), message: "bad".to_owned(), ..Default::default() };
            let (hash, in_force) = (Some(read.to_owned()), Some(InForceStatus::default()));
            lag(
                &Place::file(file.clone()),
                &FileStatus { hash, in_force, problems: vec![error], ..FileStatus::default() },
            )
        };
        assert!(matches!(lag(&own), Some(Lag::Refused(why)) if why == "bad"));
        assert!(matches!(lag("of a text that was mended since"), Some(Lag::Pending(_))));
    }
}
