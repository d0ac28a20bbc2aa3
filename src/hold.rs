//! Queues of requests that wait for their route: one per route, shared by all workers of the proxy, or by all clones of a
//! layer.
//!
//! One mutex guards the queues. A held request takes it when it arrives, when it is called and when it leaves; no other
//! request comes near it. The mutex is never held across an await.
//!
//! A request that finds the route open is forwarded at once, even while others still wait for their turn.
//!
//! One client may take all places, but cannot keep them from others. When no place is left for a client with less than its
//! share, the newest request of the client furthest beyond its share gives way, and is answered with the page.

mod shares;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::plan::client::network;
use crate::plan::config::Hold;
use crate::plan::flags::Mode;
use crate::plan::snapshot::Snapshot;

use shares::Shares;

/// Queues of all routes.
#[derive(Debug, Default)]
pub(crate) struct HoldQueues {
    /// By the name of the route, one for each route that ever had held requests.
    queues: Mutex<HashMap<String, Queue>>,
    /// Notified when a request begins to wait for a route that may not be on hold any more.
    arrivals: Notify,
}

/// Requests that wait for one route, by ticket: in the order of arrival.
#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiter>,
    /// Requests whose turn has come and that have not left yet: they keep their places, and may return to them.
    called: BTreeMap<u64, Waiter>,
    /// Owners of the tickets in both.
    shares: Shares,
    /// True if the route was on hold at the last look.
    on_hold: bool,
    /// Generation for which every waiting request was told to look.
    looked: u64,
    /// Turns per second.
    rate: f64,
    /// Time of the next turn.
    due: Option<Instant>,
}

#[derive(Debug, Default)]
struct Waiter {
    /// Network of the client. An unknown one (`None`) counts in no share, because each may be another client.
    client: Option<IpAddr>,
    signal: Option<Signal>,
    waker: Option<Waker>,
}

/// Message to a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The route is neither on hold nor open: the request may get another answer, which needs no turn.
    Look,
    /// The request's turn has come.
    Go,
    /// The request's place now belongs to another client.
    GiveWay,
}

impl HoldQueues {
    /// Wakes every held request, because the process ends.
    #[cfg(feature = "proxy")]
    pub(crate) fn wake(&self) {
        let mut queues = self.lock();
        let waiters = queues.values_mut().flat_map(|queue| queue.waiting.values_mut().chain(queue.called.values_mut()));
        let wakers: Vec<Waker> = waiters.filter_map(|waiter| waiter.waker.take()).collect();
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes a place behind all others, if the client may have one. Returns its ticket.
    pub(crate) fn enter(&self, route: &str, policy: Hold, client: Option<IpAddr>) -> Option<u64> {
        let mut queues = self.lock();
        if !queues.contains_key(route) {
            queues.insert(route.to_owned(), Queue::default());
        }
        let queue = queues.get_mut(route)?;
        let mut wakers = Vec::new();
        let ticket = queue.enter(policy, client, &mut wakers)?;
        let unsure = !queue.on_hold;
        if unsure {
            // The request may have been decided by the previous generation.
            queue.looked = 0;
        }
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
        if unsure {
            self.arrivals.notify_one();
        }
        Some(ticket)
    }

    /// Takes the signal for a ticket, or has `waker` woken when there is one.
    pub(crate) fn poll_signal(&self, route: &str, ticket: u64, waker: &Waker) -> Option<Signal> {
        let mut queues = self.lock();
        let queue = queues.get_mut(route)?;
        let waiter = match queue.waiting.get_mut(&ticket) {
            Some(waiter) => waiter,
            None => match queue.called.get_mut(&ticket) {
                Some(waiter) => waiter,
                None => return Some(Signal::GiveWay),
            },
        };
        let signal = waiter.signal.take();
        if signal.is_none() && !waiter.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiter.waker = Some(waker.clone());
        }
        signal
    }

    /// Returns a request that was called to its former place.
    pub(crate) fn requeue(&self, route: &str, ticket: u64) {
        if let Some(queue) = self.lock().get_mut(route)
            && let Some(waiter) = queue.called.remove(&ticket)
        {
            queue.waiting.insert(ticket, waiter);
        }
        // The route may have come back since the request looked.
        self.arrivals.notify_one();
    }

    /// Gives a place back.
    pub(crate) fn leave(&self, route: &str, ticket: u64) {
        if let Some(queue) = self.lock().get_mut(route) {
            queue.leave(ticket);
        }
    }

    /// Waits until [`Self::call`] has something to do before the next publication: at `next`, or for a new arrival.
    /// Cancel safe.
    pub(crate) async fn due(&self, next: Option<Instant>) {
        let turn = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.arrivals.notified() => {}
            () = turn => {}
        }
    }

    /// Calls the requests whose routes are not on hold any more. Returns when to call again, unless something is published
    /// before.
    pub(crate) fn call(&self, snapshot: &Snapshot, now: Instant) -> Option<Instant> {
        let mut wakers = Vec::new();
        let mut queues = self.lock();
        let next = queues.iter_mut().filter_map(|(name, queue)| {
            if queue.waiting.is_empty() {
                // The next arrival asks for a look.
                queue.on_hold = false;
                return None;
            }
            let route = snapshot.route(name);
            if let Some(route) = route {
                queue.rate = route.config.policy.hold.release;
            }
            let mode = route.map(|route| route.closure.as_ref().map(|closure| closure.mode));
            queue.on_hold = mode == Some(Some(Mode::Hold));
            if queue.on_hold {
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

    /// Returns the number of places taken in a queue.
    #[cfg(feature = "layer")]
    pub(crate) fn held(&self, route: &str) -> usize {
        self.lock().get(route).map_or(0, |queue| queue.waiting.len() + queue.called.len())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Gives a client the last place. `wakers` gets the waker of a request that gives way.
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

    /// Finds the ticket that gives way to a client with less than its share. Requests that were called keep their places.
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
            waiter.signal = Some(Signal::Look);
            wakers.extend(waiter.waker.take());
        }
    }

    /// Calls the requests whose turn has come, and returns the time of the next turn. There are [`Queue::rate`] turns a
    /// second; missed ones are made up for within [`BURST`].
    fn call(&mut self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let step = Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(LONGEST_STEP).min(LONGEST_STEP);
        let ahead = BURST.saturating_sub(step);
        let earliest = now.checked_sub(ahead).unwrap_or(now);
        // After a rise of the rate, the next turn follows at the new one.
        let mut due = self.due.map_or(now, |due| due.clamp(earliest, now + step));
        while due <= now
            && let Some((ticket, mut waiter)) = self.waiting.pop_first()
        {
            waiter.signal = Some(Signal::Go);
            wakers.extend(waiter.waker.take());
            self.called.insert(ticket, waiter);
            due += step;
        }
        self.due = Some(due);
        (!self.waiting.is_empty()).then_some(due)
    }
}

/// Divisor of the places that makes a client's share, which is at least one place.
const SHARES: u64 = 10;

/// Age up to which missed turns are made up for.
const BURST: Duration = Duration::from_millis(50);

/// Longest time between two turns: the slowest rate in a config is one a minute.
const LONGEST_STEP: Duration = Duration::from_secs(60);
