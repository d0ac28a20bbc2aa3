use std::collections::BTreeSet;

use super::super::super::flags::{Flags, Mode};
use super::super::super::snapshot::{Phase, Source};
use super::super::{RouteSight, sight::ClosingSight};
use super::*;

/// Proxy with the route `web`, whose flag file and clock a test moves.
struct World {
    ledger: Ledger,
    flags: Flags,
    routes: Vec<RouteSight>,
    elsewhere: BTreeSet<String>,
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn flags(text: &str) -> Flags {
    let (parsed, problems) = super::super::super::flags::parse("maintenance.toml", text);
    parsed.unwrap_or_else(|| panic!("{problems:?}")).flags
}

fn open(name: &str) -> RouteSight {
    RouteSight { name: name.to_owned(), phase: Phase::Open, closing: None }
}

fn down(name: &str, phase: Phase, source: Source, started: &str) -> RouteSight {
    let (started, mode) = (at(started), Mode::Offline);
    let closing = ClosingSight { source, started, planned: started, mode, found: false, steps: Vec::new() };
    RouteSight { name: name.to_owned(), phase, closing: Some(closing) }
}

impl World {
    fn new(text: &str) -> Self {
        let elsewhere = BTreeSet::new();
        Self { ledger: Ledger::new(Timestamp::UNIX_EPOCH), flags: flags(text), routes: vec![open("web")], elsewhere }
    }

    /// Looks at an instant, and returns the words for the updates.
    fn look(&mut self, now: &str) -> Vec<&'static str> {
        let sight = Sight { flags: &self.flags, routes: &self.routes, elsewhere: &self.elsewhere, now: at(now) };
        let told = self.ledger.observe(sight);
        told.iter().map(|told| self.ledger.incidents[told.incident].updates[told.update].kind.as_str()).collect()
    }

    fn edit(&mut self, text: &str) -> &mut Self {
        self.flags = flags(text);
        self
    }

    fn route(&mut self, phase: Phase, source: Source, started: &str) -> &mut Self {
        self.routes = vec![down("web", phase, source, started)];
        self
    }

    fn opened(&mut self) -> &mut Self {
        self.routes = vec![open("web")];
        self
    }
}

fn window(more: &str) -> String {
    format!("[[windows]]\nid = \"MNT-1\"\nannounce = \"24h\"\nroutes = {{ web = \"offline\" }}\n{more}\n")
}

fn once(starts: &str, ends: &str, more: &str) -> String {
    window(&format!("starts = 2026-05-19T{starts}:00Z\nends = 2026-05-19T{ends}:00Z\n{more}"))
}

fn source() -> Source {
    Source::Window("MNT-1".to_owned())
}

#[test]
fn a_window_is_told_from_its_announcement_to_its_end() {
    let mut world = World::new(&once("14:00", "15:00", "title = \"Upgrade\""));
    assert_eq!(world.look("2026-05-18T13:59:59Z"), [""; 0], "it is not announced yet");
    assert_eq!(world.look("2026-05-18T14:00:00.5Z"), ["announced"]);
    assert_eq!(world.look("2026-05-18T15:00:00Z"), [""; 0]);
    world.edit(&once("14:30", "15:30", "title = \"Upgrade\""));
    assert_eq!(world.look("2026-05-18T16:00:00Z"), ["moved"]);
    let begun = "2026-05-19T14:30:00Z";
    assert_eq!(world.route(Phase::Draining, source(), begun).look(begun), ["began"]);
    assert_eq!(world.route(Phase::Closed, source(), begun).look("2026-05-19T14:31:00Z"), [""; 0]);
    world.edit(&once("14:30", "16:00", "title = \"Upgrade\""));
    assert_eq!(world.look("2026-05-19T14:32:00Z"), ["extended"]);
    let steps = "title = \"Upgrade\"\nsteps = [{ title = \"Copy\", state = \"STATE\" }, { title = \"Switch\" }]";
    world.edit(&once("14:30", "16:00", &steps.replace("STATE", "running")));
    assert_eq!(world.look("2026-05-19T14:33:00Z"), [""; 0], "progress is no news");
    world.edit(&once("14:30", "16:00", &steps.replace("STATE", "done")));
    assert_eq!(world.look("2026-05-19T14:40:00Z"), ["step-done"]);
    world.edit(&once("14:30", "16:00", "title = \"Longer upgrade\""));
    assert_eq!(world.look("2026-05-19T14:41:00Z"), ["reworded"]);
    assert_eq!(world.route(Phase::Verifying, source(), begun).look("2026-05-19T16:00:00Z"), ["checking"]);
    assert_eq!(world.route(Phase::Ramping, source(), begun).look("2026-05-19T16:01:00Z"), ["returning"]);
    assert_eq!(world.opened().look("2026-05-19T16:05:00Z"), ["over"]);
    assert_eq!(world.look("2026-05-19T17:00:00Z"), [""; 0]);
    let [incident] = world.ledger.incidents() else { panic!("{:?}", world.ledger) };
    assert!(incident.updates.iter().zip(1..).all(|(update, number)| update.sequence == number));
    let keys: BTreeSet<&Key> = incident.updates.iter().map(|update| &update.key).collect();
    assert_eq!(keys.len(), incident.updates.len());
    assert_eq!(incident.over(), Some(at("2026-05-19T16:05:00Z")));
    assert!(world.ledger.find("MNT-1").is_some() && world.ledger.find(incident.key.as_str()).is_some());
    // A guard closes the route again: it is the same incident.
    let mut again = down("web", Phase::Closed, source(), begun);
    again.closing.as_mut().unwrap().found = true;
    world.routes = vec![again];
    assert_eq!(world.look("2026-05-19T17:03:00Z"), ["closed-again"]);
    assert_eq!((world.ledger.incidents().len(), world.ledger.incidents()[0].facts.trouble), (1, Trouble::Found));
    assert_eq!(world.opened().look("2026-05-19T17:09:00Z"), ["over"]);
}

#[test]
fn a_window_that_overruns_or_is_called_off_says_so() {
    let mut world = World::new(&once("14:00", "15:00", "on_overrun = \"stay\""));
    world.look("2026-05-19T10:00:00Z");
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z");
    assert_eq!(world.look("2026-05-19T14:00:00Z"), ["began"]);
    assert_eq!(world.look("2026-05-19T15:00:00Z"), ["overrun"]);
    assert_eq!(world.look("2026-05-19T15:01:00Z"), [""; 0]);
    assert_eq!(world.edit("").opened().look("2026-05-19T15:10:00Z"), ["over"], "an operator took it out");

    let mut world = World::new(&once("14:00", "15:00", ""));
    assert_eq!(world.look("2026-05-19T10:00:00Z"), ["announced"]);
    assert_eq!(world.edit("").look("2026-05-19T11:00:00Z"), ["cancelled"]);
    assert_eq!(world.ledger.incidents()[0].over(), None);
    // Announced anew, it is another incident.
    assert_eq!(world.edit(&once("16:00", "17:00", "")).look("2026-05-19T12:00:00Z"), ["announced"]);
    assert_eq!(world.ledger.incidents().len(), 2);
    assert_ne!(world.ledger.incidents()[0].key, world.ledger.incidents()[1].key);
}

#[test]
fn a_window_that_nobody_saw_is_told_all_the_same() {
    let mut world = World::new(&once("14:00", "15:00", ""));
    assert_eq!(world.look("2026-05-19T10:00:00Z"), ["announced"]);
    assert_eq!(world.look("2026-05-19T16:00:00Z"), ["began", "over"]);
    let mut world = World::new(&once("14:00", "15:00", ""));
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z");
    assert_eq!(world.look("2026-05-19T14:20:00Z"), ["began"], "the proxy was started within it");
    assert_eq!(world.ledger.incidents()[0].began(), Some(at("2026-05-19T14:00:00Z")));
}

#[test]
fn each_occurrence_is_an_incident_of_its_own() {
    let mut world = World::new(&window("every = \"Tue 14:00-15:00 UTC\""));
    assert_eq!(world.look("2026-05-18T20:00:00Z"), ["announced"]);
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z");
    assert_eq!(world.look("2026-05-19T14:00:00Z"), ["began"]);
    assert_eq!(world.opened().look("2026-05-19T15:00:00Z"), ["over"]);
    assert_eq!(world.look("2026-05-25T15:00:00Z"), ["announced"]);
    // The rule moves it before it begins, and then an exception leaves it out.
    world.edit(&window("every = \"Tue 15:00-16:00 UTC\""));
    assert_eq!(world.look("2026-05-25T16:00:00Z"), ["moved"]);
    world.edit(&window("every = \"Tue 15:00-16:00 UTC\"\nexcept = [2026-05-26]"));
    assert_eq!(world.look("2026-05-25T17:00:00Z"), ["cancelled"]);
    assert_eq!(world.ledger.incidents().len(), 2);
}

#[test]
fn a_flag_without_a_window_is_an_unplanned_incident() {
    let mut world = World::new("[routes]\nweb = { mode = \"offline\", message = \"Disk\" }");
    world.routes.push(open("api"));
    let flag = || Source::Flag;
    world.routes[0] = down("web", Phase::Closed, flag(), "2026-05-19T14:00:00.25Z");
    assert_eq!(world.look("2026-05-19T14:00:01Z"), ["began"]);
    let key = world.ledger.incidents()[0].key.clone();
    assert_eq!(world.ledger.incidents()[0].facts.routes, BTreeSet::from(["web".to_owned()]));
    world.edit("[routes]\nweb = { mode = \"offline\", until = 2026-05-19T16:00:00Z, message = \"Disk\" }");
    assert_eq!(world.look("2026-05-19T14:10:00Z"), ["expected"], "the end is known now");
    world.edit("[lifted]\nweb = 2026-05-19T14:20:00Z");
    world.routes[0] = down("web", Phase::Ramping, flag(), "2026-05-19T14:00:00.25Z");
    assert_eq!(world.look("2026-05-19T14:20:00Z"), ["returning"]);
    world.routes[0] = open("web");
    assert_eq!(world.look("2026-05-19T14:25:00Z"), ["over"]);
    world.edit("[routes]\n\"*\" = \"offline\"\n[lifted]\nweb = 2026-05-19T14:20:00Z");
    world.routes = ["web", "api"].map(|name| down(name, Phase::Closed, flag(), "2026-05-20T09:00:00Z")).into();
    assert_eq!(world.look("2026-05-20T09:00:00Z"), ["began"], "one incident for all routes");
    assert_eq!(world.ledger.incidents()[1].facts.routes.len(), 2);
    assert_ne!(world.ledger.incidents()[1].key, key);
}

#[test]
fn a_flag_within_a_window_is_no_incident_of_its_own() {
    let mut world = World::new(&(once("14:00", "15:00", "") + "[routes]\nweb = \"offline\"\n"));
    world.route(Phase::Closed, Source::Flag, "2026-05-19T14:00:00Z");
    assert_eq!(world.look("2026-05-19T14:00:00Z"), ["began"]);
    assert_eq!(world.look("2026-05-19T15:00:00Z"), ["began", "over"], "the flag goes on after the window");
    assert_eq!(world.ledger.incidents()[1].facts.kind, Kind::Unplanned);
}

#[test]
fn replicas_that_see_the_same_files_have_the_same_keys() {
    let tell = |skew: &str| {
        let mut world = World::new(&once("14:00", "15:00", ""));
        world.look(&format!("2026-05-19T10:00:0{skew}Z"));
        world.edit(&once("14:00", "16:00", "")).look(&format!("2026-05-19T11:00:0{skew}Z"));
        world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z").look("2026-05-19T14:00:00Z");
        let incident = world.ledger.incidents()[0].clone();
        (incident.key, incident.updates.into_iter().map(|update| (update.sequence, update.key)).collect::<Vec<_>>())
    };
    assert_eq!(tell("0"), tell("3"));
}

#[test]
fn the_past_is_forgotten_after_its_time_and_the_ledger_is_bounded() {
    let mut world = World::new(&once("14:00", "15:00", ""));
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z").look("2026-05-19T14:00:00Z");
    world.opened().look("2026-05-19T15:00:00Z");
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert!(!world.ledger.forget(at("2026-08-17T15:00:00Z"), days(90)));
    assert!(world.ledger.forget(at("2026-08-17T15:00:01Z"), days(90)) && world.ledger.incidents().is_empty());
    let mut world = World::new(&once("14:00", "15:00", ""));
    world.look("2026-05-19T10:00:00Z");
    for minute in 0..MOST_UPDATES + 50 {
        let ends = at("2026-05-19T15:00:00Z") + SignedDuration::from_mins(i64::try_from(minute + 1).unwrap());
        let text = window(&format!("starts = 2026-05-19T14:00:00Z\nends = {ends}"));
        assert_eq!(world.edit(&text).look("2026-05-19T11:00:00Z"), ["extended"]);
    }
    let updates = &world.ledger.incidents()[0].updates;
    assert_eq!((updates.len(), updates[0].kind.as_str()), (MOST_UPDATES, "announced"));
    assert_eq!(updates.last().unwrap().sequence as usize, MOST_UPDATES + 51);
}

#[test]
fn a_ledger_outlives_its_process() {
    let mut world =
        World::new(&once("14:00", "15:00", "title = { en = \"Upgrade\", de = \"Umbau\" }\nregions = [\"eu\"]"));
    world.look("2026-05-19T10:00:00Z");
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z").look("2026-05-19T14:00:00Z");
    let text = serde_json::to_string(&world.ledger).unwrap();
    let read: Ledger = serde_json::from_str(&text).unwrap();
    assert_eq!(read, world.ledger, "{text}");
}

#[test]
fn a_night_of_ups_and_downs_has_a_key_for_each_update() {
    let mut world = World::new("[routes]\nweb = \"offline\"\n");
    let mut keys = BTreeSet::new();
    let mut told = 0;
    for second in 0..450_i64 {
        let phase = if second % 3 == 0 { Phase::Verifying } else { Phase::Closed };
        world.route(phase, Source::Flag, "2026-05-19T14:00:00Z");
        let now = at("2026-05-19T14:00:00Z").checked_add(SignedDuration::from_secs(second)).unwrap();
        told += world.look(&now.to_string()).len();
        keys.extend(world.ledger.incidents[0].updates.iter().map(|update| update.key.clone()));
    }
    assert!(told > MOST_UPDATES, "{told}");
    assert_eq!(keys.len(), told);
}

#[test]
fn a_clock_that_is_set_back_tells_nothing_twice() {
    let mut world = World::new(&once("14:00", "15:00", ""));
    assert_eq!(world.look("2026-05-19T10:00:00Z"), ["announced"]);
    assert_eq!(world.look("2026-05-18T10:00:00Z"), ["cancelled"; 0], "before its announcement");
    assert_eq!(world.look("2026-05-19T10:00:00Z"), [""; 0]);
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z");
    assert_eq!(world.look("2026-05-19T14:00:00Z"), ["began"]);
    assert_eq!(world.opened().look("2026-05-19T13:59:00Z"), [""; 0], "it is to come again");
    world.route(Phase::Closed, source(), "2026-05-19T14:00:00Z");
    assert_eq!(world.look("2026-05-19T14:00:00Z"), [""; 0]);
    assert_eq!(world.opened().look("2026-05-19T15:00:00Z"), ["over"]);
    assert_eq!(world.look("2026-05-19T13:00:00Z"), [""; 0]);
    assert_eq!(world.look("2026-05-19T15:00:00Z"), [""; 0]);
    assert_eq!(world.ledger.incidents().len(), 1);
}

#[test]
fn what_the_flag_file_says_of_routes_elsewhere_is_told_as_it_stands_there() {
    let mut world = World::new("");
    world.routes.clear();
    world.elsewhere = ["api", "shop"].map(str::to_owned).into();
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    world.edit("[routes]\nshop = { mode = \"offline\", message = \"A disk\" }\ntypo = \"offline\"\n");
    assert_eq!(world.look("2026-05-19T10:00:00.5Z"), ["began"]);
    let first = world.ledger.incidents()[0].clone();
    assert_eq!((first.facts.routes.clone(), first.began()), (set(&["shop"]), Some(at("2026-05-19T10:00:00Z"))));
    let changed = world.ledger.changed();
    assert_eq!(world.look("2026-05-19T10:05:00Z"), [""; 0]);
    assert_eq!(world.ledger.changed(), changed, "another look is no change");
    world.edit("[routes]\nshop = \"offline\"\n\"*\" = { mode = \"hold\", until = 2026-05-19T11:00:00Z }\n");
    assert_eq!(world.look("2026-05-19T10:10:00Z"), ["reworded", "began"]);
    assert_eq!(world.ledger.incidents()[1].facts.routes, set(&["api"]));
    assert_eq!(world.look("2026-05-19T11:00:00Z"), ["over"], "its time is over");
    // A window for a route that no service has is told as well: people know it by its title.
    let all = once("14:00", "15:00", "").replace("{ web", "{ web = \"offline\", shop");
    world.edit(&all).look("2026-05-19T12:00:00Z");
    let window = world.ledger.find("MNT-1").unwrap();
    assert_eq!((&window.facts.routes, window.facts.stage), (&set(&["shop", "web"]), Stage::Scheduled));
    let all = all.replace("web = \"offline\", shop", "\"*\"");
    world.edit(&all).look("2026-05-19T14:00:00Z");
    let window = world.ledger.find("MNT-1").unwrap();
    assert_eq!((&window.facts.routes, window.facts.stage), (&set(&["api", "shop"]), Stage::InProgress));
}

#[test]
fn the_oldest_of_the_noisiest_make_room() {
    let mut world = World::new("");
    let told = |world: &mut World, route: &str, minute: i64| {
        let now = |more: i64| (at("2026-05-01T00:00:00Z") + SignedDuration::from_secs(60 * minute + more)).to_string();
        world.edit(&format!("[routes]\n{route} = \"offline\"\n"));
        world.routes = vec![down(route, Phase::Closed, Source::Flag, &now(0))];
        world.look(&now(0));
        world.routes = vec![open(route)];
        world.edit("").look(&now(30));
    };
    (0..3).for_each(|minute| told(&mut world, "api", minute));
    let most = i64::try_from(MOST_INCIDENTS).unwrap();
    (3..most + 20).for_each(|minute| told(&mut world, "web", minute));
    assert!(world.ledger.forget(at("2026-05-03T00:00:00Z"), Duration::from_secs(90 * 86_400)));
    let of = |name: &str| world.ledger.incidents().iter().filter(|one| one.facts.routes.contains(name)).count();
    assert_eq!((of("api"), of("web")), (3, MOST_INCIDENTS - 3));
    assert_eq!(
        world.ledger.incidents().last().unwrap().facts.starts,
        at("2026-05-01T00:00:00Z") + SignedDuration::from_mins(most + 19)
    );
}
