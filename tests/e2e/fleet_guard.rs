//! One guard for the fleet: what replicas measure together, what they find, and what a fresh one learns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::run;
use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, Upstream, get, wait};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";
const OPEN: &str = "[routes]\n";
const CLOSED: &str = "[routes]\nweb = \"offline\"\n";

/// A guard that judges nothing below as many requests as one replica never has here.
const GUARD: &str = "drain = \"1ms\"\nguard = { error_rate = \"5%\", min_requests = 40 }\n";
const LEAST: usize = 40;

/// Replicas with a guard that follow one key.
struct Fleet {
    policy: String,
    proxies: Vec<Backsoon>,
    client: NatsClient,
    nats: Nats,
    upstream: Upstream,
    fails: Arc<AtomicBool>,
}

impl Fleet {
    /// Starts a server and as many replicas, and waits until each has heard of all others.
    fn start(claim: &str, policy: &str, count: usize) -> Option<Self> {
        let nats = Nats::start(claim)?;
        let mut client = nats.client();
        client.make_bucket();
        client.put(OPEN);
        let fails: Arc<AtomicBool> = Arc::default();
        let own = Arc::clone(&fails);
        let upstream = Upstream::handling(move |connection| {
            while connection.request().is_some() {
                connection.send(if own.load(SeqCst) { BROKEN } else { OK });
            }
        });
        let mut fleet = Self { policy: policy.to_owned(), proxies: Vec::new(), client, nats, upstream, fails };
        fleet.proxies = (0..count).map(|_| fleet.replica()).collect();
        for proxy in &fleet.proxies {
            wait("all to know each other", || proxy.status()["fleet"]["peers"]["heard"] == count - 1);
        }
        Some(fleet)
    }

    fn replica(&self) -> Backsoon {
        Backsoon::before(&self.upstream.url(), &format!("{}{}", self.policy, self.nats.table()))
    }

    /// Takes the route down, and brings it back.
    fn come_back(&mut self, phase: &str) {
        self.close();
        self.client.put(OPEN);
        self.wait_for(phase);
    }

    fn close(&mut self) {
        self.client.put(CLOSED);
        self.wait_for("closed");
    }

    fn wait_for(&self, phase: &str) {
        for proxy in &self.proxies {
            wait(&format!("the route to be {phase}"), || proxy.route("web")["phase"] == phase);
        }
    }

    /// Waits until every guard counts as many replicas.
    fn wait_for_counted(&self, counted: usize) {
        for proxy in &self.proxies {
            wait(&format!("{counted} to be counted"), || judged(proxy)["counted"] == counted);
        }
    }
}

fn judged(proxy: &Backsoon) -> Value {
    proxy.route("web")["judged"].clone()
}

fn found(proxy: &Backsoon) -> String {
    proxy.route("web")["breach"]["what"].as_str().unwrap_or_default().to_owned()
}

/// Asks each replica twice a second until something holds. Returns the number of requests to each.
fn ask_seldom(proxies: &[&Backsoon], what: &str, condition: impl Fn() -> bool) -> usize {
    let began = Instant::now();
    for asked in 0.. {
        if condition() {
            return asked;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        proxies.iter().for_each(|proxy| drop(get(proxy.address(), "/")));
        thread::sleep(Duration::from_millis(400));
    }
    unreachable!()
}

#[test]
fn few_requests_at_each_replica_are_a_breach_at_all_and_an_operator_ends_it() {
    let Some(mut fleet) = Fleet::start("one guard for three replicas is not tried", GUARD, 3) else { return };
    fleet.come_back("open");
    fleet.wait_for_counted(3);
    fleet.fails.store(true, SeqCst);
    let proxies: Vec<_> = fleet.proxies.iter().collect();
    let began = Instant::now();
    let is_closed = |proxy: &&Backsoon| proxy.route("web")["source"] == "guard";
    let asked = ask_seldom(&proxies, "the guard to close one", || proxies.iter().any(is_closed));
    eprintln!("closed after {:?}, {asked} requests at each of three", began.elapsed());
    assert!(asked < LEAST, "each alone would have judged {asked}");
    // No more requests come, so that the others close by what the first one tells, or have closed by then.
    for proxy in &proxies {
        wait("the guard to close all", || is_closed(proxy));
        let what = found(proxy);
        assert!(what.contains("100% of requests failed (") && what.contains("; counted at 3 of 3 replicas"), "{what}");
        run(proxy.dir.path(), &["status", &proxy.admin.to_string()]).exits(1).says("counted at 3 of 3 replicas");
    }
    // What was found is answered by an operator, at all replicas, and counts no more although all remember it.
    fleet.fails.store(false, SeqCst);
    fleet.come_back("open");
    fleet.wait_for_counted(3);
    let proxies: Vec<_> = fleet.proxies.iter().collect();
    let asked = Instant::now();
    ask_seldom(&proxies, "some beats", || asked.elapsed() > Duration::from_secs(3));
    fleet.wait_for("open");
    proxies.iter().for_each(|proxy| assert_eq!(found(proxy), ""));
}

#[test]
fn a_replica_that_is_late_is_not_counted_and_told_of_and_closes_once_it_hears() {
    let Some(mut fleet) = Fleet::start("a guard without one of three is not tried", GUARD, 3) else { return };
    fleet.come_back("open");
    fleet.wait_for_counted(3);
    let third = fleet.proxies.pop().unwrap();
    third.signal("STOP");
    fleet.wait_for_counted(2);
    let name = third.admin.port().to_string();
    for proxy in &fleet.proxies {
        let judged = judged(proxy);
        assert_eq!((&judged["known"], &judged["missing"][0]["why"]), (&3.into(), &"is late".into()), "{judged}");
        assert!(judged["missing"][0]["replica"].as_str().unwrap().ends_with(&name), "{judged}");
    }
    let first = &mut fleet.proxies[0];
    first.wait_for_log("the guard counts without a replica");
    run(first.dir.path(), &["status", &first.admin.to_string()])
        .says("its guard counts 2 of 3 replicas: ")
        .says(" is late");
    fleet.fails.store(true, SeqCst);
    let proxies: Vec<_> = fleet.proxies.iter().collect();
    ask_seldom(&proxies, "both to close", || proxies.iter().all(|proxy| proxy.route("web")["source"] == "guard"));
    assert!(found(proxies[0]).contains("; counted at 2 of 3 replicas"), "{}", found(proxies[0]));
    third.signal("CONT");
    wait("the third to close as well", || third.route("web")["source"] == "guard");
    assert!(found(&third).contains("; found by "), "{}", found(&third));
}

#[test]
fn a_fresh_replica_begins_as_the_others_are() {
    let policy = format!("{GUARD}verify = [{{ get = \"/\", times = 2, every = \"1s\" }}]\n");
    let Some(mut fleet) = Fleet::start("a fresh replica beside others is not tried", &policy, 2) else { return };
    fleet.proxies.iter().for_each(|proxy| (0..50).for_each(|_| drop(get(proxy.address(), "/"))));
    fleet.close();
    fleet.fails.store(true, SeqCst);
    fleet.client.put(OPEN);
    fleet.wait_for("verifying");
    let since = |proxy: &Backsoon| proxy.route("web")["since"].as_str().unwrap().to_owned();
    let fresh = fleet.replica();
    let others: Vec<String> = fleet.proxies.iter().map(since).collect();
    assert_eq!(fresh.route("web")["phase"], "verifying");
    assert!(others.contains(&since(&fresh)), "{} is none of {others:?}", since(&fresh));
    drop(fresh);
    fleet.fails.store(false, SeqCst);
    fleet.wait_for("open");
    fleet.wait_for_counted(2);
    // In the time of the watch: its checks have to pass, and then it is counted.
    let fresh = fleet.replica();
    wait("the fresh one to be open", || fresh.route("web")["phase"] == "open");
    fleet.proxies.push(fresh);
    wait("the fresh one to be counted", || judged(&fleet.proxies[2])["counted"] == 3);
    wait("the first to count it", || judged(&fleet.proxies[0])["counted"].as_u64() >= Some(3));
    fleet.proxies.pop();
    fleet.fails.store(true, SeqCst);
    let proxies: Vec<_> = fleet.proxies.iter().collect();
    ask_seldom(&proxies, "both to close", || proxies.iter().all(|proxy| proxy.route("web")["source"] == "guard"));
    // The service does well again, and an operator has not said so yet.
    fleet.fails.store(false, SeqCst);
    let fresh = fleet.replica();
    assert_eq!(get(fresh.address(), "/").status, 503);
    let route = fresh.route("web");
    assert_eq!((&route["phase"], &route["source"]), (&"closed".into(), &"guard".into()));
    assert!(found(&fresh).contains("; found by "), "{route}");
    fleet.proxies.push(fresh);
    fleet.close();
    fleet.client.put(OPEN);
    fleet.wait_for("open");
}

#[test]
fn without_the_engine_each_replica_judges_by_itself_and_says_so() {
    let guard = GUARD.replace("40", "20");
    let Some(mut fleet) = Fleet::start("guards without their engine are not tried", &guard, 3) else { return };
    fleet.come_back("open");
    fleet.wait_for_counted(3);
    fleet.nats.kill();
    fleet.wait_for_counted(1);
    let first = &fleet.proxies[0];
    run(first.dir.path(), &["status", &first.admin.to_string()]).exits(1).says("its guard counts 1 of 3 replicas: ");
    fleet.fails.store(true, SeqCst);
    ask_seldom(&[first], "the first to close", || first.route("web")["source"] == "guard");
    assert!(found(first).contains("; counted at 1 of 3 replicas"), "{}", found(first));
    assert_eq!(fleet.proxies[1].route("web")["phase"], "open", "nobody could tell it");
}
