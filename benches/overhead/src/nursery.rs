//! The processes that the bench starts. All are ended and reaped when the bench ends, for whatever reason.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Child processes, and the folder of their files. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Nursery(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    children: Vec<Child>,
    /// Removed when the bench ends.
    folder: Option<TempDir>,
}

impl Inner {
    /// Ends all children, at the same time, and removes their files.
    fn clear(&mut self) {
        for child in &self.children {
            Nursery::signal(child.id(), Signal::TERM);
        }
        self.children.iter_mut().for_each(end);
        self.children.clear();
        drop(self.folder.take());
    }
}

/// Result of a command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit status.
    pub(crate) status: ExitStatus,
    /// Standard output and standard error.
    pub(crate) text: String,
}

impl Nursery {
    /// Makes an empty nursery, which ends its children when SIGINT or SIGTERM ends the bench.
    ///
    /// # Errors
    /// If no temporary folder can be made, or no thread started.
    pub(crate) fn new() -> io::Result<Self> {
        let folder = Some(tempfile::Builder::new().prefix("overhead-").tempdir()?);
        let nursery = Self(Arc::new(Mutex::new(Inner { children: Vec::new(), folder })));
        nursery.clone().end_on_signals()?;
        Ok(nursery)
    }

    /// Returns a path in the folder of the children's files.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.with(|inner| inner.folder.as_ref().map(|folder| folder.path().join(name))).unwrap_or_default()
    }

    /// Starts a process that runs until it is ended. Its output goes to a file in the folder.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> io::Result<u32> {
        let log = File::create(self.path(&format!("{name}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(self.adopt(child))
    }

    /// Starts a process that prints its port in the first line of its output.
    ///
    /// # Errors
    /// If it cannot be started or prints something else.
    pub(crate) fn start_and_ask_port(&self, command: &mut Command) -> io::Result<(u32, u16)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let pid = self.adopt(child);
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| io::Error::other("a child did not say its port"))?;
        Ok((pid, port))
    }

    /// Runs a command to its end, and kills it when it takes longer than `patience`.
    ///
    /// # Errors
    /// If it cannot be started or had to be killed.
    pub(crate) fn run(&self, command: &mut Command, patience: Duration) -> io::Result<Finished> {
        let path = self.path(&format!("run-{:?}.log", thread::current().id()));
        let log = File::create(&path)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let pid = self.adopt(child);
        let status = self.wait(pid, patience)?;
        Ok(Finished { status, text: String::from_utf8_lossy(&fs::read(&path)?).into_owned() })
    }

    /// Waits for a child to end by itself.
    ///
    /// # Errors
    /// If it had to be killed.
    pub(crate) fn wait(&self, pid: u32, patience: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.reap(pid)? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.end(pid);
                return Err(io::Error::other(format!("process {pid} did not end within {patience:?}")));
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to a child.
    pub(crate) fn signal(pid: u32, signal: Signal) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // The child may be gone already.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends a child, first by asking, and reaps it.
    pub(crate) fn end(&self, pid: u32) {
        let child = self.with(|inner| {
            let at = inner.children.iter().position(|child| child.id() == pid)?;
            Some(inner.children.swap_remove(at))
        });
        if let Some(mut child) = child {
            end(&mut child);
        }
    }

    /// Returns the end of a child's log, which may tell why it did not start.
    pub(crate) fn log(&self, name: &str) -> String {
        read_end(&self.path(&format!("{name}.log")))
    }

    fn adopt(&self, child: Child) -> u32 {
        let pid = child.id();
        self.with(|inner| inner.children.push(child));
        pid
    }

    fn reap(&self, pid: u32) -> io::Result<Option<ExitStatus>> {
        self.with(|inner| {
            let Some(at) = inner.children.iter().position(|child| child.id() == pid) else {
                return Err(io::Error::other(format!("process {pid} is not ours")));
            };
            let status = inner.children.get_mut(at).map(Child::try_wait).transpose()?.flatten();
            if status.is_some() {
                drop(inner.children.swap_remove(at));
            }
            Ok(status)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end_on_signals(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            runtime.block_on(signalled());
            self.with(|inner| {
                inner.clear();
                // Still under the lock, so that no other child is started in the meantime.
                std::process::exit(INTERRUPTED)
            })
        };
        // The thread is detached: it must live until the process ends.
        thread::Builder::new().name("signals".into()).spawn(work).map(drop)
    }
}

/// Guard that ends all children at the end of its scope. The nursery's own drop would never come: the thread that waits
/// for signals holds a clone.
#[derive(Debug)]
pub(crate) struct Guard(pub Nursery);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.with(Inner::clear);
    }
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// SIGTERM first: nginx's master takes its workers along.
fn end(child: &mut Child) {
    Nursery::signal(child.id(), Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => thread::sleep(POLL),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    for worker in crate::proc::children(child.id()) {
        Nursery::signal(worker, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn read_end(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

const POLL: Duration = Duration::from_millis(5);
/// Time in which a child must end after SIGTERM. backsoon closes idle connections for three seconds.
const GRACE: Duration = Duration::from_secs(6);
/// Exit code that shells report for a process ended by Ctrl-C.
const INTERRUPTED: i32 = 130;
const LOG_LINES: usize = 10;
