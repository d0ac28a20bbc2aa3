//! Delivery: one attempt for a place, and all attempts in the order of the events.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::control::certs;
use crate::outbox::address::Reach;
use crate::outbox::post::Connector;
use crate::plan::config::Destination;
use crate::plan::notify::OperatorEvent;

use super::mail::MailRoom;
use super::outcome::{Failure, Next, Told};
use super::{Job, Place, Task, exec, hook, record};

/// Limits that all places share.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Client; `None` if this build has no TLS that works.
    pub(super) connector: Option<Connector>,
    pub(super) mail: MailRoom,
    pub(super) posts: Arc<Semaphore>,
    pub(super) programs: Arc<Semaphore>,
}

impl Default for Tools {
    fn default() -> Self {
        let room = |most| Arc::new(Semaphore::new(most));
        // The operator wrote the URLs.
        let connector = certs::public_client().map(|tls| Connector::new(Reach::everywhere(), tls));
        Self { connector, mail: MailRoom::default(), posts: room(MOST_POSTS), programs: room(MOST_PROGRAMS) }
    }
}

impl Tools {
    /// Returns the room that attempts share.
    fn room(&self, to: &Destination) -> &Arc<Semaphore> {
        match to {
            Destination::Hook(..) | Destination::Mail(_) => &self.posts,
            Destination::Exec(_) => &self.programs,
        }
    }
}

/// Turn of a place: one event after the other.
type Turn = Arc<Semaphore>;

/// Delivers until the process ends.
pub(super) async fn run(mut jobs: Receiver<Job>, replica: String) {
    let (tools, replica): (_, Rc<str>) = (Tools::default(), replica.into());
    let mut turns: HashMap<Destination, Turn> = HashMap::new();
    let mut deliveries = JoinSet::new();
    let (end, ending) = watch::channel(false);
    let grace = loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            Some(_) = deliveries.join_next() => continue,
        };
        let task = match job {
            Some(Job::Tell(task)) => *task,
            Some(Job::End(grace)) => break grace,
            None => break Duration::ZERO,
        };
        // A place that nobody waits for is forgotten.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = turns.entry(task.place.to.clone()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        if Arc::strong_count(turn) > MOST_WAITING {
            let (to, kind) = (task.place.to.to_string(), task.event.kind.as_str());
            tracing::error!(to, event = kind, "operators are not notified: too many notifications wait for this place");
            task.forget();
            continue;
        }
        let (replica, tools, ending) = (Rc::clone(&replica), tools.clone(), ending.clone());
        let delivery = Delivery { task, replica, tools, ending };
        deliveries.spawn_local(delivery.run(Arc::clone(turn)));
    };
    end.send_replace(true);
    let all = async { while deliveries.join_next().await.is_some() {} };
    tokio::select! {
        _ = timeout(grace, all) => {}
        // A second word, or the end of the handle, means at once.
        _ = jobs.recv() => {}
    }
    if !deliveries.is_empty() {
        tracing::warn!(left = deliveries.len(), "ending: these notifications were not sent");
    }
    // Programs are killed as their deliveries are dropped.
    deliveries.shutdown().await;
}

/// Event on its way to a place.
struct Delivery {
    task: Task,
    replica: Rc<str>,
    tools: Tools,
    /// True once the process ends: no pause is made any more.
    ending: watch::Receiver<bool>,
}

/// Fate of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The place was told, or never will be.
    Over,
    /// The next process tells it, or another one has it.
    Left,
}

impl Delivery {
    async fn run(mut self, turn: Turn) {
        let Ok(_turn) = turn.acquire().await else { return };
        match self.tell().await {
            Fate::Over => self.task.forget(),
            Fate::Left => {}
        }
    }

    async fn tell(&mut self) -> Fate {
        let first = self.task.row.as_ref().map_or(0, |row| row.attempts);
        let retries = retries(&self.task.place).max(first);
        for number in first..=retries {
            let failure = match self.attempt().await {
                Ok(fate) => return fate,
                Err(failure) => failure,
            };
            match self.judge(failure, number, retries) {
                // The end of the process allows one more attempt, at once.
                Ok(pause) => drop(timeout(pause, self.ending.wait_for(|ending| *ending)).await),
                Err(fate) => return fate,
            }
        }
        Fate::Over
    }

    /// Makes an attempt, if it still makes sense.
    async fn attempt(&mut self) -> Result<Fate, Failure> {
        let Self { task, replica, tools, .. } = self;
        let (to, event, route) = (task.place.to.to_string(), task.event.kind.as_str(), task.event.routes());
        // A program that waits for its turn has not begun.
        let room = Arc::clone(tools.room(&task.place.to));
        let Ok(_room) = room.acquire().await else { return Ok(Fate::Left) };
        if task.queued.elapsed() + task.age > record::oldest(&task.place.to, task.origin) {
            tracing::error!(to, event, route, "operators are not notified: the news is too old by now");
            return Ok(Fate::Over);
        }
        if task.row.as_mut().is_some_and(|row| !row.begin(&task.place.to)) {
            tracing::info!(to, event, route, "another process notifies operators of this");
            return Ok(Fate::Left);
        }
        attempt_now(&task.place, &task.event, replica, tools).await?;
        tracing::info!(to, event, route, "operators were notified");
        Ok(Fate::Over)
    }

    /// Decides what follows a failure: another attempt after a pause, or none by this process.
    fn judge(&self, failure: Failure, number: u32, retries: u32) -> Result<Duration, Fate> {
        let Failure { why, next } = failure;
        let Task { place, event: what, row, .. } = &self.task;
        let (to, event, route) = (place.to.to_string(), what.kind.as_str(), what.routes());
        match next {
            Next::Again(asked) if number < retries && !*self.ending.borrow() => {
                tracing::warn!(to, event, route, why, "operators could not be notified, which is tried again");
                Ok(asked.unwrap_or_default().max(pause(number)))
            }
            Next::Again(_) if number < retries && row.is_some() => {
                tracing::warn!(to, event, route, why, "operators are notified by the next start");
                Err(Fate::Left)
            }
            Next::Again(_) | Next::Never => {
                tracing::error!(to, event, route, why, "operators are not notified");
                Err(Fate::Over)
            }
        }
    }
}

/// Returns how many attempts may follow the first.
pub(super) fn retries(place: &Place) -> u32 {
    let usual = if matches!(place.to, Destination::Exec(_)) { 0 } else { USUAL_RETRIES };
    place.settings.retries.unwrap_or(usual)
}

/// Returns the pause after an attempt.
fn pause(number: u32) -> Duration {
    let seconds = [1, 5, 30].get(number as usize).copied().unwrap_or(120);
    Duration::from_secs(seconds)
}

/// Makes one attempt to tell a place of an event.
///
/// # Errors
/// The reason why it was not told.
pub(crate) async fn attempt(
    place: &Place,
    event: &OperatorEvent,
    replica: &str,
    tools: &Tools,
) -> Result<Told, Failure> {
    let Ok(_room) = tools.room(&place.to).acquire().await else { return Err(Failure::ended()) };
    attempt_now(place, event, replica, tools).await
}

/// Makes an attempt for which there is room.
async fn attempt_now(place: &Place, event: &OperatorEvent, replica: &str, tools: &Tools) -> Result<Told, Failure> {
    let language = place.settings.language.as_deref();
    match &place.to {
        Destination::Hook(channel, url) => {
            hook::post((*channel, url), &place.settings, event, replica, tools.connector.as_ref()).await
        }
        Destination::Mail(address) => {
            tools.mail.send(address, (place.mail.as_ref(), &place.settings), event, replica).await
        }
        Destination::Exec(program) => exec::run(program, event, replica, language, place.settings.timeout).await,
    }
}

/// Attempts after the first, for a place that is told over HTTP.
const USUAL_RETRIES: u32 = 4;
/// Notifications that may wait for a place, with the one under way.
const MOST_WAITING: usize = 64;
const MOST_POSTS: usize = 16;
/// Programs that run at once.
const MOST_PROGRAMS: usize = 4;
