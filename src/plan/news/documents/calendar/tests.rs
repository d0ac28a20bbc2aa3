use super::super::super::super::snapshot::{Phase, Source};
use super::super::tests::{World, at, snapshot, window};

const EVERY: &str =
    "[[windows]]\nid = \"W 1\"\ntitle = \"Backup, weekly\"\nannounce = \"24h\"\nroutes = { web = \"offline\" }\n";

/// Returns the events of the calendar, without the folds of their lines.
fn events(world: &World) -> Vec<String> {
    let text = world.text("/maintenance.ics").replace("\r\n ", "").replace("\r\n", "\n");
    text.split("BEGIN:VEVENT\n").skip(1).map(|event| event.split("END:VEVENT").next().unwrap().to_owned()).collect()
}

fn sunday() -> World {
    let mut world = World::new("2026-03-01T00:00:00Z");
    world.edit(&format!("{EVERY}every = \"Sun 02:00-04:00 Europe/Berlin\"\nexcept = [2026-04-12]\n"));
    world
}

fn has(event: &str, lines: &[&str]) {
    for line in lines {
        assert!(event.lines().any(|own| own == *line), "no {line} in\n{event}");
    }
}

#[test]
fn a_window_that_comes_again_is_a_rule() {
    let mut world = sunday();
    // Announced: Sunday 8 March, and the clock changes on Sunday 29 March.
    world.look("2026-03-07T12:00:00Z");
    let all = events(&world);
    has(
        &all[0],
        &[
            "UID:W 1@status.example.com",
            "DTSTART;TZID=Europe/Berlin:20260308T020000",
            "DTEND;TZID=Europe/Berlin:20260308T040000",
            "RRULE:FREQ=WEEKLY;BYDAY=SU",
            "EXDATE;TZID=Europe/Berlin:20260412T020000",
            "SUMMARY:Backup\\, weekly",
            "DTSTAMP:20260307T120000Z",
        ],
    );
    has(&all[0], &["X-MAINTNOTE-MAINTENANCE-ID:W 1-20260308T010000Z", "X-MAINTNOTE-STATUS:CONFIRMED"]);
    has(
        &all[1],
        &["RECURRENCE-ID;TZID=Europe/Berlin:20260329T020000", "DTSTART:20260329T010000Z", "DTEND:20260329T030000Z"],
    );
    let known = all.last().unwrap();
    has(
        known,
        &[
            "UID:W 1@status.example.com",
            "RECURRENCE-ID;TZID=Europe/Berlin:20260308T020000",
            "DTSTART:20260308T010000Z",
            "DTEND:20260308T030000Z",
            "STATUS:CONFIRMED",
            "X-MAINTNOTE-STATUS:CONFIRMED",
            "X-MAINTNOTE-MAINTENANCE-ID:W 1-20260308T010000Z",
            "X-MAINTNOTE-OBJECT-ID;X-MAINTNOTE-OBJECT-IMPACT=OUTAGE:Web <shop>",
            "SEQUENCE:561600",
        ],
    );
    snapshot("news.weekly.ics", &world.text("/maintenance.ics"));
    let zone = world.text("/maintenance.ics");
    assert!(
        zone.contains("TZID:Europe/Berlin\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100"),
        "{zone}"
    );
}

#[test]
fn an_occurrence_that_ended_early_has_its_own_times() {
    let mut world = sunday();
    world.look("2026-03-07T12:00:00Z");
    world.down("web", Phase::Closed, window("W 1"), "2026-03-08T01:00:00Z").look("2026-03-08T01:00:00Z");
    world.open().edit(&format!("{EVERY}every = \"Sun 02:00-04:00 Europe/Berlin\"\nended = 2026-03-08T01:30:00Z\n"));
    world.look("2026-03-08T01:30:00Z");
    // The next is announced six days later; the last one stays.
    world.look("2026-03-14T12:00:00Z");
    let all = events(&world);
    let last = all.iter().find(|one| one.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260308T020000")).unwrap();
    has(
        last,
        &["DTSTART:20260308T010000Z", "DTEND:20260308T013000Z", "X-MAINTNOTE-STATUS:COMPLETED", "SEQUENCE:610200"],
    );
    has(&all[0], &["DTSTART;TZID=Europe/Berlin:20260308T020000"]);
}

#[test]
fn an_occurrence_that_is_left_out_after_its_announcement_is_cancelled() {
    let mut world = sunday();
    world.look("2026-03-07T12:00:00Z");
    world.edit(&format!("{EVERY}every = \"Sun 02:00-04:00 Europe/Berlin\"\nexcept = [2026-03-08]\n"));
    world.look("2026-03-07T13:00:00Z");
    let all = events(&world);
    let cancelled = all.iter().find(|one| one.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260308T020000")).unwrap();
    has(
        cancelled,
        &["STATUS:CANCELLED", "X-MAINTNOTE-STATUS:CANCELLED", "SEQUENCE:565200", "DTSTART:20260308T010000Z"],
    );
    assert!(!all[0].contains("EXDATE"), "{}", all[0]);
}

#[test]
fn a_series_does_not_begin_with_a_night_on_which_the_clock_changes() {
    let mut world = sunday();
    world.look("2026-03-28T12:00:00Z").edit("[routes]\n");
    world.edit(&format!("{EVERY}every = \"Sun 01:00-04:00 Europe/Berlin\"\n")).look("2026-03-28T13:00:00Z");
    let all = events(&world);
    has(&all[0], &["DTSTART;TZID=Europe/Berlin:20260322T010000", "DTEND;TZID=Europe/Berlin:20260322T040000"]);
    has(&all[0], &["X-MAINTNOTE-STATUS:COMPLETED"]);
    let odd = all.iter().find(|one| one.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260329T010000")).unwrap();
    has(odd, &["DTSTART:20260329T000000Z", "DTEND:20260329T030000Z", "X-MAINTNOTE-STATUS:CONFIRMED"]);
}

#[test]
fn no_number_of_an_occurrence_ever_falls() {
    let mut world = sunday();
    let mut known = std::collections::BTreeMap::<String, u64>::new();
    // Each Sunday is announced on Saturday; the clock changes on the last of them.
    for day in ["07", "08", "14", "15", "21", "22", "28", "29", "30"] {
        world.look(&format!("2026-03-{day}T12:00:00Z"));
        for event in events(&world) {
            let line = |name: &str| event.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
            let number: u64 = line("SEQUENCE:")["SEQUENCE:".len()..].parse().unwrap();
            let before = known.insert(line("UID") + &line("RECURRENCE-ID"), number);
            assert!(before.is_none_or(|before| before <= number), "{day}: {event}");
        }
    }
    assert!(known.keys().any(|id| id.contains("20260329")));
}

#[test]
fn a_rule_that_calendars_cannot_say_is_written_out_for_a_year() {
    let mut world = World::new("2026-03-01T00:00:00Z");
    let rule = "DTSTART;TZID=Europe/Berlin:20260301T000000 RRULE:FREQ=HOURLY;INTERVAL=170 DURATION:PT1H";
    world.edit(&format!("{EVERY}every = \"{rule}\"\n")).look("2026-03-07T12:00:00Z");
    let all = events(&world);
    assert_eq!(all.len(), 52, "{all:#?}");
    assert!(all.iter().all(|event| !event.contains("RRULE") && event.contains("UID:W 1-202")), "{all:#?}");
    let ids: std::collections::BTreeSet<&str> =
        all.iter().map(|event| event.lines().find(|line| line.starts_with("UID")).unwrap()).collect();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn a_cancelled_maintenance_stays_for_a_while() {
    let mut world = World::new("2026-03-01T00:00:00Z");
    let once = |id: &str, day: &str| {
        format!(
            "[[windows]]\nid = \"{id}\"\nannounce = \"216h\"\nroutes = {{ web = \"offline\" }}\nstarts = 2026-{day}T01:00:00Z\n\
             ends = 2026-{day}T02:00:00Z\n"
        )
    };
    world.edit(&once("A", "03-08")).look("2026-03-02T00:00:00Z").edit("").look("2026-03-03T00:00:00Z");
    let [event] = &events(&world)[..] else { panic!("{}", world.text("/maintenance.ics")) };
    has(event, &["UID:A@status.example.com", "STATUS:CANCELLED", "SEQUENCE:2", "LAST-MODIFIED:20260303T000000Z"]);
    // An id that is taken again is the newer maintenance's.
    world.edit(&once("A", "03-20")).look("2026-03-12T00:00:00Z");
    let all = events(&world);
    has(&all[0], &["UID:A@status.example.com", "DTSTART:20260320T010000Z"]);
    assert!(all.len() == 2 && !all[1].contains("UID:A@"), "{all:#?}");
    world.edit(&once("B", "04-20")).look("2026-04-12T00:00:00Z");
    assert!(events(&world).iter().all(|event| !event.contains("20260308T010000Z")));
}

#[test]
fn an_interruption_is_no_appointment() {
    let mut world = World::new("2026-03-01T00:00:00Z");
    world.edit("[routes]\nweb = \"offline\"\n");
    world.down("web", Phase::Closed, Source::Flag, "2026-03-08T01:00:00Z").look("2026-03-08T01:00:00Z");
    assert!(events(&world).is_empty());
    assert!(world.text("/maintenance.ics").contains("BEGIN:VTIMEZONE"), "a calendar has at least one component");
    assert_eq!(world.document("/maintenance.ics").content_type, "text/calendar; charset=utf-8");
    assert!(at("2026-03-08T01:00:00Z") == world.ledger.changed());
}
