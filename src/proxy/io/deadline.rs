//! A deadline that costs nothing while it moves.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep};

/// A deadline that moves all the time and is looked at seldom: the timer is set again only when it has run out or
/// when the deadline has come nearer. It belongs to one task for its life.
#[derive(Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    /// True once the timer has the task's waker.
    watched: bool,
}

impl Deadline {
    /// Returns true if it is known that nothing is due yet.
    pub(crate) fn rests(&self) -> bool {
        self.watched && self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed())
    }

    /// Ready when `due` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        let Some(due) = due else {
            return Poll::Pending;
        };
        loop {
            if self.armed.is_none_or(|armed| armed > due) {
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(due),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(due))),
                }
                self.armed = Some(due);
                self.watched = false;
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            // To ask whether it has run out is much cheaper than to poll it.
            if self.watched && !timer.is_elapsed() {
                return Poll::Pending;
            }
            // A task that has used up its turn gets no timer: it is polled again.
            self.watched = has_budget_remaining();
            std::task::ready!(timer.as_mut().poll(cx));
            self.armed = None;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
        }
    }
}

/// A note for the driver of a [`Deadline`], which sleeps while nothing can become due.
#[derive(Debug, Default)]
pub(crate) struct DeadlineHint {
    /// Nothing is due, so nobody looks until this is cleared.
    asleep: Cell<bool>,
    /// The deadline may have come nearer.
    changed: Cell<bool>,
}

impl DeadlineHint {
    /// Has the driver look if it sleeps: something may become due.
    pub(crate) fn stir(&self) {
        if self.asleep.take() {
            self.changed.set(true);
        }
    }

    /// Has the driver look in any case: the deadline has come nearer.
    pub(crate) fn change(&self) {
        self.changed.set(true);
    }

    /// Notes that nothing is due.
    pub(crate) fn sleep(&self) {
        self.asleep.set(true);
    }

    /// Returns true if there is no need to look at the deadline. A change is told once.
    pub(crate) fn rests(&self, deadline: &Deadline) -> bool {
        (self.asleep.get() || deadline.rests()) && !self.changed.take()
    }
}
