//! The access log: one line per request, collected by each worker and written by one thread.
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

use crate::plan::config::Log;

use super::line::Line;

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
    pub fn write(&self, line: &Line<'_>, log: &Log) -> WriteOutcome {
        let mut buffer = self.buffer.borrow_mut();
        let first = buffer.is_empty();
        line.write_to(&mut buffer, log);
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
