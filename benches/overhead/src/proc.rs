//! The kernel's data about a process: CPU time, memory, children.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time that a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// All threads, in nanoseconds of the scheduler.
    pub(crate) total: Duration,
    /// In user mode, in ticks of the clock: coarser than `total`.
    pub(crate) user: u64,
    /// In the kernel, likewise.
    pub(crate) system: u64,
}

impl Cpu {
    /// Reads what a process has used so far.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        let ticks = |at: usize| fields.as_ref()?.get(at)?.parse::<u64>().ok();
        let (user, system) = (ticks(11).unwrap_or(0), ticks(12).unwrap_or(0));
        let total = scheduled(pid)?.unwrap_or(Duration::from_millis((user + system) * TICK_MILLISECONDS));
        Ok(Self { total, user, system })
    }

    /// Returns the use between an earlier reading and this one.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// Returns the nanoseconds of all threads; `None` if the kernel does not keep them.
fn scheduled(pid: u32) -> io::Result<Option<Duration>> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { return Ok(None) };
        let Some(Ok(nanoseconds)) = text.split_whitespace().next().map(str::parse::<u64>) else { return Ok(None) };
        sum += nanoseconds;
    }
    Ok(Some(Duration::from_nanos(sum)))
}

/// Returns the bytes that a process has in memory.
///
/// # Errors
/// If there is no such process.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map(|kib: u64| kib * 1024).ok_or_else(|| io::Error::other("smaps_rollup has no Rss"))
}

/// Returns the children of a process's main thread.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// USER_HZ is 100 on every Linux that Rust runs on.
const TICK_MILLISECONDS: u64 = 10;
