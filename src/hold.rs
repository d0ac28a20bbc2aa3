//! Queues of held requests: one per route, shared by all workers.
//!
//! One mutex guards the state that workers share here, and no other code takes it. A request that is not held never
//! touches it. A held request takes it on arrival, when called and on leaving. The lock is never held across an await.
//!
//! A request that arrives while others still wait for their turn, and finds the route open, is forwarded at once: it
//! does not queue.
//!
//! One client may take all places, but not keep them from others. If a client below its share finds no place, another
//! gives way: the newest request of the client furthest above its share. That request is answered with the page.

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

/// Queues of all routes, shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// The queues by route name: one for every route that ever had held requests.
    queues: Mutex<HashMap<String, Queue>>,
    /// Notified when a request begins to wait for a route that may no longer be on hold.
    stirred: Notify,
}

/// Requests that wait for one route, by ticket and so in the order of arrival.
#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiter>,
    /// Requests whose turn it was and that have not left yet. Each still has its place, and may come back to it.
    called: BTreeMap<u64, Waiter>,
    /// The clients of both.
    shares: Shares,
    /// True if the route was on hold at the last look.
    holds: bool,
    /// The generation for which all waiting requests were told to look.
    looked: u64,
    /// The number of requests called per second.
    rate: f64,
    /// The time at which the next request is called.
    due: Option<Instant>,
}

#[derive(Debug, Default)]
struct Waiter {
    /// The client's network; `None` if it is unknown. Unknown clients count towards no share, since each may be another
    /// client.
    client: Option<IpAddr>,
    word: Option<Word>,
    waker: Option<Waker>,
}

/// Word to a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The route is neither on hold nor open: there may be another answer, which needs no turn.
    Look,
    /// The request's turn has come.
    Go,
    /// The request has lost its place to another client.
    GiveWay,
}

impl Holds {
    /// Calls requests whose routes are no longer on hold, as long as the process lives. Run by one worker.
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
                // All three only say that it is time to look. Cancel safe: the state is read again, so a missed event
                // does no harm.
                published = reader.published() => if !published { return },
                () = self.stirred.notified() => {}
                () = due => {}
            }
        }
    }

    /// Wakes all held requests, since the process ends.
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
            // The request may have been decided by a generation that was live until just now.
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

    /// Looks at every queue. Returns when to look again if nothing is published before.
    fn call(&self, snapshot: &Snapshot, now: Instant) -> Option<Instant> {
        let mut wakers = Vec::new();
        let mut queues = self.lock();
        let next = queues.iter_mut().filter_map(|(name, queue)| {
            if queue.waiting.is_empty() {
                // The next request to arrive notifies this task.
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
    /// Gives a client a place at the end of the queue. If another request loses its place for that, its waker is added
    /// to `wakers`.
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

    /// Returns the ticket that gives way to a client that finds no place and has less than its share. A request whose
    /// turn has come keeps its place.
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

    /// Calls the requests whose turn has come, and returns the time of the next turn. [`Queue::rate`] sets the turns
    /// per second. Missed turns are made up for within [`BURST`].
    fn call(&mut self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let step = Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(LONGEST_STEP).min(LONGEST_STEP);
        let ahead = BURST.saturating_sub(step);
        let earliest = now.checked_sub(ahead).unwrap_or(now);
        // No request waits longer than a turn just because turns were longer before.
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

/// Divisor for a client's share of the places, which is at least one place.
const SHARES: u64 = 10;

/// Time for which missed turns are made up.
const BURST: Duration = Duration::from_millis(50);

/// Longest time between two turns: the slowest rate that can be written is one a minute.
const LONGEST_STEP: Duration = Duration::from_secs(60);
