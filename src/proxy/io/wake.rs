//! Wake-ups that a task can do without.
//!
//! hyper wakes the task that drives a connection whenever a frame of a body was taken, so that the task reads on. hyper
//! does that even if the task has read the whole body, or takes the frame itself. The task would then be polled for
//! nothing, at least once a request.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

/// Outcome of asking for a frame.
type Taken = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

/// Waker of a task that drives a connection, as hyper sees it. It waits while a frame is taken.
struct Driver {
    task: Waker,
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        if !HOLDS_BACK.get() {
            return self.task.wake_by_ref();
        }
        if let Some(other) = HELD_BACK.replace(Some(self)) {
            other.task.wake_by_ref();
        }
    }
}

thread_local! {
    /// True while a frame is taken.
    static HOLDS_BACK: Cell<bool> = const { Cell::new(false) };

    /// The driver that would have been woken meanwhile.
    static HELD_BACK: Cell<Option<Arc<Driver>>> = const { Cell::new(None) };
}

/// The waker that a task gives to hyper. It is made once, and again if the task's own waker changes.
#[derive(Default)]
pub(crate) struct DriverWaker(Option<(Waker, Waker)>);

impl DriverWaker {
    /// Returns the waker for the task that runs.
    pub(crate) fn of(&mut self, cx: &Context<'_>) -> &Waker {
        let known = self.0.take().filter(|(task, _)| task.will_wake(cx.waker()));
        let both = known.unwrap_or_else(|| {
            let task = cx.waker().clone();
            (task.clone(), Arc::new(Driver { task }).into())
        });
        &self.0.insert(both).1
    }
}

/// Holds wake-ups of drivers back until it is dropped.
struct HoldBack;

impl HoldBack {
    fn begin() -> Self {
        HOLDS_BACK.set(true);
        Self
    }
}

impl Drop for HoldBack {
    fn drop(&mut self) {
        HOLDS_BACK.set(false);
    }
}

/// Takes a frame of a body of known length, and wakes the task that reads the body unless this frame was the last.
pub(crate) fn take_frame(incoming: &mut Incoming, cx: &mut Context<'_>) -> Taken {
    let taken = take_unwoken(incoming, cx);
    if let Some(driver) = HELD_BACK.take()
        && !incoming.is_end_stream()
    {
        driver.task.wake_by_ref();
    }
    taken
}

/// Takes a frame in the task that reads the body. That task polls hyper again after each frame, and takes the next one
/// after it has polled hyper, so neither has to wake it. Only a body that nobody has asked for yet has to be asked for.
pub(crate) fn take_own_frame(incoming: &mut Incoming) -> Taken {
    let taken = take_unwoken(incoming, &mut Context::from_waker(Waker::noop()));
    if let Some(driver) = HELD_BACK.take()
        && taken.is_pending()
    {
        driver.task.wake_by_ref();
    }
    taken
}

fn take_unwoken(incoming: &mut Incoming, cx: &mut Context<'_>) -> Taken {
    let _held_back = HoldBack::begin();
    Pin::new(incoming).poll_frame(cx)
}

/// Polls hyper, and has `pump` take the frames that it reads. Ready when hyper is done.
pub(crate) fn poll_pumped<T>(cx: &Context<'_>, mut hyper: impl FnMut() -> Poll<T>, pump: impl Fn() -> bool) -> Poll<T> {
    for _ in 0..MOST_PUMPED {
        if let Poll::Ready(done) = hyper() {
            return Poll::Ready(done);
        }
        if !pump() {
            return Poll::Pending;
        }
    }
    // There may be more, but others have to have their turn.
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Most frames that are read from a connection in one turn of its task.
const MOST_PUMPED: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Task that counts its wake-ups.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Task {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn driver(task: &Arc<Task>) -> Waker {
        let task = Waker::from(Arc::clone(task));
        DriverWaker::default().of(&Context::from_waker(&task)).clone()
    }

    #[test]
    fn a_task_keeps_its_waker() {
        let (task, other) = (Waker::from(Arc::<Task>::default()), Waker::from(Arc::<Task>::default()));
        let mut waker = DriverWaker::default();
        let first = waker.of(&Context::from_waker(&task)).clone();
        assert!(first.will_wake(waker.of(&Context::from_waker(&task))));
        assert!(!first.will_wake(waker.of(&Context::from_waker(&other))));
    }

    #[test]
    fn a_wake_up_is_held_back_while_a_frame_is_taken() {
        let (one, two) = (Arc::<Task>::default(), Arc::<Task>::default());
        let held_back = HoldBack::begin();
        driver(&one).wake();
        assert_eq!(one.woken(), 0);
        driver(&two).wake();
        assert_eq!((one.woken(), two.woken()), (1, 0), "only one has a frame taken");
        drop(held_back);
        driver(&two).wake();
        assert_eq!(two.woken(), 1);
        if let Some(driver) = HELD_BACK.take() {
            driver.task.wake_by_ref();
        }
        assert_eq!(two.woken(), 2);
    }

    #[test]
    fn a_body_without_end_lets_others_have_their_turn() {
        let task = Arc::<Task>::default();
        let waker = Waker::from(Arc::clone(&task));
        let (cx, polls) = (Context::from_waker(&waker), Cell::new(0));
        let hyper = || {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        };
        assert!(poll_pumped(&cx, hyper, || false).is_pending());
        assert_eq!((polls.get(), task.woken()), (1, 0), "hyper waits for more");
        assert!(poll_pumped(&cx, hyper, || true).is_pending());
        assert_eq!((polls.get(), task.woken()), (1 + MOST_PUMPED, 1), "there may be more");
    }
}
