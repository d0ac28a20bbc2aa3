//! State of one client connection, shared by its tasks.
//!
//! ```text
//! opening ─▶ serving ─▶ quiet ─▶ parked ─▶ serving …
//!               │          │
//!               │          └─▶ closed: keep-alive over, or the process ends
//!               └─▶ answered, then as `AfterAnswer` says: kept, closed, or taken over
//! ```

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use rustls::{ProtocolVersion, ServerConnection};
use tokio::time::Instant;

use crate::plan::config::Listen;
use crate::plan::limits::Limits;
use crate::proxy::http::headers::Peer;
use crate::proxy::io::client::Activity;
use crate::proxy::io::deadline::Deadline;
use crate::proxy::io::gather::Gather;
use crate::proxy::io::socket::Socket;
use crate::telemetry::{Limit, WorkerCell};

use super::in_flight::InFlight;

/// State of one client connection.
pub(crate) struct ClientConnection {
    /// The connection's number among those of its worker.
    pub(crate) id: Cell<u64>,
    pub(crate) peer: Peer,
    /// The client's TLS session, once there is one.
    pub(crate) tls: OnceCell<TlsSession>,
    /// Listener, as it was when the process started.
    pub(crate) listen: Rc<Listen>,
    pub(crate) activity: Rc<Activity>,
    /// True for HTTP/2, where bytes need not be the beginning of a request.
    pub(crate) http2: Cell<bool>,
    /// Requests under way.
    pub(crate) active: Cell<usize>,
    /// The end of the last request; before the first, the instant at which the connection was opened.
    pub(crate) quiet_since: Cell<Instant>,
    /// True once a request came.
    used: Cell<bool>,
    /// The instant at which an idle connection is closed because the process ends.
    pub(crate) closes_at: Cell<Option<Instant>>,
    /// HTTP/1: what follows the answer to the request that is under way.
    after_answer: RefCell<AfterAnswer>,
    /// HTTP/1: the chunked body of the request that is under way.
    upload: RefCell<Option<Rc<Gather>>>,
    /// HTTP/1: the deadline of the upstream's next bytes, whose timer serves all responses.
    pub(crate) upstream_read: RefCell<Deadline>,
    /// HTTP/1: the state of its request.
    pub(crate) in_flight: Rc<InFlight>,
    /// HTTP/2: the streams.
    streams: Streams,
    waker: RefCell<Option<Waker>>,
}

/// Facts about a client's TLS session, for the access log.
#[derive(Debug)]
pub(crate) struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// The name that the client asked for.
    pub(crate) name: Option<Box<str>>,
}

impl TlsSession {
    pub(crate) fn of(session: &ServerConnection) -> Self {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        Self { version, name: session.server_name().map(Into::into) }
    }
}

/// The next use of an HTTP/1 connection after an answer.
#[derive(Default)]
enum AfterAnswer {
    /// The next request is read.
    #[default]
    Keep,
    /// The connection ends with a lingering close, since the bytes after this request are not a request.
    Close,
    /// HTTP ends, and this user takes over the socket.
    TakeOver(Box<dyn Takeover>),
}

/// A user of a client's socket after the end of HTTP/1.
pub(crate) trait Takeover {
    /// Returns true if the takeover does not wait for an answer, because hyper never answers the request that asked for
    /// it.
    fn is_immediate(&self) -> bool;

    /// Uses the socket to its end. `read_ahead` was read behind the request.
    fn run<'a>(
        self: Box<Self>,
        client: Socket,
        read_ahead: Bytes,
        limits: &'a Limits,
        cell: &'a WorkerCell,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
}

/// The streams of an HTTP/2 connection.
#[derive(Default)]
struct Streams {
    /// The stream whose task runs right now.
    running: RefCell<Option<Rc<InFlight>>>,
    /// The stream that begins right now, until there is a task for it.
    starting: RefCell<Option<Rc<InFlight>>>,
    all: RefCell<Vec<Weak<InFlight>>>,
}

impl ClientConnection {
    pub(crate) fn new(peer: Peer, listen: Rc<Listen>, now: Instant) -> Self {
        Self {
            id: Cell::new(0),
            peer,
            tls: OnceCell::new(),
            listen,
            activity: Rc::new(Activity::new(now)),
            http2: Cell::new(false),
            active: Cell::new(0),
            quiet_since: Cell::new(now),
            used: Cell::new(false),
            closes_at: Cell::new(None),
            after_answer: RefCell::default(),
            upload: RefCell::default(),
            upstream_read: RefCell::default(),
            in_flight: Rc::new(InFlight::new(now)),
            streams: Streams::default(),
            waker: RefCell::default(),
        }
    }

    /// Notes that a request begins.
    pub(crate) fn begin_request(&self) {
        self.active.set(self.active.get() + 1);
        self.used.set(true);
        self.activity.begin_request();
    }

    /// Returns when the head of the request that begins now arrived. If the bytes came during the previous request, the
    /// time counts from its end.
    pub(crate) fn head_arrived(&self, version: Version) -> Instant {
        match version {
            Version::HTTP_2 => Instant::now(),
            _ => self.activity.reads.last().max(self.quiet_since.get()).max(self.activity.writes.accepted()),
        }
    }

    /// Notes that a request has ended.
    pub(crate) fn end_request(&self, now: Instant) {
        self.active.set(self.active.get().saturating_sub(1));
        self.quiet_since.set(now.max(self.quiet_since.get()));
        self.upload.replace(None);
        self.activity.end_request(self.active.get());
    }

    /// HTTP/1: notes the chunked body of the request that is under way.
    pub(crate) fn set_upload(&self, upload: &Rc<Gather>) {
        self.upload.replace(Some(Rc::clone(upload)));
    }

    /// HTTP/1: reads the part of a chunked body that has arrived. Returns true if there may be more right now.
    pub(crate) fn pump(&self, cx: &Context<'_>) -> bool {
        self.upload.borrow().as_ref().is_some_and(|upload| upload.pump(cx))
    }

    /// HTTP/1: ends the connection behind this answer, with a lingering close.
    pub(crate) fn close_after_answer(&self) {
        let mut after = self.after_answer.borrow_mut();
        if matches!(*after, AfterAnswer::Keep) {
            *after = AfterAnswer::Close;
        }
    }

    /// HTTP/1: returns true if the connection ends behind this answer.
    pub(crate) fn closes_after_answer(&self) -> bool {
        matches!(*self.after_answer.borrow(), AfterAnswer::Close)
    }

    /// HTTP/1: hands over the socket when HTTP has ended.
    pub(crate) fn take_over(&self, by: Box<dyn Takeover>) {
        self.after_answer.replace(AfterAnswer::TakeOver(by));
    }

    /// HTTP/1: returns true if the socket is to be handed over without waiting for an answer.
    pub(crate) fn is_taken_over(&self) -> bool {
        matches!(&*self.after_answer.borrow(), AfterAnswer::TakeOver(by) if by.is_immediate())
    }

    /// HTTP/1: returns the user that takes over the socket.
    pub(crate) fn takeover(&self) -> Option<Box<dyn Takeover>> {
        let mut after = self.after_answer.borrow_mut();
        match mem::take(&mut *after) {
            AfterAnswer::TakeOver(by) => Some(by),
            kept @ (AfterAnswer::Keep | AfterAnswer::Close) => {
                *after = kept;
                None
            }
        }
    }

    /// Returns the state of the request that begins now. Over HTTP/2, hyper asks for the answer first, and makes the
    /// stream's task then.
    pub(crate) fn begin_in_flight(&self, version: Version, now: Instant) -> Rc<InFlight> {
        if version != Version::HTTP_2 {
            return Rc::clone(&self.in_flight);
        }
        let stream = Rc::new(InFlight::new(now));
        self.streams.add(&stream);
        self.streams.starting.replace(Some(Rc::clone(&stream)));
        stream
    }

    /// HTTP/2: returns the state of the stream whose task is made now.
    pub(crate) fn started_stream(&self) -> Option<Rc<InFlight>> {
        self.streams.starting.take()
    }

    /// HTTP/2: runs a part of a stream's task, in which [`ClientConnection::offer_to_stream`] finds that stream.
    pub(crate) fn run_stream<T>(&self, stream: &Rc<InFlight>, run: impl FnOnce() -> T) -> T {
        self.streams.running.replace(Some(Rc::clone(stream)));
        let result = run();
        self.streams.running.replace(None);
        result
    }

    /// HTTP/2: notes that the stream that runs right now has bytes for its client from now on.
    pub(crate) fn offer_to_stream(&self) {
        if let Some(stream) = &*self.streams.running.borrow() {
            stream.offer();
        }
    }

    /// Returns the states of the requests that are under way.
    pub(crate) fn in_flight(&self) -> Vec<Rc<InFlight>> {
        if self.http2.get() {
            self.streams.all.borrow().iter().filter_map(Weak::upgrade).collect()
        } else if self.active.get() > 0 {
            vec![Rc::clone(&self.in_flight)]
        } else {
            Vec::new()
        }
    }

    /// Registers the driver's waker, for changes that other tasks make.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Wakes the driver.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Lets an idle connection close at a random instant in the second half of the time until `end`, when the process
    /// ends.
    pub(crate) fn drain(&self, end: Instant) {
        let now = Instant::now();
        let time = end.saturating_duration_since(now);
        self.closes_at.set(Some(now + time.mul_f64(0.5 + fastrand::f64() / 2.0)));
        self.activity.hint.change();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Returns when the connection is to be ended, and why, if nothing changes.
    pub(crate) fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let write = || self.in_flight.write(limits.write);
        let blocked = self.activity.writes.blocked().map(|since| (since + write(), Due::Limit(Limit::Write)));
        let half_closed = self.activity.request.half_closed().map(|since| (since + CLOSE_TIMEOUT, Due::Gone));
        // A response that was handed on to its end may still be on its way to a slow client: that is not quiet.
        let quiet = (self.active.get() == 0 && blocked.is_none()).then(|| self.quiet_due(limits));
        [blocked, half_closed, quiet].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// Returns when a quiet HTTP/1 connection is to be parked, if nothing comes.
    pub(crate) fn parks(&self) -> Option<(Instant, Due)> {
        let Activity { reads, writes, .. } = &*self.activity;
        let busy = self.active.get() > 0 || reads.heard() || writes.blocked().is_some();
        let parks = self.used.get() && !busy && !self.closes_after_answer();
        parks.then(|| (self.quiet_since.get().max(writes.accepted()) + PARK_AFTER, Due::Parked))
    }

    /// Returns when a connection without a request is to be ended, and why.
    pub(crate) fn quiet_due(&self, limits: &Limits) -> (Instant, Due) {
        let Activity { reads, writes, .. } = &*self.activity;
        // The connection is not quiet until the client has taken the last answer.
        let accepted = writes.accepted();
        let quiet_since = self.quiet_since.get().max(accepted);
        // Between HTTP/2 requests come answers to pings, windows and the like.
        let heard = reads.heard() && !self.http2.get();
        let limit = if !self.used.get() {
            (quiet_since + limits.head_read, Due::Limit(Limit::HeadRead))
        } else if heard {
            (reads.heard_at().max(accepted) + limits.head_read, Due::Limit(Limit::HeadRead))
        } else {
            (quiet_since + limits.keep_alive, Due::Limit(Limit::KeepAlive))
        };
        match self.closes_at.get() {
            // A client that was told of the end has already gone. A client that was not told may just have sent its
            // next request.
            Some(at) if !heard && at.max(quiet_since + LAST_MOMENT) < limit.0 => {
                (at.max(quiet_since + LAST_MOMENT), Due::Drained)
            }
            Some(_) | None => limit,
        }
    }
}

impl Streams {
    fn add(&self, stream: &Rc<InFlight>) {
        let mut streams = self.all.borrow_mut();
        // Ended streams are removed, so that the list stays about as long as the number of running streams.
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Rc::downgrade(stream));
    }
}

/// The reason why a connection is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Limit(Limit),
    Drained,
    /// The client sends no more, and nothing was sent to it for too long: it may have gone.
    Gone,
    /// The connection is quiet: it is parked, and the memory of its protocol is freed.
    Parked,
}

/// A connection is parked when nothing came on it for this long.
const PARK_AFTER: Duration = Duration::from_secs(1);

/// Time that a client has for a last request if the process ends and the client could not be told.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Time for the last bytes of a closing connection.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
