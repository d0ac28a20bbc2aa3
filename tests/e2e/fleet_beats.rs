//! Beats of the replicas through NATS: who is there, who lags or differs, and who is missing.

use serde_json::Value;

use crate::nats::{Nats, NatsClient};
use crate::support::{Backsoon, Upstream, wait};

const OPEN: &str = "[routes]\n";
const CLOSED: &str = "[routes]\nweb = \"offline\"\n";

/// Replicas that follow one key.
struct Fleet {
    proxies: Vec<Backsoon>,
    client: NatsClient,
    nats: Nats,
    upstream: Upstream,
}

impl Fleet {
    /// Starts a server and as many replicas, and waits until each has heard of all others.
    fn start(claim: &str, count: usize) -> Option<Self> {
        let nats = Nats::start(claim)?;
        let mut client = nats.client();
        client.make_bucket();
        client.put(OPEN);
        let upstream = Upstream::ok();
        let proxies = (0..count).map(|_| Backsoon::before(&upstream.url(), &nats.table())).collect();
        let fleet = Self { proxies, client, nats, upstream };
        fleet.wait_for(count - 1);
        Some(fleet)
    }

    /// Waits until each replica has heard of as many others.
    fn wait_for(&self, others: usize) {
        for proxy in &self.proxies {
            wait(&format!("{others} others"), || peers(proxy)["heard"] == others);
        }
    }
}

fn peers(proxy: &Backsoon) -> Value {
    proxy.status()["fleet"]["peers"].clone()
}

#[test]
fn replicas_hear_each_other_and_tell_a_farewell_from_silence() {
    let Some(mut fleet) = Fleet::start("beats of replicas are not tried", 3) else { return };
    let revision = fleet.client.put(CLOSED).to_string();
    for proxy in &fleet.proxies {
        wait("the others to tell the edit", || {
            let peers = peers(proxy);
            let told = peers["replicas"].as_array().unwrap();
            told.len() == 2 && told.iter().all(|peer| peer["revision"] == *revision)
        });
        let ahead = peers(proxy)["replicas"][0]["clock_ahead_ms"].as_i64().unwrap();
        assert!(ahead.abs() < 1000, "{ahead}");
    }
    let ended = fleet.proxies.remove(0);
    ended.signal("TERM");
    fleet.wait_for(1);
    assert_eq!(peers(&fleet.proxies[0])["late"], 0);
    let [first, second] = &fleet.proxies[..] else { unreachable!() };
    second.signal("STOP");
    wait("word that one is late", || peers(first)["late"] == 1);
    assert_eq!(peers(first)["replicas"][0]["late"], true);
    let labels = format!("source=\"{}\",kind=\"nats\"", fleet.nats.place());
    assert!(first.metric("backsoon_fleet_replicas", &labels) > 0.5);
    assert!(first.metric("backsoon_fleet_replicas_late", &labels) > 0.5);
    second.signal("CONT");
    wait("it to be back", || peers(first)["late"] == 0);
    let third = Backsoon::before(&fleet.upstream.url(), &fleet.nats.table());
    wait("a fresh replica to know both", || peers(&third)["heard"] == 2);
}
