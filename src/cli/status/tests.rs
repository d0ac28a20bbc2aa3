//! Tests of the status table and of the replicas' health.

use std::io;

use anstream::adapter::strip_str;

use super::*;

fn plain(styled: &str) -> String {
    strip_str(styled).to_string()
}

fn replica(status: Value) -> Replica {
    let answer = serde_json::from_value(status.clone()).map(|parsed| (parsed, status)).map_err(admin::Error::Json);
    Replica { endpoint: "127.0.0.1:9901".parse().unwrap(), answer }
}

fn status(flags_hash: &str) -> Value {
    json!({
        "version": "0.1.0", "pid": 42, "generation": 7, "published": "2026-05-19T14:28:00Z", "stage": "running",
        "files": [
            { "path": "backsoon.toml", "role": "config", "hash": "c0ffee0011", "problems": [], "trouble": null },
            { "path": "maintenance.toml", "role": "flags", "hash": flags_hash, "problems": [], "trouble": null },
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
        "127.0.0.1:9901  backsoon 0.1.0, pid 42, running, generation 7 for 2 min, flags f1a9, config c0ffee00\n\
         \x20 ROUTE  PHASE   MODE     SINCE      UNTIL      IN FLIGHT  HELD  P99      BY\n\
         \x20 api    open    -        10:00 UTC  -          3          0     24.6 ms  -\n\
         \x20 web    closed  offline  14:28 UTC  15:00 UTC  0          0     -        window M-1\n"
    );
}

#[test]
fn replicas_agree_when_their_files_do() {
    assert_eq!(health(&[replica(status("aa")), replica(status("aa"))]), Health::Well);
    assert_eq!(health(&[replica(status("aa")), replica(status("bb"))]), Health::Apart);
    let all = [replica(status("aa")), replica(status("bb"))];
    assert_eq!(plain(&table::verdict(&all)), "the replicas do not agree: they have different flag files\n");
}

#[test]
fn a_replica_that_does_not_answer_weighs_more_than_one_that_differs() {
    let refused = admin::Error::Connect(io::ErrorKind::ConnectionRefused.into());
    let silent = Replica { endpoint: "127.0.0.1:1".parse().unwrap(), answer: Err(refused) };
    assert_eq!(health(&[replica(status("aa")), replica(status("bb")), silent]), Health::Unreachable);
}

#[test]
fn an_error_counts_and_a_warning_does_not() {
    let with = |severity: &str| {
        let mut status = status("aa");
        status["files"][1]["problems"] = json!([{
            "severity": severity, "file": "maintenance.toml", "line": 2, "column": 7, "excerpt": "web = \"of\"",
            "width": 4, "message": "unknown mode `of`", "help": "did you mean `offline`?",
        }]);
        replica(status)
    };
    assert_eq!(health(&[with("warning")]), Health::Well);
    assert_eq!(health(&[with("error")]), Health::Wrong);
    let shown = plain(&table::replica(&with("error"), Timestamp::now()));
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
    assert_eq!(health(&[replica(status)]), Health::Wrong);
}

#[test]
fn what_a_terminal_would_obey_is_not_shown() {
    let mut status = status("aa");
    status["routes"][0]["name"] = "a\u{1b}[2Jb".into();
    let shown = table::replica(&replica(status), Timestamp::now());
    assert!(!shown.contains("\u{1b}[2J") && shown.contains("a\u{fffd}[2Jb"), "{shown:?}");
    assert!(!plain(&shown).contains('\u{1b}'), "{shown:?}");
}
