//! Choice among a route's upstreams: the less busy of two, drawn at random from those that answer.

use std::rc::Rc;

use tokio::time::Instant;

use crate::live::Generation;
use crate::plan::snapshot::Route;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::worker::Worker;

/// Upstreams of a route on which a request has not been tried yet.
pub(crate) enum Candidates {
    /// The common case: there is nothing to choose and nothing to allocate.
    One(Option<Rc<Pool>>),
    Many(Vec<Rc<Pool>>),
}

impl Candidates {
    pub(crate) fn new(worker: &Worker, generation: &Generation, route: &Route) -> Self {
        match &*route.in_use {
            [only] => Self::One(Some(worker.pool(generation, *only))),
            many => Self::Many(many.iter().map(|&index| worker.pool(generation, index)).collect()),
        }
    }

    /// Takes the next upstream to try. If all are ejected, one is tried nevertheless: it may be back.
    pub(crate) fn next(&mut self) -> Option<Rc<Pool>> {
        match self {
            Self::One(pool) => pool.take(),
            Self::Many(pools) if pools.is_empty() => None,
            Self::Many(pools) => {
                let index = choose(pools, Instant::now());
                Some(pools.swap_remove(index))
            }
        }
    }
}

/// Returns the index of the less busy of two upstreams that are drawn at random, or of the only one.
fn choose(pools: &[Rc<Pool>], now: Instant) -> usize {
    let answering: Vec<usize> = (0..pools.len()).filter(|&index| !pools[index].health.ejected(now)).collect();
    let among = if answering.is_empty() { (0..pools.len()).collect() } else { answering };
    let first = fastrand::usize(..among.len());
    let second = (first + fastrand::usize(..among.len().max(2) - 1) + 1) % among.len();
    let pending = |at: usize| pools[among[at]].cell().pending.get();
    among[if pending(second) < pending(first) { second } else { first }]
}
