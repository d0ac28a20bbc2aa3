//! Chores: work that needs much memory for a moment, done on a thread that ends afterwards.
//!
//! The allocator keeps what a thread has freed, for as long as that thread runs. Control's own thread runs to the end of the
//! process and is mostly at rest, so what it has once used would stay with it.

use std::io;
use std::sync::mpsc::sync_channel;

use super::finisher::UNTIL_FREE;

/// Does work on a thread of its own, with this much stack, and waits for the outcome.
///
/// # Errors
/// If the system cannot start a thread, or the work panicked.
pub(super) fn run<T: Send + 'static>(stack: usize, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = sync_channel(1);
    std::thread::Builder::new().name("chore".to_owned()).stack_size(stack).spawn(move || {
        // Nobody waits any more if the process ends.
        let _ = tell.send(work());
        // Whoever waits has the outcome already.
        std::thread::sleep(UNTIL_FREE);
    })?;
    told.recv().map_err(|_| io::Error::other("a bug ended the thread"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chore_brings_back_its_outcome_or_its_failure() {
        assert_eq!(run(1 << 16, || 7).unwrap(), 7);
        let failed = run(1 << 20, || std::panic::resume_unwind(Box::new("on purpose")));
        let failed: io::Result<()> = failed;
        assert!(failed.unwrap_err().to_string().contains("a bug"));
    }
}
