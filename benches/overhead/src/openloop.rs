//! The open loop: requests at instants fixed beforehand, whether or not earlier ones were answered.
//!
//! Latency counts from the instant planned for the request. Waiting for a free connection counts as well, so that a
//! proxy that stalls cannot hide it (coordinated omission).

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::epoll::{self, Poll};
use crate::wire;

/// Plan of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Address of the server.
    pub(crate) address: SocketAddr,
    /// Bytes of the whole request.
    pub(crate) request: String,
    /// Number of connections, each with one request at a time.
    pub(crate) connections: u32,
    /// Requests a second.
    pub(crate) rate: u32,
    /// Time during which requests are sent.
    pub(crate) duration: Duration,
}

/// Results of a run. Histograms are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// Times from the planned instant to the last byte of the response.
    pub(crate) response: Histogram<u64>,
    /// Delays between the planned instant and the sending, while a connection was free: the generator's own fault.
    pub(crate) lateness: Histogram<u64>,
    /// Responses with another status than 200.
    pub(crate) refused: u64,
}

impl Latencies {
    /// # Errors
    /// If there is no memory for them.
    pub(crate) fn new() -> io::Result<Self> {
        let histogram = || Histogram::new(DIGITS).map_err(io::Error::other);
        Ok(Self { response: histogram()?, lateness: histogram()?, refused: 0 })
    }

    /// Adds the latencies of another run.
    pub(crate) fn add(&mut self, more: &Self) {
        // Both histograms grow as needed, so no value is out of range.
        let _ = self.response.add(&more.response);
        let _ = self.lateness.add(&more.lateness);
        self.refused += more.refused;
    }
}

/// Follows the timetable to its end.
///
/// # Errors
/// If a connection fails, or responses stay away for too long.
pub(crate) fn run(plan: &Plan) -> io::Result<Latencies> {
    let mut generator = Generator::new(plan)?;
    let start = Instant::now() + Duration::from_millis(10);
    let total = u64::from(plan.rate) * plan.duration.as_secs();
    let due = |number: u64| start + Duration::from_nanos(number * 1_000_000_000 / u64::from(plan.rate));
    let deadline = due(total) + PATIENCE;
    let mut next = 0;
    let mut ready = Vec::new();
    while next < total || generator.free.len() < generator.connections.len() {
        let now = Instant::now();
        if now > deadline {
            return Err(io::Error::other(format!("responses stay away at {} requests/s", plan.rate)));
        }
        while next < total && due(next) <= Instant::now() {
            let Some(connection) = generator.free.pop_front() else { break };
            generator.send(connection, due(next), plan.request.as_bytes())?;
            next += 1;
        }
        let wake = if next < total && !generator.free.is_empty() { due(next) } else { deadline };
        generator.arm(wake)?;
        generator.poll.wait(&mut ready)?;
        for &number in &ready {
            generator.receive(number, start + WARM_UP)?;
        }
    }
    Ok(generator.latencies)
}

struct Generator {
    poll: Poll,
    timer: OwnedFd,
    connections: Vec<Connection>,
    /// Free connections: first in, first out, so that all are used alike.
    free: VecDeque<usize>,
    buffer: Vec<u8>,
    latencies: Latencies,
}

struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    /// Planned instant of its request; `None` while the connection is free.
    intended: Option<Instant>,
}

impl Generator {
    fn new(plan: &Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.add(&timer, TIMER)?;
        let mut connections = Vec::new();
        for number in 0..plan.connections as usize {
            let socket = TcpStream::connect_timeout(&plan.address, PATIENCE)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            poll.add(&socket, number)?;
            connections.push(Connection { socket, received: Vec::new(), intended: None });
        }
        let latencies = Latencies::new()?;
        let free = (0..connections.len()).collect();
        Ok(Self { poll, timer, connections, free, buffer: vec![0; BUFFER], latencies })
    }

    fn send(&mut self, number: usize, intended: Instant, request: &[u8]) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        connection.intended = Some(intended);
        record(&mut self.latencies.lateness, intended.elapsed());
        // A connection without a pending request has room for one in its socket.
        match epoll::write(&connection.socket, request)? {
            Some(count) if count == request.len() => Ok(()),
            _ => Err(io::Error::other("a request does not fit into an empty socket")),
        }
    }

    fn receive(&mut self, number: usize, count_from: Instant) -> io::Result<()> {
        if number == TIMER {
            // The number of expirations does not matter.
            let _ = rustix::io::read(&self.timer, &mut [0; 8]);
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        let Some(count) = epoll::read(&connection.socket, &mut self.buffer)? else { return Ok(()) };
        if count == 0 {
            return Err(io::Error::other("a connection was closed"));
        }
        connection.received.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
        let Some(length) = wire::length(&connection.received)? else { return Ok(()) };
        if connection.received.len() < length {
            return Ok(());
        }
        self.latencies.refused += u64::from(wire::status(&connection.received) != 200);
        connection.received.clear();
        if let Some(intended) = connection.intended.take()
            && intended >= count_from
        {
            record(&mut self.latencies.response, intended.elapsed());
        }
        self.free.push_back(number);
        Ok(())
    }

    /// Sets the timer descriptor, because epoll's own time-out counts in milliseconds.
    fn arm(&self, wake: Instant) -> io::Result<()> {
        // Zero would disarm it.
        let left = wake.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    // The histogram grows as needed, so no value is out of range.
    let _ = histogram.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

/// Significant digits of a latency.
const DIGITS: u8 = 3;
const TIMER: usize = usize::MAX;
const BUFFER: usize = 64 * 1024;
/// Time at the start whose requests are not counted.
const WARM_UP: Duration = Duration::from_millis(200);
/// Time that connecting, or the last responses, may take.
const PATIENCE: Duration = Duration::from_secs(5);
