//! Choice among a route's upstreams: the less busy of two, drawn at random from those that answer.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::plan::client;
use crate::plan::pass::Transport;
use crate::plan::snapshot::{Keeping, Marks, Portion, Portions, Route};
use crate::proxy::upstream::pool::Pool;

use super::exchange::Exchange;
use super::respond::{CDN_CACHE_CONTROL, SURROGATE_CONTROL};

/// Upstreams of a route on which a request has not been tried yet.
pub(crate) enum Candidates {
    /// The common case: there is nothing to choose and nothing to allocate.
    One(Option<Rc<Pool>>),
    Many(Vec<Rc<Pool>>),
    /// Upstreams that are not alike, or that clients keep to.
    Portioned(Vec<(Rc<Pool>, Portion)>, Keeps),
}

/// Rule by which the client of a request keeps to an upstream.
pub(crate) enum Keeps {
    Nothing,
    /// By its address.
    Address(IpAddr),
    /// By a cookie. Boxed, because other routes have none.
    Cookie(Box<Kept>),
}

/// Cookie of a request, and of its answer.
pub(crate) struct Kept {
    marks: Arc<Marks>,
    is_https: bool,
    /// Place of the upstream whose mark the client has.
    has: Option<usize>,
    /// Place of the upstream that was taken last.
    taken: Option<usize>,
}

impl Candidates {
    /// Returns the upstreams of a route. The head of the request is looked at only if clients keep to one of them.
    pub(crate) fn new(exchange: &Exchange, route: &Route, headers: &HeaderMap) -> Self {
        let pool = |index: usize| exchange.record.worker.pool(&exchange.generation, index);
        let portioned = |portions: &Portions| -> Vec<_> {
            let all = route.in_use.iter().map(|&index| pool(index)).zip(portions.each.iter().copied());
            match portions.slow_start {
                None => all.collect(),
                Some(time) => {
                    let elapsed = exchange.generation.published.elapsed();
                    all.map(|(pool, portion)| grown(pool, portion, elapsed, time)).collect()
                }
            }
        };
        match (&*route.in_use, &route.portions) {
            (_, Some(portions @ Portions { sticky: Some(Keeping::Cookie { marks, drained }), .. })) => {
                let mut pools = portioned(portions);
                let kept = Kept::new(marks, exchange, headers);
                // An upstream that drains is for the clients that have its mark.
                let own = drained.iter().find(|(_, portion)| Some(portion.place) == kept.has);
                pools.extend(own.map(|(index, portion)| (pool(*index), *portion)));
                Self::Portioned(pools, Keeps::Cookie(Box::new(kept)))
            }
            ([only], _) => Self::One(Some(pool(*only))),
            (many, None) => Self::Many(many.iter().map(|&index| pool(index)).collect()),
            (_, Some(portions)) => {
                let client = portions.sticky.as_ref().and_then(|_| exchange.client(headers));
                let keeps = client.map_or(Keeps::Nothing, |client| Keeps::Address(client::network(client)));
                Self::Portioned(portioned(portions), keeps)
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
            Self::Portioned(pools, keeps) => {
                let index = choose_portioned(pools, keeps, Instant::now())?;
                let (pool, portion) = pools.swap_remove(index);
                if let Keeps::Cookie(kept) = keeps {
                    kept.taken = Some(portion.place);
                }
                Some(pool)
            }
        }
    }

    /// Adds the mark of the upstream that answered, if its client keeps to upstreams by a cookie and has another.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if let Self::Portioned(_, Keeps::Cookie(kept)) = self {
            kept.mark(headers);
        }
    }
}

impl Kept {
    fn new(marks: &Arc<Marks>, exchange: &Exchange, headers: &HeaderMap) -> Self {
        let has = marks.find(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes));
        let is_https = exchange.transport(headers) == Transport::Https;
        Self { marks: Arc::clone(marks), is_https, has, taken: None }
    }

    fn mark(&self, headers: &mut HeaderMap) {
        let cookie = self.taken.and_then(|place| self.marks.cookie(place, self.has, self.is_https));
        if let Some(cookie) = cookie.filter(|_| !is_shared(headers)) {
            headers.append(SET_COOKIE, cookie.clone());
            // A shared cache would give everybody the same cookie.
            headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
    }
}

/// Returns an upstream with the share that it has by now: it may be in use since a short time, or have been ejected. The
/// live generation was published `elapsed` ago.
fn grown(pool: Rc<Pool>, portion: Portion, elapsed: Duration, slow_start: Duration) -> (Rc<Pool>, Portion) {
    let used = portion.used.map(|used| used.saturating_add(elapsed));
    let used = [used, pool.health.back_for(Instant::now())].into_iter().flatten().min();
    let portion = portion.grown(used, slow_start);
    (pool, portion)
}

/// Returns true if the app wants shared caches to keep an answer.
fn is_shared(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    let is_public = |word: &[u8]| {
        let word = word.trim_ascii();
        word.eq_ignore_ascii_case(b"public") || word.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"s-maxage"))
    };
    headers.contains_key(CDN_CACHE_CONTROL)
        || headers.contains_key(SURROGATE_CONTROL)
        || lines.any(|line| line.split(|&byte| byte == b',').any(is_public))
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
fn choose_portioned(pools: &[(Rc<Pool>, Portion)], keeps: &Keeps, now: Instant) -> Option<usize> {
    let answers = |index: &usize| pools.get(*index).is_some_and(|(pool, _)| !pool.health.ejected(now));
    let is_backup = |index: &usize| pools.get(*index).is_some_and(|(_, portion)| portion.backup);
    let (backups, first): (Vec<usize>, Vec<usize>) = (0..pools.len()).partition(is_backup);
    let answering = |of: &[usize]| of.iter().copied().filter(answers).collect::<Vec<_>>();
    let tiers = [answering(&first), answering(&backups), first, backups];
    let among = tiers.into_iter().find(|tier| !tier.is_empty())?;
    let portion = |index: usize| pools.get(index).map(|(_, portion)| *portion);
    match keeps {
        Keeps::Address(client) => {
            let score = |index: usize| portion(index).map_or(0.0, |portion| portion.score(*client));
            return among.into_iter().max_by(|one, other| score(*one).total_cmp(&score(*other)));
        }
        Keeps::Cookie(kept) => {
            let is_own = |index: &&usize| portion(**index).is_some_and(|portion| Some(portion.place) == kept.has);
            if let Some(own) = among.iter().find(is_own) {
                return Some(*own);
            }
        }
        Keeps::Nothing => {}
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
