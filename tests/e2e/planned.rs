//! Planned maintenance as metrics.

use jiff::{SignedDuration, Timestamp};

use crate::support::{Backsoon, LISTEN, Upstream, get, wait};

fn hours(hours: i64) -> Timestamp {
    let now = Timestamp::now() + SignedDuration::from_hours(hours);
    Timestamp::from_second(now.as_second()).unwrap()
}

#[test]
fn windows_are_metrics_while_they_are_announced_and_in_force() {
    let upstream = Upstream::ok();
    let route = |name: &str| format!("[routes.{name}]\nhost = \"{name}\"\nupstream = \"{}\"\n", upstream.url());
    let proxy = Backsoon::start(&format!("{LISTEN}{}{}{}", route("late"), route("on"), route("soon")));
    let scrape = || get(proxy.admin, "/metrics").body;
    assert!(!scrape().contains("backsoon_planned_maintenance{"));
    let window = |id: &str, route: &str, from: Timestamp, to: Timestamp, more: &str| {
        format!(
            "[[windows]]\nid = \"{id}\"\nroutes = {{ {route} = \"offline\" }}\nstarts = {from}\nends = {to}\n{more}\n"
        )
    };
    let (starts, ends) = (hours(-1), hours(2));
    let soon = window("SOON \\\"1\\\"", "soon", hours(1), ends, "announce = \"2h\"");
    let later = window("LATER", "soon", hours(20), hours(21), "announce = \"2h\"");
    let on = window("ON", "on", starts, ends, "announce = \"2h\"");
    let late = window("LATE", "late", hours(-2), hours(-1), "on_overrun = \"stay\"");
    proxy.flag(&[soon, later, on, late].concat());
    wait("the windows are in force", || scrape().contains("window=\"LATE\",phase=\"closed\""));
    let metrics = scrape();
    let of = |name: &str, labels: &str| {
        let start = format!("backsoon_planned_maintenance{name}{{{labels}}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse::<f64>().unwrap())
    };
    assert_eq!(of("", "route=\"soon\",window=\"SOON \\\"1\\\"\",phase=\"announced\""), Some(1.0), "{metrics}");
    assert_eq!(of("", "route=\"on\",window=\"ON\",phase=\"closed\""), Some(1.0), "{metrics}");
    #[allow(clippy::cast_precision_loss, reason = "seconds of this century are exact")]
    let seconds = |at: Timestamp| Some(at.as_second() as f64);
    assert_eq!(of("_start_timestamp_seconds", "route=\"on\",window=\"ON\""), seconds(starts));
    assert_eq!(of("_end_timestamp_seconds", "route=\"on\",window=\"ON\""), seconds(ends));
    assert_eq!(of("_end_timestamp_seconds", "route=\"late\",window=\"LATE\""), None);
    assert_eq!(of("_overrun", "route=\"late\",window=\"LATE\""), Some(1.0), "{metrics}");
    assert_eq!(of("_overrun", "route=\"on\",window=\"ON\""), Some(0.0));
    assert_eq!(of("_overrun", "route=\"soon\",window=\"SOON \\\"1\\\"\""), Some(0.0));
    assert!(!metrics.contains("LATER"), "it is not announced yet");
    proxy.unflag();
    wait("they are forgotten", || !scrape().contains("backsoon_planned_maintenance{"));
}
