//! Waits until a proxy confirms that a flag file is live, and that earlier requests have ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::files::source::Hash;

use crate::plan::snapshot::Phase;
use crate::status::{FileStatus, ProblemStatus, Role, RouteStatus, Status};

use super::admin::{self, Endpoint};
use super::failure::Failure;
use super::flag_file::FlagFile;

/// Endpoint to ask, and the time to wait.
pub(super) struct Wait {
    endpoint: Endpoint,
    timeout: Duration,
}

/// Confirmation that a flag file is live.
pub(super) struct Live {
    /// Listener that confirmed.
    pub(super) endpoint: Endpoint,
    /// Live generation at that time.
    pub(super) generation: u64,
    /// Routes at that time.
    pub(super) routes: Vec<RouteStatus>,
}

impl Wait {
    /// Finds the endpoint to ask. Call this before anything is written.
    ///
    /// # Errors
    /// [`Failure::NoAdmin`].
    pub(super) fn new(file: &FlagFile, config_file: &Path, timeout: Duration) -> Result<Self, Failure> {
        let address = file.config.admin.as_ref().ok_or_else(|| Failure::NoAdmin(config_file.to_owned()))?;
        Ok(Self { endpoint: Endpoint::from(address), timeout })
    }

    /// Waits until the proxy has loaded `text`, the content of `file`.
    ///
    /// # Errors
    /// If the proxy cannot be reached, refuses the text, or takes too long. The file stays written.
    pub(super) fn until_live(self, file: &Path, text: &str) -> Result<Live, Failure> {
        self.until(file, text, |_| true)
    }

    /// Waits until the proxy has loaded `text`, and all requests that began before these routes closed have ended.
    ///
    /// # Errors
    /// Those of [`Wait::until_live`]; [`Failure::NotDrained`] if the text is live but the time is over.
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

    /// Returns the proxy's verdict on the text, if the proxy has read it.
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
        // Two paths may name the same file, so only a really different file is reported.
        let elsewhere = watched.filter(|watched| real(watched).is_some_and(|watched| Some(watched) != real(file)));
        let (endpoint, waited) = (self.endpoint.clone(), self.timeout);
        Failure::NotLive { endpoint, waited, file: file.to_owned(), watched: elsewhere }
    }
}

fn real(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// Time between two requests: too short to notice, and about as long as the proxy takes.
const PAUSE: Duration = Duration::from_millis(20);
