//! Addresses of an upstream's name, kept for a while and looked up again in the background.
//!
//! Only a request that has no address at all, or none of the last minutes, waits for the resolver. If that fails, the last
//! good addresses serve on.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use crate::net;
use crate::plan::config::{Upstream, UpstreamAddress};

/// Look-up of a name.
pub(super) type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>>;

/// Function that looks the name up.
pub(super) type LookUp = Box<dyn Fn() -> LookingUp>;

/// Addresses of one upstream's name, as one worker knows them.
pub(super) struct Name {
    look_up: LookUp,
    /// The name, for the log.
    text: String,
    known: RefCell<Option<Known>>,
    /// The beginning of the look-up that is under way.
    asking: Cell<Option<Instant>>,
    /// The last failure, and its instant.
    failed: RefCell<Option<(Instant, io::ErrorKind, String)>>,
    /// Wakes those who wait for the look-up.
    told: Notify,
    /// True if no connection could be made, so that the addresses may have changed.
    doubted: Cell<bool>,
    /// True once addresses were replaced by others.
    pub(super) has_changed: Cell<bool>,
    /// The number of connections that were made, by which they are spread.
    turn: Cell<usize>,
}

/// Addresses, and the instant at which they were found.
#[derive(Clone)]
struct Known {
    addresses: Rc<[SocketAddr]>,
    since: Instant,
}

impl Name {
    /// Returns the name of an upstream; `None` if it has an address.
    pub(super) fn of(upstream: &Upstream) -> Option<Rc<Self>> {
        let UpstreamAddress::Host(host, port) = &upstream.address else { return None };
        if host.parse::<IpAddr>().is_ok() {
            return None;
        }
        // One look-up is under way at a time.
        let (host, port, permits) = (host.clone(), *port, Arc::new(Semaphore::new(1)));
        let look_up = move || -> LookingUp {
            let (host, permits) = (host.clone(), Arc::clone(&permits));
            Box::pin(async move { net::look_up(&host, port, &permits).await })
        };
        Some(Rc::new(Self::new(upstream.to_string(), Box::new(look_up))))
    }

    pub(super) fn new(text: String, look_up: LookUp) -> Self {
        Self {
            look_up,
            text,
            known: RefCell::default(),
            asking: Cell::default(),
            failed: RefCell::default(),
            told: Notify::new(),
            doubted: Cell::default(),
            has_changed: Cell::default(),
            turn: Cell::default(),
        }
    }

    /// Returns the addresses. Older ones than `ttl` are looked up again, mostly behind the request's back.
    ///
    /// # Errors
    /// If no address is known, and the look-up fails.
    pub(super) async fn addresses(self: &Rc<Self>, ttl: Duration) -> io::Result<Rc<[SocketAddr]>> {
        let known = self.known.borrow().clone().filter(|known| known.since.elapsed() < LAST_GOOD);
        let Some(known) = known else {
            self.ask();
            return self.first().await;
        };
        let age = known.since.elapsed();
        if age < ttl && !self.doubted.get() {
            return Ok(known.addresses);
        }
        self.ask();
        // Nobody has asked for long. Another machine may have the address by now, so the answer is waited for a moment.
        let is_old = age >= ttl.saturating_mul(2) && self.failed.borrow().is_none();
        let since = self.asking.get().filter(|_| is_old);
        if let Some(left) = since.and_then(|since| PATIENCE.checked_sub(since.elapsed())) {
            let _ = timeout(left, self.answered()).await;
        }
        let newest = self.known.borrow().as_ref().map(|known| Rc::clone(&known.addresses));
        Ok(newest.unwrap_or(known.addresses))
    }

    /// Waits for the first addresses.
    async fn first(&self) -> io::Result<Rc<[SocketAddr]>> {
        self.answered().await;
        let known = self.known.borrow().clone().filter(|known| known.since.elapsed() < LAST_GOOD);
        known.map(|known| known.addresses).ok_or_else(|| match &*self.failed.borrow() {
            Some((_, kind, text)) => io::Error::new(*kind, text.clone()),
            None => io::ErrorKind::NotFound.into(),
        })
    }

    /// Returns other addresses than those that did not work; `None` if there are none.
    pub(super) async fn others(self: &Rc<Self>, tried: &Rc<[SocketAddr]>) -> Option<Rc<[SocketAddr]>> {
        let newest = || self.known.borrow().as_ref().map(|known| (Rc::clone(&known.addresses), known.since));
        let is_same = |addresses: &Rc<[SocketAddr]>| is_same(addresses, tried);
        let (addresses, since) = newest()?;
        if is_same(&addresses) {
            if since.elapsed() < PAUSE {
                return None;
            }
            self.ask();
            self.answered().await;
        }
        newest().map(|(addresses, _)| addresses).filter(|addresses| !is_same(addresses))
    }

    /// Returns addresses in the order in which they are tried. Connections are spread over those of the family that comes
    /// first.
    pub(super) fn in_turn(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut ordered = addresses.to_vec();
        let first = addresses
            .first()
            .map_or(0, |first| addresses.iter().take_while(|address| address.is_ipv4() == first.is_ipv4()).count());
        self.turn.set(self.turn.get().wrapping_add(1));
        if let Some(family) = ordered.get_mut(..first).filter(|family| !family.is_empty()) {
            family.rotate_left(self.turn.get() % first);
        }
        ordered
    }

    /// Looks old addresses up again.
    pub(super) fn refresh(self: &Rc<Self>, ttl: Duration) {
        let is_due = self.known.borrow().as_ref().is_some_and(|known| known.since.elapsed() >= ttl);
        if is_due || self.doubted.get() {
            self.ask();
        }
    }

    /// Returns true if the name has an address, or none is known.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.known.borrow().as_ref().is_none_or(|known| known.addresses.contains(&address))
    }

    /// Starts a look-up, unless one is under way, or has just failed or not helped.
    fn ask(self: &Rc<Self>) {
        let recent = |since: Instant| since.elapsed() < PAUSE;
        let has_failed = self.failed.borrow().as_ref().is_some_and(|(at, ..)| recent(*at));
        let is_new = self.known.borrow().as_ref().is_some_and(|known| recent(known.since));
        if self.asking.get().is_some() || has_failed || is_new {
            return;
        }
        self.asking.set(Some(Instant::now()));
        let (name, found) = (Rc::clone(self), (self.look_up)());
        tokio::task::spawn_local(async move {
            let found = found.await;
            name.tell(found);
        });
    }

    /// Takes the outcome of a look-up.
    fn tell(&self, found: io::Result<Vec<SocketAddr>>) {
        self.asking.set(None);
        self.doubted.set(false);
        let found =
            found.and_then(|found| if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) });
        match found {
            Ok(found) => {
                let known = self.known.take();
                let changes = known.as_ref().is_some_and(|known| !is_same(&known.addresses, &found));
                if changes {
                    self.has_changed.set(true);
                    tracing::info!(upstream = self.text, addresses = ?found, "the upstream has other addresses");
                }
                self.failed.take();
                self.known.replace(Some(Known { addresses: found.into(), since: Instant::now() }));
            }
            Err(error) => {
                let failure = (Instant::now(), error.kind(), error.to_string());
                let before = self.failed.replace(Some(failure));
                if before.is_none() && self.known.borrow().is_some() {
                    tracing::warn!(upstream = self.text, %error, "a name cannot be looked up: its last addresses are used");
                }
            }
        }
        self.told.notify_waiters();
    }

    /// Waits until no look-up is under way.
    async fn answered(&self) {
        while self.asking.get().is_some() {
            self.told.notified().await;
        }
    }
}

/// Attempt to connect to a name. Dropped before it has succeeded, also by a time-out, it makes the addresses doubtful.
pub(super) struct Attempt<'n>(Option<&'n Name>);

impl<'n> Attempt<'n> {
    pub(super) fn new(name: &'n Name) -> Self {
        Self(Some(name))
    }

    /// Notes that a connection was made.
    pub(super) fn succeeded(mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.0 {
            name.doubted.set(true);
        }
    }
}

/// Returns true if two lists have the same addresses, in any order.
fn is_same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

/// Time for which a request waits for the resolver if it has old addresses alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// Least time between two look-ups.
const PAUSE: Duration = Duration::from_secs(1);
/// Time for which addresses are used if none can be found again.
const LAST_GOOD: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::task::LocalSet;
    use tokio::time::{advance, sleep};

    /// Resolver of a test: its answers, and how often it was asked.
    #[derive(Default)]
    struct Resolver {
        answer: RefCell<Vec<u16>>,
        fails: Cell<bool>,
        takes: Cell<Duration>,
        asked: Cell<usize>,
    }

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    fn made() -> (Rc<Resolver>, Rc<Name>) {
        let resolver = Rc::new(Resolver { answer: RefCell::new(vec![1]), ..Resolver::default() });
        let shared = Rc::clone(&resolver);
        let look_up = move || -> LookingUp {
            let resolver = Rc::clone(&shared);
            resolver.asked.set(resolver.asked.get() + 1);
            Box::pin(async move {
                sleep(resolver.takes.get()).await;
                if resolver.fails.get() {
                    Err(io::Error::other("no name"))
                } else {
                    Ok(addresses(&resolver.answer.borrow()))
                }
            })
        };
        (resolver, Rc::new(Name::new("app".into(), Box::new(look_up))))
    }

    fn paused(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    async fn ports(name: &Rc<Name>) -> Vec<u16> {
        name.addresses(TTL).await.unwrap().iter().map(SocketAddr::port).collect()
    }

    const TTL: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_crowd_asks_once_and_then_once_in_a_while() {
        paused(async {
            let (resolver, name) = made();
            resolver.takes.set(SECOND / 10);
            let crowd = (0..50).map(|_| {
                let name = Rc::clone(&name);
                tokio::task::spawn_local(async move { ports(&name).await })
            });
            for one in crowd.collect::<Vec<_>>() {
                assert_eq!(one.await.unwrap(), [1]);
            }
            assert_eq!(resolver.asked.get(), 1);
            for _ in 0..600 {
                assert_eq!(ports(&name).await, [1]);
                advance(SECOND / 10).await;
            }
            assert!((5..=7).contains(&resolver.asked.get()), "{}", resolver.asked.get());
        });
    }

    #[test]
    fn a_slow_or_failing_resolver_holds_nobody_up_who_has_an_address() {
        paused(async {
            let (resolver, name) = made();
            assert_eq!(ports(&name).await, [1]);
            advance(TTL).await;
            resolver.takes.set(SECOND * 60);
            for _ in 0..500 {
                let began = Instant::now();
                assert_eq!(ports(&name).await, [1]);
                assert_eq!(began.elapsed(), Duration::ZERO);
                advance(SECOND / 10).await;
            }
            assert_eq!(resolver.asked.get(), 2, "one at a time");
            resolver.fails.set(true);
            resolver.takes.set(Duration::ZERO);
            sleep(SECOND * 15).await;
            let before = resolver.asked.get();
            for _ in 0..100 {
                let began = Instant::now();
                assert_eq!(ports(&name).await, [1], "the last good one");
                assert_eq!(began.elapsed(), Duration::ZERO);
                sleep(SECOND / 10).await;
            }
            assert!(resolver.asked.get() - before <= 11, "{}", resolver.asked.get() - before);
            sleep(LAST_GOOD).await;
            assert_eq!(name.addresses(TTL).await.unwrap_err().to_string(), "no name", "not for ever");
            resolver.fails.set(false);
            sleep(PAUSE).await;
            assert_eq!(ports(&name).await, [1]);
        });
    }

    #[test]
    fn after_a_rest_the_answer_is_waited_for_a_moment() {
        paused(async {
            let (resolver, name) = made();
            assert_eq!(ports(&name).await, [1]);
            resolver.answer.replace(vec![2]);
            sleep(TTL * 3).await;
            assert_eq!(ports(&name).await, [2], "not the machine that may have the address now");
            resolver.takes.set(SECOND * 5);
            resolver.answer.replace(vec![3]);
            sleep(TTL * 3).await;
            let began = Instant::now();
            assert_eq!(ports(&name).await, [2]);
            let waited = began.elapsed();
            assert!((PATIENCE..PATIENCE * 2).contains(&waited), "{waited:?}");
            assert_eq!((ports(&name).await, began.elapsed()), (vec![2], waited), "the next one does not wait");
            sleep(SECOND * 5).await;
            assert_eq!(ports(&name).await, [3]);
            assert!(name.has_changed.get() && name.has(addresses(&[3])[0]) && !name.has(addresses(&[2])[0]));
        });
    }

    #[test]
    fn where_no_address_works_others_are_looked_for_at_once_but_not_all_the_time() {
        paused(async {
            let (resolver, name) = made();
            let tried = name.addresses(TTL).await.unwrap();
            assert_eq!(name.others(&tried).await, None, "they are new");
            sleep(PAUSE).await;
            resolver.answer.replace(vec![5]);
            assert_eq!(name.others(&tried).await.as_deref(), Some(&*addresses(&[5])));
            assert_eq!(name.others(&tried).await.as_deref(), Some(&*addresses(&[5])), "somebody else has found them");
            assert_eq!(resolver.asked.get(), 2);
            sleep(PAUSE).await;
            resolver.answer.replace(vec![6]);
            drop(Attempt::new(&name));
            assert_eq!(ports(&name).await, [5], "a doubt is looked into behind the request");
            sleep(Duration::from_millis(1)).await;
            assert_eq!(ports(&name).await, [6]);
        });
    }

    #[test]
    fn a_name_without_an_address_is_asked_for_once_a_second() {
        paused(async {
            let (resolver, name) = made();
            resolver.fails.set(true);
            for _ in 0..20 {
                assert_eq!(name.addresses(TTL).await.unwrap_err().to_string(), "no name");
                sleep(SECOND / 10).await;
            }
            assert!(resolver.asked.get() <= 3, "{}", resolver.asked.get());
            resolver.fails.set(false);
            resolver.answer.replace(Vec::new());
            sleep(PAUSE).await;
            assert!(name.addresses(TTL).await.is_err(), "no address is none");
        });
    }

    #[test]
    fn connections_are_spread_over_the_first_family() {
        let (_, name) = made();
        let all: Vec<SocketAddr> = ["[::1]:1", "[::1]:2", "127.0.0.1:3"].map(|text| text.parse().unwrap()).into();
        let (one, two) = (name.in_turn(&all), name.in_turn(&all));
        assert!(one[0] != two[0] && one[2] == all[2] && two[2] == all[2], "{one:?} {two:?}");
        assert!(name.in_turn(&[]).is_empty());
    }
}
