//! Confirmation of an edit: asks the proxies that go by the file until each has said whether the edit is in force.

mod engine;
mod judge;
mod report;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::files::source::Hash;
use crate::plan::config::FleetConfig;
use crate::plan::flags::{self, Flags, Mode};
use crate::plan::snapshot::Phase;
use crate::status::Status;

use super::admin::{self, Endpoint};
use super::failure::Failure;
use super::remains::{Asked, Facts, Origin};
use super::roll::Roll;
use super::whom::Whom;

pub(super) use judge::other_file;
pub(super) use report::Goal;

use engine::Engine;
use judge::Objection;

/// Edit that was made, and the state that it should bring about.
#[derive(Debug)]
pub(super) struct Claim {
    /// The flag file, as the operator named it.
    file: PathBuf,
    /// The config on disk.
    config: PathBuf,
    /// The text that was written.
    text: String,
    /// Change time of the file right after it was written.
    changed: Option<Timestamp>,
    /// Routes that the edit was about.
    asked: Asked,
    /// Wish for these routes.
    wish: Wish,
}

/// Wish for the routes of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Closed in this mode or a stricter one, until this end.
    Closed(Mode, Option<Timestamp>),
    /// Flagged no more, although the routes may still be coming back.
    Lifted,
    /// The text is in force. Routes do not matter.
    Taken,
}

/// Word of a proxy about an edit.
enum Word {
    /// The edit is in force.
    InForce(Box<Status>),
    /// The edit is not in force, for these reasons.
    Not(Vec<Objection>),
    /// The proxy could not be asked.
    Silent(admin::Error),
}

/// Proxies that are asked about an edit, with their words so far.
pub(super) struct Confirmation {
    claim: Arc<Claim>,
    asked: Vec<(Whom, Option<Word>)>,
    /// Engine through which they are asked, if not by their admin listeners.
    engine: Option<Engine>,
    runtime: Runtime,
    begun: Instant,
    /// The user was told that the command waits.
    waited: bool,
    /// Notes on who is asked.
    notes: Vec<String>,
}

/// Patience with proxies.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// The time after which the last word counts.
    within: Duration,
    /// Reaction to a connection that cannot be made.
    refused: Refused,
    /// State that is waited for.
    until: Until,
}

/// Reaction to a connection that cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Final: the proxy is not there.
    GiveUp,
    /// The proxy may be starting.
    Retry,
}

/// State that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The edit is in force.
    InForce,
    /// The edit is in force, and no asked route has requests from before.
    Drained,
    /// The edit is in force, and every asked route is open.
    Open,
}

impl Claim {
    /// Makes a claim about a text that was just written to a file.
    pub(super) fn new(file: &Path, config: &Path, text: String, asked: Asked, wish: Wish) -> Self {
        let changed = fs::metadata(file).ok().and_then(|metadata| changed(&metadata));
        Self { file: file.to_owned(), config: config.to_owned(), text, changed, asked, wish }
    }

    /// Returns the flags of the file as it is now, which a later edit may have changed.
    fn flags(&self) -> Flags {
        let text = fs::read_to_string(&self.file).unwrap_or_else(|_| self.text.clone());
        flags::parse_at("", &text, Timestamp::now()).0.map(|parsed| parsed.flags).unwrap_or_default()
    }
}

/// Returns the change time of a file. A later edit has the same time or a later one.
fn changed(metadata: &fs::Metadata) -> Option<Timestamp> {
    Timestamp::new(metadata.ctime(), i32::try_from(metadata.ctime_nsec()).ok()?).ok()
}

/// Returns a hash as `/status` spells it.
fn hash(bytes: &[u8]) -> String {
    Hash::of(bytes).to_string()
}

impl Confirmation {
    /// Prepares to ask proxies about a claim.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(super) fn new(claim: Claim, endpoints: Vec<Endpoint>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
        let asked = endpoints.into_iter().map(|endpoint| (Whom::At(endpoint), None)).collect();
        Ok(Self {
            claim: Arc::new(claim),
            asked,
            engine: None,
            runtime,
            begun: Instant::now(),
            waited: false,
            notes: Vec::new(),
        })
    }

    /// Adds a note on who is asked.
    pub(super) fn noted(self, note: Option<String>) -> Self {
        Self { notes: note.into_iter().collect(), ..self }
    }

    /// Prepares to ask all replicas about a claim, through the engine.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(super) fn through(claim: Claim, roll: Roll, fleet: FleetConfig) -> Result<Self, Failure> {
        let engine = Some(Engine::new(roll, fleet, &claim));
        Ok(Self { engine, ..Self::new(claim, Vec::new())? })
    }

    /// Asks for up to a second: long enough to see an edit go live, short enough not to be felt as a wait.
    pub(super) fn ask(&mut self) {
        self.poll(Patience { within: MOMENT, refused: Refused::GiveUp, until: Until::InForce });
    }

    /// Asks until the routes are drained everywhere as well, or the time since the edit is over.
    pub(super) fn drain(&mut self, timeout: Duration) {
        self.poll(Patience { within: timeout, refused: Refused::Retry, until: Until::Drained });
    }

    /// Asks until the routes are open everywhere as well, or the time since the edit is over. A route that something
    /// keeps closed is not waited for.
    pub(super) fn open(&mut self, timeout: Duration) {
        self.poll(Patience { within: timeout, refused: Refused::Retry, until: Until::Open });
    }

    /// Returns true if every proxy has confirmed, and there is one.
    pub(super) fn is_in_force(&self) -> bool {
        let confirmed = |(_, word): &(Whom, Option<Word>)| matches!(word, Some(Word::InForce(_)));
        !self.asked.is_empty() && self.asked.iter().all(confirmed)
    }

    /// Returns the routes in the words of the proxies that confirmed; `None` if none did.
    pub(super) fn facts(&self) -> Option<Facts> {
        let told = self.asked.iter().filter_map(|(_, word)| match word {
            Some(Word::InForce(status)) => Some(&status.routes),
            Some(Word::Not(_) | Word::Silent(_)) | None => None,
        });
        let mut routes = Vec::new();
        let mut any = false;
        for told in told {
            any = true;
            routes.extend(told.iter().cloned());
        }
        any.then_some(Facts { routes, from: Origin::Proxy })
    }

    /// Asks each proxy again that has not reached the state yet.
    fn poll(&mut self, patience: Patience) {
        if self.begun.elapsed() >= patience.within {
            return;
        }
        if let Some(engine) = &mut self.engine {
            self.asked = engine.poll(&self.claim, self.begun, patience);
            return;
        }
        let mut asking = JoinSet::new();
        for (index, (whom, word)) in self.asked.iter_mut().enumerate() {
            if word.as_ref().is_some_and(|word| is_reached(word, &self.claim, patience.until)) {
                continue;
            }
            let Whom::At(endpoint) = whom else { continue };
            let (claim, endpoint, begun, known) = (Arc::clone(&self.claim), endpoint.clone(), self.begun, word.take());
            let asked = async move { (index, Poll::new(&claim, begun, patience).run(&endpoint, known).await) };
            asking.spawn_on(asked, self.runtime.handle());
        }
        for (index, word) in self.runtime.block_on(asking.join_all()) {
            self.asked[index].1 = Some(word);
        }
    }
}

/// Returns true if a proxy has reached a state.
fn is_reached(word: &Word, claim: &Claim, until: Until) -> bool {
    match (word, until) {
        (Word::InForce(_), Until::InForce) => true,
        (Word::InForce(status), Until::Drained) => {
            !status.routes.iter().any(|route| route.is(Phase::Draining) && claim.asked.has(&route.name))
        }
        (Word::InForce(status), Until::Open) => {
            !status.routes.iter().any(|route| !route.is(Phase::Open) && claim.asked.has(&route.name))
        }
        (Word::Not(_) | Word::Silent(_), _) => false,
    }
}

/// Poll of one proxy.
struct Poll<'c> {
    claim: &'c Claim,
    begun: Instant,
    patience: Patience,
    /// The file as it was read last, and the hashes of all texts since the edit.
    disk: Disk,
}

/// Flag file on disk since the edit.
struct Disk {
    /// Text of the last read.
    text: String,
    /// Hashes of every text that was seen.
    hashes: Vec<String>,
}

impl Disk {
    fn of(claim: &Claim) -> Self {
        Self { text: claim.text.clone(), hashes: vec![hash(claim.text.as_bytes())] }
    }

    /// Reads the file again. Every text found there is the edit's or a later one.
    fn look(&mut self, file: &Path) {
        if let Ok(text) = fs::read_to_string(file) {
            self.add(text);
        }
    }

    /// Adds a text that was found there.
    fn add(&mut self, text: String) {
        if text == self.text {
            return;
        }
        let hash = hash(text.as_bytes());
        if !self.hashes.contains(&hash) {
            self.hashes.push(hash);
        }
        self.text = text;
    }
}

impl<'c> Poll<'c> {
    fn new(claim: &'c Claim, begun: Instant, patience: Patience) -> Self {
        Self { claim, begun, patience, disk: Disk::of(claim) }
    }

    /// Asks until the state is reached, or waiting is of no use any more.
    async fn run(mut self, endpoint: &Endpoint, mut known: Option<Word>) -> Word {
        loop {
            let asked = Instant::now();
            let left = self.left();
            self.disk.look(&self.claim.file);
            let word = match admin::ask(endpoint, left).await {
                Ok(answer) => judge::word(self.claim, &mut self.disk, answer),
                // An answer that was late says less than the one before.
                Err(admin::Error::Timeout(_)) => {
                    let within = self.patience.within;
                    return known.unwrap_or(Word::Silent(admin::Error::Timeout(within)));
                }
                Err(error) => Word::Silent(error),
            };
            let pause = self.pause().max(asked.elapsed());
            if is_reached(&word, self.claim, self.patience.until) || self.is_final(&word) || self.left() <= pause {
                return word;
            }
            known = Some(word);
            tokio::time::sleep(pause).await;
        }
    }

    fn left(&self) -> Duration {
        self.patience.within.saturating_sub(self.begun.elapsed())
    }

    /// Returns true if waiting would not change a word.
    fn is_final(&self, word: &Word) -> bool {
        match word {
            Word::InForce(status) => {
                self.patience.until == Until::Open && judge::is_stuck(self.claim, &self.disk, status)
            }
            Word::Not(objections) => {
                let lasting = objections.iter().any(Objection::is_lasting);
                objections.iter().any(Objection::is_final) || lasting && self.begun.elapsed() >= MOMENT
            }
            Word::Silent(admin::Error::Connect(_)) => self.patience.refused == Refused::GiveUp,
            // The listener may be busy, or going away; a replica may be stopped for a moment.
            Word::Silent(admin::Error::Http(_) | admin::Error::Timeout(_) | admin::Error::Missing(_)) => false,
            Word::Silent(
                admin::Error::Status(_) | admin::Error::TooLarge | admin::Error::Json(_) | admin::Error::Foreign,
            ) => true,
        }
    }

    /// Returns the time between two requests, which grows with the time since the beginning.
    fn pause(&self) -> Duration {
        (self.begun.elapsed() / 16).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }
}

/// Time for which a command asks without being told to wait.
const MOMENT: Duration = Duration::from_secs(1);
/// Time between two requests at first, by which an edit in force may be seen too late.
const SHORTEST_PAUSE: Duration = Duration::from_millis(4);
/// Time between two requests at last.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
