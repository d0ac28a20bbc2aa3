//! A tunnel: what a connection becomes after the upstream has switched protocols.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::plan::limits::Limits;
use crate::telemetry::{Limit, WorkerCell};

use super::flight::Flight;
use super::lease::{Lease, Switched};
use super::socket::Socket;

/// The upstream's side of a tunnel that is being opened, and the books that stay open as long as it is.
pub(super) struct Tunnel {
    pub upstream: oneshot::Receiver<Switched>,
    pub flight: Flight,
    pub lease: Lease,
}

impl Tunnel {
    /// Carries bytes both ways until both sides are done, one breaks off, or nothing moves for too long.
    /// `read_ahead` is what the client sent behind its request.
    pub(super) async fn run(mut self, client: Socket, read_ahead: Bytes, limits: &Limits, cell: &WorkerCell) {
        let Ok(Ok(switched)) = timeout(limits.connect, self.upstream).await else {
            return;
        };
        let Switched { socket: upstream, read_ahead: answered_ahead, place } = switched;
        cell.tunnels.rise();
        let moved = Rc::new(Cell::new(Instant::now()));
        let mut client = Watched { socket: client, moved: Rc::clone(&moved) };
        let mut upstream = Watched { socket: upstream, moved: Rc::clone(&moved) };
        let carry = async {
            upstream.write_all(&read_ahead).await?;
            client.write_all(&answered_ahead).await?;
            copy_bidirectional(&mut client, &mut upstream).await
        };
        tokio::select! {
            carried = carry => self.flight.complete(carried.map_or(0, |(_, down)| down), Instant::now()),
            () = idle(&moved, limits.tunnel_idle) => {
                cell.reached(Limit::TunnelIdle);
                self.flight.complete(0, Instant::now());
            }
        }
        cell.tunnels.fall();
        drop((self.lease, place));
    }
}

/// Returns when nothing has moved for `patience`.
async fn idle(moved: &Cell<Instant>, patience: Duration) {
    loop {
        let due = moved.get() + patience;
        if Instant::now() >= due {
            return;
        }
        sleep_until(due).await;
    }
}

/// A stream that notes when something was read from it.
struct Watched {
    socket: Socket,
    moved: Rc<Cell<Instant>>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_ready() {
            self.moved.set(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
