//! Places of a pool's connections: those that are open, and those that are being opened.

use std::rc::Rc;

use super::pool::Pool;

/// Slot of a connection, one of those that the limits allow. It is freed when the connection ends.
pub(super) struct Slot(Rc<Pool>);

impl Slot {
    pub(super) fn new(pool: &Rc<Pool>) -> Self {
        pool.cell().connections.rise();
        pool.budget.take();
        Self(Rc::clone(pool))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.cell().connections.fall();
        self.0.budget.give_back();
        self.0.freed();
    }
}

/// A connection that is being opened.
pub(super) struct Opening(Rc<Pool>);

impl Opening {
    pub(super) fn new(pool: &Rc<Pool>) -> Self {
        pool.opening.set(pool.opening.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get().saturating_sub(1));
        self.0.freed();
    }
}
