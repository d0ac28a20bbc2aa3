//! Waves of watchers that come back: when one begins, and how long it lasts.

use std::time::Duration;

use jiff::Timestamp;

use super::super::config::RouteConfig;
use super::super::lifecycle::{self, Phase, RouteState};
use super::super::snapshot::Route;
use super::super::wave::{SHORTEST_SPREAD, Wave, spread};
use super::Inputs;

/// Returns the wave that is on: a new one if more clients are admitted than before, else the last one until it is over.
/// Few watchers need none.
/// `changes_at` is the next instant at which a ramp admits more.
pub(super) fn wave(
    inputs: &Inputs<'_>,
    config: &RouteConfig,
    before: Option<&Route>,
    state: &RouteState,
    changes_at: Option<Timestamp>,
) -> Option<Wave> {
    let before = before?;
    let had = before.closure.as_ref().map_or(EVERYBODY, |closure| closure.admits.into());
    if had == EVERYBODY && before.wave.is_none() {
        return None;
    }
    let has = match state.phase() {
        Phase::Open => EVERYBODY,
        Phase::Draining | Phase::Closed | Phase::Verifying | Phase::Ramping => {
            state.admitted(&config.policy).map_or(0, lifecycle::cohorts).into()
        }
    };
    if has <= had {
        return before.wave.clone().filter(|wave| has > 0 && inputs.now < wave.over);
    }
    // Those who are still watching were not admitted before, and are a sample of all who were not.
    let watchers = inputs.known.watchers.get(&config.name).copied().unwrap_or(0);
    let told = u128::from(watchers) * u128::from(has - had) / u128::from(EVERYBODY - had);
    let seconds = spread(u64::try_from(told).unwrap_or(u64::MAX), config.policy.hold.release);
    // A ramp spreads its clients by itself. One of its steps need not be slower than the operator wants the steps.
    let room = changes_at.filter(|_| has < EVERYBODY).map_or(u64::MAX, |next| seconds_until(next, inputs.now));
    let seconds = seconds.min(room);
    (seconds > SHORTEST_SPREAD).then(|| Wave::new(seconds, inputs.now))
}

fn seconds_until(next: Timestamp, now: Timestamp) -> u64 {
    Duration::try_from(next.duration_since(now)).unwrap_or_default().as_secs()
}

/// Cohorts of an open route.
const EVERYBODY: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::super::config;
    use super::super::super::rehearsal::Rehearsal;
    use super::super::super::snapshot::Snapshot;

    /// Route that is down since the beginning, and watched by 2,000 clients.
    fn watched(more: &str) -> Rehearsal {
        let text = format!("[[listen]]\naddress = \"127.0.0.1:80\"\n[routes.web]\nupstream = \"http://a\"\n{more}\n");
        let (config, problems) = config::parse("backsoon.toml", &text);
        let mut proxy = Rehearsal::new(config.unwrap_or_else(|| panic!("{problems:?}")));
        proxy.flag("[routes]\nweb = \"offline\"\n").compile(at(0));
        proxy.known.watchers.insert("web".to_owned(), 2000);
        proxy.flag("");
        proxy
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
    }

    fn spread(snapshot: &Snapshot) -> Option<u64> {
        snapshot.routes[0].wave.as_ref().map(|wave| wave.spread)
    }

    #[test]
    fn a_wave_lasts_as_long_as_its_spread_and_ends_by_itself() {
        let mut proxy = watched("");
        let opened = proxy.compile(at(100));
        assert_eq!((spread(opened), opened.next_change), (Some(40), Some(at(140))));
        // All have left meanwhile, and the spread stays as they were told.
        proxy.known.watchers.clear();
        assert_eq!(spread(proxy.compile(at(139))), Some(40));
        let over = proxy.compile(at(140));
        assert_eq!((spread(over), over.next_change), (None, None));
        assert_eq!(&over.routes[0].open[..], b"{\"phase\":\"open\"}\n");
    }

    #[test]
    fn a_route_that_closes_again_has_no_wave() {
        let mut proxy = watched("hold = { release = \"100/s\" }");
        assert_eq!(spread(proxy.compile(at(100))), Some(20));
        assert_eq!(spread(proxy.flag("[routes]\nweb = \"offline\"\n").compile(at(105))), None);
        // Who watches by then is counted anew.
        proxy.known.watchers.insert("web".to_owned(), 3000);
        assert_eq!(spread(proxy.flag("").compile(at(110))), Some(30));
    }

    #[test]
    fn a_step_of_a_ramp_spreads_its_own_clients_within_the_step() {
        let mut proxy = watched("ramp = [\"10% at 0s\", \"50% at 2m\", \"60% at 130s\", \"100% at 10m\"]");
        // 200 of 2,000 need no wave, at 50 in a second.
        assert_eq!(spread(proxy.compile(at(100))), None);
        proxy.known.watchers.insert("web".to_owned(), 1800);
        // 800 would take 16 s, and the next step comes after 10 s.
        assert_eq!(spread(proxy.compile(at(220))), Some(10));
        proxy.known.watchers.insert("web".to_owned(), 800);
        assert_eq!(spread(proxy.compile(at(700))), Some(16));
    }

    #[test]
    fn an_even_ramp_is_its_own_spread() {
        let mut proxy = watched("ramp = \"10m\"");
        for second in (100..=700_u32).step_by(5) {
            // Whoever is admitted watches no longer.
            proxy.known.watchers.insert("web".to_owned(), u64::from(700 - second) * 2000 / 600);
            assert_eq!(spread(proxy.compile(at(second.into()))), None, "{second}");
        }
    }
}
