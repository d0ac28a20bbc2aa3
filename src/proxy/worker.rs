//! Workers: one thread each, with its own runtime, listeners, upstream connections, cache of the live generation, and
//! counters.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hold::HoldQueues;
use crate::live::{CachedReader, FormDoor, Generation};
use crate::plan::news::Site;
use crate::proxy::upstream::budget::Budget;
use crate::proxy::upstream::pool::Pool;
use crate::telemetry::access::{AccessLog, WriteOutcome};
use crate::telemetry::line::Line;
use crate::telemetry::{Meters, WorkerCell};

use super::connection::ClientConnection;
use super::cuts::Cuts;
use super::throttle::FailedAuthThrottle;
use super::trim::Trim;

/// State shared by all tasks of one worker.
pub(crate) struct Worker {
    /// The number of the worker, from 0.
    pub(crate) id: usize,
    live: RefCell<(CachedReader, Live)>,
    cuts: RefCell<Cuts>,
    meters: Arc<Meters>,
    /// The queues of held requests, shared by all workers.
    pub(crate) holds: Arc<HoldQueues>,
    /// The pools, by the id of the upstream's meter.
    pools: RefCell<Vec<Option<Rc<Pool>>>>,
    /// The budget of connections for all pools.
    budget: Rc<Budget>,
    log: AccessLog,
    flushing: Cell<bool>,
    /// The end of keep-alive for idle connections, once the process is ending.
    draining: Cell<Option<Instant>>,
    connections: RefCell<HashMap<u64, Rc<ClientConnection>>>,
    /// The number of client connections that are open.
    admitted: Cell<usize>,
    /// The largest number of open client connections.
    pub(crate) most: usize,
    /// Notified when a client connection ends.
    connection_ended: Notify,
    /// Notified when a client connection opens while none is open.
    woken: Notify,
    /// Notified when something is published or the process ends, for watchers of a page.
    pub(crate) published: Arc<Notify>,
    /// Notified when the process ends.
    pub(crate) shutdown: Notify,
    next_connection: Cell<u64>,
    ids: RefCell<RequestIds>,
    /// The clients that have recently shown wrong credentials.
    pub(crate) throttle: FailedAuthThrottle,
    /// Gives back the memory of connections that ended or were parked.
    pub(crate) trim: Trim,
}

/// Numbers of connections that a worker may have open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub clients: usize,
    /// Connections to all upstreams.
    pub upstream: usize,
}

/// Live generation, as one worker's requests hold it: no other thread touches this reference count.
pub(crate) type Live = Rc<Arc<Generation>>;

impl Worker {
    pub(crate) fn new(
        id: usize,
        mut reader: CachedReader,
        log: AccessLog,
        (meters, holds): (Arc<Meters>, Arc<HoldQueues>),
        limits: ConnectionLimits,
    ) -> Self {
        let live = Rc::new(Arc::clone(reader.load()));
        Self {
            id,
            live: RefCell::new((reader, live)),
            cuts: RefCell::default(),
            meters,
            holds,
            pools: RefCell::default(),
            budget: Rc::new(Budget::new(limits.upstream)),
            log,
            flushing: Cell::new(false),
            draining: Cell::new(None),
            connections: RefCell::default(),
            admitted: Cell::new(0),
            most: limits.clients,
            connection_ended: Notify::new(),
            woken: Notify::new(),
            published: Arc::default(),
            shutdown: Notify::new(),
            next_connection: Cell::new(0),
            ids: RefCell::new(RequestIds::new()),
            throttle: FailedAuthThrottle::default(),
            trim: Trim::default(),
        }
    }

    /// Returns the live generation. Called once for each request.
    pub(crate) fn generation(&self) -> Live {
        let (reader, live) = &mut *self.live.borrow_mut();
        let newest = reader.load();
        if !Arc::ptr_eq(newest, live) {
            *live = Rc::new(Arc::clone(newest));
        }
        Rc::clone(live)
    }

    /// Returns the cuts of the status site.
    pub(crate) fn cuts(&self) -> RefMut<'_, Cuts> {
        self.cuts.borrow_mut()
    }

    /// Returns the status site.
    pub(crate) fn site(&self) -> Arc<Site> {
        self.live.borrow().0.site()
    }

    /// Returns the end at which visits of forms are handed over.
    pub(crate) fn forms(&self) -> FormDoor {
        self.live.borrow().0.forms()
    }

    pub(crate) fn cell(&self) -> &WorkerCell {
        &self.meters.workers[self.id]
    }

    /// Returns a new, unique request id: 128 bits, half of which are this worker's.
    pub(crate) fn request_id(&self) -> HeaderValue {
        self.ids.borrow_mut().next()
    }

    /// Returns the pool of connections to an upstream of a generation.
    pub(crate) fn pool(&self, generation: &Generation, upstream: usize) -> Rc<Pool> {
        let live = &generation.upstreams[upstream];
        let id = live.meter.id;
        let mut pools = self.pools.borrow_mut();
        if pools.len() <= id {
            pools.resize_with(id + 1, || None);
        }
        let make = || {
            let upstream = generation.snapshot.upstreams[upstream].clone();
            Rc::new(Pool::new(upstream, live.tls.clone(), Arc::clone(&live.meter), self.id, Rc::clone(&self.budget)))
        };
        Rc::clone(pools[id].get_or_insert_with(make))
    }

    /// Counts a client connection until the result is dropped.
    pub(crate) fn admit(self: &Rc<Self>) -> Admitted {
        if self.admitted.get() == 0 {
            self.woken.notify_one();
        }
        self.admitted.set(self.admitted.get() + 1);
        self.cell().connections.rise();
        self.trim.moved();
        Admitted(Rc::clone(self))
    }

    /// Lists a client connection until the result is dropped, so that it learns when the process ends.
    pub(crate) fn register(self: &Rc<Self>, connection: Rc<ClientConnection>) -> Registered {
        let id = self.next_connection.get();
        self.next_connection.set(id.wrapping_add(1));
        connection.id.set(id);
        self.connections.borrow_mut().insert(id, connection);
        Registered { worker: Rc::clone(self), id }
    }

    /// Returns true if no more client connections may be opened.
    pub(crate) fn is_full(&self) -> bool {
        self.admitted.get() >= self.most
    }

    /// Returns when fewer than `most` client connections are open.
    pub(crate) async fn fewer_than(&self, most: usize) {
        while self.admitted.get() >= most {
            self.connection_ended.notified().await;
        }
    }

    /// Returns the end of keep-alive for idle connections if the process is ending. Then every answer closes its
    /// connection.
    pub(crate) fn draining(&self) -> Option<Instant> {
        self.draining.get()
    }

    /// Tells every connection that the process is ending. Idle ones close one by one within `grace`, and held requests
    /// are answered at once.
    pub(crate) fn drain(&self, grace: Duration) {
        let end = Instant::now() + grace;
        self.draining.set(Some(end));
        self.published.notify_waiters();
        self.shutdown.notify_one();
        self.holds.wake();
        for connection in self.connections.borrow().values() {
            connection.drain(end);
        }
    }

    /// Returns the listed client connections.
    pub(crate) fn connections(&self) -> Ref<'_, HashMap<u64, Rc<ClientConnection>>> {
        self.connections.borrow()
    }

    /// Writes a line of the access log. It is handed to the writer after [`LOG_DELAY`] at most.
    pub(crate) fn write_log(self: &Rc<Self>, line: &Line<'_>) {
        match self.log.write(line, &self.generation().snapshot.log) {
            WriteOutcome::First if !self.flushing.replace(true) => {
                let worker = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(LOG_DELAY).await;
                    worker.flushing.set(false);
                    worker.flush_log();
                });
            }
            WriteOutcome::First | WriteOutcome::Queued => {}
            WriteOutcome::Dropped(lines) => self.cell().log_dropped.add(lines),
        }
    }

    /// Hands the gathered lines of the access log to the writer.
    pub(crate) fn flush_log(&self) {
        if let WriteOutcome::Dropped(lines) = self.log.flush() {
            self.cell().log_dropped.add(lines);
        }
    }

    /// Does the periodic work. Mainly, closes upstream connections that were idle for too long, or whose upstream is no
    /// longer configured. Waits without a timer while nothing is open.
    pub(crate) async fn sweep(self: Rc<Self>) {
        let mut seen = None;
        loop {
            tokio::time::sleep(SWEEP).await;
            let generation = self.generation();
            self.count_hanging(&generation);
            self.throttle.sweep(Instant::now());
            // A new config brings a new list; a flag does not.
            if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &generation.upstreams)) {
                seen = Some(Arc::clone(&generation.upstreams));
                self.forget_pools(&generation);
            }
            let pools: Vec<_> = self.pools.borrow().iter().flatten().cloned().collect();
            let mut rests = self.admitted.get() == 0 && self.throttle.is_empty();
            for pool in pools {
                rests &= pool.sweep(&generation.snapshot.limits);
            }
            drop(generation);
            self.trim.look().await;
            if rests && self.trim.rests() {
                // Both only end the rest. A publication lets go of the generation before it.
                tokio::select! {
                    () = self.woken.notified() => {}
                    () = self.published.notified() => {}
                }
            }
        }
    }

    /// Closes the oldest idle connection of each upstream, since all descriptors are taken.
    pub(crate) fn close_idle(&self) {
        self.pools.borrow().iter().flatten().for_each(|pool| pool.close_oldest_idle());
    }

    fn forget_pools(&self, generation: &Generation) {
        let known: HashSet<usize> = generation.upstreams.iter().map(|upstream| upstream.meter.id).collect();
        for (id, pool) in self.pools.borrow_mut().iter_mut().enumerate() {
            if !known.contains(&id)
                && let Some(pool) = pool.take()
            {
                pool.close();
            }
        }
    }
}

/// Generator of request ids: one half is the worker's own, the other a counter.
struct RequestIds {
    prefix: [u8; 16],
    next: u64,
    /// The block that ids are cut from, so that most of them cost no allocation.
    block: BytesMut,
}

impl RequestIds {
    fn new() -> Self {
        Self { prefix: hex(fastrand::u64(..)), next: fastrand::u64(..), block: BytesMut::new() }
    }

    fn next(&mut self) -> HeaderValue {
        self.next = self.next.wrapping_add(1);
        if self.block.capacity() < ID_SIZE {
            self.block = BytesMut::with_capacity(ID_SIZE * IDS_PER_BLOCK);
        }
        self.block.extend_from_slice(&self.prefix);
        self.block.extend_from_slice(&hex(self.next));
        HeaderValue::from_maybe_shared(self.block.split().freeze()).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// Formats a number in 16 hexadecimal digits.
fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (digit, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        digit[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digit[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    digits
}

/// Guard that counts a client connection as open until it is dropped.
pub(crate) struct Admitted(Rc<Worker>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.admitted.set(self.0.admitted.get().saturating_sub(1));
        self.0.cell().connections.fall();
        self.0.trim.moved();
        self.0.connection_ended.notify_waiters();
    }
}

/// Entry of a client connection in its worker's list.
pub(crate) struct Registered {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
    }
}

/// Bytes of a request id.
const ID_SIZE: usize = 32;

/// Request ids that share a block of memory, which is freed with the last of them.
const IDS_PER_BLOCK: usize = 32;

/// Time between two searches for idle upstream connections.
const SWEEP: Duration = Duration::from_secs(1);

/// Time that a line of the access log may wait in a worker.
const LOG_DELAY: Duration = Duration::from_millis(100);
