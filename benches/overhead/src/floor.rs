//! The floor: a TCP forwarder that does nothing but copy, one thread, epoll. No HTTP proxy can cost less than this.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::epoll::{self, Poll, Reading, Writing};

/// Forwards every connection to `upstream`. Prints the port, which the kernel chooses. Returns only after a failure.
///
/// # Errors
/// If it cannot listen or wait.
pub(crate) fn run(upstream: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    let poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let mut forwarder = Forwarder { poll, sides: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER] };
    let mut ready = Vec::new();
    loop {
        forwarder.poll.wait(&mut ready)?;
        for &number in &ready {
            if number == LISTENER {
                forwarder.accept(&listener, upstream);
            } else {
                forwarder.serve(number);
            }
        }
    }
}

struct Forwarder {
    poll: Poll,
    /// The two sides of a connection are neighbours: 2n and 2n + 1.
    sides: Vec<Option<Side>>,
    /// Even numbers that may be used again.
    free: Vec<usize>,
    buffer: Vec<u8>,
}

struct Side {
    socket: TcpStream,
    /// Bytes that this side could not take yet. Until they are written, nothing is read from the other side.
    pending: Vec<u8>,
}

impl Forwarder {
    fn accept(&mut self, listener: &TcpListener, upstream: SocketAddr) {
        while let Ok((client, _)) = listener.accept() {
            // On loopback this takes microseconds; a forwarder for anything else would not wait here.
            let Ok(server) = TcpStream::connect_timeout(&upstream, CONNECT) else { continue };
            if self.insert(client, server).is_err() {
                return;
            }
        }
    }

    fn insert(&mut self, client: TcpStream, server: TcpStream) -> io::Result<()> {
        let number = self.free.pop().unwrap_or(self.sides.len());
        self.sides.resize_with(self.sides.len().max(number + 2), || None);
        for (at, socket) in [(number, client), (number + 1, server)] {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            self.poll.add(&socket, at)?;
            if let Some(side) = self.sides.get_mut(at) {
                *side = Some(Side { socket, pending: Vec::new() });
            }
        }
        Ok(())
    }

    /// Reads and writes as one side is ready to, and closes both sides if it fails or ends.
    fn serve(&mut self, number: usize) {
        if !matches!(self.copy(number), Ok(true)) {
            let even = number & !1;
            for at in [even, even + 1] {
                // Dropping a socket takes it out of epoll.
                self.sides.get_mut(at).map(Option::take);
            }
            if !self.free.contains(&even) {
                self.free.push(even);
            }
        }
    }

    /// Returns true if the connection stays open.
    fn copy(&mut self, number: usize) -> io::Result<bool> {
        let Self { poll, sides, buffer, .. } = self;
        let (Some(from), Some(to)) = pair(sides, number) else { return Ok(true) };
        if !from.pending.is_empty() {
            return flush(poll, number, from, to);
        }
        let Some(count) = epoll::read(&from.socket, buffer)? else { return Ok(true) };
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(false);
        }
        let written = epoll::write(&to.socket, bytes)?.unwrap_or(0);
        if written < count {
            to.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
            poll.change(&to.socket, number ^ 1, Reading::No, Writing::Yes)?;
            poll.change(&from.socket, number, Reading::No, Writing::No)?;
        }
        Ok(true)
    }
}

/// Writes what waits for `side`, then lets both be read again.
fn flush(poll: &Poll, number: usize, side: &mut Side, other: &Side) -> io::Result<bool> {
    let written = epoll::write(&side.socket, &side.pending)?.unwrap_or(0);
    side.pending.drain(..written);
    if side.pending.is_empty() {
        poll.change(&side.socket, number, Reading::Yes, Writing::No)?;
        poll.change(&other.socket, number ^ 1, Reading::Yes, Writing::No)?;
    }
    Ok(true)
}

fn pair(sides: &mut [Option<Side>], number: usize) -> (Option<&mut Side>, Option<&mut Side>) {
    let even = number & !1;
    let Some([first, second]) = sides.get_mut(even..even + 2) else { return (None, None) };
    if number == even { (first.as_mut(), second.as_mut()) } else { (second.as_mut(), first.as_mut()) }
}

const LISTENER: usize = usize::MAX;
const BUFFER: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(1);
