//! Flags that a proxy has in force and the file on disk has no more.
//!
//! A proxy refuses a file that was emptied or cut off, and keeps its flags while the file is gone. An edit of such a file
//! would drop those flags, because it looks like a whole new file. So a command asks first.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::files::source::{self, ReadError};
use crate::plan::flags;
use crate::status::{FileStatus, ProblemStatus, Role, Status};

use super::admin::{self, Endpoint};
use super::confirm::other_file;
use super::failure::Failure;
use super::words::harmless;

/// Relation of the file on disk to the flags that a proxy has in force.
enum Seen {
    /// An edit of the file drops nothing unseen.
    Whole,
    /// The proxy waits whether the file stays as it is, for this reason.
    Pending(String),
    /// The proxy goes by an earlier content, for this reason.
    Refused(String),
}

/// Refuses to edit a file while a proxy goes by flags that only an earlier content of it had. A proxy that cannot be
/// asked refuses nothing.
///
/// # Errors
/// [`Failure::Unseen`].
pub(super) fn check(file: &Path, endpoints: &[Endpoint]) -> Result<(), Failure> {
    let begun = Instant::now();
    for endpoint in endpoints {
        while let Ok(status) = admin::ask_at_once(endpoint) {
            match seen(file, &status) {
                Seen::Whole => break,
                Seen::Pending(_) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Seen::Pending(why) | Seen::Refused(why) => {
                    return Err(Failure::Unseen { file: file.to_owned(), endpoint: endpoint.clone(), why });
                }
            }
        }
    }
    Ok(())
}

fn seen(file: &Path, status: &Status) -> Seen {
    let Some(told) = status.file(Role::Flags).filter(|told| other_file(file, told).is_none()) else {
        return Seen::Whole;
    };
    let Some(in_force) = &told.in_force else { return Seen::Whole };
    let pending = told.pending.as_ref().map(|pending| Seen::Pending(harmless(&pending.why)));
    match source::read(file).content {
        Ok(content) if content.hash.to_string() == in_force.hash => Seen::Whole,
        // The edit itself refuses an emptied file. The mistakes of a text that cannot be parsed say more.
        Ok(content) if content.is_blank() || !is_valid(&content.bytes) => Seen::Whole,
        Ok(content) => pending.or_else(|| refused(told, &content.hash.to_string())).unwrap_or(Seen::Whole),
        Err(ReadError::Missing) => pending.or_else(|| trouble(told)).unwrap_or(Seen::Whole),
        Err(ReadError::NotAFile(_) | ReadError::TooLarge(_) | ReadError::Changing | ReadError::Unreadable(_)) => {
            Seen::Whole
        }
    }
}

fn is_valid(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| flags::parse("", text).0.is_some())
}

/// Returns the refusal of the content with this hash. An error of another content may be mended by this one.
fn refused(told: &FileStatus, hash: &str) -> Option<Seen> {
    let error = told.problems.iter().find(|problem| ProblemStatus::is_error(problem))?;
    if told.hash.as_deref() != Some(hash) {
        return Some(Seen::Pending("it has not read the file as it is now".to_owned()));
    }
    Some(Seen::Refused(harmless(&error.message)))
}

fn trouble(told: &FileStatus) -> Option<Seen> {
    Some(Seen::Refused(harmless(told.trouble.as_deref()?)))
}

/// Time for which a file may be pending. A proxy decides within 3 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two requests while a file is pending.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::InForceStatus;

    #[test]
    fn an_error_of_an_earlier_content_is_no_word_on_one_that_was_not_read_yet() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("maintenance.toml");
        std::fs::write(&file, "[routes]\nweb = \"offline\"\n").unwrap();
        let own = source::read(&file).content.unwrap().hash.to_string();
        let seen = |read: &str| {
            let error = ProblemStatus { severity: "error".to_owned(), message: "bad".to_owned(), ..Default::default() };
            let told = FileStatus {
                path: file.display().to_string(),
                role: Role::Flags.as_str().to_owned(),
                hash: Some(read.to_owned()),
                in_force: Some(InForceStatus::default()),
                problems: vec![error],
                ..FileStatus::default()
            };
            super::seen(&file, &Status { files: vec![told], ..Status::default() })
        };
        assert!(matches!(seen(&own), Seen::Refused(why) if why == "bad"));
        assert!(matches!(seen("of a text that was mended since"), Seen::Pending(_)));
    }
}
