//! Tests of the status table and of the replicas' health.

use std::io;

use anstream::adapter::strip_str;

use super::*;

fn plain(styled: &str) -> String {
    strip_str(styled).to_string()
}

fn replica(status: Value) -> Replica {
    let answer = serde_json::from_value(status.clone()).map(|parsed| (parsed, status)).map_err(admin::Error::Json);
    Replica {
        whom: Whom::At("127.0.0.1:9901".parse().unwrap()),
        answer,
        unread: Vec::new(),
        looked: Vec::new(),
        clock: None,
        beat: None,
    }
}

fn health_of(replicas: &[Replica]) -> Health {
    health(&replicas.iter().collect::<Vec<_>>(), Scope::All)
}

fn status(flags_hash: &str) -> Value {
    json!({
        "version": "0.1.0", "pid": 42, "watching": { "by": "events" }, "generation": 7, "published": "2026-05-19T14:28:00Z", "stage": "running",
        "files": [
            { "path": "backsoon.toml", "role": "config", "hash": "c0ffee0011", "loaded": "2026-05-19T10:00:00Z", "problems": [], "trouble": null },
            { "path": "maintenance.toml", "role": "flags", "hash": flags_hash, "problems": [], "trouble": null,
              "loaded": "2026-05-19T14:28:00Z", "in_force": { "hash": flags_hash, "generation": 7 } },
        ],
        "routes": [
            { "name": "api", "phase": "open", "mode": null, "since": "2026-05-19T10:00:00Z", "until": null,
              "source": null, "in_flight": 3, "held": 0, "latency": { "p50": 2.047, "p90": 8.191, "p99": 24.575 } },
            { "name": "web", "phase": "closed", "mode": "offline", "since": "2026-05-19T14:28:00Z",
              "until": "2026-05-19T15:00:00Z", "source": "window M-1", "in_flight": 0, "held": 0 },
        ],
    })
}

#[test]
fn a_replica_reads_as_a_table() {
    let now = "2026-05-19T14:30:00Z".parse().unwrap();
    let shown = plain(&table::replica(&replica(status("f1a9")), now));
    assert_eq!(
        shown,
        "127.0.0.1:9901  backsoon 0.1.0, pid 42, running, generation 7 for 2 min\n\
         \x20 flags   maintenance.toml  f1a9 read 14:28 UTC, in force since generation 7\n\
         \x20 config  backsoon.toml     c0ffee00 read 10:00 UTC\n\
         \x20 files are watched by events\n\
         \x20 ROUTE  PHASE   MODE     SINCE      UNTIL      IN FLIGHT  HELD  P99      BY\n\
         \x20 api    open    -        10:00 UTC  -          3          0     24.6 ms  -\n\
         \x20 web    closed  offline  14:28 UTC  15:00 UTC  0          0     -        window M-1\n"
    );
}

#[test]
fn replicas_agree_when_their_files_do() {
    assert_eq!(health_of(&[replica(status("aa")), replica(status("aa"))]), Health::Well);
    assert_eq!(health_of(&[replica(status("aa")), replica(status("bb"))]), Health::Apart);
}

/// Returns the last lines about two replicas: one as it is usual, and one with a change.
fn compared(scope: Scope, change: impl Fn(&mut Value)) -> (Health, String) {
    let mut other = status("aa");
    change(&mut other);
    let mut replicas = [replica(status("aa")), replica(other)];
    replicas[1].whom = Whom::At("127.0.0.1:9902".parse().unwrap());
    {
        let replicas: Vec<&Replica> = replicas.iter().collect();
        (health(&replicas, scope), plain(&table::verdict(&replicas, scope)))
    }
}

#[test]
fn replicas_that_differ_say_in_what() {
    let end = "the replicas do not agree: they have different";
    let flags = |status: &mut Value| status["files"][1]["in_force"]["hash"] = "bb0123456789".into();
    assert_eq!(
        compared(Scope::All, flags),
        (Health::Apart, format!("flag file: aa at 127.0.0.1:9901; bb012345 at 127.0.0.1:9902\n{end} flag files\n"))
    );
    let route = |key: &'static str, value: Value| move |status: &mut Value| status["routes"][1][key] = value.clone();
    for (change, here, there, phases) in [
        (route("phase", "draining".into()), "closed, offline", "draining, offline", "web"),
        (route("mode", "hold".into()), "closed, offline", "closed, hold", "web"),
        (route("mode", Value::Null), "closed, offline", "closed", "web"),
    ] {
        let line = format!("route web: {here} at 127.0.0.1:9901; {there} at 127.0.0.1:9902\n");
        let told = (Health::Apart, format!("{line}{end} states of {phases}\n"));
        assert_eq!(compared(Scope::All, change.clone()), told);
        assert_eq!(compared(Scope::FlagsOnly, change), told);
    }
    let missing = |status: &mut Value| drop(status["routes"].as_array_mut().unwrap().pop());
    let line = "route web: closed, offline at 127.0.0.1:9901; not there at 127.0.0.1:9902\n";
    assert_eq!(compared(Scope::All, missing), (Health::Apart, format!("{line}{end} states of web\n")));
}

/// Fails where `agree` compares the hashes of files and the phases alone.
#[test]
fn replicas_differ_by_share_breach_and_clock() {
    let ramping = |share: f64| {
        let mut status = status("aa");
        status["routes"][1] = json!({ "name": "web", "phase": "ramping", "share": share });
        status
    };
    let breach = |status: &mut Value| {
        status["routes"][1]["breach"] = json!({ "at": "2026-05-19T14:20:00Z", "what": "3 of 9 requests failed" });
    };
    let between = |here: Value, there: Value| {
        let mut replicas = [replica(here), replica(there)];
        replicas[1].whom = Whom::At("127.0.0.1:9902".parse().unwrap());
        let replicas: Vec<&Replica> = replicas.iter().collect();
        (health(&replicas, Scope::All), plain(&table::verdict(&replicas, Scope::All)))
    };
    let of_web = "the replicas do not agree: they have different states of web\n";
    assert_eq!(between(ramping(0.5), ramping(0.515)).0, Health::Well);
    let line = "route web: ramping, 51% of clients at 127.0.0.1:9901; ramping, 21% of clients at 127.0.0.1:9902\n";
    assert_eq!(between(ramping(0.51), ramping(0.21)), (Health::Apart, format!("{line}{of_web}")));
    let line = "route web: closed, offline at 127.0.0.1:9901; \
                closed, offline, with a finding of its guard at 127.0.0.1:9902\n";
    assert_eq!(compared(Scope::FlagsOnly, breach), (Health::Apart, format!("{line}{of_web}")));
}

#[test]
fn a_clock_that_is_off_is_told_with_its_replica() {
    let at = |millis: i64| Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap();
    let with = |port: u16, millis| {
        let clock = Some(Offset::between(at(0), at(millis), at(10)));
        Replica { whom: Whom::At(Endpoint::Host("127.0.0.1".to_owned(), port)), clock, ..replica(status("aa")) }
    };
    let verdict = |replicas: &[Replica]| {
        let replicas: Vec<&Replica> = replicas.iter().collect();
        (health(&replicas, Scope::All), plain(&table::verdict(&replicas, Scope::All)))
    };
    assert_eq!(verdict(&[with(1, 900), with(2, 5)]).0, Health::Well);
    let (found, text) = verdict(&[with(1, 120_005), with(2, 5)]);
    assert_eq!(found, Health::Apart);
    let line = "clock, against this machine's: 2 min ahead at 127.0.0.1:1; 0.0 s ahead at 127.0.0.1:2\n";
    assert_eq!(text, format!("{line}the replicas do not agree: they have different times\n"));
    let alone = with(1, -3_000);
    assert_eq!(verdict(std::slice::from_ref(&alone)).0, Health::Wrong);
    let shown = plain(&table::replica(&alone, at(0)));
    assert!(shown.ends_with("  its clock, by which windows begin and end, is 3.0 s behind\n"), "{shown}");
}

/// Fails where a finding of the guard, a failing check or an overrun is "no errors".
#[test]
fn a_route_that_is_not_as_it_was_meant_to_be_is_never_well() {
    for (key, value, told) in [
        ("breach", json!({ "what": "3 of 9 failed" }), "web is closed by its guard: 3 of 9 failed"),
        ("failing", "a check fails: 500".into(), "web does not open: a check fails: 500"),
        ("overruns", true.into(), "web is still closed: window M-1 is past its planned end"),
    ] {
        let mut status = status("aa");
        status["routes"][1][key] = value;
        let replicas = [replica(status)];
        assert!(plain(&table::replica(&replicas[0], Timestamp::now())).ends_with(&format!("  {told}\n")), "{key}");
        assert_eq!(health_of(&replicas).code(), 1);
        assert_eq!(plain(&table::verdict(&[&replicas[0]], Scope::All)), "one thing is not as it should be\n");
    }
    assert_eq!(plain(&table::verdict(&[&replica(status("aa"))], Scope::All)), "this proxy: no errors\n");
}

#[test]
fn a_blue_and_a_green_proxy_agree_in_their_flags() {
    let config = |status: &mut Value| status["files"][0]["hash"] = "b1".into();
    let line = "config: c0ffee00 at 127.0.0.1:9901; b1 at 127.0.0.1:9902\n";
    let told = format!("{line}the replicas do not agree: they have different configs\n");
    assert_eq!(compared(Scope::All, config), (Health::Apart, told));
    assert_eq!(compared(Scope::FlagsOnly, config), (Health::Well, "all 2 agree, no errors\n".to_owned()));
    let flags = |status: &mut Value| status["files"][1]["in_force"]["hash"] = "bb".into();
    assert_eq!(compared(Scope::FlagsOnly, flags).0, Health::Apart);
}

#[test]
fn what_is_not_as_it_should_be_counts_and_is_told() {
    let one = "one thing is not as it should be\n";
    for (key, value, told, verdict) in [
        (
            "watching",
            json!({ "by": "polling", "trouble": "no inotify instance is left" }),
            "files are watched by polling: no inotify instance is left\n",
            one,
        ),
        (
            "problems",
            json!([{ "severity": "warning", "file": "web.state", "message": "the state is damaged" }]),
            "warning: the state is damaged\n",
            one,
        ),
        (
            "problems",
            json!(
                (0..100)
                    .map(|n| json!({ "severity": "warning", "file": "f", "message": format!("no route `r{n}`") }))
                    .collect::<Vec<_>>()
            ),
            "and 99 more like this\n",
            "100 things are not as they should be\n",
        ),
    ] {
        let mut status = status("aa");
        status[key] = value;
        let replicas = [replica(status)];
        let shown = plain(&table::replica(&replicas[0], Timestamp::now()));
        assert!(shown.contains(told) && shown.lines().count() < 12, "{shown}");
        assert_eq!(plain(&table::verdict(&[&replicas[0]], Scope::All)), verdict);
        assert_eq!(health_of(&replicas).code(), 1);
    }
}

#[test]
fn an_edit_that_is_not_in_force_is_told_beside_the_one_that_is() {
    let at = "2026-05-19T14:29:00Z";
    let now = "2026-05-19T14:30:00Z".parse().unwrap();
    let file = |key: &str, value: Value| {
        let mut status = status("aa");
        status["files"][1][key] = value;
        plain(&table::replica(&replica(status), now))
    };
    let shown = file("pending", json!({ "since": at, "why": "it is empty" }));
    let told = "  an edit of maintenance.toml is seen since 14:29 UTC, but not believed yet: it is empty\n";
    assert!(shown.contains(told), "{shown}");
    let shown = file("hash", "bb".into());
    assert!(shown.contains("bb read 14:28 UTC, not in force; aa is, since generation 7\n"), "{shown}");
    let shown = file("real", "/etc/backsoon/flags.toml".into());
    assert!(shown.contains("flags   maintenance.toml = /etc/backsoon/flags.toml  aa read"), "{shown}");
}

#[test]
fn a_replica_that_does_not_answer_weighs_more_than_one_that_differs() {
    let refused = admin::Error::Connect(io::ErrorKind::ConnectionRefused.into());
    let silent = Replica {
        whom: Whom::At("127.0.0.1:1".parse().unwrap()),
        answer: Err(refused),
        unread: Vec::new(),
        looked: Vec::new(),
        clock: None,
        beat: None,
    };
    assert_eq!(health_of(&[replica(status("aa")), replica(status("bb")), silent]), Health::Unreachable);
}

#[test]
fn a_problem_counts_unless_it_is_expected() {
    let with = |severity: &str, expected: bool| {
        let mut status = status("aa");
        status["files"][1]["problems"] = json!([{
            "severity": severity, "file": "maintenance.toml", "line": 2, "column": 7, "excerpt": "web = \"of\"",
            "width": 4, "message": "unknown mode `of`", "help": "did you mean `offline`?", "expected": expected,
        }]);
        replica(status)
    };
    assert_eq!(health_of(&[with("warning", true)]), Health::Well);
    assert_eq!(health_of(&[with("warning", false)]), Health::Wrong);
    assert_eq!(health_of(&[with("error", false)]), Health::Wrong);
    let shown = plain(&table::replica(&with("error", false), Timestamp::now()));
    assert!(
        shown.ends_with(
            "error: unknown mode `of`\n --> maintenance.toml:2:7\n  |\n2 | web = \"of\"\n  |       ^^^^\n  = help: did you mean `offline`?\n"
        ),
        "{shown}"
    );
}

#[test]
fn a_file_that_cannot_be_read_counts() {
    let mut status = status("aa");
    status["files"][1]["trouble"] = "it cannot be read: permission denied".into();
    assert_eq!(health_of(&[replica(status)]), Health::Wrong);
}

#[test]
fn what_a_terminal_would_obey_is_not_shown() {
    let mut status = status("aa");
    status["routes"][0]["name"] = "a\u{1b}[2Jb".into();
    let shown = table::replica(&replica(status), Timestamp::now());
    assert!(!shown.contains("\u{1b}[2J") && shown.contains("a\u{fffd}[2Jb"), "{shown:?}");
    assert!(!plain(&shown).contains('\u{1b}'), "{shown:?}");
}

/// Returns the answer of a replica through the engine.
fn beat(name: &str, revision: &str, flags: &str) -> Replica {
    let asked = replica(status("aa"));
    let beat = Beat {
        replica: name.to_owned(),
        version: "0.1.0".to_owned(),
        ready: true,
        flags: Some(flags.to_owned()),
        config: Some("c0".to_owned()),
        revision: Some(revision.to_owned()),
        generation: 7,
        in_flight: 3,
        ..Beat::default()
    };
    let status = beat.status("nats://nats/backsoon/flags");
    let value = json!(status);
    Replica { whom: Whom::Named(name.to_owned()), answer: Ok((status, value)), beat: Some(beat), ..asked }
}

#[test]
fn the_table_of_a_fleet_says_who_lags_refuses_or_is_missing() {
    let refusing = {
        let mut one = beat("d", "17", "bb");
        let told = Beat { refused: true, refusal: Some("line 2: unknown".to_owned()), ..one.beat.clone().unwrap() };
        one.answer = Ok((told.status("nats://nats/backsoon/flags"), Value::Null));
        one.beat = Some(Beat { concerns: vec!["the flags have an error".to_owned()], ..told });
        one
    };
    let ago = std::time::Duration::from_millis(12_600);
    let missing = Replica {
        whom: Whom::Named("e\u{1b}[31m".to_owned()),
        answer: Err(admin::Error::Missing(Some(ago))),
        beat: None,
        ..beat("e", "17", "bb")
    };
    let fleet = [beat("a", "17", "bb"), beat("b", "16", "aa"), beat("c", "17", "bb"), refusing, missing];
    let fleet: Vec<&Replica> = fleet.iter().collect();
    let shown = plain(&fleet::table(&fleet, Timestamp::now()));
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][..8], ["a", "0.1.0", "same", "17", "same", "7", "open", "3"], "{shown}");
    assert_eq!(lines[2][..4], ["b", "0.1.0", "old", "16"], "{shown}");
    assert_eq!(lines[4][..4], ["d", "0.1.0", "refused", "17"], "{shown}");
    assert_eq!(lines[5].join(" "), "the flags are refused: line 2: unknown");
    assert_eq!(lines[6].join(" "), "the flags have an error");
    assert!(lines[7].join(" ").ends_with("missing, heard 12 s ago"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let verdict = plain(&table::verdict(&fleet, Scope::All));
    assert!(verdict.contains("1 of 5 is missing: e"), "{verdict}");
    assert_eq!(health(&fleet, Scope::All).code(), exit::DIFFERS);
}
