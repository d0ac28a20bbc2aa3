//! The clock: wakes control at an instant of the wall clock, even if the clock is set in the meantime.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Waits until the wall clock reaches `instant`, or is set back to before `compiled`.
///
/// `compiled` is the instant that the live snapshot was compiled for. If the clock is set back before it, a window that
/// was over may lie ahead again.
///
/// A timer counts elapsed time, but a wall clock can be set and a machine can sleep. So `clock` is read again at least
/// every `look_every`, and less often if only the setting of the clock could bring a change. Cancel safe.
pub(crate) async fn moves(
    instant: Option<Timestamp>,
    compiled: Timestamp,
    clock: impl Fn() -> Timestamp,
    look_every: Duration,
) {
    loop {
        let now = clock();
        let left = instant
            .map_or(Duration::MAX, |instant| Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO));
        if left.is_zero() || compiled.duration_since(now) > SLACK {
            return;
        }
        let most = if instant.is_some() { look_every } else { look_every * REST };
        tokio::time::sleep(left.min(most)).await;
    }
}

/// Interval at which the clock is read. After the clock was set, a change may come late by this much.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Factor by which the clock is read less often while no change lies ahead.
const REST: u32 = 5;

/// Correction of the clock that needs no new snapshot.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use crate::plan::config;
    use crate::plan::rehearsal::Rehearsal;

    use super::*;

    const CONFIG: &str = "\
[[listen]]
address = \"127.0.0.1:0\"
[routes.web]
host = \"www.example.com\"
upstream = \"http://127.0.0.1:1\"
drain = \"30s\"
ramp = [\"10% at 0s\", \"50% at 2m\", \"100% at 5m\"]
[routes.api]
upstream = \"http://127.0.0.1:2\"
drain = \"10s\"
";

    const FLAGS: &str = "\
[[windows]]
id = \"backup\"
every = \"daily 01:30-01:32 UTC\"
routes = { api = \"read-only\" }
[[windows]]
id = \"weekly\"
every = \"Sun 02:00-03:10 Europe/Berlin\"
announce = \"24h\"
routes = { web = \"offline\" }
[[windows]]
id = \"move\"
starts = 2026-03-12T20:00:00Z
ends = 2026-03-12T20:20:00Z
routes = { \"*\" = \"offline\" }
";

    /// A month in tokio's time: each transition happens exactly on time, and nothing is compiled without a reason.
    #[tokio::test(start_paused = true)]
    async fn a_month_of_windows_goes_by_to_the_second() {
        let mut proxy = Rehearsal::new(config::parse("backsoon.toml", CONFIG).0.expect("a config"));
        let began: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let start = tokio::time::Instant::now();
        let clock = || began + SignedDuration::try_from(start.elapsed()).unwrap();
        let mut told = Vec::new();
        proxy.flag(FLAGS).compile(clock());
        let end = began + SignedDuration::from_hours(31 * 24);
        loop {
            let live = proxy.live.as_ref().unwrap();
            moves(live.next_change, live.compiled, clock, Duration::from_secs(600)).await;
            let now = clock();
            if now >= end {
                break;
            }
            for route in &proxy.compile(now).routes {
                for transition in &route.transitions {
                    let late = now.duration_since(transition.at);
                    assert!(late <= SignedDuration::from_millis(1), "{} {transition:?} {late} late", route.config.name);
                    let (from, to) = (transition.from.as_str(), transition.to.as_str());
                    told.push(format!("{} {} {from} {to}", transition.at, route.config.name));
                }
            }
        }
        // Berlin has no 02:00 on the day when its clocks go forward. A window planned for then begins at 03:00, and lasts as
        // long as on every other Sunday.
        let sunday: Vec<&str> = told
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with("2026-03-29") && line.contains("web"))
            .collect();
        assert_eq!(
            sunday,
            [
                "2026-03-29T01:00:00Z web open draining",
                "2026-03-29T01:00:30Z web draining closed",
                "2026-03-29T02:10:00Z web closed ramping",
                "2026-03-29T02:15:00Z web ramping open",
            ]
        );
        let of = |end: &str| told.iter().filter(|line| line.ends_with(end)).count();
        // Web: four Sundays and the move. Api: thirty-one nights and the move.
        assert_eq!((of("web open draining"), of("web ramping open")), (5, 5));
        assert_eq!((of("api open draining"), of("api closed open")), (32, 32));
        // Pages count down the minutes; every other generation is a transition.
        let generations = proxy.live.unwrap().generation;
        assert!(generations < 1500, "{generations} generations");
    }
}
