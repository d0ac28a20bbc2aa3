//! The part of epoll that the forwarder, the upstream and the open loop need.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Epoll instance, which waits for sockets that each have a number.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// Makes an instance.
    ///
    /// # Errors
    /// If the kernel has none to give.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a descriptor for reading.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn add(&self, source: impl AsFd, number: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(number as u64), EventFlags::IN)?)
    }

    /// Changes the events for which a descriptor is watched.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn change(&self, source: impl AsFd, number: usize, read: Reading, write: Writing) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, read == Reading::Yes);
        flags.set(EventFlags::OUT, write == Writing::Yes);
        Ok(epoll::modify(&self.epoll, source, EventData::new_u64(number as u64), flags)?)
    }

    /// Waits until a socket is ready, and stores the numbers of those that are. An error of a socket counts as ready.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn wait(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().filter_map(|event| usize::try_from(event.data.u64()).ok()));
        Ok(())
    }
}

/// Choice to wait, or not, until there is something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Choice to wait, or not, until there is room to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Reads once. Returns `None` if nothing has arrived.
///
/// # Errors
/// If the socket failed.
pub(crate) fn read(mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    not_yet(socket.read(buffer))
}

/// Writes once. Returns `None` if there is no room.
///
/// # Errors
/// If the socket failed.
pub(crate) fn write(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<Option<usize>> {
    not_yet(socket.write(bytes))
}

fn not_yet(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Events taken at once.
const EVENTS: usize = 256;
