//! Start without memory: what the other replicas tell, before anything is served.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::config::{Config, Policy};
use crate::plan::lifecycle::Learned;

use super::fleet::peers::Peers;
use super::observe::Word;

/// Asks the other replicas how the routes with checks or a guard are. Waits for a short time only: a fleet may be one
/// replica.
pub(super) fn learned(
    peers: &Peers,
    config: &Config,
    in_force: (Option<String>, Option<String>),
) -> HashMap<String, Learned> {
    let mut routes = config.routes.iter().filter(|route| matters(&route.policy)).peekable();
    if routes.peek().is_none() {
        return HashMap::new();
    }
    await_words(peers);
    let word = Word::new(peers, in_force.0, in_force.1);
    let learned = routes.filter_map(|route| Some((route.name.clone(), Learned::of(&word.of_start(&route.name))?)));
    let learned: HashMap<_, _> = learned.collect();
    for (route, told) in &learned {
        let (phase, from) = (told.phase().as_str(), told.from.as_str());
        tracing::info!(route, phase, from, "learned from another replica, as there is no saved state");
    }
    learned
}

/// Waits until the other replicas have told how they are: all that answer at about the same time.
fn await_words(peers: &Peers) {
    let (began, mut heard, mut last) = (Instant::now(), peers.count().0, Instant::now());
    // The transport has asked them once it is connected.
    while began.elapsed() < LONGEST && (heard == 0 || last.elapsed() < QUIET) {
        thread::sleep(STEP);
        let now_heard = peers.count().0;
        if now_heard != heard {
            (heard, last) = (now_heard, Instant::now());
        }
    }
}

fn matters(policy: &Policy) -> bool {
    policy.guard.is_some() || !policy.verify.is_empty()
}

/// Longest wait for the first answer.
const LONGEST: Duration = Duration::from_secs(2);
/// Time without another answer after which none is awaited.
const QUIET: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(10);
