//! Choice among a route's upstreams: the less busy of two, drawn at random from those that answer.

use std::net::IpAddr;
use std::rc::Rc;

use tokio::time::Instant;

use crate::live::Generation;
use crate::plan::client;
use crate::plan::snapshot::{Portion, Route};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::worker::Worker;

/// Upstreams of a route on which a request has not been tried yet.
pub(crate) enum Candidates {
    /// The common case: there is nothing to choose and nothing to allocate.
    One(Option<Rc<Pool>>),
    Many(Vec<Rc<Pool>>),
    /// Upstreams that are not alike, or that clients keep to.
    Portioned(Vec<(Rc<Pool>, Portion)>, Option<IpAddr>),
}

impl Candidates {
    /// Returns the upstreams of a route. `client` is asked only if clients keep to one of them.
    pub(crate) fn new(
        worker: &Worker,
        generation: &Generation,
        route: &Route,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Self {
        match (&*route.in_use, &route.portions) {
            ([only], _) => Self::One(Some(worker.pool(generation, *only))),
            (many, None) => Self::Many(many.iter().map(|&index| worker.pool(generation, index)).collect()),
            (many, Some(portions)) => {
                let pools = many.iter().map(|&index| worker.pool(generation, index));
                let client = if portions.sticky { client().map(client::network) } else { None };
                Self::Portioned(pools.zip(portions.each.iter().copied()).collect(), client)
            }
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
            Self::Portioned(pools, client) => {
                let index = choose_portioned(pools, *client, Instant::now())?;
                Some(pools.swap_remove(index).0)
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

/// Returns the index of an upstream by weight: that of the client, or the less busy of two that are drawn at random.
/// Backups come after all others that answer.
fn choose_portioned(pools: &[(Rc<Pool>, Portion)], client: Option<IpAddr>, now: Instant) -> Option<usize> {
    let answers = |index: &usize| pools.get(*index).is_some_and(|(pool, _)| !pool.health.ejected(now));
    let is_backup = |index: &usize| pools.get(*index).is_some_and(|(_, portion)| portion.backup);
    let (backups, first): (Vec<usize>, Vec<usize>) = (0..pools.len()).partition(is_backup);
    let answering = |of: &[usize]| of.iter().copied().filter(answers).collect::<Vec<_>>();
    let tiers = [answering(&first), answering(&backups), first, backups];
    let among = tiers.into_iter().find(|tier| !tier.is_empty())?;
    let portion = |index: usize| pools.get(index).map(|(_, portion)| *portion);
    if let Some(client) = client {
        let score = |index: usize| portion(index).map_or(0.0, |portion| portion.score(client));
        return among.into_iter().max_by(|one, other| score(*one).total_cmp(&score(*other)));
    }
    let weight = |index: usize| portion(index).map_or(0, |portion| u64::from(portion.weight));
    let one = draw(&among, weight)?;
    let rest: Vec<usize> = among.into_iter().filter(|index| *index != one).collect();
    let Some(other) = draw(&rest, weight) else { return Some(one) };
    // The one with less to do for its weight.
    let pending = |index: usize| pools.get(index).map_or(0, |(pool, _)| pool.cell().pending.get());
    let is_busier = pending(one).saturating_mul(weight(other)) > pending(other).saturating_mul(weight(one));
    Some(if is_busier { other } else { one })
}

/// Draws one by weight; `None` if there is none.
fn draw(among: &[usize], weight: impl Fn(usize) -> u64) -> Option<usize> {
    let total: u64 = among.iter().map(|index| weight(*index)).sum();
    let mut drawn = fastrand::u64(..total.max(1));
    for index in among {
        match drawn.checked_sub(weight(*index)) {
            Some(left) => drawn = left,
            None => return Some(*index),
        }
    }
    among.first().copied()
}
