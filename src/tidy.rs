//! Checks of the source itself: the directions of imports, as the crate doc states them, and the documents.

mod documents;

mod imports;
mod messages;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// Each part, and the parts it may import.
const MAY_IMPORT: [(&str, &[&str]); 12] = [
    ("plan", &[]),
    ("files", &[]),
    ("telemetry", &["plan"]),
    ("live", &["plan", "telemetry"]),
    ("hold", &["plan"]),
    ("net", &["plan"]),
    ("outbox", &["plan", "files", "net"]),
    ("status", &["plan"]),
    ("control", &["plan", "files", "telemetry", "live", "net", "outbox", "status"]),
    ("proxy", &["plan", "telemetry", "live", "hold", "net"]),
    ("layer", &["plan", "files", "control", "hold", "status"]),
    ("cli", &["plan", "files", "telemetry", "live", "outbox", "status", "control", "proxy"]),
];

/// Names that `plan` must not use, so that it stays a function of its inputs.
const NOT_IN_PLAN: [&str; 12] = [
    "std::fs",
    "std::net::Tcp",
    "std::time::Instant",
    "std::time::SystemTime",
    "Timestamp::now",
    "std::thread",
    "Mutex",
    "RwLock",
    "Atomic",
    "tokio::",
    "tracing::",
    "async fn",
];

fn sources(part: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = vec![root.join(part).with_extension("rs")];
    let mut folders = vec![root.join(part)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    let found = paths.into_iter().filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)));
    found.collect()
}

/// Returns the code of a file, without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_part_imports_what_it_may_not() {
    let mut wrong = Vec::new();
    for (part, allowed) in MAY_IMPORT {
        let files = sources(part);
        assert!(!files.is_empty(), "no source of {part}");
        for (path, text) in files {
            for (other, _) in MAY_IMPORT.iter().filter(|(other, _)| *other != part && !allowed.contains(other)) {
                if code(&text).contains(&format!("crate::{other}")) {
                    wrong.push(format!("{} imports {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn plan_has_no_io_no_clock_no_locks_no_async_no_logging() {
    let mut wrong = Vec::new();
    for (path, text) in
        sources("plan").iter().filter(|(path, _)| !["cases.rs", "tests.rs"].iter().any(|tests| path.ends_with(tests)))
    {
        let found = NOT_IN_PLAN.iter().filter(|word| code(text).contains(**word));
        wrong.extend(found.map(|word| format!("{}: {word}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
