//! Tunnels: connections whose upstream has switched protocols.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, timeout};

use crate::plan::limits::Limits;
use crate::proxy::connection::Takeover;
use crate::proxy::in_flight::{Interruption, Kind};
use crate::proxy::io::socket::{Socket, read_some};
use crate::proxy::io::websocket::{Frames, close_client, close_upstream};
use crate::proxy::upstream::connection::Switched;
use crate::proxy::upstream::lease::Lease;
use crate::telemetry::{Limit, WorkerCell};

use super::record::RequestRecord;

/// Upstream's side of a tunnel that is being opened, with the request's record, which stays open as long as the tunnel.
pub(crate) struct Tunnel {
    pub upstream: oneshot::Receiver<Switched>,
    pub record: RequestRecord,
    pub lease: Lease,
    /// True if the tunnel carries WebSocket.
    pub websocket: bool,
    /// Limits of the route.
    pub limits: Arc<Limits>,
}

impl Tunnel {
    /// Carries bytes both ways. Ends when both sides are done, one side fails, the tunnel is idle for too long, or it
    /// is told to leave. `read_ahead` has the client's bytes after the request.
    async fn relay(mut self, client: Socket, read_ahead: Bytes, cell: &WorkerCell) {
        let limits = &self.limits;
        let Ok(Ok(switched)) = timeout(limits.connect, self.upstream).await else {
            return;
        };
        let Switched { socket: upstream, read_ahead: answered_ahead, slot } = switched;
        cell.tunnels.rise();
        self.record.in_flight.set_kind(Kind::Tunnel);
        let mut relay = Relay {
            up: Direction::new(&read_ahead, self.websocket),
            down: Direction::new(&answered_ahead, self.websocket),
            client,
            upstream,
            moved: Instant::now(),
            idle: Box::pin(tokio::time::sleep(limits.tunnel_idle)),
        };
        let end = poll_fn(|cx| {
            self.record.connection.watch(cx);
            relay.poll(cx, limits.tunnel_idle, self.record.in_flight.interruption())
        });
        match end.await {
            End::Done => {}
            End::Idle => cell.reached(Limit::TunnelIdle),
            End::Leave => {
                self.record.count_left();
                // The result does not matter: the attempt was made.
                let _ = timeout(CLOSE_TIMEOUT, relay.close(self.websocket)).await;
            }
        }
        self.record.complete(relay.down.written, Instant::now());
        cell.tunnels.fall();
        drop((self.lease, slot));
    }
}

impl Takeover for Tunnel {
    fn is_immediate(&self) -> bool {
        false
    }

    fn run<'a>(
        self: Box<Self>,
        client: Socket,
        read_ahead: Bytes,
        _: &'a Limits,
        cell: &'a WorkerCell,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(self.relay(client, read_ahead, cell))
    }
}

/// Reason for the end of a tunnel.
enum End {
    Done,
    Idle,
    Leave,
}

/// Both directions of a tunnel.
struct Relay {
    client: Socket,
    upstream: Socket,
    up: Direction,
    down: Direction,
    /// The time when bytes last moved.
    moved: Instant,
    idle: Pin<Box<Sleep>>,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>, idle_timeout: Duration, interruption: Interruption) -> Poll<End> {
        let leaving = interruption != Interruption::None;
        let before = self.up.written + self.down.written;
        let down = self.down.poll(cx, &mut self.upstream, &mut self.client, leaving);
        let up = self.up.poll(cx, &mut self.client, &mut self.upstream, leaving);
        if self.up.written + self.down.written > before {
            self.moved = Instant::now();
        }
        match (down, up) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Done),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Done),
            _ if leaving => return Poll::Ready(End::Leave),
            _ => {}
        }
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let due = self.moved + idle_timeout;
            if Instant::now() >= due {
                return Poll::Ready(End::Idle);
            }
            self.idle.as_mut().reset(due);
        }
    }

    /// Ends the tunnel properly. On WebSocket each side gets a Close, between two frames.
    async fn close(&mut self, websocket: bool) -> io::Result<()> {
        if !websocket {
            self.client.shutdown().await?;
            return self.upstream.shutdown().await;
        }
        // Each side gets its Close as soon as the frame on its way there is complete.
        let (mut client, mut upstream) = (CloseMessage::new(close_client()), CloseMessage::new(close_upstream()));
        poll_fn(|cx| {
            let down = self.down.poll(cx, &mut self.upstream, &mut self.client, true);
            let up = self.up.poll(cx, &mut self.client, &mut self.upstream, true);
            let client = if self.down.is_between() || down.is_ready() {
                client.poll(cx, &mut self.client, self.down.frames.closed)
            } else {
                Poll::Pending
            };
            let upstream = if self.up.is_between() || up.is_ready() {
                upstream.poll(cx, &mut self.upstream, self.up.frames.closed)
            } else {
                Poll::Pending
            };
            match (client, upstream) {
                (Poll::Ready(client), Poll::Ready(upstream)) => Poll::Ready(client.and(upstream)),
                _ => Poll::Pending,
            }
        })
        .await?;
        // The client answers a Close with its own (RFC 6455 section 5.5.1); then this side closes the connection.
        let mut answer = std::mem::take(&mut self.up.frames);
        answer.follow(self.up.rest(), false);
        while !answer.closed {
            let some = read_some(&mut self.client).await?;
            if some.is_empty() {
                break;
            }
            answer.follow(&some, false);
        }
        self.client.shutdown().await
    }
}

/// Closing message that is being written.
struct CloseMessage {
    left: Vec<u8>,
    written: usize,
}

impl CloseMessage {
    fn new(left: Vec<u8>) -> Self {
        Self { left, written: 0 }
    }

    /// Writes the message. Returns at once if this side has `already` got a Close from the other one.
    fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket, already: bool) -> Poll<io::Result<()>> {
        if already {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.left.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        Pin::new(socket).poll_flush(cx)
    }
}

/// One direction of a tunnel.
struct Direction {
    buffer: Box<[u8]>,
    /// The start of the bytes that were read and not written yet. Their end is `to`.
    from: usize,
    to: usize,
    /// The end of the bytes that may be written. While the tunnel is leaving, this is the end of a frame.
    allowed: usize,
    /// The WebSocket frames that have passed, if any.
    frames: Frames,
    websocket: bool,
    /// Bytes written.
    written: u64,
    flushed: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The reading end is over: the rest is written, and then the writing end is shut down.
    ShuttingDown,
    Done,
}

impl Direction {
    /// Creates a direction that begins with the bytes that were read `ahead`.
    fn new(ahead: &[u8], websocket: bool) -> Self {
        let mut buffer = vec![0; BUFFER.max(ahead.len())].into_boxed_slice();
        buffer[..ahead.len()].copy_from_slice(ahead);
        Self {
            buffer,
            from: 0,
            to: ahead.len(),
            allowed: 0,
            frames: Frames::default(),
            websocket,
            written: 0,
            flushed: true,
            state: State::Running,
        }
    }

    /// Returns true if the bytes written so far end with a frame.
    fn is_between(&self) -> bool {
        self.frames.is_between() && self.from >= self.allowed
    }

    /// Returns the bytes that were read and must not be written any more.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.allowed.max(self.from)..self.to]
    }

    /// Carries as much as possible; ready when the reading end is over and everything was written. With `stop`, nothing
    /// after the current frame is carried.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Socket,
        writer: &mut Socket,
        stop: bool,
    ) -> Poll<io::Result<()>> {
        loop {
            let rest = &self.buffer[self.allowed.max(self.from)..self.to];
            self.allowed = self.allowed.max(self.from)
                + if self.websocket {
                    self.frames.follow(rest, stop)
                } else if stop {
                    0
                } else {
                    rest.len()
                };
            while self.from < self.allowed {
                let ready = &self.buffer[self.from..self.allowed];
                let written = ready!(Pin::new(&mut *writer).poll_write(cx, ready))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.from += written;
                self.written += written as u64;
                self.flushed = false;
            }
            if stop && (!self.websocket || self.frames.is_between()) {
                return Poll::Pending;
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::ShuttingDown => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Running => {}
            }
            if self.from == self.to {
                (self.from, self.to, self.allowed) = (0, 0, 0);
            }
            let mut free = ReadBuf::new(&mut self.buffer[self.to..]);
            match Pin::new(&mut *reader).poll_read(cx, &mut free)? {
                Poll::Ready(()) if free.filled().is_empty() => self.state = State::ShuttingDown,
                Poll::Ready(()) => self.to += free.filled().len(),
                Poll::Pending => {
                    if !self.flushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.flushed = true;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Bytes of a direction's buffer.
const BUFFER: usize = 8 * 1024;

/// Time that a leaving tunnel has for its closing messages.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
