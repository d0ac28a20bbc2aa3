//! Programs that are not ours read the documents: `tests/feeds/read.py`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};

use super::super::super::super::flags::When;
use super::{World, at, sample};

/// Rules in zones whose own rules have not changed lately: databases of another age differ there.
const RULES: [&str; 18] = [
    "Sun 02:00-04:00 Europe/Berlin",
    "daily 01:30-02:30 America/New_York",
    "daily 02:30-03:30 Europe/Berlin",
    "Sat,Sun 00:00-24:00 Europe/Berlin",
    "daily 23:00-03:00 Australia/Lord_Howe",
    "day 31 02:00-04:00 Asia/Kathmandu",
    "1st,3rd Tue 22:00-02:00 UTC",
    "last workday 18:00-20:00 Pacific/Chatham",
    "last Sun 00:30-04:30 Europe/Lisbon",
    "DTSTART;TZID=Europe/Dublin:20260301T013000 RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,WE DURATION:PT90M",
    "DTSTART;TZID=America/Santiago:20260301T000000 RRULE:FREQ=DAILY;INTERVAL=3;COUNT=50 DURATION:PT2H",
    "DTSTART;TZID=Europe/Berlin:20260301T000000 RRULE:FREQ=HOURLY;INTERVAL=6;BYDAY=SU DURATION:PT30M",
    "DTSTART;TZID=Europe/Berlin:20260301T000000 RRULE:FREQ=MONTHLY;BYDAY=2TU;UNTIL=20270101T000000Z DURATION:PT1H",
    "DTSTART;TZID=Atlantic/Azores:20260301T000000 RRULE:FREQ=WEEKLY;BYDAY=SU;BYHOUR=0,1,2 DURATION:PT1H",
    "DTSTART:20260301T000000Z RRULE:FREQ=YEARLY;BYMONTH=3,10;BYDAY=-1SU DURATION:P1DT2H",
    "DTSTART;TZID=Europe/London:20260301T120000 RRULE:FREQ=YEARLY;BYYEARDAY=1,100,-1 DURATION:PT1H",
    "DTSTART;TZID=Asia/Gaza:20260301T000000 RRULE:FREQ=WEEKLY;WKST=SU;INTERVAL=2;BYDAY=SA,SU DURATION:PT3H",
    "DTSTART;TZID=Europe/Berlin:20260301T013000 RRULE:FREQ=MONTHLY;BYDAY=SA,SU;BYSETPOS=-1 DURATION:PT2H",
];

#[test]
fn programs_that_are_not_ours_read_the_documents() {
    let claim = "programs that are not ours read the documents";
    let python = std::env::var_os("BACKSOON_TEST_PYTHON").filter(|python| Path::new(python).exists());
    let Some(python) = python else {
        let reason = "BACKSOON_TEST_PYTHON names no Python; tests/all makes one";
        let _ = writeln!(std::io::stderr(), "SKIPPED: {claim}: {reason}");
        return;
    };
    let documents = |world: &World| -> BTreeMap<&str, String> {
        world
            .all()
            .into_iter()
            .map(|(path, document)| (path, String::from_utf8(document.whole.to_vec()).unwrap()))
            .collect()
    };
    let mut all = documents(&sample());
    let rules = rules();
    let (from, until) = (rules.ledger.since(), rules.ledger.since() + SignedDuration::from_hours(2 * 365 * 24));
    all.insert("/rules.ics", rules.text("/maintenance.ics"));
    let sample_calendar = all.remove("/maintenance.ics").unwrap();
    let answer = |documents: &BTreeMap<&str, String>, occurrences: &BTreeMap<String, Vec<(i64, i64)>>| {
        let told = serde_json::json!({
            "documents": documents, "occurrences": occurrences, "from": from.as_second(), "until": until.as_second(),
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/feeds/read.py");
        let mut child = Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert_eq!(answer(&all, &occurrences(&rules, from, until)), "ok\n");
    assert_eq!(answer(&BTreeMap::from([("/sample.ics", sample_calendar)]), &BTreeMap::new()), "ok\n");
}

/// Returns a world with a window for each rule, none of which is announced now.
fn rules() -> World {
    let window = |(number, rule): (usize, &&str)| {
        format!(
            "[[windows]]\nid = \"R{number}\"\nannounce = \"1s\"\nroutes = {{ web = \"hold\" }}\nevery = \"{rule}\"\n"
        )
    };
    let mut world = World::new("2026-02-20T00:00:00Z");
    let text: String = RULES.iter().enumerate().map(window).collect();
    world.edit(&text.replace("Pacific/Chatham\"", "Pacific/Chatham\"\nexcept = [2026-03-31]"));
    world.look("2026-02-20T00:00:00Z");
    assert_eq!(world.ledger.changed(), at("2026-02-20T00:00:00Z"));
    world
}

/// Returns the occurrences of all windows, as the proxy has them.
fn occurrences(world: &World, from: Timestamp, until: Timestamp) -> BTreeMap<String, Vec<(i64, i64)>> {
    let of = |when: &When| match when {
        When::Once { .. } => Vec::new(),
        When::Every(every) => {
            let spans = std::iter::successors(every.after(from), |(starts, _)| every.after(*starts));
            let spans = spans.take_while(|(starts, _)| *starts < until);
            spans.map(|(starts, ends)| (starts.as_second(), ends.as_second())).collect()
        }
    };
    world.flags.windows.iter().map(|window| (window.id.clone(), of(&window.when))).collect()
}
