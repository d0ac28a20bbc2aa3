//! The printer: finishes pages behind their publication, on a thread of its own.
//!
//! A page is published with what every client can read. Its compressed forms, and the other languages of all but the
//! first pages, take longer to make than an operator's switch may take, so they follow. The thread is nicer than the workers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, mem};

use crate::plan::page::{Page, Renderer};
use crate::plan::snapshot::Snapshot;

/// Dropped, it ends its thread.
pub(super) struct Finisher {
    queue: Arc<FinishQueue>,
    thread: Option<JoinHandle<()>>,
}

/// Where work is laid down. New work takes the place of old: it has all that is still wanted.
#[derive(Default)]
struct FinishQueue {
    work: Mutex<Work>,
    available: Condvar,
}

#[derive(Default)]
struct Work {
    pages: Vec<(Arc<Renderer>, Arc<Page>)>,
    closed: bool,
}

impl Finisher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system starts none.
    pub(super) fn start() -> io::Result<Self> {
        let queue = Arc::new(FinishQueue::default());
        let shared = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("finisher".to_owned()).spawn(move || {
            // Where that is not allowed, it works all the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Some((renderer, page)) = shared.take() {
                page.finish(&renderer);
            }
        })?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Finishes the pages of what was published.
    pub(super) fn finish(&self, snapshot: &Snapshot) {
        let finished = snapshot.pages.values().filter(|page| page.is_finished()).count();
        let unfinished = snapshot.pages.values().filter(|page| !page.is_finished());
        // Those of earlier publications count: they would add up to all of them.
        let unfinished = unfinished.take(MOST_FINISHED.saturating_sub(finished));
        let pages: Vec<_> = unfinished.map(|page| (Arc::clone(&snapshot.renderer), Arc::clone(page))).collect();
        // What it takes the place of is dropped outside of the lock.
        let _old = mem::replace(&mut self.queue.work().pages, pages);
        self.queue.available.notify_one();
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        self.queue.work().closed = true;
        self.queue.available.notify_one();
        if let Some(thread) = self.thread.take() {
            // It fails only by a panic, which was told.
            let _ = thread.join();
        }
    }
}

impl FinishQueue {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a page; `None` when it is over.
    fn take(&self) -> Option<(Arc<Renderer>, Arc<Page>)> {
        let idle = |work: &mut Work| work.pages.is_empty() && !work.closed;
        let mut work = self.available.wait_while(self.work(), idle).unwrap_or_else(PoisonError::into_inner);
        if work.closed { None } else { work.pages.pop() }
    }
}

/// How much the thread steps back behind the workers.
const NICE: i32 = 10;
/// Pages of one snapshot that are finished; more stay as they were published. A finished page takes up to a
/// megabyte.
const MOST_FINISHED: usize = 128;
