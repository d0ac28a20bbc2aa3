//! A tunnel: what a connection becomes after the upstream has switched protocols.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
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

/// The upstream's side of a tunnel that is being opened, and the books that stay open as long as it is.
pub(crate) struct Tunnel {
    pub upstream: oneshot::Receiver<Switched>,
    pub record: RequestRecord,
    pub lease: Lease,
    /// What it speaks is WebSocket.
    pub websocket: bool,
}

impl Tunnel {
    /// Carries bytes both ways until both sides are done, one breaks off, nothing moves for too long, or it is to leave.
    /// `read_ahead` is what the client sent behind its request.
    async fn carry(mut self, client: Socket, read_ahead: Bytes, limits: &Limits, cell: &WorkerCell) {
        let Ok(Ok(switched)) = timeout(limits.connect, self.upstream).await else {
            return;
        };
        let Switched { socket: upstream, read_ahead: answered_ahead, slot } = switched;
        cell.tunnels.rise();
        self.record.in_flight.set_kind(Kind::Tunnel);
        let mut carried = Carried {
            up: Direction::new(&read_ahead, self.websocket),
            down: Direction::new(&answered_ahead, self.websocket),
            client,
            upstream,
            moved: Instant::now(),
            idle: Box::pin(tokio::time::sleep(limits.tunnel_idle)),
        };
        let end = poll_fn(|cx| {
            self.record.connection.watch(cx);
            carried.poll(cx, limits.tunnel_idle, self.record.in_flight.interruption())
        });
        match end.await {
            End::Done => {}
            End::Idle => cell.reached(Limit::TunnelIdle),
            End::Leave => {
                self.record.leaves();
                // Whatever comes of it: it was said.
                let _ = timeout(LAST_WORDS, carried.part(self.websocket)).await;
            }
        }
        self.record.complete(carried.down.carried, Instant::now());
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
        limits: &'a Limits,
        cell: &'a WorkerCell,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(self.carry(client, read_ahead, limits, cell))
    }
}

/// How a tunnel ended.
enum End {
    Done,
    Idle,
    Leave,
}

/// Both directions of a tunnel.
struct Carried {
    client: Socket,
    upstream: Socket,
    up: Direction,
    down: Direction,
    /// When something last moved.
    moved: Instant,
    idle: Pin<Box<Sleep>>,
}

impl Carried {
    fn poll(&mut self, cx: &mut Context<'_>, patience: Duration, fate: Interruption) -> Poll<End> {
        let leaving = fate != Interruption::None;
        let before = self.up.carried + self.down.carried;
        let down = self.down.poll(cx, &mut self.upstream, &mut self.client, leaving);
        let up = self.up.poll(cx, &mut self.client, &mut self.upstream, leaving);
        if self.up.carried + self.down.carried > before {
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
            let due = self.moved + patience;
            if Instant::now() >= due {
                return Poll::Ready(End::Idle);
            }
            self.idle.as_mut().reset(due);
        }
    }

    /// Ends it in the way that is proper for it: a WebSocket by a Close to both sides, each between two frames.
    async fn part(&mut self, websocket: bool) -> io::Result<()> {
        if !websocket {
            self.client.shutdown().await?;
            return self.upstream.shutdown().await;
        }
        // Each side is told as soon as what is on its way to it has come to the end of its frame.
        let (mut client, mut upstream) = (Word::new(close_client()), Word::new(close_upstream()));
        poll_fn(|cx| {
            let down = self.down.poll(cx, &mut self.upstream, &mut self.client, true);
            let up = self.up.poll(cx, &mut self.client, &mut self.upstream, true);
            let client = match self.down.is_between() || down.is_ready() {
                true => client.poll(cx, &mut self.client, self.down.frames.closed),
                false => Poll::Pending,
            };
            let upstream = match self.up.is_between() || up.is_ready() {
                true => upstream.poll(cx, &mut self.upstream, self.up.frames.closed),
                false => Poll::Pending,
            };
            match (client, upstream) {
                (Poll::Ready(client), Poll::Ready(upstream)) => Poll::Ready(client.and(upstream)),
                _ => Poll::Pending,
            }
        })
        .await?;
        // The client answers a Close with its own (RFC 6455 section 5.5.1); then the connection is closed by this side.
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

/// A last word that is being written.
struct Word {
    left: Vec<u8>,
    written: usize,
}

impl Word {
    fn new(left: Vec<u8>) -> Self {
        Self { left, written: 0 }
    }

    /// Ready when it is written; at once if the side was told by the other one `already`.
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
    /// What was read and not written yet: from here, to there.
    from: usize,
    to: usize,
    /// Of that, what may be written: up to the end of a frame, where the tunnel is to leave.
    allowed: usize,
    /// The frames that have passed, if there are any.
    frames: Frames,
    websocket: bool,
    /// Bytes written.
    carried: u64,
    flushed: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Carries,
    /// The reading end is over: what is left is written, and then the writing end told.
    Ends,
    Ended,
}

impl Direction {
    /// What was read `ahead` comes first.
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
            carried: 0,
            flushed: true,
            state: State::Carries,
        }
    }

    /// Whether what was written ends with a frame.
    fn is_between(&self) -> bool {
        self.frames.is_between() && self.from >= self.allowed
    }

    /// What was read and is not to be written any more.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.allowed.max(self.from)..self.to]
    }

    /// Carries what can be carried; ready when the reading end is over and everything was written. Where it is to `stop`,
    /// nothing is carried behind the frame that is on its way.
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
                self.carried += written as u64;
                self.flushed = false;
            }
            if stop && (!self.websocket || self.frames.is_between()) {
                return Poll::Pending;
            }
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ends => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Carries => {}
            }
            if self.from == self.to {
                (self.from, self.to, self.allowed) = (0, 0, 0);
            }
            let mut free = ReadBuf::new(&mut self.buffer[self.to..]);
            match Pin::new(&mut *reader).poll_read(cx, &mut free)? {
                Poll::Ready(()) if free.filled().is_empty() => self.state = State::Ends,
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

/// Bytes that a direction has on its way.
const BUFFER: usize = 8 * 1024;

/// How long a tunnel that is to leave may take for it.
const LAST_WORDS: Duration = Duration::from_secs(2);
