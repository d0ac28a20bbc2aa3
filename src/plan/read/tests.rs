//! No text makes a reader panic, however it is broken.

use proptest::prelude::*;

use super::super::key::Key;
use super::super::problem::{Place, Problem};
use super::super::{config, flags, limits};

const CONFIG: &str = include_str!("../../../tests/cases/config/everything-that-takes-effect.case");
const LIFECYCLE: &str = include_str!("../../../tests/cases/config/lifecycle/all.case");
const FLAGS: &str = include_str!("../../../tests/cases/flags/a-window-with-everything.case");

/// Parses a text as both files, prints the problems, and checks that a refusal has a reason.
fn parse(text: &str) {
    let (config, problems) = config::parse("backsoon.toml", text);
    let refused = problems.iter().any(Problem::is_error);
    assert_eq!(config.is_none(), refused, "{text}");
    let (flags, more) = flags::parse("maintenance.toml", text);
    assert_eq!(flags.is_none(), more.iter().any(Problem::is_error), "{text}");
    if let Some(flags) = flags {
        assert!(!flags.unknown_routes(["web"]).iter().any(Problem::is_error));
    }
    for problem in problems.iter().chain(&more) {
        let place = problem.place.as_ref();
        assert!(place.is_none_or(|place| place.width >= 1 && place.column >= place.first), "{problem:?}");
        assert!(!problem.to_string().contains('\x1b'), "{problem:?}");
        assert!(!problem.message.ends_with('.') && !problem.message.is_empty(), "{problem:?}");
    }
}

/// Returns the text of a case's first section.
fn body(case: &str) -> String {
    case.lines().skip(1).take_while(|line| !line.starts_with("===")).map(|line| format!("{line}\n")).collect()
}

/// Pieces that files are made of, and some that never occur.
fn piece() -> impl Strategy<Value = String> {
    let pieces: Vec<String> = [
        "[routes.web]\n",
        "[[windows]]\n",
        "[[listen]]\n",
        "[routes]\n",
        "[limits]\n",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "\"\"\"",
        "'",
        "=",
        "\n",
        "\r",
        ".",
        ",",
        "#",
        "é",
        "\u{feff}",
        "\0",
        "\x1b",
        "2026-05-19",
        "T14:00:00",
        "Z",
        "-1",
        "1e999",
        "nan",
        "\\u",
        "\u{202e}",
        "host",
        "routes.",
        "*",
        "9999999999999999999999",
        "0x",
        "true",
    ]
    .map(str::to_owned)
    .into();
    prop_oneof![4 => prop::sample::select(pieces), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        parse(&text);
    }

    #[test]
    fn any_pieces_are_read_without_a_panic(pieces in prop::collection::vec(piece(), 0..30)) {
        parse(&pieces.concat());
    }

    #[test]
    fn a_damaged_file_is_read_without_a_panic(
        which in 0_usize..3,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece()), 1..5),
    ) {
        let mut text: Vec<char> = body([CONFIG, LIFECYCLE, FLAGS][which]).chars().collect();
        for (at, length, piece) in cuts {
            let start = at.index(text.len().max(1)).min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        parse(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_span_has_a_place(text in any::<String>(), start in 0_usize..200, end in 0_usize..200) {
        let place = Place::of(&text, start..end);
        prop_assert!(place.line >= 1 && place.column >= 1 && place.width >= 1);
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    for text in [
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("[a{}]", ".a".repeat(100_000)),
        format!("\"a\"{} = 1", ".\"a\"".repeat(100_000)),
        format!("x = {{ a{} = 1 }}", ".a".repeat(100_000)),
        format!("x = [{}]", "[".repeat(100_000)),
        format!("x = {}", "{ a = ".repeat(100_000)),
        format!("x = {}1{}", format!("{{ a{} = ", ".a".repeat(78)).repeat(78), "}".repeat(78)),
        format!("x = [\n{{ 'a'{} = 1 }}]", ".'a'".repeat(100_000)),
    ] {
        parse(&text);
        assert!(flags::parse("maintenance.toml", &text).0.is_none());
    }
}

#[test]
fn a_file_too_large_is_refused_unread() {
    let text = "#".repeat(1024 * 1024 + 1);
    assert!(flags::parse("maintenance.toml", &text).0.is_none());
    assert!(flags::parse("maintenance.toml", &text[..1024 * 1024]).0.is_some());
}

#[test]
fn what_is_too_many_is_refused_and_not_listed_without_end() {
    let window = |n: usize| {
        format!(
            "[[windows]]\nid = \"w{n}\"\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T15:00:00Z\nroutes.web = \"hold\"\n"
        )
    };
    let (flags, problems) = flags::parse("maintenance.toml", &(0..2048).map(window).collect::<String>());
    assert_eq!((flags.map(|parsed| parsed.flags.windows.len()), problems), (Some(2048), Vec::new()));
    let (flags, problems) = flags::parse("maintenance.toml", &(0..2049).map(window).collect::<String>());
    assert!(flags.is_none());
    assert_eq!(problems[0].message, "too many windows: 2049 that are not over, and at most 2048 are allowed");
    let wrong: String = (0..500).map(|n| format!("key{n} = 1\n")).collect();
    let (_, problems) = flags::parse("maintenance.toml", &wrong);
    assert_eq!((problems.len(), problems[100].message.as_str()), (101, "400 more problems are not shown"));
}

#[test]
fn warnings_alone_refuse_nothing_however_many_they_are() {
    let window = |n: usize| format!("[[windows]]\nid = \"w{n}\"\nevery = \"Sun 02:00-04:00 UTC\"\n");
    let many: String = (0..150).map(window).collect();
    let (flags, problems) = flags::parse("maintenance.toml", &many);
    assert!(flags.is_some() && !problems.iter().any(Problem::is_error), "{problems:#?}");
    assert_eq!((problems.len(), problems[100].message.as_str()), (101, "50 more problems are not shown"));
    let (flags, problems) = flags::parse("maintenance.toml", &format!("{many}ends = 2026-05-19T14:00:00Z\n"));
    let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
    assert!(flags.is_none() && errors[0].message.contains("`ends`"), "an error is shown before warnings: {errors:#?}");
}

#[test]
fn every_limit_is_in_the_table_as_an_operator_would_write_it() {
    let keys = limits::TABLE.keys;
    let unquoted = |key: &Key| key.default().map_or("unset".to_owned(), |value| value.trim_matches('"').to_owned());
    let written = |name: &str| keys.iter().find(|key| key.name == name).map(unquoted);
    assert_eq!(written("head_size").as_deref(), Some("64KiB"));
    assert_eq!(written("keep_alive").as_deref(), Some("75s"));
    assert_eq!(written("tunnel_idle").as_deref(), Some("1h"));
    assert_eq!(written("body_size").as_deref(), Some("unset"));
    let defaults = keys.iter().filter_map(|key| key.default().map(|value| format!("{} = {value}\n", key.name)));
    let defaults: String = defaults.collect();
    let rest = "[[listen]]\naddress = \"[::1]:0\"\n[routes.web]\nupstream = \"http://127.0.0.1\"\n";
    let (config, problems) = config::parse("backsoon.toml", &format!("{rest}[limits]\n{defaults}"));
    assert_eq!(problems, Vec::new());
    assert_eq!(config.expect("a config without problems").limits, limits::Limits::default());
}
