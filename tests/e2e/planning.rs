//! Plans: windows are written, moved, left out and cancelled by commands, which say what will be.

use std::fs;

use backsoon::control::history::{ClosureCounts, Entry, Event, History};
use backsoon::control::state::StateDir;
use serde_json::Value;

use crate::command::{Done, run as run_in};
use crate::support::{Backsoon, Upstream, get, wait};

const CONFIG: &str = "\
[[listen]]
address = \"127.0.0.1:8080\"
[routes.web]
host = \"www.example.com\"
upstream = \"http://127.0.0.1:3000\"
[routes.api]
host = \"api.example.com\"
upstream = \"http://127.0.0.1:3001\"
";

/// Directory with a config of two routes, and a flag file.
struct Place(tempfile::TempDir);

impl Place {
    fn new(flags: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("backsoon.toml"), CONFIG).unwrap();
        fs::write(dir.path().join("maintenance.toml"), flags).unwrap();
        Self(dir)
    }

    fn flags(&self) -> String {
        fs::read_to_string(self.0.path().join("maintenance.toml")).unwrap()
    }

    fn run(&self, args: &[&str]) -> Done {
        run_in(self.0.path(), args)
    }

    /// Demands that a command is refused with a word, and that it writes nothing.
    #[track_caller]
    fn refuses(&self, args: &[&str], why: &str) {
        let before = self.flags();
        self.run(args).exits(64).complains(why);
        assert_eq!(self.flags(), before, "{args:?}");
    }
}

const FLAGS: &str = "\
[routes]
api = \"offline\"   # since the disk filled up

# the yearly one
[[windows]]
id     = \"YEARLY\"
starts = 2090-03-26T00:00:00Z
ends   = 2090-03-26T02:00:00Z
routes = { web = \"hold\" }
[[windows.steps]]
title  = \"Snapshot\"

[[windows]]
id     = \"SUNDAYS\"
every  = \"Sun 02:30-03:00 Europe/Berlin\"
routes = { web = \"offline\" }
";

#[test]
fn plan_writes_a_window_and_says_what_it_will_be() {
    let place = Place::new(FLAGS);
    let at = ["plan", "web", "api", "--at", "2090-03-26 02:30 Europe/Berlin", "--for", "1h", "--announce", "48h"];
    let more = ["--title", "A \"new\" disk", "--mode", "read-only", "--message", "Reading goes on."];
    let dry = place.run(&[&at[..], &more, &["--dry-run"]].concat()).exits(0);
    dry.says("+starts   = 2090-03-26T01:30:00Z").says("MNT-2090-0326-a: web and api will be read-only Sun 2090-03-26");
    assert_eq!(place.flags(), FLAGS);
    // The clocks go from 02:00 to 03:00 in that night.
    let done = place.run(&[&at[..], &more].concat()).exits(0);
    done.says(
        "MNT-2090-0326-a: web and api will be read-only Sun 2090-03-26 03:30-04:30 CEST (01:30-02:30 UTC), 1 h, in ",
    )
    .says("announced from Fri 2090-03-24 02:30 CET (01:30 UTC)")
    .says("backsoon cancel MNT-2090-0326-a takes it back")
    .complains("02:30 does not exist on 2090-03-26, because the clocks change: 03:30 takes its place")
    .complains("meets window YEARLY on web, Sun 2090-03-26 03:30-04:00 CEST (01:30-02:00 UTC), 30 min");
    let expected = "
[[windows]]
id       = \"MNT-2090-0326-a\"
title    = \"A \\\"new\\\" disk\"
message  = \"Reading goes on.\"
starts   = 2090-03-26T01:30:00Z
ends     = 2090-03-26T02:30:00Z
announce = \"48h\"
routes   = { web = \"read-only\", api = \"read-only\" }
";
    assert_eq!(place.flags(), format!("{FLAGS}{expected}"));
    let json = place.run(&["plan", "*", "--at", "2090-03-26T12:00Z", "--for", "90m", "--json"]).exits(0);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["id"], &json["ends"]), (&"MNT-2090-0326-b".into(), &"2090-03-26T13:30:00Z".into()));
    assert_eq!((&json["routes"]["*"], &json["in_force"]), (&"offline".into(), &false.into()));
    let every = ["plan", "web", "--every", "Sat 02:30-05:30 Europe/Berlin", "--id", "SATURDAYS"];
    place.run(&every).exits(0).says("by the rule Sat 02:30-05:30 Europe/Berlin").says("cancel SATURDAYS --series");
    place.run(&["check"]).exits(0);
}

#[test]
fn plan_refuses_what_makes_no_sense() {
    let place = Place::new(FLAGS);
    for (args, why) in [
        (&["--at", "2020-01-01T00:00Z", "--for", "1h"][..], "the start is in the past: Wed 2020-01-01 00:00 UTC"),
        (&["--at", "Sun 02:00 Berlin", "--for", "1h"], "did you mean `Europe/Berlin`?"),
        (&["--at", "tomorrow 02:00 UTC"], "--for"),
        (&["--for", "1h"], "--at"),
        (&["--at", "in 2h", "--for", "60"], "add a unit"),
        (&["--every", "Sun 02:00-04:00"], "does not say in which time zone"),
        (&["--every", "DTSTART:20200101T000000Z RRULE:FREQ=DAILY;COUNT=3 DURATION:PT1H"], "no occurrence to come"),
        (&["--at", "in 2h", "--for", "1h", "--id", "SUNDAYS"], "has a window `SUNDAYS` already"),
        (&["--at", "in 2h", "--for", "1h", "--announce", "9000h"], "would have errors"),
    ] {
        place.refuses(&[&["plan", "web"], args].concat(), why);
    }
    place.refuses(&["plan", "--at", "in 2h", "--for", "1h"], "ROUTE");
    place.refuses(&["plan", "wbe", "--at", "in 2h", "--for", "1h"], "did you mean `web`?");
    place.run(&["plan", "foreign", "--at", "in 2h", "--for", "1h", "--force"]).exits(0);
}

#[test]
fn windows_are_extended_skipped_and_cancelled() {
    let place = Place::new(FLAGS);
    place.run(&["extend", "YEARLY", "30m"]).exits(0).says("window YEARLY ends Sun 2090-03-26 02:30 UTC");
    assert_eq!(place.flags(), FLAGS.replace("02:00:00Z", "02:30:00Z"));
    let next = place.run(&["skip", "SUNDAYS", "next", "--json"]).exits(0);
    let next: Value = serde_json::from_str(&next.out).unwrap();
    assert!(next["left_out"]["starts"].as_str() < next["next"].as_str(), "{next}");
    let once = place.flags();
    place
        .run(&["skip", "SUNDAYS", "next"])
        .exits(0)
        .says("already; nothing is changed")
        .says("leaves that out as well");
    place.run(&["skip", "SUNDAYS", "next", "--dry-run"]).exits(0);
    assert_eq!(place.flags(), once);
    place.run(&["skip", "SUNDAYS", "2090-04-02"]).exits(0).says("leaves out Sun 2090-04-02 02:30");
    assert!(place.flags().contains(", 2090-04-02]\n"), "{}", place.flags());
    place.run(&["cancel", "SUNDAYS", "--series", "--dry-run"]).exits(0).says("-every  = \"Sun");
    place.run(&["cancel", "SUNDAYS", "--series"]).exits(0).says("window SUNDAYS is cancelled");
    place.run(&["cancel", "YEARLY"]).exits(0).says("is cancelled: Sun 2090-03-26 00:00-02:30 UTC, 2 h 30 min");
    assert_eq!(place.flags(), FLAGS[..FLAGS.find("[[windows]]").unwrap()]);
}

#[test]
fn what_is_not_to_be_moved_is_refused_with_the_right_command() {
    let on = "[[windows]]\nid = \"ON\"\nstarts = 2020-01-01T00:00:00Z\nends = 2090-01-01T00:00:00Z\nroutes = { api = \"hold\" }\n";
    let over = on.replace("ON", "OVER").replace("2090-01-01", "2020-02-01");
    let place = Place::new(&format!("{FLAGS}\n{on}{over}"));
    for (args, why) in [
        (&["extend", "OVER", "1h"][..], "is over since Sat 2020-02-01 00:00 UTC"),
        (&["extend", "SUNDAYS", "1h"], "is not on; it begins Sun "),
        (&["extend", "NONE", "1h"], "has no window `NONE`"),
        (&["skip", "YEARLY", "2090-03-26"], "comes once"),
        (&["skip", "SUNDAYS", "2090-04-03"], "the nearest are 2090-04-02 and 2090-04-09"),
        (&["skip", "SUNDAYS", "2020-03-01"], "is over"),
        (&["skip", "SUNDAYS", "tomorrow"], "write a day"),
        (&["cancel", "ON"], "`backsoon off --window ON`"),
        (&["cancel", "OVER"], "is over since"),
        (&["cancel", "SUNDAYS"], "`backsoon skip SUNDAYS next`"),
    ] {
        place.refuses(args, why);
    }
}

#[test]
fn a_plan_is_waited_for_and_can_be_taken_back() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let run = |args: &[&str]| run_in(backsoon.dir.path(), args);
    run(&["plan", "web", "--at", "in 2h", "--for", "1h", "--id", "P", "--wait"]).exits(0).says("live at");
    run(&["extend", "P", "15m", "--wait"]).exits(0).says("live at");
    let json = run(&["cancel", "P", "--wait", "--json"]).exits(0);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["id"], &json["in_force"]), (&"P".into(), &true.into()));
}

#[test]
fn the_agenda_tells_what_comes_and_where_windows_meet() {
    let daily = |id: &str, when: &str, routes: &str| {
        format!("[[windows]]\nid = \"{id}\"\nevery = \"{when} UTC\"\nroutes = {{ {routes} }}\n")
    };
    let text = daily("NIGHT", "daily 02:00-04:00", "web = \"offline\"")
        + &daily("EARLY", "daily 03:00-03:30", "\"*\" = \"hold\"")
        + &daily("API", "Sun 12:00-13:00", "api = \"read-only\"");
    let place = Place::new(&text);
    place
        .run(&["agenda", "--weeks", "1"])
        .exits(0)
        .says("week of Mon ")
        .says("NIGHT")
        .says("! meets NIGHT on web,")
        .says("api read-only");
    place.run(&["agenda", "api"]).exits(0).says("API").keeps_quiet_of("NIGHT");
    place.run(&["agenda", "apj"]).exits(64).complains("did you mean `api`?");
    let json = place.run(&["agenda", "--weeks", "2", "--json"]).exits(0);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let windows: Vec<&str> =
        json["occurrences"].as_array().unwrap().iter().map(|one| one["window"].as_str().unwrap()).collect();
    assert!(windows.iter().filter(|id| **id == "API").count() == 2, "{json:#}");
    assert_eq!(json["conflicts"][0]["routes"][0], "web");
    let ical = place.run(&["agenda", "--ical"]).exits(0).out;
    assert_eq!(ical.matches("BEGIN:VEVENT\r\n").count(), ical.matches("END:VEVENT\r\n").count());
    assert!(ical.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//backsoon//"), "{ical}");
    Place::new("").run(&["agenda"]).exits(0).says("nothing is planned within 4 weeks");
}

/// Line of the history.
fn phase(transition: (&str, &str), at: &str, source: &str, requests: Option<ClosureCounts>) -> Entry {
    let (from, to) = transition;
    let at = at.parse().unwrap();
    let down = !["open", "ramping"].contains(&to);
    let event = Event::Phase {
        route: "web".to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        at,
        why: String::new(),
        mode: down.then(|| "offline".to_owned()),
        source: down.then(|| source.to_owned()),
        until: source.starts_with("window").then(|| "2026-05-19T15:00:00Z".parse().unwrap()),
        flags: None,
        requests,
    };
    Entry { time: at, generation: 1, event }
}

#[test]
fn the_report_sums_up_what_was_down_and_why() {
    let place = Place::new("");
    let counts = |since: &str, refused| ClosureCounts { since: since.parse().unwrap(), refused, held: 2, lost: 1 };
    let window = "window M-1";
    let entries = [
        phase(("open", "draining"), "2026-05-19T14:00:00Z", window, None),
        phase(("draining", "closed"), "2026-05-19T14:00:10Z", window, None),
        phase(("closed", "ramping"), "2026-05-19T15:05:00Z", "", Some(counts("2026-05-19T14:00:00Z", 120))),
        phase(("ramping", "closed"), "2026-05-19T15:06:00Z", "guard", Some(counts("2026-05-19T15:05:00Z", 5))),
        phase(("closed", "open"), "2026-05-19T15:16:00Z", "", Some(counts("2026-05-19T15:06:00Z", 9))),
    ];
    let state = StateDir::new(&place.0.path().join("backsoon.toml"), None, None);
    History::new(state).append(&entries).unwrap();
    place.run(&["report"]).exits(0).says("nothing was down since ");
    let all = ["report", "--since", "2026-01-01T00:00:00Z"];
    place
        .run(&all)
        .exits(0)
        .says("2 downtimes since 2026-01-01 00:00:00 UTC")
        .says("web: 1 h 15 min down in 2 downtimes, the longest 1 h 5 min; planned 1 h, overrun 5 min, by guard 10 min")
        .says("requests: 134 refused, 6 held, 3 lost\n")
        .says("window M-1; overrun 5 min");
    let markdown = place.run(&["report", "--window", "M-1", "--markdown"]).exits(0);
    markdown
        .says("| web | 2026-05-19 14:00:00 UTC | 2026-05-19 15:05:00 UTC | 1 h 5 min | offline | window M-1 | 5 min | 125 | 4 | 2 |")
        .keeps_quiet_of("| guard |");
    let json = place.run(&[&all[..], &["--json", "web"]].concat()).exits(0);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (&json["routes"][0]["overrun_seconds"], &json["routes"][0]["by_guard_seconds"]),
        (&300.into(), &600.into())
    );
    place.run(&["report", "wbe"]).exits(0).complains("did you mean `web`?");
    let unknown = "neither the history nor the flag file has a window `M-2`";
    place.run(&["report", "--window", "M-2"]).exits(64).complains(unknown).complains("did you mean `M-1`?");
    fs::write(place.0.path().join("maintenance.toml"), FLAGS).unwrap();
    place.run(&["report", "--window", "YEARLY"]).exits(0).says("nothing was down");
    place.run(&["report", "--window", "OTHER"]).exits(64).complains("its windows are `YEARLY`, `SUNDAYS` and `M-1`");
    fs::write(place.0.path().join("maintenance.toml"), "broken").unwrap();
    place.run(&["report", "--window", "M-1"]).exits(0);
    place.run(&["report", "--window", "YEARLY"]).exits(64).complains("and the flag file cannot be read");
}

#[test]
fn a_proxy_counts_what_its_report_tells_and_shows_plans_in_its_status() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let run = |args: &[&str]| run_in(backsoon.dir.path(), args);
    run(&["on", "web", "--wait"]).exits(0);
    for _ in 0..3 {
        assert_eq!(get(backsoon.address(), "/").status, 503);
    }
    run(&["off", "web", "--wait"]).exits(0);
    wait("the report", || run(&["report", "--json"]).out.contains("\"refused\": 3"));
    run(&["report"]).says("requests: 3 refused, 0 held, 0 lost\n").says("flag");

    run(&["plan", "web", "--at", "in 72h", "--for", "1h", "--id", "P", "--mode", "hold", "--wait"]).exits(0);
    let route = backsoon.route("web");
    assert_eq!((&route["planned"][0]["window"], &route["planned"][0]["mode"]), (&"P".into(), &"hold".into()));
    assert_eq!((&route["planned"][0]["announced"], &route["announced"]), (&false.into(), &Value::Null));
    run(&["status"]).exits(0).says("planned: P, hold from ");
}
