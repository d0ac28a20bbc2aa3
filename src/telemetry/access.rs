//! The access log: one JSON line per request, collected by each worker and written by one thread.
//!
//! A worker never waits for the disk. It hands over whole blocks, and if the writer cannot keep up, blocks are dropped
//! and counted.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Fields of a line.
#[derive(Debug)]
pub struct Line<'l> {
    /// Time in RFC 3339, UTC.
    pub time: jiff::Timestamp,
    /// Address of the client, taken from a header only if a trusted proxy sent it.
    pub client: &'l str,
    /// Method of the request.
    pub method: &'l str,
    /// Host as received.
    pub host: &'l str,
    /// Path without the query, since queries carry secrets.
    pub path: &'l str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: &'l str,
    /// Name of the route, if one matched.
    pub route: Option<&'l str>,
    /// The word of the verdict.
    pub verdict: &'l str,
    /// The generation that decided.
    pub generation: u64,
    /// Status that was sent.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// Microseconds from the arrival of the head to the end of the body.
    pub micros: u64,
    /// The upstream that answered, if one did.
    pub upstream: Option<&'l str>,
    /// The request id.
    pub id: &'l str,
    /// Failure of the request: `aborted`, or the part that failed.
    pub error: Option<&'l str>,
}

/// A worker's buffer, handed over when it is full or has waited long enough.
#[derive(Debug)]
pub struct AccessLog {
    writer: SyncSender<Message>,
    buffer: RefCell<Vec<u8>>,
}

/// Handle of the writing thread.
#[derive(Debug)]
pub struct AccessWriter {
    sender: SyncSender<Message>,
    /// Disconnects when the thread ends.
    ended: Receiver<()>,
}

#[derive(Debug)]
enum Message {
    Block(Vec<u8>),
    Reopen,
    End,
}

/// The outcome of writing a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The line is the first in the buffer, so a flush should follow after a while.
    First,
    /// The line waits behind others, or was handed over.
    Queued,
    /// Lines were dropped, this many.
    Dropped(u64),
}

impl AccessWriter {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// If the file cannot be opened or the thread cannot be started.
    pub fn start(file: Option<PathBuf>) -> io::Result<Self> {
        let output = open(file.as_ref())?;
        let (sender, receiver) = sync_channel(QUEUED_BLOCKS);
        let (alive, ended) = std::sync::mpsc::channel();
        let body = move || {
            write(file.as_ref(), output, &receiver);
            drop(alive);
        };
        std::thread::Builder::new().name("access-log".into()).spawn(body)?;
        Ok(Self { sender, ended })
    }

    /// Returns a buffer for a worker.
    pub fn log(&self) -> AccessLog {
        AccessLog { writer: self.sender.clone(), buffer: RefCell::default() }
    }

    /// Reopens the file after it was rotated.
    pub fn reopen(&self) {
        // If the queue is full, the writer is behind. The next rotation tries again.
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Writes what is queued, and ends. Workers must not log any more. An output that accepts nothing, like a pipe that
    /// nobody reads, is given up after a moment, so that the process can end.
    pub fn finish(self) {
        let deadline = Instant::now() + FINISH_PATIENCE;
        while let Err(TrySendError::Full(_)) = self.sender.try_send(Message::End) {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(FINISH_STEP);
        }
        // The channel disconnects when the thread ends.
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl AccessLog {
    /// Adds a line.
    pub fn write(&self, line: &Line<'_>) -> WriteOutcome {
        let mut buffer = self.buffer.borrow_mut();
        let first = buffer.is_empty();
        line.write_to(&mut buffer);
        if buffer.len() >= BLOCK {
            drop(buffer);
            self.flush()
        } else if first {
            WriteOutcome::First
        } else {
            WriteOutcome::Queued
        }
    }

    /// Hands over the buffer.
    pub fn flush(&self) -> WriteOutcome {
        let block = self.buffer.replace(Vec::with_capacity(BLOCK));
        if block.is_empty() {
            return WriteOutcome::Queued;
        }
        match self.writer.try_send(Message::Block(block)) {
            Ok(()) => WriteOutcome::Queued,
            Err(TrySendError::Full(Message::Block(block))) => {
                let lines = block.iter().filter(|&&byte| byte == b'\n').count();
                WriteOutcome::Dropped(lines.try_into().unwrap_or(u64::MAX))
            }
            Err(_) => WriteOutcome::Queued,
        }
    }
}

impl Line<'_> {
    fn write_to(&self, out: &mut Vec<u8>) {
        let line = serde_json::json!({
            "time": self.time.to_string(), "client": self.client, "method": self.method, "host": self.host,
            "path": self.path, "version": self.version, "route": self.route, "verdict": self.verdict,
            "generation": self.generation, "status": self.status, "bytes": self.bytes, "micros": self.micros,
            "upstream": self.upstream, "id": self.id, "error": self.error,
        });
        // Writing to a vector does not fail.
        let _ = writeln!(out, "{line}");
    }
}

/// Opens the output. Standard output is used as a plain file. The process's own handle has a lock, which a blocked pipe
/// would still hold when the process ends.
fn open(file: Option<&PathBuf>) -> io::Result<File> {
    match file {
        None => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Some(path) => OpenOptions::new().create(true).append(true).open(path),
    }
}

/// Runs the writing thread. A full disk costs lines, never requests. The first failure in a row is logged.
fn write(file: Option<&PathBuf>, mut output: File, messages: &Receiver<Message>) {
    let mut failing = false;
    while let Ok(message) = messages.recv() {
        let done = match message {
            Message::Block(block) => output.write_all(&block),
            Message::Reopen => open(file).map(|opened| output = opened),
            Message::End => return,
        };
        match done {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "access log cannot be written");
            }
            Err(_) => {}
        }
    }
}

/// Bytes that a worker collects before it hands them over.
const BLOCK: usize = 32 * 1024;

/// Blocks that may wait for the writer.
const QUEUED_BLOCKS: usize = 64;

/// Time that the process waits for the output when it ends.
const FINISH_PATIENCE: Duration = Duration::from_secs(2);
const FINISH_STEP: Duration = Duration::from_millis(10);
