//! The access log: one JSON line a request, gathered by each worker and written by one thread of its own.
//!
//! A worker never waits for the disk: it hands over whole blocks, and where the writer cannot keep up, blocks are
//! dropped and counted.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// What a line says.
#[derive(Debug)]
pub struct Line<'l> {
    /// RFC 3339, UTC.
    pub time: jiff::Timestamp,
    /// The client's address, believed from trusted proxies only.
    pub client: &'l str,
    /// The method.
    pub method: &'l str,
    /// The host, as it came.
    pub host: &'l str,
    /// The path, without the query: queries carry secrets.
    pub path: &'l str,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: &'l str,
    /// The route's name, if one matched.
    pub route: Option<&'l str>,
    /// The verdict's word.
    pub verdict: &'l str,
    /// The generation it was decided by.
    pub generation: u64,
    /// The status sent.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// From the head's arrival to the body's end.
    pub micros: u64,
    /// Which upstream answered, if one did.
    pub upstream: Option<&'l str>,
    /// The request id.
    pub id: &'l str,
    /// How it ended, unless well: `aborted`, or what failed.
    pub error: Option<&'l str>,
}

/// A worker's end: a buffer that is handed over when it is full or has waited long enough.
#[derive(Debug)]
pub struct AccessLog {
    writer: SyncSender<Message>,
    buffer: RefCell<Vec<u8>>,
}

/// The handle of the writing thread.
#[derive(Debug)]
pub struct AccessWriter {
    sender: SyncSender<Message>,
    /// Hangs up when the thread ends.
    ended: Receiver<()>,
}

#[derive(Debug)]
enum Message {
    Block(Vec<u8>),
    Reopen,
    End,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It waits in a buffer that was empty before: somebody should flush in a while.
    First,
    /// It waits behind others, or was handed over.
    Queued,
    /// This many lines were dropped.
    Dropped(u64),
}

impl AccessWriter {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
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

    /// A worker's end.
    pub fn log(&self) -> AccessLog {
        AccessLog { writer: self.sender.clone(), buffer: RefCell::default() }
    }

    /// Opens the file anew: after it was rotated.
    pub fn reopen(&self) {
        // A full queue means the writer is behind; it will be told at the next rotation.
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Writes what is queued and ends. The workers' ends must be gone or idle. An output that takes nothing any more (a
    /// pipe that nobody reads) is given up after a moment: it must not keep the process from ending.
    pub fn finish(self) {
        let deadline = Instant::now() + FINISH_PATIENCE;
        while let Err(TrySendError::Full(_)) = self.sender.try_send(Message::End) {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(FINISH_STEP);
        }
        // It hangs up when it ends.
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

    /// Hands over what has gathered.
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

/// Opens what the log goes to. Standard output is taken as a plain file: the process's own handle has a lock, which a
/// pipe that nobody reads would hold when the process ends.
fn open(file: Option<&PathBuf>) -> io::Result<File> {
    match file {
        None => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Some(path) => OpenOptions::new().create(true).append(true).open(path),
    }
}

/// The writing thread. A disk that is full or gone costs lines, never requests; it is said once for each spell.
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

/// Bytes that a worker gathers before it hands them over.
const BLOCK: usize = 32 * 1024;

/// Blocks that may wait for the writer.
const QUEUED_BLOCKS: usize = 64;

/// How long the end of the process waits for the output.
const FINISH_PATIENCE: Duration = Duration::from_secs(2);
const FINISH_STEP: Duration = Duration::from_millis(10);
