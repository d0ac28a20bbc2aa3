//! The finisher completes pages after their publication, on a thread of its own.
//!
//! A page is published in a form that every client can read. Compressed forms, and most other languages, take longer to
//! make than a switch should take, so they follow. The thread has a lower priority than the workers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, mem};

use crate::plan::page::{Page, Renderer};
use crate::plan::snapshot::Snapshot;

/// Handle of the finishing thread. Dropping it ends the thread.
pub(super) struct Finisher {
    queue: Arc<FinishQueue>,
    thread: Option<JoinHandle<()>>,
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
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start one.
    pub(super) fn start() -> io::Result<Self> {
        let queue = Arc::new(FinishQueue::default());
        let shared = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("finisher".to_owned()).spawn(move || {
            // If the priority cannot be lowered, the thread works all the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Some(unfinished) = shared.take() {
                match unfinished {
                    Unfinished::Errors(renderer) => renderer.finish(),
                    Unfinished::Page(page) => page.finish(),
                }
            }
        })?;
        Ok(Self { queue, thread: Some(thread) })
    }

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
        // Keep the old batch until the lock is released, and drop it then.
        let _old = mem::replace(&mut self.queue.work().pages, pages);
        self.queue.available.notify_one();
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        self.queue.work().closed = true;
        self.queue.available.notify_one();
        if let Some(thread) = self.thread.take() {
            // Joining fails only after a panic, which was logged.
            let _ = thread.join();
        }
    }
}

impl FinishQueue {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a page. Returns `None` once the finisher was dropped.
    fn take(&self) -> Option<Unfinished> {
        let idle = |work: &mut Work| work.pages.is_empty() && !work.closed;
        let mut work = self.available.wait_while(self.work(), idle).unwrap_or_else(PoisonError::into_inner);
        if work.closed { None } else { work.pages.pop() }
    }
}

/// Niceness of the thread, so that the workers come first.
const NICE: i32 = 10;
/// Pages of one snapshot, times the languages, that are finished; others stay as published. With twelve languages these are
/// 64 pages of up to three megabytes.
const MOST_FINISHED: usize = 768;
