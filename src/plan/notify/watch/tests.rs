//! Events of whole maintenances, as operators are told of them.

use jiff::SignedDuration;

use super::super::super::config;
use super::super::super::rehearsal::Rehearsal;
use super::*;

/// Proxy that is rehearsed, and the watch over it.
struct Told {
    proxy: Rehearsal,
    watch: Watch,
}

impl Told {
    fn new(route: &str) -> Self {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\ndrain = \"10s\"\n{route}\n"
        );
        let (config, problems) = config::parse("backsoon.toml", &text);
        let proxy = Rehearsal::new(config.unwrap_or_else(|| panic!("{problems:?}")));
        let mut told = Self { proxy, watch: Watch::default() };
        assert_eq!(told.at(0), [""; 0]);
        told
    }

    /// Looks so many seconds after the beginning, and returns the events in short.
    fn at(&mut self, seconds: i64) -> Vec<String> {
        self.events(seconds).iter().map(short).collect()
    }

    fn events(&mut self, seconds: i64) -> Vec<OperatorEvent> {
        self.proxy.compile(instant(seconds));
        let live = self.proxy.live.as_ref().unwrap();
        self.watch.look(live, &self.proxy.flags)
    }

    fn flag(&mut self, text: &str) -> &mut Self {
        self.proxy.flag(text);
        self
    }

    fn remaining(&mut self, remaining: u64) -> &mut Self {
        self.proxy.known.observed.entry("web".to_owned()).or_default().remaining = Some(remaining);
        self
    }

    fn restart(&mut self) -> &mut Self {
        self.proxy.restart();
        self.watch = Watch::after(&self.proxy.known.memory);
        self
    }
}

fn instant(seconds: i64) -> Timestamp {
    "2026-05-19T14:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn short(event: &OperatorEvent) -> String {
    format!("{}: {}: {}", event.kind.as_str(), event.headline, event.what)
}

const WINDOW: &str = "
[[windows]]
id = \"M-1\"
title = { en = \"Database\", de = \"Datenbank\" }
starts = 2026-05-19T14:10:00Z
ends = 2026-05-19T14:20:00Z
routes = { web = \"offline\" }
announce = \"1h\"
";

#[test]
fn a_window_is_told_from_its_announcement_to_its_end_and_each_change_once() {
    let mut told = Told::new("");
    let announced = "announced: window M-1 is announced: from 14:10 UTC to 14:20 UTC";
    assert_eq!(told.flag(WINDOW).at(1), [announced]);
    assert_eq!(told.at(2), [""; 0]);
    let closed = told.events(600);
    assert_eq!(closed.iter().map(short).collect::<Vec<_>>(), ["closed: web is closed: offline by window M-1"]);
    let [closed] = closed.as_slice() else { unreachable!("one event") };
    let json = closed.json("proxy-1", Some("de"));
    assert_eq!(json["title"], "Datenbank");
    assert_eq!(json["until"], "2026-05-19T14:20:00Z");
    assert_eq!(json["timestamp"], "2026-05-19T14:10:00.000Z");
    assert_eq!(json["id"], closed.id("proxy-1").as_str());
    assert_ne!(closed.id("proxy-1"), closed.id("proxy-2"), "replicas can be told apart");
    assert_eq!(told.remaining(3).at(601), [""; 0]);
    assert_eq!(told.remaining(0).at(602), ["drained: web is drained: nothing is in flight any more"]);
    assert_eq!(told.at(603), [""; 0]);
    assert_eq!(told.at(1200), ["opened: web is open: its time is over"]);
}

#[test]
fn a_drain_that_took_too_long_is_told_as_such() {
    let mut told = Told::new("");
    told.remaining(1).flag("[routes]\nweb = \"offline\"").at(1);
    let late = "drained: web is closed, and its drain time is over: the drain time is over";
    assert_eq!(told.at(11), [late]);
}

#[test]
fn changes_of_a_plan_are_told() {
    let mut told = Told::new("");
    told.flag(WINDOW).at(1);
    let moved = WINDOW.replace("14:10", "14:12");
    assert_eq!(told.flag(&moved).at(2), ["moved: window M-1 was moved: from 14:12 UTC to 14:20 UTC"]);
    let longer = moved.replace("14:20", "14:30");
    assert_eq!(told.flag(&longer).at(3), ["moved: window M-1 takes longer: its end is expected at 14:30 UTC"]);
    assert_eq!(told.flag("").at(4), ["cancelled: window M-1 was called off: it will not begin"]);
}

#[test]
fn an_overrun_and_its_end_are_told() {
    let mut told = Told::new("");
    told.flag(&format!("{WINDOW}on_overrun = \"stay\"\n")).at(1);
    told.at(600);
    told.remaining(0).at(601);
    let overrun = "overrun: window M-1 overruns: its planned end has passed, and its routes stay closed";
    assert_eq!(told.at(1200), [overrun]);
    assert_eq!(told.at(1201), [""; 0]);
    // A trouble that lasts is told again by the next process.
    assert_eq!(told.restart().at(1210), [overrun]);
}

#[test]
fn a_holder_that_is_lost_is_told() {
    let mut told = Told::new("");
    let held = "until = 2026-05-19T14:10:00Z, held_by = \"anna@ci\", on_overrun = \"stay\"";
    told.remaining(0).flag(&format!("[routes]\nweb = {{ {held} }}\n")).at(1);
    told.at(2);
    assert_eq!(
        told.at(600),
        ["overrun: the flag of web overruns: anna@ci held it, and has not renewed that in time; it stays closed"]
    );
    assert_eq!(told.at(601), [""; 0]);
}

#[test]
fn a_restart_loses_no_drain_and_repeats_none() {
    let mut told = Told::new("");
    told.remaining(5).flag("[routes]\nweb = \"offline\"").at(1);
    let drained = "drained: web is drained: the proxy was restarted: nothing is in flight";
    assert_eq!(told.restart().at(3), [drained]);
    assert_eq!(told.at(4), [""; 0]);
    assert_eq!(told.restart().at(5), [""; 0], "a migration must not be started again");
}

#[test]
fn a_flag_that_was_set_while_nothing_ran_is_told_if_there_is_a_memory() {
    let mut told = Told::new("");
    told.restart().flag("[routes]\nweb = \"offline\"");
    let closed = "closed: web is closed: flagged offline";
    let drained = "drained: web is drained: the proxy was restarted: nothing is in flight";
    assert_eq!(told.at(5), [closed, drained]);
    let mut told = Told::new("");
    told.restart().flag("[routes]\nweb = \"offline\"");
    (told.proxy.known.memory, told.watch) = (Memory::Fresh, Watch::after(&Memory::Fresh));
    assert_eq!(told.at(5), [""; 0], "a container without a state directory would start it at each restart");
}

#[test]
fn places_are_told_of_what_they_ask_for() {
    let mut told = Told::new("");
    told.remaining(0).flag("[routes]\nweb = \"offline\"").at(1);
    let events = told.events(2);
    let [drained] = events.as_slice() else { unreachable!("{events:?}") };
    let text = |more: &str| {
        let config = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"http://a:1\"\n[routes.api]\n\
             host = \"api\"\nupstream = \"http://a:1\"\n[[notify]]\nto = \"exec:/bin/true\"\n{more}"
        );
        config::parse("backsoon.toml", &config).0.unwrap().notify.remove(0)
    };
    for (more, is_told) in [
        ("on = \"drained\"", true),
        ("on = [\"closed\", \"drained\"]\nroutes = \"web\"", true),
        ("on = \"drained\"\nroutes = \"api\"", false),
        ("", false),
    ] {
        assert_eq!(drained.concerns(&text(more)), is_told, "{more}");
    }
    let unsaved = OperatorEvent::of_proxy(EventKind::Unsaved, instant(0), "x", String::new());
    assert!(unsaved.concerns(&text("routes = \"api\"")), "events of the whole proxy have no route");
}
