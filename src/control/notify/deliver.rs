//! Delivery: one attempt for a place, and all attempts in the order of the events.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::{Job, Place, exec, hook};

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
        let (place, event, queued) = match job {
            Some(Job::Tell(place, event, queued)) => (place, event, queued),
            Some(Job::End(grace)) => break grace,
            None => break Duration::ZERO,
        };
        // A place that nobody waits for is forgotten.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = turns.entry(place.to.clone()).or_insert_with(|| Arc::new(Semaphore::new(1)));
        if Arc::strong_count(turn) > MOST_WAITING {
            let (to, kind) = (place.to.to_string(), event.kind.as_str());
            tracing::error!(to, event = kind, "operators are not notified: too many notifications wait for this place");
            continue;
        }
        let delivery = Delivery {
            place: *place,
            event,
            queued,
            replica: Rc::clone(&replica),
            tools: tools.clone(),
            ending: ending.clone(),
        };
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
    place: Place,
    event: OperatorEvent,
    queued: Instant,
    replica: Rc<str>,
    tools: Tools,
    /// True once the process ends: no pause is made any more.
    ending: watch::Receiver<bool>,
}

impl Delivery {
    async fn run(mut self, turn: Turn) {
        let Ok(_turn) = turn.acquire().await else { return };
        let (to, event, route) = (self.place.to.to_string(), self.event.kind.as_str(), self.event.routes());
        let usual = if matches!(self.place.to, Destination::Exec(_)) { 0 } else { USUAL_RETRIES };
        let retries = self.place.settings.retries.unwrap_or(usual);
        for number in 0..=retries {
            if self.queued.elapsed() > STALE {
                tracing::error!(to, event, route, "operators are not notified: the news is too old by now");
                return;
            }
            let Err(Failure { why, next }) = attempt(&self.place, &self.event, &self.replica, &self.tools).await else {
                tracing::info!(to, event, route, "operators were notified");
                return;
            };
            match next {
                Next::Again(asked) if number < retries && !*self.ending.borrow() => {
                    tracing::warn!(to, event, route, why, "operators could not be notified, which is tried again");
                    let pause = asked.unwrap_or_default().max(pause(number));
                    // The end of the process allows one more attempt, at once.
                    let _ = timeout(pause, self.ending.wait_for(|ending| *ending)).await;
                }
                Next::Again(_) | Next::Never => {
                    tracing::error!(to, event, route, why, "operators are not notified");
                    return;
                }
            }
        }
    }
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
    let language = place.settings.language.as_deref();
    match &place.to {
        Destination::Hook(channel, url) => {
            let Ok(_room) = tools.posts.acquire().await else { return Err(Failure::ended()) };
            hook::post((*channel, url), &place.settings, event, replica, tools.connector.as_ref()).await
        }
        Destination::Mail(address) => {
            let Ok(_room) = tools.posts.acquire().await else { return Err(Failure::ended()) };
            tools.mail.send(address, (place.mail.as_ref(), &place.settings), event, replica).await
        }
        Destination::Exec(program) => {
            let Ok(_room) = tools.programs.acquire().await else { return Err(Failure::ended()) };
            exec::run(program, event, replica, language, place.settings.timeout).await
        }
    }
}

/// Attempts after the first, for a place that is told over HTTP.
const USUAL_RETRIES: u32 = 4;
/// Age at which a notification is dropped.
const STALE: Duration = Duration::from_secs(15 * 60);
/// Notifications that may wait for a place, with the one under way.
const MOST_WAITING: usize = 64;
const MOST_POSTS: usize = 16;
/// Programs that run at once.
const MOST_PROGRAMS: usize = 4;
