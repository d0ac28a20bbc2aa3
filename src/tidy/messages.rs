//! Keys of messages: each that templates and code ask for exists, and each that exists is asked for.
//!
//! A test beside the parser of message files shows that every language has the keys of English.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::{code, sources};

/// Names from which templates make keys, with all that they can be.
const NAMES: [(&str, &[&str]); 7] = [
    ("answer", &["late", "unknown", "held", "checking", "checking-long", "returning", "problem", "open"]),
    ("key", &["answer-back", "answer-back-read-only"]),
    ("mode", &["offline", "read-only", "hold"]),
    ("schedule", &["on-schedule", "overrunning"]),
    ("stage", &["verifying", "verifying-long", "ramping", "problem"]),
    ("s.state", &["done", "running", "pending", "failed"]),
    ("s.status", &["operational", "degraded", "restarting", "queued", "offline"]),
];

/// Folders whose code names keys of messages, and little else that looks like one.
const ASKING: [&str; 3] = ["src/plan/page.rs", "src/plan/page", "src/plan/news"];

#[test]
fn every_message_that_is_asked_for_exists_and_the_other_way_round() {
    let keys = keys();
    let families: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.split_once('-')?.0)).collect();
    let of_family = |literal: &String| literal.split_once('-').is_some_and(|(first, _)| families.contains(first));
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    let mut literals = BTreeSet::new();
    for (path, text) in sources("plan") {
        let is_test = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
        let found = if is_test { Vec::new() } else { keys_in_code(&text) };
        if ASKING.iter().any(|part| path.starts_with(root().join(part))) {
            let named = found.iter().filter(|literal| of_family(literal));
            asked.extend(named.map(|literal| (literal.clone(), path.display().to_string())));
        }
        literals.extend(found);
    }
    for entry in fs::read_dir(root().join("pages")).expect("the templates") {
        let path = entry.expect("a template").path();
        // Pictures are no text, and `README.md` describes the function.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let text = if path.ends_with("README.md") { String::new() } else { text };
        asked.extend(keys_in_template(&text).into_iter().map(|key| (key, path.display().to_string())));
    }
    let unknown: Vec<_> = asked.iter().filter(|(asked, _)| !keys.iter().any(|key| fits(asked, key))).collect();
    assert!(unknown.is_empty(), "no message has these keys: {unknown:#?}");
    let is_asked = |key: &&String| asked.keys().chain(&literals).any(|asked| fits(asked, key));
    let idle: Vec<_> = keys.iter().filter(|key| !is_asked(key)).collect();
    assert!(idle.is_empty(), "nothing asks for these messages: {idle:#?}");
}

#[test]
fn keys_are_found_in_templates_and_in_code() {
    let template = r#"{{ t("home") }}{% set x = t("step-" ~ s.state) if a else t(schedule) %}{{ t("a" if b == "c" else "d") }}{{ t("do-" ~ mode ~ "-text", n=1) }}"#;
    let expected = [
        "a",
        "d",
        "do-hold-text",
        "do-offline-text",
        "do-read-only-text",
        "home",
        "on-schedule",
        "overrunning",
        "step-done",
        "step-failed",
        "step-pending",
        "step-running",
    ];
    let mut found = keys_in_template(template);
    found.sort();
    assert_eq!(found, expected);
    let code = "own(\"a-b\"); // \"not-this\"\nformat!(\"form-{}-{x}\", x); (\"\\\"not, this\", \"Not this\", \"{}\")";
    assert_eq!(keys_in_code(code), ["a-b", "form-*-*"]);
    assert!(fits("form-*", "form-mail") && !fits("form-*", "forms") && !fits("form", "form-mail"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the keys of the English messages.
fn keys() -> BTreeSet<String> {
    let english = fs::read_to_string(root().join("pages/messages/en.toml")).expect("the English messages");
    let lines = english.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
}

/// Returns the keys that a template asks for.
///
/// # Panics
/// If a key has a part that [`NAMES`] lacks.
fn keys_in_template(text: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let calls =
        text.match_indices("t(").filter(|(at, _)| !text[..*at].ends_with(word)).map(|(at, call)| at + call.len());
    calls
        .flat_map(|start| {
            let end = text[start..].find([',', ')']).map_or(text.len(), |length| start + length);
            text[start..end].split('~').map(str::trim).fold(vec![String::new()], |keys, part| {
                let values = values(part);
                keys.iter().flat_map(|key| values.iter().map(move |value| format!("{key}{value}"))).collect()
            })
        })
        .collect()
}

/// Returns all that a part of a key can be: a literal, one of two (`"a" if b else "c"`), or a name.
fn values(part: &str) -> Vec<&str> {
    if let Some((first, rest)) = part.split_once(" if ") {
        let other = rest.split_once(" else ").map(|(_, other)| values(other));
        return [values(first), other.unwrap_or_default()].concat();
    }
    let literal = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
    let named = NAMES.iter().find(|(name, _)| *name == part).map(|(_, values)| values.to_vec());
    let values = literal.map(|literal| vec![literal]).or(named);
    values.unwrap_or_else(|| panic!("say in NAMES which values `{part}` can have"))
}

/// Returns the literals that look like a key, with `*` for parts that are filled in.
fn keys_in_code(text: &str) -> Vec<String> {
    // Other quotes would hide where a literal begins.
    let code = code(text).lines().map(|line| line.split(" // ").next().unwrap_or_default()).collect::<String>();
    let code = code.replace("\\\"", "").replace("'\"'", "");
    let literals = code.split('"').skip(1).step_by(2).map(starred);
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '*');
    // A pattern names a family of keys at least.
    let is_named = |literal: &str| literal.split_once('*').is_none_or(|(before, _)| before.ends_with('-'));
    literals.filter(|literal| !literal.is_empty() && literal.chars().all(is_key) && is_named(literal)).collect()
}

/// Puts `*` in the place of each `{…}`.
fn starred(literal: &str) -> String {
    let mut parts = literal.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "*" + part.split_once('}').map_or(part, |(_, after)| after))
}

/// Returns true if a key is the one that is asked for; `*` stands for any part.
fn fits(asked: &str, key: &str) -> bool {
    match asked.split_once('*') {
        Some((before, after)) => {
            key.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some_and(|rest| !rest.is_empty())
        }
        None => asked == key,
    }
}
