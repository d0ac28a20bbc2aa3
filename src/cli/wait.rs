//! Waits until a proxy says that a flag file is live, and that nothing is in flight any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::files::source::Hash;

use crate::plan::snapshot::Phase;
use crate::status::{FileStatus, ProblemStatus, Role, RouteStatus, Status};

use super::admin::{self, Endpoint};
use super::failure::Failure;
use super::flag_file::FlagFile;

/// Where to wait, and for how long.
pub(super) struct Wait {
    endpoint: Endpoint,
    timeout: Duration,
}

/// What was waited for.
pub(super) struct Live {
    /// Who said so.
    pub(super) endpoint: Endpoint,
    /// The generation that was live then.
    pub(super) generation: u64,
    /// How its routes were then.
    pub(super) routes: Vec<RouteStatus>,
}

impl Wait {
    /// Finds out where to ask, before anything is written.
    ///
    /// # Errors
    /// [`Failure::NoAdmin`].
    pub(super) fn new(file: &FlagFile, config_file: &Path, timeout: Duration) -> Result<Self, Failure> {
        let address = file.config.admin.as_ref().ok_or_else(|| Failure::NoAdmin(config_file.to_owned()))?;
        Ok(Self { endpoint: Endpoint::from(address), timeout })
    }

    /// Waits until the proxy has taken `text`, which is in `file`.
    ///
    /// # Errors
    /// When it cannot be asked, when it refuses the text, or when time is over. The file stays as it is then.
    pub(super) fn until_live(self, file: &Path, text: &str) -> Result<Live, Failure> {
        self.until(file, text, |_| true)
    }

    /// Waits until the proxy has taken `text`, and nothing is in flight on these routes that began before they closed.
    ///
    /// # Errors
    /// As [`Wait::until_live`]; [`Failure::NotDrained`] if it was live when time was over.
    pub(super) fn until_drained(self, file: &Path, text: &str, routes: &[String]) -> Result<Live, Failure> {
        let asked = |name: &str| routes.iter().any(|route| route == "*" || route == name);
        self.until(file, text, |status| {
            !status.routes.iter().any(|route| route.is(Phase::Draining) && asked(&route.name))
        })
    }

    fn until(self, file: &Path, text: &str, done: impl Fn(&Status) -> bool) -> Result<Live, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
        runtime.block_on(self.poll(file, text, done))
    }

    async fn poll(self, file: &Path, text: &str, done: impl Fn(&Status) -> bool) -> Result<Live, Failure> {
        let hash = Hash(Sha256::digest(text).into()).to_string();
        let begun = Instant::now();
        let (mut watched, mut live) = (None, None);
        loop {
            let left = self.timeout.saturating_sub(begun.elapsed());
            let (status, _) = match admin::status(&self.endpoint, left).await {
                Ok(status) => status,
                Err(admin::Error::Timeout(_)) => return Err(self.too_late(file, watched, live)),
                Err(source) => return Err(Failure::NotConfirmed { endpoint: self.endpoint, source }),
            };
            if let Some(flags) = status.file(Role::Flags) {
                watched = Some(PathBuf::from(&flags.path));
                if let Some(taken) = self.taken(&status, flags, &hash) {
                    let taken = taken?;
                    if done(&status) {
                        return Ok(taken);
                    }
                    live = Some(taken);
                }
            }
            if begun.elapsed() + PAUSE > self.timeout {
                return Err(self.too_late(file, watched, live));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the proxy made of the text, if it has seen it.
    fn taken(&self, status: &Status, flags: &FileStatus, hash: &str) -> Option<Result<Live, Failure>> {
        if flags.hash.as_deref() != Some(hash) {
            return None;
        }
        let errors = flags.problems.iter().filter(|problem| ProblemStatus::is_error(problem));
        let problems: Vec<String> = errors.map(|problem| problem.message.clone()).collect();
        let endpoint = self.endpoint.clone();
        Some(if problems.is_empty() {
            Ok(Live { endpoint, generation: status.generation, routes: status.routes.clone() })
        } else {
            Err(Failure::Rejected { endpoint, problems })
        })
    }

    fn too_late(&self, file: &Path, watched: Option<PathBuf>, live: Option<Live>) -> Failure {
        let Some(live) = live else { return self.not_live(file, watched) };
        let draining = live.routes.iter().filter(|route| route.is(Phase::Draining));
        let routes = draining.map(|route| (route.name.clone(), route.remaining)).collect();
        Failure::NotDrained { endpoint: live.endpoint, waited: self.timeout, routes }
    }

    fn not_live(&self, file: &Path, watched: Option<PathBuf>) -> Failure {
        // Both may name one file in two ways: only names that lead elsewhere are worth a remark.
        let elsewhere = watched.filter(|watched| real(watched).is_some_and(|watched| Some(watched) != real(file)));
        let (endpoint, waited) = (self.endpoint.clone(), self.timeout);
        Failure::NotLive { endpoint, waited, file: file.to_owned(), watched: elsewhere }
    }
}

fn real(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// Between two questions: a person does not notice it, and the proxy takes about as long.
const PAUSE: Duration = Duration::from_millis(20);
