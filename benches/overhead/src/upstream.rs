//! The upstream: one thread that answers from memory, so that it costs less than the proxies.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::epoll::{self, Poll, Reading, Writing};

/// The path of the small response.
pub(crate) const SMALL: &str = "/small";
/// The path of the large response.
pub(crate) const LARGE: &str = "/large";
/// Bytes of the small response on the wire, head and body.
pub(crate) const SMALL_BYTES: usize = 131;
/// Bytes of the large response's body.
pub(crate) const LARGE_BYTES: usize = 1024 * 1024;

/// Answers GETs. Prints the port, which the kernel chooses. Returns only after a failure.
///
/// # Errors
/// If it cannot listen or wait.
pub(crate) fn run() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let answers = Answers { small: small(), large: large() };
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut ready = Vec::new();
    loop {
        poll.wait(&mut ready)?;
        for &number in &ready {
            if number == LISTENER {
                accept(&listener, &poll, &mut connections);
                continue;
            }
            let Some(slot) = connections.get_mut(number) else { continue };
            let alive = slot.as_mut().is_some_and(|one| matches!(one.serve(&answers, &mut buffer), Ok(true)));
            match slot {
                Some(connection) if alive => connection.watch(&poll, number)?,
                _ => *slot = None,
            }
        }
    }
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

struct Connection {
    socket: TcpStream,
    /// Head that is being read, since it may arrive in pieces.
    head: Vec<u8>,
    /// Response that is being sent, and the number of bytes sent.
    sending: Option<(Size, usize)>,
    waits_to_write: bool,
}

#[derive(Clone, Copy)]
enum Size {
    Small,
    Large,
}

impl Connection {
    /// Returns true if the connection stays open.
    fn serve(&mut self, answers: &Answers, buffer: &mut [u8]) -> io::Result<bool> {
        if self.sending.is_none() {
            let Some(count) = epoll::read(&self.socket, buffer)? else { return Ok(true) };
            if count == 0 || self.head.len() > MOST_HEAD {
                return Ok(false);
            }
            self.head.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        loop {
            if !self.send(answers)? {
                return Ok(true);
            }
            let Some(end) = self.head.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(true) };
            let size = if self.head.starts_with(b"GET /large") { Size::Large } else { Size::Small };
            self.head.drain(..end + 4);
            self.sending = Some((size, 0));
        }
    }

    /// Returns true if everything is sent.
    fn send(&mut self, answers: &Answers) -> io::Result<bool> {
        let Some((size, sent)) = &mut self.sending else { return Ok(true) };
        let bytes = match size {
            Size::Small => &answers.small,
            Size::Large => &answers.large,
        };
        while *sent < bytes.len() {
            let Some(count) = epoll::write(&self.socket, bytes.get(*sent..).unwrap_or_default())? else {
                return Ok(false);
            };
            *sent += count;
        }
        self.sending = None;
        Ok(true)
    }

    /// Tells epoll what to wait for, if that has changed.
    fn watch(&mut self, poll: &Poll, number: usize) -> io::Result<()> {
        let wants_to_write = self.sending.is_some();
        if wants_to_write != self.waits_to_write {
            self.waits_to_write = wants_to_write;
            let (reading, writing) =
                if wants_to_write { (Reading::No, Writing::Yes) } else { (Reading::Yes, Writing::No) };
            poll.change(&self.socket, number, reading, writing)?;
        }
        Ok(())
    }
}

fn accept(listener: &TcpListener, poll: &Poll, connections: &mut Vec<Option<Connection>>) {
    while let Ok((socket, _)) = listener.accept() {
        let number = connections.iter().position(Option::is_none).unwrap_or(connections.len());
        let watched = socket.set_nonblocking(true).and(socket.set_nodelay(true)).and(poll.add(&socket, number));
        if watched.is_err() {
            continue;
        }
        connections.resize_with(connections.len().max(number + 1), || None);
        if let Some(slot) = connections.get_mut(number) {
            *slot = Some(Connection { socket, head: Vec::new(), sending: None, waits_to_write: false });
        }
    }
}

/// Makes the small response. Its body fills the bytes on the wire that the head leaves.
fn small() -> Vec<u8> {
    let head = |length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let body = SMALL_BYTES.saturating_sub(head(10).len());
    let mut bytes = head(body).into_bytes();
    bytes.resize(SMALL_BYTES, b'x');
    bytes
}

fn large() -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nContent-Type: application/octet-stream\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"
    )
    .into_bytes();
    let head = bytes.len();
    bytes.resize(head + LARGE_BYTES, b'x');
    bytes
}

const LISTENER: usize = usize::MAX;
const BUFFER: usize = 16 * 1024;
const MOST_HEAD: usize = 64 * 1024;
