//! Source of the flag file that several proxies share: an engine that keeps its text.
//!
//! Every engine gives a text with a revision, says how fresh it is, and may accept a compare-and-set. The text is that
//! of a flag file, so all that reads and edits flag files stays as it is. A [`Follower`] hands each new text to control,
//! which takes it as it takes an edited file. While the engine is away, the last good text stays ([`copy`]).

pub(crate) mod copy;
mod follower;
mod http;
mod kubernetes;
mod lease;
mod nats;
mod once;
mod outlet;
pub(crate) mod peers;
mod url;

use std::fmt;
use std::path::Path;

use bytes::Bytes;

use crate::files::author::{Author, Signer};
use crate::files::source::{self, Content};
use crate::plan::config::{Config, FleetConfig, FleetEngine};
use crate::plan::problem::Problem;
use crate::status::fleet::FleetStatus;

pub(crate) use follower::{Follower, Last, Patient, Sight};
pub(crate) use lease::SenderLease;
pub(crate) use nats::{Asker, Reply};
pub(crate) use once::{Fetched, away, block_on, fetch};
use outlet::Outlet;
use peers::Peers;

/// Text that an engine keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Text.
    pub text: Bytes,
    /// Revision by which the engine tells texts apart.
    pub revision: Revision,
    /// Author, if the engine tells.
    pub by: Option<Author>,
}

/// Revision of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Number that grows with each edit.
    Number(u64),
    /// Word without an order.
    Tag(String),
}

/// Text to be written, with the signature of its author.
struct SignedText {
    text: String,
    signature: Option<String>,
}

/// Outcome of a compare-and-set that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// The text is written.
    Done,
    /// Somebody else has written meanwhile, and nothing was done.
    Conflict,
}

/// Report on an engine. What it says of the engine is read when it is asked.
#[derive(Clone, Debug)]
pub(crate) struct FleetReport {
    /// View of the engine's last word.
    pub sight: Sight,
    /// View of the other replicas, if it carries their beats.
    pub peers: Option<Peers>,
    /// Revision of the text in force.
    pub in_force: Option<String>,
    /// Reason why that text cannot be kept for a restart.
    pub unsaved: Option<String>,
}

impl FleetReport {
    /// Describes the engine as it is now.
    pub(crate) fn status(&self) -> FleetStatus {
        let Self { sight, peers, in_force, unsaved } = self;
        let status = FleetStatus { in_force: in_force.clone(), unsaved: unsaved.clone(), ..sight.status() };
        match peers {
            Some(peers) => FleetStatus { peers: Some(peers.status()), ..status },
            None => status,
        }
    }
}

/// Failure of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FleetError {
    /// No connection to the engine.
    Unreached(String),
    /// The engine answers, but not as it should.
    Wrong(String),
    /// The engine takes no edits from here.
    ReadOnly(String),
}

impl Document {
    /// Returns the text as a file's content.
    pub(crate) fn content(&self) -> Content {
        Content::handed(self.text.to_vec(), self.by.clone())
    }
}

impl Revision {
    /// Returns true if a revision comes before another: the engine has lost what came between.
    fn is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(own), Self::Number(other)) => own < other,
            (Self::Number(_) | Self::Tag(_), _) => false,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreached(why) | Self::Wrong(why) | Self::ReadOnly(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for FleetError {}

/// Follows the text until something fails.
async fn follow(config: &FleetConfig, outlet: &mut Outlet) -> FleetError {
    match &config.engine {
        FleetEngine::Kubernetes(kubernetes) => kubernetes::follow(kubernetes, config.ca.as_deref(), outlet).await,
        FleetEngine::Nats(nats) => nats::follow(nats, config.ca.as_deref(), outlet).await,
        FleetEngine::Url(url) => url::follow(url, config.ca.as_deref(), outlet).await,
    }
}

/// Reads the text once; `None` if the engine has none.
///
/// # Errors
/// If the engine does not answer as it should.
pub(crate) async fn read(config: &FleetConfig) -> Result<Option<Document>, FleetError> {
    match &config.engine {
        FleetEngine::Kubernetes(kubernetes) => kubernetes::read(kubernetes, config.ca.as_deref()).await,
        FleetEngine::Nats(nats) => nats::read(nats, config.ca.as_deref()).await,
        FleetEngine::Url(url) => url::read(url, config.ca.as_deref()).await,
    }
}

/// Writes a text in the place of the one that was read, unless somebody else has written meanwhile.
///
/// # Errors
/// If the engine takes no edits, or does not answer as it should.
pub(crate) async fn swap(
    config: &FleetConfig,
    before: Option<&Document>,
    text: String,
    by: &Signer,
) -> Result<Swapped, FleetError> {
    if text.len() > MOST_TEXT {
        return Err(FleetError::ReadOnly(format!(
            "the text has {} bytes, and at most {MOST_TEXT} are taken",
            text.len()
        )));
    }
    let signature = by.signature(text.as_bytes());
    let text = SignedText { text, signature };
    match &config.engine {
        FleetEngine::Kubernetes(kubernetes) => kubernetes::swap(kubernetes, config.ca.as_deref(), before, text).await,
        FleetEngine::Nats(nats) => nats::swap(nats, config.ca.as_deref(), before, text).await,
        FleetEngine::Url(url) => url::swap(url, config.ca.as_deref(), before, text).await,
    }
}

/// Returns a problem for each file that the source needs and that cannot be read.
pub(super) fn unready(config_file: &Path, config: &Config) -> Vec<Problem> {
    let Some(fleet) = &config.fleet else { return Vec::new() };
    let problem = |file: &Path| {
        let error = source::read(file).content.err()?;
        let message = format!("`[fleet]` names {}, which cannot be read: {error}", file.display());
        Some(Problem::in_file(config_file, message))
    };
    let mut problems: Vec<Problem> = files_of(fleet).filter_map(problem).collect();
    if let Some(ca) = fleet.ca.as_deref().filter(|_| problems.is_empty()) {
        problems.extend(super::certs::client_of(Some(ca)).err());
    }
    problems.extend(unusable_login(config_file, fleet).filter(|_| problems.is_empty()));
    problems
}

/// Returns the problem of credentials that no login can be made of.
fn unusable_login(config_file: &Path, fleet: &FleetConfig) -> Option<Problem> {
    let file = fleet.nats()?.credentials.as_deref()?;
    let content = source::read(file).content.ok()?;
    let why = nats::bad_login(&String::from_utf8_lossy(&content.bytes))?;
    Some(Problem::in_file(config_file, format!("`credentials` of `[fleet]` names {}, which {why}", file.display())))
}

/// Returns the files that a source needs.
fn files_of(config: &FleetConfig) -> impl Iterator<Item = &Path> {
    let own = match &config.engine {
        FleetEngine::Kubernetes(kubernetes) => kubernetes.token_file.as_deref(),
        FleetEngine::Nats(nats) => nats.credentials.as_deref(),
        FleetEngine::Url(url) => url.token_file.as_deref(),
    };
    config.ca.as_deref().into_iter().chain(own)
}

/// Bytes that a text may have: as many as a file.
const MOST_TEXT: usize = 1024 * 1024;
