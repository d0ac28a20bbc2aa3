//! The queues of requests that wait for their route: one a route, for all workers.
//!
//! What workers share here stands behind one mutex, which nobody else takes: a request that is not held never comes near
//! it, and a held one takes it when it comes, when it is called and when it leaves. It is never held across an await.
//!
//! Who comes while others still wait for their turn, and finds the route open, is forwarded at once: it does not queue up.
//!
//! One client may take all places, but not keep them from others: where no place is left for a client that has fewer than its
//! share, the newest request of the client that has the most beyond it gives way, and is answered with the page.

mod shares;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::live::Reader;
use crate::plan::client::network;
use crate::plan::config::Hold;
use crate::plan::flags::Mode;
use crate::plan::snapshot::Snapshot;

use shares::Shares;

/// The queues of all routes, shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// By the name of the route. As many as there ever were routes with held requests.
    queues: Mutex<HashMap<String, Queue>>,
    /// Told when a request began to wait for a route that may not be on hold any more.
    stirred: Notify,
}

/// Who waits for one route, by ticket: in the order of arrival.
#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiter>,
    /// Those whose turn it was and who have not left yet: they still have their place, and may come back to it.
    called: BTreeMap<u64, Waiter>,
    /// Whose they are, of both.
    shares: Shares,
    /// When it was looked at last, the route was on hold.
    holds: bool,
    /// The generation for which everybody who waits was told to look.
    looked: u64,
    /// How many a second are called.
    rate: f64,
    /// When the next one is called.
    due: Option<Instant>,
}

#[derive(Debug, Default)]
struct Waiter {
    /// Its network; `None` if it is not known. Nobody is in such a one's share: each may be another.
    client: Option<IpAddr>,
    word: Option<Word>,
    waker: Option<Waker>,
}

/// What a waiting request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The route is not on hold any more, and not open either: there may be another answer, which needs no turn.
    Look,
    /// It is its turn.
    Go,
    /// Its place is another client's now.
    GiveWay,
}

impl Holds {
    /// Calls those who wait for routes that are not on hold any more, as long as the process lives. Run by one worker.
    pub(crate) async fn release(self: Arc<Self>, mut reader: Reader) {
        loop {
            let next = self.call(&reader.current().snapshot, Instant::now());
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // All three only say that it is time to look. Cancel safe: what was missed is looked at anew.
                published = reader.published() => if !published { return },
                () = self.stirred.notified() => {}
                () = due => {}
            }
        }
    }

    /// Wakes everybody: the process ends.
    pub(crate) fn wake(&self) {
        let mut queues = self.lock();
        let waiters = queues.values_mut().flat_map(|queue| queue.waiting.values_mut().chain(queue.called.values_mut()));
        let wakers: Vec<Waker> = waiters.filter_map(|waiter| waiter.waker.take()).collect();
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn enter(&self, route: &str, policy: Hold, client: Option<IpAddr>) -> Option<u64> {
        let mut queues = self.lock();
        if !queues.contains_key(route) {
            queues.insert(route.to_owned(), Queue::default());
        }
        let queue = queues.get_mut(route)?;
        let mut wakers = Vec::new();
        let ticket = queue.enter(policy, client, &mut wakers)?;
        let stirs = !queue.holds;
        if stirs {
            // It may have been decided by what was live until just now.
            queue.looked = 0;
        }
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
        if stirs {
            self.stirred.notify_one();
        }
        Some(ticket)
    }

    pub(crate) fn ask(&self, route: &str, ticket: u64, waker: &Waker) -> Option<Word> {
        let mut queues = self.lock();
        let queue = queues.get_mut(route)?;
        let waiter = match queue.waiting.get_mut(&ticket) {
            Some(waiter) => waiter,
            None => match queue.called.get_mut(&ticket) {
                Some(waiter) => waiter,
                None => return Some(Word::GiveWay),
            },
        };
        let word = waiter.word.take();
        if word.is_none() && !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.waker = Some(waker.clone());
        }
        word
    }

    pub(crate) fn back(&self, route: &str, ticket: u64) {
        if let Some(queue) = self.lock().get_mut(route)
            && let Some(waiter) = queue.called.remove(&ticket)
        {
            queue.waiting.insert(ticket, waiter);
        }
    }

    pub(crate) fn leave(&self, route: &str, ticket: u64) {
        if let Some(queue) = self.lock().get_mut(route) {
            queue.leave(ticket);
        }
    }

    /// Looks at every queue, and says when to look again if nothing is published before.
    fn call(&self, snapshot: &Snapshot, now: Instant) -> Option<Instant> {
        let mut wakers = Vec::new();
        let mut queues = self.lock();
        let next = queues.iter_mut().filter_map(|(name, queue)| {
            if queue.waiting.is_empty() {
                // Whoever comes says so.
                queue.holds = false;
                return None;
            }
            let route = snapshot.route(name);
            if let Some(route) = route {
                queue.rate = route.config.policy.hold.release;
            }
            let mode = route.map(|route| route.closure.as_ref().map(|closure| closure.mode));
            queue.holds = mode == Some(Some(Mode::Hold));
            if queue.holds {
                return None;
            }
            if mode != Some(None) {
                queue.tell_to_look(snapshot.generation, &mut wakers);
            }
            queue.call(now, &mut wakers)
        });
        let next = next.min();
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Gives a client the last place; whom that takes a place from is to be woken.
    fn enter(&mut self, policy: Hold, client: Option<IpAddr>, wakers: &mut Vec<Waker>) -> Option<u64> {
        let (client, taken) = (client.map(network), self.waiting.len() + self.called.len());
        if u64::try_from(taken).is_ok_and(|taken| taken >= policy.max_held) {
            let waiter = self.leave(self.beyond_its_share(policy, client)?)?;
            wakers.extend(waiter.waker);
        }
        self.rate = policy.release;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, Waiter { client, ..Waiter::default() });
        if let Some(client) = client {
            self.shares.give(client, ticket);
        }
        Some(ticket)
    }

    /// The ticket that gives way to a client who finds no place and has less than its share. Whose turn it was keeps its place.
    fn beyond_its_share(&self, policy: Hold, client: Option<IpAddr>) -> Option<u64> {
        let share = usize::try_from(policy.max_held / SHARES).unwrap_or(usize::MAX).max(1);
        if client.is_some_and(|client| self.shares.of(client) >= share) {
            return None;
        }
        self.shares.beyond(share)?.iter().rev().find(|ticket| self.waiting.contains_key(ticket)).copied()
    }

    fn leave(&mut self, ticket: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket).or_else(|| self.called.remove(&ticket))?;
        if let Some(client) = waiter.client {
            self.shares.take(client, ticket);
        }
        Some(waiter)
    }

    fn tell_to_look(&mut self, generation: u64, wakers: &mut Vec<Waker>) {
        if self.looked == generation {
            return;
        }
        self.looked = generation;
        for waiter in self.waiting.values_mut() {
            waiter.word = Some(Word::Look);
            wakers.extend(waiter.waker.take());
        }
    }

    /// Calls those whose turn it is, and says when the next one's is. The turns are [`Queue::rate`] a second, and those that
    /// were missed are made up for within [`BURST`].
    fn call(&mut self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let step = Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(LONGEST_STEP).min(LONGEST_STEP);
        let ahead = BURST.saturating_sub(step);
        let earliest = now.checked_sub(ahead).unwrap_or(now);
        // Nobody waits longer than a turn because turns were longer before.
        let mut due = self.due.map_or(now, |due| due.clamp(earliest, now + step));
        while due <= now
            && let Some((ticket, mut waiter)) = self.waiting.pop_first()
        {
            waiter.word = Some(Word::Go);
            wakers.extend(waiter.waker.take());
            self.called.insert(ticket, waiter);
            due += step;
        }
        self.due = Some(due);
        (!self.waiting.is_empty()).then_some(due)
    }
}

/// A client's share of the places is one in so many, and one at least.
const SHARES: u64 = 10;

/// Turns that were missed are made up for as far as they lie back less than this.
const BURST: Duration = Duration::from_millis(50);

/// Between two turns, at most: the slowest rate that can be written is one a minute.
const LONGEST_STEP: Duration = Duration::from_secs(60);
