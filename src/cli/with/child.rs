//! Process of the command: its start, its signals and its end.
//!
//! If backsoon is in the foreground of a terminal, the command shares its process group, so that Ctrl-C and Ctrl-Z reach
//! it from the terminal, and it may read. Otherwise it gets a group of its own, and signals go to the whole group: a shell
//! script does not end and leave its commands behind.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::SyncSender;
use std::thread;

use rustix::io::Errno;
use rustix::process::{self, Pid, Signal, WaitId, WaitIdOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::Event;

/// Process of the command.
pub(super) struct Child {
    process: std::process::Child,
    group: Group,
}

/// Process group of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Group of this process, which is in the foreground of a terminal.
    Shared,
    /// One of its own.
    Own,
}

impl Child {
    /// Starts a command. Its end is told as an event, and it is not reaped before [`Child::status`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(words: &[OsString], events: &SyncSender<Event>) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments);
        let group = if is_in_foreground() { Group::Shared } else { Group::Own };
        if group == Group::Own {
            command.process_group(0);
        }
        let process = command.spawn()?;
        let (pid, events) = (Pid::from_child(&process), events.clone());
        thread::spawn(move || {
            let ended = || process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            while ended().is_err_and(|error| error == Errno::INTR) {}
            // Without a receiver this process is at its end.
            let _ = events.send(Event::Ended);
        });
        Ok(Self { process, group })
    }

    /// Returns true if the command has a signal from the terminal already.
    pub(super) fn has_from_terminal(&self, number: i32) -> bool {
        self.group == Group::Shared && [Signal::INT, Signal::QUIT].iter().any(|signal| signal.as_raw() == number)
    }

    /// Passes a signal on.
    pub(super) fn pass_on(&self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            self.send(signal);
        }
    }

    /// Ends the command at once.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        // It is not reaped yet, so no other process has its number. One that has ended needs no signal.
        let _ = match self.group {
            Group::Shared => process::kill_process(pid, signal),
            Group::Own => process::kill_process_group(pid, signal),
        };
    }

    /// Returns the status of a command that has ended.
    pub(super) fn status(mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }
}

/// Returns the exit code that stands for a status.
pub(super) fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        (None, signal) => code_of_signal(signal.unwrap_or_default()),
    }
}

/// Returns the exit code that stands for a signal, as shells have it.
pub(super) fn code_of_signal(number: i32) -> u8 {
    u8::try_from(number.saturating_add(128)).unwrap_or(u8::MAX)
}

/// Makes events of signals from now on. A signal that was ignored before, as below `nohup`, stays so.
///
/// # Errors
/// If the system refuses.
pub(super) fn watch_signals(events: &SyncSender<Event>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let mut tasks = JoinSet::new();
    let entered = runtime.enter();
    for number in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].map(Signal::as_raw) {
        if ignored >> (number - 1) & 1 == 1 {
            continue;
        }
        let (mut stream, events) = (signal(SignalKind::from_raw(number))?, events.clone());
        tasks
            .spawn(async move { while stream.recv().await.is_some() && events.send(Event::Signal(number)).is_ok() {} });
    }
    drop(entered);
    thread::spawn(move || runtime.block_on(tasks.join_all()));
    Ok(())
}

/// Returns the signals that a process ignores, one bit each, by its status in proc(5).
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Returns true if this process is in the foreground of its terminal.
fn is_in_foreground() -> bool {
    fs::read_to_string("/proc/self/stat").is_ok_and(|stat| has_foreground(&stat))
}

/// Returns true if a process is in the foreground of its terminal, by its line in proc(5).
fn has_foreground(stat: &str) -> bool {
    // The name of the program may hold anything, and ends with the last bracket.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().skip(2);
    let (group, _session, terminal, foreground) = (fields.next(), fields.next(), fields.next(), fields.next());
    terminal.is_some_and(|terminal| terminal != "0") && group.is_some() && group == foreground
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_the_foreground_if_its_group_has_the_terminal() {
        assert!(has_foreground("41 (back) soon) S 7 41 7 34816 41 4194304 1"));
        assert!(!has_foreground("41 (backsoon) S 7 41 7 34816 99 4194304 1"));
        assert!(!has_foreground("41 (backsoon) S 7 41 7 0 -1 4194304 1"));
        assert!(!has_foreground(""));
    }

    #[test]
    fn ignored_signals_are_known() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
