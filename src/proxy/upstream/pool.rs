//! The connections of one worker to one upstream: opened when needed, kept while idle, bounded in number.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http1;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout, timeout_at};

use crate::plan::config::Upstream;
use crate::plan::limits::Limits;
use crate::proxy::error::Error;
use crate::proxy::io::client::Activity;
use crate::proxy::io::request_body::{Ahead, RequestBody};
use crate::proxy::io::upstream::{SentHead, UpstreamIo};
use crate::proxy::queue::{EntryId, FairQueue, Flow};
use crate::telemetry::{UpstreamCell, UpstreamMeter};

use super::adaptive_limit::AdaptiveLimit;
use super::answer_fields::AnswerFields;
use super::budget::Budget;
use super::checkout::Checkout;
use super::connect::connect;
use super::connection::{UpstreamConnection, builder, drive};
use super::health::Health;
use super::idle::{
    IdleConnections, LongLived, MOST_STREAMS, Multiplexed, MultiplexedConnections, Reuse, drive_multiplexed,
    multiplexed,
};
use super::lease::{Lease, LeaseKind};
use super::name::Name;

/// One worker's connections to one upstream.
pub(crate) struct Pool {
    upstream: Upstream,
    tls: Option<Arc<ClientConfig>>,
    pub(crate) meter: Arc<UpstreamMeter>,
    worker: usize,
    pub(crate) health: Health,
    pub(crate) answer_fields: AnswerFields,
    idle: IdleConnections,
    multiplexed: MultiplexedConnections,
    /// Connections that are being opened.
    opening: Cell<usize>,
    /// Connections that carry a tunnel or a stream of events.
    long_lived: Rc<Cell<usize>>,
    /// Requests that were sent ahead of their body.
    ahead: Rc<Cell<usize>>,
    /// True if the upstream is no longer configured. Connections are then closed after their use.
    closed: Cell<bool>,
    queue: RefCell<FairQueue<Rc<QueueEntry>>>,
    /// The search for the number of connections that serves waiting requests best.
    adaptive_limit: RefCell<AdaptiveLimit>,
    /// The instant when a waiting request was last given a connection.
    served: Cell<Instant>,
    /// True while a task relieves the queue.
    pub(crate) is_relieved: Cell<bool>,
    /// The budget of all upstreams together.
    pub(crate) budget: Rc<Budget>,
    /// The upstream's name, if it has one.
    name: Option<Rc<Name>>,
    /// True if there are connections that must not be kept.
    chooses: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(
        upstream: Upstream,
        tls: Option<Arc<ClientConfig>>,
        meter: Arc<UpstreamMeter>,
        worker: usize,
        budget: Rc<Budget>,
    ) -> Self {
        // The upstream may have been avoided when it was last configured.
        meter.workers[worker].ejected.set(0);
        Self {
            name: Name::of(&upstream),
            chooses: Cell::new(upstream.proxy_protocol.is_some()),
            upstream,
            tls,
            meter,
            worker,
            health: Health::default(),
            answer_fields: AnswerFields::default(),
            idle: IdleConnections::default(),
            multiplexed: MultiplexedConnections::default(),
            opening: Cell::new(0),
            long_lived: Rc::default(),
            ahead: Rc::default(),
            closed: Cell::new(false),
            queue: RefCell::default(),
            adaptive_limit: RefCell::new(AdaptiveLimit::new(Instant::now().into_std())),
            served: Cell::new(Instant::now()),
            is_relieved: Cell::new(false),
            budget,
        }
    }

    /// Returns true if requests must be HTTP/2.
    pub(crate) fn http2(&self) -> bool {
        self.upstream.http2
    }

    /// Returns the upstream, whose own name is the `Host` where the client's is not kept.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn cell(&self) -> &UpstreamCell {
        &self.meter.workers[self.worker]
    }

    /// Notes that the upstream answered.
    pub(crate) fn succeeded(&self) {
        self.health.succeeded(&self.meter.name, self.cell());
    }

    /// Notes that the upstream failed before a response head.
    pub(crate) fn failed(&self, error: &Error) {
        self.health.failed(&self.meter.name, self.cell(), error);
    }

    /// Gets a connection: an idle one, a new one, or, once it is the request's turn, the next that becomes free.
    pub(crate) async fn checkout(self: &Rc<Self>, checkout: &Checkout<'_>) -> Result<Lease, Error> {
        let grant = match self.try_grant(checkout) {
            Some(grant) => grant,
            None => self.wait(checkout).await?,
        };
        match grant {
            Grant::Lease(lease) => Ok(lease),
            Grant::Permit(permit) => {
                let opened = timeout(checkout.limits.connect, self.open(permit, checkout)).await;
                let lease = opened.unwrap_or(Err(Error::ConnectTimeout));
                let lease = lease.inspect_err(|_| self.cell().connect_failures.increment())?;
                self.served.set(Instant::now());
                Ok(lease)
            }
        }
    }

    /// Grants a connection without waiting, if one is free and no other request waits.
    fn try_grant(self: &Rc<Self>, checkout: &Checkout<'_>) -> Option<Grant> {
        let others = self.queue.borrow().len() > 0;
        if others { None } else { self.grant(checkout.reuse, checkout.limits.upstream_connections) }
    }

    /// Grants an idle connection, or a permit to open one.
    fn grant(self: &Rc<Self>, reuse: Reuse, most: Option<usize>) -> Option<Grant> {
        if let Some(lease) = self.take_idle(reuse) {
            return Some(Grant::Lease(lease));
        }
        self.may_open(reuse, most).then(|| Grant::Permit(Permit::new(self)))
    }

    /// Returns true if one more connection may be opened.
    fn may_open(&self, reuse: Reuse, most: Option<usize>) -> bool {
        let grows = || reuse == Reuse::Fresh || self.adaptive_limit.borrow().allows(self.busy_connections());
        let paced = if self.http2() { self.opening.get() == 0 } else { grows() };
        paced && !self.is_full(most)
    }

    /// Returns true if fewer connections would serve waiting requests as well.
    fn is_overgrown(&self) -> bool {
        self.waiting() > 0 && self.adaptive_limit.borrow().is_exceeded(self.busy_connections())
    }

    /// Decides whether more HTTP/1 connections would help the waiting requests.
    pub(crate) fn adjust_limit(&self) {
        self.adaptive_limit.borrow_mut().evaluate(self.busy_connections(), Instant::now().into_std());
    }

    /// Notes how long the upstream took for the head of a response. Of interest only while requests wait.
    pub(crate) fn answered_after(&self, time: impl FnOnce() -> Duration) {
        if self.waiting() > 0 {
            self.adaptive_limit.borrow_mut().answered(time());
        }
    }

    fn open_connections(&self) -> usize {
        usize::try_from(self.cell().connections.get()).unwrap_or(usize::MAX)
    }

    /// Returns the number of connections that serve a short-lived request, or are being opened for one.
    fn busy_connections(&self) -> usize {
        self.open_connections().saturating_sub(self.idle.len() + self.long_lived.get())
    }

    /// Returns true if no more connections may be opened. `most` is the limit of the config, if there is one.
    pub(crate) fn is_full(&self, most: Option<usize>) -> bool {
        self.open_connections() >= self.most(most) || self.budget.is_spent()
    }

    /// Returns the limit on open connections.
    pub(crate) fn most(&self, configured: Option<usize>) -> usize {
        configured.unwrap_or(self.budget.usual)
    }

    /// Returns the limit on requests under way at once.
    pub(crate) fn capacity(&self, configured: Option<usize>) -> usize {
        let streams = if self.http2() { MOST_STREAMS } else { 1 };
        self.most(configured).saturating_mul(streams)
    }

    /// Counts a connection that carries a tunnel or a stream of events, until the result is dropped.
    pub(super) fn count_long_lived(&self) -> LongLived {
        LongLived::new(&self.long_lived)
    }

    /// Returns the limit on connections that the next of the waiting requests has.
    pub(crate) fn most_for_next(&self) -> Option<usize> {
        self.queue.borrow_mut().front().and_then(|entry| entry.most)
    }

    /// Returns the number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Returns the clients that wait.
    pub(crate) fn waiting_flows(&self) -> Vec<Flow> {
        self.queue.borrow().flows().collect()
    }

    /// Waits in the queue. Fails after `first_byte`, and already if nobody in the queue was served for `connect`,
    /// because the upstream does not answer then.
    async fn wait(self: &Rc<Self>, checkout: &Checkout<'_>) -> Result<Grant, Error> {
        let limits = checkout.limits;
        let entry = Rc::new(QueueEntry::new(checkout));
        let joined = self.queue.borrow_mut().join((checkout.flow)(), Rc::clone(&entry), limits.upstream_queue);
        let id = joined.ok_or(Error::QueueFull)?;
        let waiting = QueuedRequest { pool: self, entry, id };
        self.serve_waiting();
        if !self.is_relieved.replace(true) {
            (checkout.relieve)();
        }
        let since = Instant::now();
        loop {
            let due = (self.served.get().max(since) + limits.connect).min(since + limits.first_byte);
            if Instant::now() >= due {
                return Err(Error::NoConnection);
            }
            if let Ok(grant) = timeout_at(due, waiting.granted()).await {
                return Ok(grant);
            }
        }
    }

    /// Grants free connections to the waiting requests, in turns.
    pub(crate) fn serve_waiting(self: &Rc<Self>) {
        loop {
            let front = self.queue.borrow_mut().front().map(|entry| (entry.reuse, entry.most));
            let Some((reuse, most)) = front else { return };
            let Some(grant) = self.grant(reuse, most) else {
                // Idle connections count towards the limit even if this request must not use them.
                if self.is_full(most) {
                    self.close_oldest_idle();
                }
                return;
            };
            let Some(entry) = self.queue.borrow_mut().pop() else { return };
            // A permit serves nobody yet: there may be no connection.
            if matches!(grant, Grant::Lease(_)) {
                self.served.set(Instant::now());
            }
            entry.fulfil(grant);
        }
    }

    /// Serves the waiting requests, if any, after a connection may have become free.
    fn freed(self: &Rc<Self>) {
        if self.waiting() > 0 {
            self.serve_waiting();
        }
    }

    /// Closes the connection that has been idle for longest. Its task gives the slot back when it ends.
    pub(crate) fn close_oldest_idle(&self) {
        self.idle.close_oldest();
    }

    /// Takes an idle connection.
    pub(crate) fn take_idle(self: &Rc<Self>, reuse: Reuse) -> Option<Lease> {
        if self.http2() {
            let connection = self.multiplexed.take()?;
            return Some(Lease::reusing(self, LeaseKind::Http2 { connection }));
        }
        let (sender, connection) = self.idle.take(reuse)?;
        Some(Lease::reusing(self, LeaseKind::Http1 { sender: Some(sender), connection }))
    }

    /// Opens a connection and spawns the task that drives it.
    async fn open(self: &Rc<Self>, permit: Permit, checkout: &Checkout<'_>) -> Result<Lease, Error> {
        let (Permit { slot, opening: _opening }, limits) = (permit, checkout.limits);
        if self.http2() {
            return self.open_multiplexed(limits, slot).await;
        }
        let name = (self.name.as_ref(), limits.dns_ttl);
        let (socket, found) = connect(&self.upstream, self.tls.clone(), name, checkout.introduction).await?;
        let (sent, fields) = (SentHead::new(limits.upstream_head_size), self.answer_fields.allowed(limits));
        let connection = Rc::new(UpstreamConnection::new(Rc::new(sent), fields, found));
        let io = UpstreamIo::new(socket, Rc::clone(&connection.sent));
        let (sender, driven) = builder(limits, fields).handshake(io).await.map_err(Error::Broken)?;
        let task = tokio::task::spawn_local(drive(driven, Rc::clone(&connection), slot));
        connection.driven_by(&task);
        self.cell().connected.increment();
        let kind = LeaseKind::Http1 { sender: Some(sender), connection };
        Ok(Lease::opened(self, kind))
    }

    async fn open_multiplexed(self: &Rc<Self>, limits: &Limits, slot: Slot) -> Result<Lease, Error> {
        let (socket, found) =
            connect(&self.upstream, self.tls.clone(), (self.name.as_ref(), limits.dns_ttl), None).await?;
        let (sender, driven) = multiplexed(socket, limits).await?;
        let connection = Rc::new(Multiplexed::new(sender, found));
        tokio::task::spawn_local(drive_multiplexed(driven, Rc::downgrade(&connection), slot));
        self.cell().connected.increment();
        if !self.closed.get() {
            self.multiplexed.add(&connection);
        }
        Ok(Lease::opened(self, LeaseKind::Http2 { connection }))
    }

    /// Keeps a connection for the next request, unless it is one client's, out of date or too narrow for the answers.
    pub(crate) fn put(
        self: &Rc<Self>,
        sender: http1::SendRequest<RequestBody>,
        connection: Rc<UpstreamConnection>,
        now: Instant,
    ) {
        let suits =
            self.answer_fields.suits(connection.fields) && (!self.chooses.get() || self.keeps(connection.found));
        if !suits || self.is_overgrown() {
            connection.abort();
        } else if !sender.is_closed() {
            self.idle.put(sender, connection, now);
            self.freed();
        }
    }

    /// Ends a stream of an HTTP/2 connection.
    pub(crate) fn end_stream(self: &Rc<Self>, connection: &Multiplexed) {
        connection.end_stream();
        self.freed();
    }

    /// Lets a request be sent before its body, unless many are: it holds a connection for as long as its client likes.
    pub(crate) fn allow_ahead(&self, client: &Rc<Activity>) -> Option<Ahead> {
        (self.ahead.get() < MOST_AHEAD).then(|| Ahead::new(&self.ahead, client))
    }

    /// Returns true if a connection may be kept. `found` is the address that it was opened to, if that was looked up.
    #[cold]
    fn keeps(&self, found: Option<SocketAddr>) -> bool {
        let is_gone = || found.is_some_and(|found| self.name.as_ref().is_some_and(|name| !name.has(found)));
        !self.closed.get() && self.upstream.proxy_protocol.is_none() && !is_gone()
    }

    /// Closes connections that were idle for too long or are out of date. Returns true if none is open and nothing avoided.
    pub(crate) fn sweep(&self, limits: &Limits) -> bool {
        let (now, keep) = (Instant::now(), limits.upstream_keep_alive);
        if let Some(name) = self.name.as_ref().filter(|_| self.open_connections() > 0) {
            name.refresh(limits.dns_ttl);
            self.chooses.set(self.chooses.get() || name.has_changed.get());
        }
        let stays = |found| !self.chooses.get() || self.keeps(found);
        self.idle.sweep(keep, now, stays);
        self.multiplexed.sweep(keep, now, stays);
        self.health.tell(self.cell());
        self.idle.len() == 0 && self.multiplexed.is_empty() && self.cell().ejected.get() == 0
    }

    /// Closes idle connections, and later those that come back: the upstream is no longer configured. This breaks a
    /// cycle: the tasks of connections hold the pool, and the pool keeps the connections alive.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.chooses.set(true);
        self.idle.close();
        self.multiplexed.close();
    }
}

/// Result of a request for a connection.
enum Grant {
    Lease(Lease),
    Permit(Permit),
}

/// Permit to open a connection.
struct Permit {
    slot: Slot,
    opening: Opening,
}

impl Permit {
    fn new(pool: &Rc<Pool>) -> Self {
        Self { slot: Slot::new(pool), opening: Opening::new(pool) }
    }
}

/// The queue's entry for a waiting request.
struct QueueEntry {
    reuse: Reuse,
    /// The limit on connections, as the generation of the request has it.
    most: Option<usize>,
    grant: RefCell<Option<Grant>>,
    waker: RefCell<Option<Waker>>,
}

impl QueueEntry {
    fn new(checkout: &Checkout<'_>) -> Self {
        let most = checkout.limits.upstream_connections;
        Self { reuse: checkout.reuse, most, grant: RefCell::default(), waker: RefCell::default() }
    }

    fn fulfil(&self, grant: Grant) {
        self.grant.replace(Some(grant));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The request's side of its wait. When dropped, it leaves the queue, and a connection granted meanwhile goes to the
/// next request.
struct QueuedRequest<'p> {
    pool: &'p Rc<Pool>,
    entry: Rc<QueueEntry>,
    id: EntryId,
}

impl QueuedRequest<'_> {
    fn granted(&self) -> impl Future<Output = Grant> {
        poll_fn(|cx| match self.entry.grant.take() {
            Some(grant) => Poll::Ready(grant),
            None => {
                self.entry.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        // The entry is dropped behind the borrow.
        let left = self.pool.queue.borrow_mut().leave(self.id);
        drop(left);
        if let Some(Grant::Lease(lease)) = self.entry.grant.take() {
            lease.finish(Instant::now());
        }
    }
}

/// Slot of a connection, one of those that the limits allow. It is freed when the connection ends.
struct Slot(Rc<Pool>);

impl Slot {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.cell().connections.rise();
        pool.budget.take();
        Self(Rc::clone(pool))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.cell().connections.fall();
        self.0.budget.give_back();
        self.0.freed();
    }
}

/// A connection that is being opened.
struct Opening(Rc<Pool>);

impl Opening {
    fn new(pool: &Rc<Pool>) -> Self {
        pool.opening.set(pool.opening.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get().saturating_sub(1));
        self.0.freed();
    }
}

/// Requests that one worker sends ahead of the first bytes of their body to one upstream.
const MOST_AHEAD: usize = 64;

#[cfg(test)]
mod tests;
