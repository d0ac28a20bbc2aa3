//! Lease of the sender: one replica at a time tells subscribers, and hands on what it has told.
//!
//! The lease is a key of the engine, written by compare-and-set. Nobody compares two machines' clocks: a lease is over
//! once its revision was seen unchanged for as long as it lasts, by the watch of the one who sees it. The holder counts
//! from before its write, and stops a while earlier.

mod judge;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::outbox::lease::{Holding, Keeper, Lease};
use crate::outbox::progress::Progress;
use crate::plan::config::{FleetConfig, FleetNats};

use super::FleetError;
use super::follower::pause;
use super::nats::LeaseKey;
use judge::{Holder, Judge, LENGTH, Step, Word};

/// Keeper of the lease, on a thread of its own. Dropping it gives the lease back.
#[derive(Debug)]
pub(crate) struct SenderLease {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// State of the thread.
struct Drive {
    config: FleetNats,
    ca: Option<PathBuf>,
    keeper: Keeper,
    judge: Judge,
    /// Progress of others.
    told: Arc<Progress>,
    /// True if this replica was shown as the holder.
    was_own: bool,
    /// Failure of the engine, until somebody is known to have the lease.
    trouble: Option<String>,
    /// Time of the last line in the log about a failure.
    logged: Option<Instant>,
}

impl SenderLease {
    /// Begins to try for the lease; `None` if the engine has none. Then whoever may send sends.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn start(config: &FleetConfig, replica: String) -> io::Result<Option<(Self, Lease)>> {
        let Some(nats) = config.nats().cloned() else { return Ok(None) };
        let (lease, keeper) = Lease::new();
        let own = Holder { replica, boot: format!("{:016x}", fastrand::u64(..)) };
        let (ca, judge, told) = (config.ca.clone(), Judge::new(own), Arc::default());
        let mut drive = Drive { config: nats, ca, keeper, judge, told, was_own: false, trouble: None, logged: None };
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("lease".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = drive.run() => {}
                    // The other end is dropped, and nothing is ever sent.
                    _ = ended => {}
                }
                drive.release().await;
            });
            // A look-up that hangs is left behind.
            runtime.shutdown_background();
        })?;
        Ok(Some((Self { end: Some(end), thread: Some(thread) }, lease)))
    }
}

impl Drop for SenderLease {
    fn drop(&mut self) {
        self.end = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the keeper of the sender's lease has panicked");
        }
    }
}

impl Drive {
    /// Tries for the lease, and keeps it, for ever.
    async fn run(&mut self) {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let Err(error) = self.follow().await;
            failures = if begun.elapsed() > LENGTH { 1 } else { failures + 1 };
            self.fail(&error);
            // A holder has to be back in time.
            let longer = if self.judge.holds() { 0 } else { failures };
            sleep(pause(&error, longer, fastrand::f64())).await;
        }
    }

    async fn follow(&mut self) -> Result<Infallible, FleetError> {
        let mut key = LeaseKey::open(&self.config, self.ca.as_deref()).await?;
        self.look(&mut key).await?;
        loop {
            match self.judge.next(Instant::now()) {
                Step::Write { expected } => self.write(&mut key, expected).await?,
                Step::Rest { until } => {
                    self.rest(until).await;
                    if !self.judge.holds() {
                        self.look(&mut key).await?;
                    }
                }
            }
        }
    }

    /// Waits until an instant. The holder writes earlier if it has told something.
    async fn rest(&mut self, until: Instant) {
        if !self.judge.holds() {
            return sleep_until(until).await;
        }
        tokio::select! {
            () = sleep_until(until) => {}
            told = self.keeper.progress.changed() => match told {
                Ok(()) => {
                    // Others are told of several messages at a time.
                    sleep_until(until.min(Instant::now() + TELL_EVERY)).await;
                    self.judge.hurry();
                }
                // The outbox is gone, and this thread will be.
                Err(_) => sleep_until(until).await,
            },
        }
    }

    async fn look(&mut self, key: &mut LeaseKey) -> Result<(), FleetError> {
        let found = key.read().await?.map(|(revision, text)| (revision, Word::parse(text.as_deref())));
        let now = Instant::now();
        if let Some(told) = self.judge.saw(found, now) {
            self.told = Arc::new(told);
        }
        // A lease that nobody has may be one that cannot be written.
        if self.judge.holder(now).is_some() {
            self.trouble = None;
        }
        self.show();
        Ok(())
    }

    async fn write(&mut self, key: &mut LeaseKey, expected: u64) -> Result<(), FleetError> {
        let word = Word { holder: Some(self.judge.own().clone()), ..self.word() };
        let sent = Instant::now();
        let written = key.write(word.text(), expected).await?;
        self.judge.wrote(written, sent);
        if written.is_none() {
            return self.look(key).await;
        }
        self.trouble = None;
        self.show();
        Ok(())
    }

    /// Returns the word of nobody, with all that was told.
    fn word(&mut self) -> Word {
        let own = Progress::clone(&self.keeper.progress.borrow_and_update());
        Word { told: own.after(&self.told, Timestamp::now()), ..Word::default() }
    }

    fn fail(&mut self, error: &FleetError) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            tracing::warn!(why = %error, "the sender's lease cannot be asked for");
        }
        self.trouble = Some(error.to_string());
        self.show();
    }

    fn show(&mut self) {
        let now = Instant::now();
        let (until, holder) = (self.judge.until(), self.judge.holder(now).map(|holder| holder.replica.clone()));
        let trouble = self.trouble.clone();
        let holding = Holding { until, holder, told: Arc::clone(&self.told), trouble };
        let is_own = holding.is_own(now);
        match (is_own, self.was_own) {
            (true, false) => tracing::info!("this replica tells subscribers from now on"),
            (false, true) => tracing::info!("this replica tells subscribers no more"),
            (true, true) | (false, false) => {}
        }
        self.was_own = is_own;
        self.keeper.shown.send_if_modified(|shown| {
            let is_new = *shown != holding;
            *shown = holding;
            is_new
        });
    }

    /// Gives the lease back, so that another replica has it at once. If the engine does not answer, it runs out.
    async fn release(&mut self) {
        if !self.judge.holds() {
            return;
        }
        let word = self.word();
        let given = timeout(RELEASE_PATIENCE, async {
            let mut key = LeaseKey::open(&self.config, self.ca.as_deref()).await?;
            let found = key.read().await?.map(|(revision, text)| (revision, Word::parse(text.as_deref())));
            match found {
                // A write whose answer was not waited for has a revision that is not known here.
                Some((revision, found)) if found.holder.as_ref() == Some(self.judge.own()) => {
                    key.write(word.text(), revision).await
                }
                Some(_) | None => Ok(None),
            }
        });
        match given.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the sender's lease is not given back, and runs out"),
            Err(_) => tracing::warn!("the sender's lease is not given back in time, and runs out"),
        }
    }
}

/// Time between two writes of what was told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Time between two lines in the log about failures.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Time that the end of the process waits for the engine.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
