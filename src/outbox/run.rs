//! Thread of the outbox, and the handle that control has of it.

mod tenancy;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::plan::config::{DigestTime, MailConfig, StoreConfig};
use crate::plan::news::PublicKeys;

use super::address::Reach;
use super::clerk::{Ask, Clerk};
use super::keys::SenderKeys;
use super::lease::Lease;
use super::mail::mailer::MailDesk;
use super::notice::Notice;
use super::post::Connector;
use super::sender::{Counts, Sender};
use super::stationery::Stationery;
use super::store::{Depth, Store};
use super::told::told;

pub use tenancy::LeaseStatus;
use tenancy::Tenancy;

/// Outbox that runs on a thread of its own.
#[derive(Debug)]
pub struct Outbox {
    inbox: mpsc::Sender<Notice>,
    clerk: Clerk,
    stationery: watch::Sender<Arc<Stationery>>,
    status: watch::Receiver<OutboxStatus>,
    thread: JoinHandle<()>,
}

/// Settings of an outbox.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory of the keys, and of a store of its own.
    pub state_dir: PathBuf,
    /// Place of the store.
    pub store: StoreConfig,
    /// Addresses that deliveries may go to.
    pub reach: Reach,
    /// Roots that endpoints are verified by.
    pub tls: ClientConfig,
    /// Mail server; `None` if there is none.
    pub mail: Option<MailConfig>,
    /// Time of day of the digests.
    pub digest_at: DigestTime,
    /// Lease without which this proxy tells nobody; `None` if it needs none.
    pub lease: Option<Lease>,
}

/// State of an outbox, as operators see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxStatus {
    /// Failure of the store or of the keys. Nothing is sent while it lasts, and nothing is lost.
    pub error: Option<String>,
    /// Updates that are not recorded yet.
    pub unrecorded: usize,
    /// Deliveries that wait.
    pub depth: Depth,
    /// Attempts since the start.
    pub counts: Counts,
    /// Public keys of this proxy.
    pub public_keys: PublicKeys,
    /// Lease, if this proxy needs one.
    pub lease: Option<LeaseStatus>,
}

/// Update that was refused: too many wait for the store. It can be told again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overfull;

/// Work of the thread.
struct Worker {
    settings: Settings,
    inbox: mpsc::Receiver<Notice>,
    /// Clerk, which learns the key of the links.
    clerk: Clerk,
    asks: mpsc::Receiver<Ask>,
    /// Request that is under way. It is kept until the store has taken it.
    asked: Option<Ask>,
    stationery: watch::Receiver<Arc<Stationery>>,
    status: watch::Sender<OutboxStatus>,
    tenancy: Tenancy,
    /// Store that is open, until the sender has it.
    store: Option<Store>,
    /// Sender; `None` while its store or its keys cannot be opened.
    sender: Option<Sender>,
    unrecorded: VecDeque<Notice>,
    error: Option<String>,
    pruned: Option<Instant>,
    published: Option<Instant>,
    /// True if there may be more to publish, once a second has passed.
    is_behind: bool,
}

/// Result of a wait.
enum Wake {
    GoOn,
    Stop,
}

impl Outbox {
    /// Starts the thread. Files that cannot be opened are an error of the status, and are tried again.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let (inbox, notices) = mpsc::channel(MOST_IN_CHANNEL);
        let (clerk, asks) = Clerk::new();
        let (stationery, sheets) = watch::channel(Arc::default());
        let (publish, status) = watch::channel(OutboxStatus::default());
        let worker = Worker {
            tenancy: Tenancy::new(settings.lease.clone()),
            settings,
            inbox: notices,
            clerk: clerk.clone(),
            asks,
            asked: None,
            stationery: sheets,
            status: publish,
            store: None,
            sender: None,
            unrecorded: VecDeque::new(),
            error: None,
            pruned: None,
            published: None,
            is_behind: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            // If the priority cannot be lowered, the thread works all the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            runtime.block_on(worker.run());
        };
        let thread = std::thread::Builder::new().name("outbox".to_owned()).spawn(work)?;
        Ok(Self { inbox, clerk, stationery, status, thread })
    }

    /// Hands over an update. Never waits. A repeated update is told once.
    ///
    /// # Errors
    /// If too many updates wait already.
    pub fn tell(&self, notice: Notice) -> Result<(), Overfull> {
        self.inbox.try_send(notice).map_err(|_| Overfull)
    }

    /// Writes mails that ask from now on with these words.
    pub fn write_with(&self, stationery: Arc<Stationery>) {
        self.stationery.send_replace(stationery);
    }

    /// Returns a handle for those who answer visitors.
    pub fn clerk(&self) -> Clerk {
        self.clerk.clone()
    }

    /// Returns the state, at most a second old unless the disk is slow.
    pub fn status(&self) -> OutboxStatus {
        self.status.borrow().clone()
    }

    /// Returns the state as it changes.
    pub fn watch(&self) -> watch::Receiver<OutboxStatus> {
        self.status.clone()
    }

    /// Ends the thread. Attempts under way have a few seconds; after that, they are made again at the next start.
    pub fn stop(self) {
        drop(self.inbox);
        if self.thread.join().is_err() {
            tracing::error!("outbox has panicked");
        }
    }
}

impl Worker {
    async fn run(mut self) {
        loop {
            let error = self.turn().await.err();
            self.complain(error);
            self.publish().await;
            match self.wait().await {
                Wake::GoOn => {}
                Wake::Stop => break,
            }
        }
        // What came last is recorded, so that the next start sends it.
        let mut last = self.turn().await;
        let end = Instant::now() + GRACE;
        while let (Ok(()), Some(sender)) = (&last, self.sender.as_mut().filter(|sender| sender.is_busy())) {
            if timeout_at(end, sender.land(Timestamp::now)).await.is_err() {
                tracing::info!("outbox ends with attempts under way, which the next start repeats");
                break;
            }
            last = sender.settle(Timestamp::now()).await.map_err(|error| told(&error));
        }
        if let Some(sender) = &mut self.sender {
            self.tenancy.say(sender, Timestamp::now());
        }
        self.complain(last.err());
    }

    /// Does all that can be done without waiting for endpoints.
    async fn turn(&mut self) -> Result<(), String> {
        while self.unrecorded.len() < MOST_UNRECORDED
            && let Ok(notice) = self.inbox.try_recv()
        {
            self.unrecorded.push_back(notice);
        }
        if self.sender.is_none() {
            self.open().await?;
        }
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let now = Timestamp::now();
        self.clerk.learn(sender.unlock().await.map_err(|error| told(&error))?);
        sender.settle(now).await.map_err(|error| told(&error))?;
        while let Some(notice) = self.unrecorded.front() {
            sender.record(notice, now).await.map_err(|error| told(&error))?;
            self.unrecorded.pop_front();
            self.tenancy.recorded();
        }
        let may = self.tenancy.settle(sender, now).map_err(|error| told(&error))?;
        if self.pruned.is_none_or(|pruned| pruned.elapsed() > PRUNE_EVERY) {
            sender.store().prune(now).await.map_err(|error| told(&error))?;
            self.pruned = Some(Instant::now());
        }
        for _ in 0..MOST_ERRANDS {
            self.asked = self.asked.take().or_else(|| self.asks.try_recv().ok());
            let Some(ask) = &self.asked else { break };
            if !ask.is_forgotten() {
                let answer = sender.serve(&ask.errand, now).await.map_err(|error| told(&error))?;
                self.asked.take().into_iter().for_each(|ask| ask.answer(answer.clone()));
            }
            self.asked = None;
        }
        let stationery = Arc::clone(&self.stationery.borrow());
        sender.start(&stationery, may, now).await.map_err(|error| told(&error))
    }

    /// Opens the store and the keys.
    async fn open(&mut self) -> Result<(), String> {
        let settings = &self.settings;
        let opened = match self.store.take() {
            Some(store) => Ok(store),
            None => Store::of(&settings.store, &settings.state_dir, &settings.tls).map_err(|error| told(&error)),
        };
        let store = self.store.insert(opened?);
        let keys = SenderKeys::open(store, &settings.store, &settings.state_dir).await?;
        let Some(store) = self.store.take() else { return Ok(()) };
        let sender = Sender::new(store, Connector::new(settings.reach.clone(), settings.tls.clone()), keys.signer);
        let sender = sender.with_push(keys.vapid).with_digests(settings.digest_at.clone());
        self.sender = Some(sender.with_mail(MailDesk::new(settings.mail.clone())));
        Ok(())
    }

    /// Waits for the end of an attempt, for an update, or for the next attempt.
    async fn wait(&mut self) -> Wake {
        let rest = match (&mut self.sender, &self.error) {
            (Some(sender), None) => sender.rest(Timestamp::now()).await.unwrap_or(AFTER_ERROR),
            (None, _) | (_, Some(_)) => AFTER_ERROR,
        };
        let rest = if self.is_behind { rest.min(PUBLISH_EVERY) } else { rest };
        let rest = self.tenancy.left().map_or(rest, |left| rest.min(left));
        let has_room = self.unrecorded.len() < MOST_UNRECORDED;
        // Nothing is written in here: what one of these begins, another may end.
        tokio::select! {
            () = landed(&mut self.sender) => {}
            notice = self.inbox.recv(), if has_room => match notice {
                Some(notice) => self.unrecorded.push_back(notice),
                None => return Wake::Stop,
            },
            Some(ask) = self.asks.recv(), if self.asked.is_none() => self.asked = Some(ask),
            () = self.tenancy.changed() => {}
            () = sleep(rest) => {}
        }
        Wake::GoOn
    }

    /// Notes an error, and logs it when it is new.
    fn complain(&mut self, error: Option<String>) {
        if error != self.error {
            match &error {
                Some(error) => tracing::error!(%error, "outbox cannot go on"),
                None => tracing::info!("outbox goes on"),
            }
            self.published = None;
        }
        self.error = error;
    }

    /// Publishes the state, at most once a second.
    async fn publish(&mut self) {
        self.is_behind = self.published.is_some_and(|published| published.elapsed() < PUBLISH_EVERY);
        if self.is_behind {
            return;
        }
        let before = self.status.borrow().clone();
        let (depth, counts, keys) = match &mut self.sender {
            Some(sender) => {
                (sender.store().depth().await.unwrap_or(before.depth), sender.counts(), sender.public_keys())
            }
            None => (before.depth, before.counts, before.public_keys),
        };
        let unrecorded = self.unrecorded.len();
        let lease = self.sender.as_mut().and_then(|sender| self.tenancy.say(sender, Timestamp::now()));
        self.status.send_replace(OutboxStatus {
            error: self.error.clone(),
            unrecorded,
            depth,
            counts,
            public_keys: keys,
            lease,
        });
        self.published = Some(Instant::now());
    }
}

/// Waits for the end of an attempt; for ever if none is under way. Cancel safe.
async fn landed(sender: &mut Option<Sender>) {
    match sender {
        Some(sender) => sender.land(Timestamp::now).await,
        None => pending().await,
    }
}

/// Updates between control and the thread.
const MOST_IN_CHANNEL: usize = 256;
/// Updates that wait for the store.
const MOST_UNRECORDED: usize = 1024;
/// Errands of visitors that are done before deliveries have their turn again.
const MOST_ERRANDS: usize = 16;
/// Niceness of the thread, so that the workers come first.
const NICE: i32 = 10;
const AFTER_ERROR: Duration = Duration::from_secs(1);
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_hours(6);
/// Time for attempts that are under way at the end.
const GRACE: Duration = Duration::from_secs(5);
