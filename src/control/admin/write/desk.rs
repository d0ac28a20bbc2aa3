//! Desk at which edits are made: a thread of its own, one edit at a time. Control never waits for it.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::oneshot;

use super::refusal::Refusal;

type Job = Box<dyn FnOnce() + Send>;

/// Desk with a short queue. Its thread begins with the first edit.
#[derive(Default)]
pub(super) struct Desk(RefCell<Option<SyncSender<Job>>>);

impl Desk {
    /// Has work done, and waits for its outcome. Work for which nobody waits any more when its turn comes is left out.
    ///
    /// # Errors
    /// If too much waits already, or it takes too long.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let begun = Arc::new(AtomicBool::new(false));
        let (tell, told) = oneshot::channel();
        let begins = Arc::clone(&begun);
        let job: Job = Box::new(move || {
            if !tell.is_closed() {
                begins.store(true, Ordering::Release);
                // Whoever waited may have gone meanwhile.
                let _ = tell.send(work());
            }
        });
        self.queue(job)?;
        let outcome = tokio::time::timeout(PATIENCE, told).await;
        match outcome {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug ended the edit")),
            Err(_) if begun.load(Ordering::Acquire) => {
                let detail = format!("the edit is still under way after {} s", PATIENCE.as_secs());
                let help = "it may be written or not: look with GET before you try again";
                Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, detail).help(help))
            }
            Err(_) => Err(busy()),
        }
    }

    fn queue(&self, job: Job) -> Result<(), Refusal> {
        let mut desk = self.0.borrow_mut();
        let job = match &*desk {
            Some(queue) => match queue.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(busy()),
                // A bug has ended the thread.
                Err(TrySendError::Disconnected(job)) => job,
            },
            None => job,
        };
        let queue = start().map_err(|error| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("the system gives no thread: {error}")).later()
        })?;
        let sent = queue.try_send(job).map_err(|_| busy());
        *desk = Some(queue);
        sent
    }
}

fn start() -> io::Result<SyncSender<Job>> {
    let (send, receive) = sync_channel::<Job>(MOST_WAITING);
    std::thread::Builder::new().name("edits".to_owned()).spawn(move || work(&receive))?;
    Ok(send)
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job();
    }
}

fn busy() -> Refusal {
    let detail = "other edits are being made, and too many wait already";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail).help("nothing was written; try again").later()
}

/// Edits that wait, besides the one that is being made.
const MOST_WAITING: usize = 8;
/// Time for an edit with its wait. A lock may be held for 30 s, and an engine be silent for 15 s.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_waits_in_a_short_queue_and_a_bug_ends_one_edit_alone() {
        let desk = Desk::default();
        let (release, held) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let first = desk.run(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
            0
        });
        tokio::pin!(first);
        let waits = tokio::time::timeout(Duration::from_millis(1), &mut first).await;
        assert!(waits.is_err());
        begins.recv().unwrap();
        let mut others: Vec<_> = (1..=MOST_WAITING).map(|number| Box::pin(desk.run(move || number))).collect();
        for other in &mut others {
            assert!(tokio::time::timeout(Duration::from_millis(1), other).await.is_err());
        }
        let refused = desk.run(|| 0).await.unwrap_err();
        assert_eq!(refused.response().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(others.pop());
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), 0);
        for (number, other) in others.into_iter().enumerate() {
            assert_eq!(other.await.unwrap(), number + 1);
        }
        let bug = desk.run(|| std::panic::resume_unwind(Box::new("on purpose"))).await;
        let bug: Result<(), _> = bug;
        assert_eq!(bug.unwrap_err().response().status(), StatusCode::INTERNAL_SERVER_ERROR);
        // The thread needs a moment to end.
        let mut again = desk.run(|| 7).await;
        while again.is_err() {
            again = desk.run(|| 7).await;
        }
        assert_eq!(again.unwrap(), 7);
    }
}
