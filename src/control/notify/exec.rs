//! Programs that are told of events: run without a shell, within a time, and killed with their process group.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use crate::plan::notify::OperatorEvent;
use crate::plan::words::harmless;

use super::outcome::{Failure, Next, Told};

/// Runs a program for an event, with the event's JSON on standard input.
///
/// # Errors
/// If it cannot be started, ends with another code than 0, or takes too long.
pub(super) async fn run(
    program: &Path,
    event: &OperatorEvent,
    replica: &str,
    language: Option<&str>,
    within: Duration,
) -> Result<Told, Failure> {
    let failed = |why: String| Failure { why, next: Next::Again(None) };
    let started = start(program, event, replica).map_err(|error| failed(format!("it cannot be run: {error}")))?;
    let Started { mut running, input, mut output } = started;
    let json = format!("{}\n", event.json(replica, language));
    let mut read = Vec::new();
    let ended = {
        let io = async { tokio::join!(feed(input, json.as_bytes()), collect(&mut output, &mut read)) };
        timeout(within, until_exit(&mut running, io)).await
    };
    let (status, why) = match ended {
        Ok(Ok(status)) => (Some(status), None),
        Ok(Err(error)) => (None, Some(format!("it cannot be waited for: {error}"))),
        Err(_) => (None, Some(format!("it was killed after {within:?}"))),
    };
    if status.is_none() {
        running.stop().await;
    }
    let text = harmless(String::from_utf8_lossy(&read).trim());
    let code = status.and_then(|status| status.code());
    let path = program.display().to_string();
    tracing::info!(program = path, event = event.kind.as_str(), code, output = text, "a program was run for an event");
    match status {
        Some(status) if status.success() => Ok(Told("ended with code 0".to_owned())),
        Some(status) => Err(failed(ending(status))),
        None => Err(failed(why.unwrap_or_default())),
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended without a code".to_owned(),
    }
}

/// Program with the pipes to and from it.
struct Started {
    running: Running,
    input: pipe::Sender,
    output: pipe::Receiver,
}

/// Running program. Dropping it kills its process group.
struct Running {
    child: Child,
    is_over: bool,
}

fn start(program: &Path, event: &OperatorEvent, replica: &str) -> io::Result<Started> {
    let (output, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.current_dir("/").env_clear().process_group(0).stdin(Stdio::piped());
    command.stdout(writer.try_clone()?).stderr(writer);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH)));
    command.env("BACKSOON_EVENT", event.kind.as_str()).env("BACKSOON_ROUTES", event.routes());
    command.env("BACKSOON_WINDOW", event.window_id().unwrap_or_default());
    command.env("BACKSOON_ID", event.id(replica).as_str()).env("BACKSOON_REPLICA", replica.replace('\0', ""));
    let mut child = command.spawn()?;
    // The command holds our copies of the program's end of the pipe.
    drop(command);
    let input = child.stdin.take();
    let running = Running { child, is_over: false };
    let input = input.ok_or_else(|| io::Error::other("no standard input"))?;
    let input = pipe::Sender::from_owned_fd(OwnedFd::from(input))?;
    Ok(Started { running, input, output: pipe::Receiver::from_owned_fd(OwnedFd::from(output))? })
}

/// Writes the event. A program that does not read it has its reasons.
async fn feed(mut input: pipe::Sender, json: &[u8]) {
    let _ = input.write_all(json).await;
}

/// Reads all output, and keeps its beginning.
async fn collect(output: &mut pipe::Receiver, kept: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(read) = output.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let room = MOST_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

/// Waits for the end of a program while its pipes are served. Others that it started may keep the pipes open, and are not
/// waited for.
async fn until_exit(running: &mut Running, io: impl Future) -> io::Result<ExitStatus> {
    let mut io = std::pin::pin!(io);
    let status = tokio::select! {
        status = running.exited() => status?,
        _ = &mut io => return running.exited().await,
    };
    let _ = timeout(LAST_OUTPUT, io).await;
    Ok(status)
}

impl Running {
    /// Waits for the end. It is looked for: tokio's own way would need a handler of SIGCHLD, and an event on a descriptor
    /// of the process `unsafe`.
    async fn exited(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.is_over = true;
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the process group, at first with a signal that can be handled.
    async fn stop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::TERM);
        let _ = timeout(LAST_WORD, self.exited()).await;
        let _ = kill_process_group(group, Signal::KILL);
        if !self.is_over {
            let _ = timeout(LAST_WORD, self.exited()).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        // The process ends soon, or is reaped by the one after it.
        let _ = self.child.try_wait();
    }
}

/// Path of a process that has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of output that are logged.
const MOST_OUTPUT: usize = 4096;
/// Time for output after the end of the program.
const LAST_OUTPUT: Duration = Duration::from_millis(200);
/// Time between the signal that can be handled and the one that cannot.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Time between two looks for the end of a program.
const LOOK_EVERY: Duration = Duration::from_millis(20);
