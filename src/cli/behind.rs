//! Running proxy that goes by an earlier content of the flag file than the one on disk.
//!
//! The files alone would say that nothing is flagged, for example where the flag file was emptied or removed.

use std::fmt;
use std::path::Path;

use crate::files::source::{self, ReadError};
use crate::plan::problem::Problem;
use crate::status::{FileStatus, ProblemStatus, Role};

use super::admin::{self, Endpoint};
use super::confirm::other_file;
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
    pub(super) fn find(config_file: &Path, flag_file: &Path) -> Option<Self> {
        let (endpoint, _) = site::listener(config_file).ok()?;
        let status = admin::ask_at_once(&endpoint).ok()?;
        let told = status.file(Role::Flags).filter(|told| other_file(flag_file, told).is_none())?;
        let lag = lag(flag_file, told)?;
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

fn lag(flag_file: &Path, told: &FileStatus) -> Option<Lag> {
    let in_force = told.in_force.as_ref()?;
    let unread = match source::read(flag_file).content {
        Ok(content) if content.hash.to_string() == in_force.hash => return None,
        Ok(_) => Some(Lag::Pending("it has not taken the content on disk yet".to_owned())),
        // The proxy may be told to open everything then.
        Err(ReadError::Missing) => None,
        Err(ReadError::NotAFile(_) | ReadError::TooLarge(_) | ReadError::Changing | ReadError::Unreadable(_)) => {
            return None;
        }
    };
    let error = told.problems.iter().find(|problem| ProblemStatus::is_error(problem));
    let refused = error.map(|error| &error.message).or(told.trouble.as_ref());
    let pending = told.pending.as_ref().map(|pending| Lag::Pending(harmless(&pending.why)));
    pending.or_else(|| refused.map(|why| Lag::Refused(harmless(why)))).or(unread)
}
