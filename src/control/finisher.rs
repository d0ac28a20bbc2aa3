//! The finisher completes pages after their publication, on a thread of its own.
//!
//! A page is published in a form that every client can read. Compressed forms, and most other languages, take longer to
//! make than a switch should take, so they follow. The thread has a lower priority than the workers. It ends when it has
//! nothing to do, and so gives back the memory that compressing takes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, mem};

use crate::plan::page::{Page, Renderer};
use crate::plan::snapshot::Snapshot;

/// Handle of the finishing thread. After it is dropped, the thread ends with the page at which it works.
#[derive(Default)]
pub(super) struct Finisher {
    queue: Arc<FinishQueue>,
}

/// Queue of pages to finish. A new batch replaces the old one, since it has every page that is still needed.
#[derive(Default)]
struct FinishQueue {
    work: Mutex<Work>,
    available: Condvar,
}

#[derive(Default)]
struct Work {
    /// The most urgent one comes last.
    pages: Vec<Unfinished>,
    /// True while the thread takes pages.
    runs: bool,
    closed: bool,
}

/// Pages to finish.
enum Unfinished {
    /// The pages of a renderer for errors.
    Errors(Arc<Renderer>),
    /// The page of a closed route.
    Page(Arc<Page>),
}

impl Finisher {
    /// Finishes the pages of a snapshot.
    pub(super) fn finish(&self, snapshot: &Snapshot) {
        let languages = |page: &Arc<Page>| page.look.renderer.tags.len();
        let finished: usize = snapshot.pages.values().filter(|page| page.is_finished()).map(languages).sum();
        let unfinished = snapshot.pages.values().filter(|page| !page.is_finished());
        // Pages finished for earlier snapshots count as well; otherwise all pages would be finished over time.
        let unfinished = unfinished.scan(finished, |finished, page| {
            *finished += languages(page);
            (*finished <= MOST_FINISHED).then_some(page)
        });
        let mut renderers = vec![&snapshot.renderer];
        for route in &snapshot.routes {
            if !renderers.iter().any(|known| Arc::ptr_eq(known, &route.renderer)) {
                renderers.push(&route.renderer);
            }
        }
        let renderers = renderers.into_iter().rev().filter(|renderer| !renderer.is_finished());
        let errors = renderers.map(|renderer| Unfinished::Errors(Arc::clone(renderer)));
        let pages = unfinished.map(|page| Unfinished::Page(Arc::clone(page)));
        let pages: Vec<_> = errors.chain(pages).collect();
        self.queue.hand_over(pages);
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        // The thread is not waited for: on a busy machine one page takes seconds, and the process is to end.
        self.queue.work().closed = true;
        self.queue.available.notify_one();
    }
}

impl FinishQueue {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the batch, and starts the thread if none runs.
    fn hand_over(self: &Arc<Self>, pages: Vec<Unfinished>) {
        let mut work = self.work();
        let starts = !work.runs && !pages.is_empty();
        let old = mem::replace(&mut work.pages, pages);
        if starts {
            match self.start() {
                Ok(()) => work.runs = true,
                Err(error) => tracing::warn!(%error, "pages stay uncompressed"),
            }
        }
        drop(work);
        // The old batch is dropped outside of the lock.
        drop(old);
        self.available.notify_one();
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let queue = Arc::clone(self);
        std::thread::Builder::new().name("finisher".to_owned()).spawn(move || {
            // If the priority cannot be lowered, the thread works all the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Some(unfinished) = queue.take() {
                match unfinished {
                    Unfinished::Errors(renderer) => renderer.finish(),
                    Unfinished::Page(page) => page.finish(),
                }
            }
        })?;
        Ok(())
    }

    /// Waits for a page. Returns `None` once the finisher was dropped, or if none has come for a while.
    fn take(&self) -> Option<Unfinished> {
        let idle = |work: &mut Work| work.pages.is_empty() && !work.closed;
        let waited = self.available.wait_timeout_while(self.work(), PATIENCE, idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let next = if work.closed { None } else { work.pages.pop() };
        work.runs = next.is_some();
        next
    }
}

/// Time for which the thread waits for more pages. It is longer than that after which memory can be given back.
const PATIENCE: Duration = UNTIL_FREE.saturating_mul(4);

/// Time after which the end of a thread gives back what the thread has freed. mimalloc waits for 10 ms, in case the memory
/// is needed again.
pub(super) const UNTIL_FREE: Duration = Duration::from_millis(25);
/// Niceness of the thread, so that the workers come first.
const NICE: i32 = 10;
/// Pages of one snapshot, times the languages, that are finished; others stay as published. With twelve languages these are
/// 64 pages of up to three megabytes.
const MOST_FINISHED: usize = 768;
