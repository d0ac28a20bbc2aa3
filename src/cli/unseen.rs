//! Flags that a proxy has in force and the file on disk has no more.
//!
//! A proxy refuses a file that was emptied or cut off, and keeps its flags while the file is gone. To the proxy,
//! an edit of such a file would be a whole new file without those flags. So a command asks first.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::edit::unseen::{self, Seen, gone, is_missing};
use crate::plan::compile::Memory;
use crate::plan::snapshot::Phase;
use crate::status::{Role, Status};

use super::admin::{self, Endpoint};
use super::confirm::other_file;
use super::failure::Failure;
use super::place::Place;

/// Flag file that is about to be edited.
pub(super) struct Target<'a> {
    /// Place of its text.
    pub(super) place: &'a Place,
    /// The config on disk, if that is what names the file.
    pub(super) named_by: Option<&'a Path>,
    /// Saved state of the proxy, for one that does not answer.
    pub(super) memory: Memory,
}

/// Refuses to edit a file while a proxy goes by flags that only an earlier content of it had, or another file. A proxy
/// that is not there refuses nothing.
///
/// # Errors
/// [`Failure::Unseen`].
pub(super) fn check(target: &Target<'_>, endpoints: &[Endpoint]) -> Result<(), Failure> {
    // All at once, since each may keep the command waiting.
    thread::scope(|scope| {
        let asked: Vec<_> = endpoints.iter().map(|endpoint| scope.spawn(move || check_one(target, endpoint))).collect();
        asked.into_iter().try_for_each(|asked| asked.join().unwrap_or(Ok(())))
    })
}

fn check_one(target: &Target<'_>, endpoint: &Endpoint) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match look(target, endpoint) {
            Seen::Whole => return Ok(()),
            Seen::Pending(_) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            Seen::Pending(why) | Seen::Refused(why) => {
                return Err(Failure::Unseen { file: target.place.path.clone(), endpoint: endpoint.clone(), why });
            }
        }
    }
}

fn look(target: &Target<'_>, endpoint: &Endpoint) -> Seen {
    match admin::ask_at_once(endpoint) {
        Ok(status) => seen(target, &status),
        Err(error @ admin::Error::Timeout(_)) if is_missing(target.place) && has_closures(&target.memory) => {
            Seen::Refused(format!("{}, and its saved state has closed routes; {error}", gone()))
        }
        Err(_) => Seen::Whole,
    }
}

fn seen(target: &Target<'_>, status: &Status) -> Seen {
    let Some(told) = status.file(Role::Flags) else { return Seen::Whole };
    if let Some(reads) = other_file(&target.place.path, told) {
        return seen_beside(target, &reads, status);
    }
    unseen::seen(target.place, told)
}

/// Judges a file that the proxy does not read. It takes up a missing one once that is made, if its config names it.
fn seen_beside(target: &Target<'_>, reads: &str, status: &Status) -> Seen {
    let takes_up = target.named_by.is_some_and(|config| has_config(status, config));
    let is_closing = status.routes.iter().any(|route| !route.is(Phase::Open));
    if takes_up && is_closing && is_missing(target.place) {
        return Seen::Refused(format!("{}, and it reads `{reads}`", gone()));
    }
    Seen::Whole
}

/// Returns true if a status is that of a proxy with this config.
pub(super) fn has_config(status: &Status, config_file: &Path) -> bool {
    let Some(config) = status.file(Role::Config) else { return false };
    let own = fs::canonicalize(config_file).ok();
    let theirs = config.real.as_ref().map(PathBuf::from).or_else(|| fs::canonicalize(&config.path).ok());
    own.is_some() && own == theirs
}

fn has_closures(memory: &Memory) -> bool {
    match memory {
        Memory::Lost => true,
        Memory::Fresh => false,
        Memory::States(states) => !states.is_empty(),
    }
}

/// Time for which a file may be pending. A proxy decides within 3 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two requests while a file is pending.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::source;
    use crate::status::{FileStatus, InForceStatus, ProblemStatus};

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
            let place = Place::file(file.clone());
            let target = Target { place: &place, named_by: None, memory: Memory::default() };
            super::seen(&target, &Status { files: vec![told], ..Status::default() })
        };
        assert!(matches!(seen(&own), Seen::Refused(why) if why == "bad"));
        assert!(matches!(seen("of a text that was mended since"), Seen::Pending(_)));
    }
}
