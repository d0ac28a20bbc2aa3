use proptest::prelude::*;

use super::*;

/// A flag file with everything in it that an edit could disturb.
const FILE: &str = r#"# maintenance.toml: what is under maintenance.

# 1 · the switch
[routes]
# The shop.
web   =   "offline"   # since the disk filled up
hooks = 'hold'

# 2 · with words
[routes.api]   # the API
mode    = "read-only"          # reads still work
until   = 2026-05-19T15:00:00Z
message = "Writes are paused."

# 3 · planned
[[windows]]
id     = "MNT-1"
starts = 2026-05-19T14:00:00Z
ends   = 2026-05-19T15:00:00Z
routes = { web = "offline", "*" = "hold" }
"#;

fn offline() -> Entry {
    Entry::of(Mode::Offline)
}

fn with_words() -> Entry {
    let until = Some("2026-05-20T00:00:00Z".parse().unwrap());
    Entry {
        mode: Mode::ReadOnly,
        until,
        message: Some("Back \"soon\".\nReally.".to_owned()),
        ..Entry::of(Mode::ReadOnly)
    }
}

fn flag(text: &str, route: &str, entry: &Entry) -> String {
    let once = on(text, &[route.to_owned()], entry).unwrap();
    assert_eq!(on(&once, &[route.to_owned()], entry).unwrap(), once, "the same edit again changes nothing");
    once
}

fn lift(text: &str, route: &str) -> String {
    let once = off(text, Selection::Routes(&[route.to_owned()])).unwrap();
    let again = off(&once.text, Selection::Routes(&[route.to_owned()])).unwrap();
    assert_eq!((&again.text, again.removed.len()), (&once.text, 0), "the same edit again changes nothing");
    once.text
}

#[test]
fn a_flag_that_says_the_same_is_left_as_it_is_written() {
    assert_eq!(flag(FILE, "web", &offline()), FILE);
    assert_eq!(
        flag("[routes]\nweb = { mode = 'offline', }\n", "web", &offline()),
        "[routes]\nweb = { mode = 'offline', }\n"
    );
}

#[test]
fn a_changed_flag_keeps_its_line_and_the_comment_behind_it() {
    let read_only = Entry { mode: Mode::ReadOnly, ..offline() };
    assert_eq!(flag(FILE, "web", &read_only), FILE.replace("web   =   \"offline\"", "web   =   \"read-only\""));
    let words = r#"{ mode = "read-only", until = 2026-05-20T00:00:00Z, message = "Back \"soon\".\nReally." }"#;
    assert_eq!(flag(FILE, "web", &with_words()), FILE.replace("\"offline\"   #", &format!("{words}   #")));
}

#[test]
fn a_table_is_updated_in_place() {
    let expected = FILE
        .replace("until   = 2026-05-19T15:00:00Z\nmess", "until   = 2026-05-20T00:00:00Z\nmess")
        .replace("\"Writes are paused.\"", r#""Back \"soon\".\nReally.""#);
    assert_eq!(flag(FILE, "api", &with_words()), expected);
    let short = FILE
        .replace("\"read-only\"          #", "\"offline\"          #")
        .replace("until   = 2026-05-19T15:00:00Z\nmessage = \"Writes are paused.\"\n", "");
    assert_eq!(flag(FILE, "api", &offline()), short);
}

#[test]
fn a_table_without_keys_gets_them() {
    let expected = "[routes.web] # here\nmode = \"read-only\"\nuntil = 2026-05-20T00:00:00Z\n\
                    message = \"Back \\\"soon\\\".\\nReally.\"\n\n# next\n";
    assert_eq!(flag("[routes.web] # here\n\n# next\n", "web", &with_words()), expected);
}

#[test]
fn a_new_flag_goes_to_the_end_of_its_section() {
    assert_eq!(flag(FILE, "new", &offline()), FILE.replace("'hold'\n", "'hold'\nnew = \"offline\"\n"));
    assert_eq!(
        flag("[routes] # empty\n\n[[windows]]\n", "a", &offline()),
        "[routes] # empty\na = \"offline\"\n\n[[windows]]\n"
    );
    assert_eq!(flag("[routes]\n  a = 'hold'", "b", &offline()), "[routes]\n  a = 'hold'\n  b = \"offline\"\n");
}

#[test]
fn a_missing_section_is_made_where_its_keys_are_its_own() {
    assert_eq!(flag("", "web", &offline()), "[routes]\nweb = \"offline\"\n");
    assert_eq!(flag("# nothing yet", "web", &offline()), "# nothing yet\n\n[routes]\nweb = \"offline\"\n");
    let expected = "# top\n\n[routes]\nweb = \"offline\"\n\n# planned\n[[windows]]\nid = 'x'\n";
    assert_eq!(flag("# top\n\n# planned\n[[windows]]\nid = 'x'\n", "web", &offline()), expected);
    let expected = "[routes]\nweb = \"offline\"\n\n[routes.api]\nmode = 'hold'\n";
    assert_eq!(flag("[routes.api]\nmode = 'hold'\n", "web", &offline()), expected);
    assert_eq!(
        flag("x = 1\n[[windows]]\n", "web", &offline()),
        "x = 1\n\n[routes]\nweb = \"offline\"\n\n[[windows]]\n"
    );
}

#[test]
fn a_section_that_is_an_inline_table_stays_one() {
    assert_eq!(flag("routes = {} # all\n", "a", &offline()), "routes = { a = \"offline\" } # all\n");
    let two = "routes = { a = 'hold', b = 'hold' }\n";
    assert_eq!(flag(two, "c", &offline()), "routes = { a = 'hold', b = 'hold', c = \"offline\" }\n");
    assert_eq!(flag(two, "a", &offline()), "routes = { a = \"offline\", b = 'hold' }\n");
    assert_eq!(lift(two, "a"), "routes = { b = 'hold' }\n");
    assert_eq!(lift(two, "b"), "routes = { a = 'hold' }\n");
    assert_eq!(lift(&lift(two, "a"), "b"), "routes = { }\n");
}

#[test]
fn dotted_flags_stay_dotted() {
    let dotted = "# all\nroutes.a = 'hold' # A\nroutes.b.mode = 'hold' # B\n\n[[windows]]\n";
    assert_eq!(flag(dotted, "a", &offline()), dotted.replace("'hold' # A", "\"offline\" # A"));
    assert_eq!(flag(dotted, "c.d", &offline()), dotted.replace("# B\n", "# B\nroutes.\"c.d\" = \"offline\"\n"));
    let words = "routes.b.mode = \"read-only\" # B\nroutes.b.until = 2026-05-20T00:00:00Z\nroutes.b.message = ";
    let text = flag(dotted, "b", &with_words());
    assert!(text.contains(words), "{text}");
    assert_eq!(lift(&text, "b"), "# all\nroutes.a = 'hold' # A\n\n[[windows]]\n");
    assert_eq!(lift(dotted, "a"), dotted.replace("routes.a = 'hold' # A\n", ""));
}

#[test]
fn a_lifted_flag_takes_its_line_and_leaves_the_comment_above() {
    assert_eq!(lift(FILE, "web"), FILE.replace("web   =   \"offline\"   # since the disk filled up\n", ""));
    let start = FILE.find("[routes.api]").unwrap();
    let end = FILE.find("\n# 3 ·").unwrap();
    assert_eq!(lift(FILE, "api"), format!("{}{}", &FILE[..start], &FILE[end..]));
    assert_eq!(lift("[routes]\n\n[routes.a]\nmode = 'hold'\n\n[[windows]]\n", "a"), "[routes]\n\n[[windows]]\n");
    assert_eq!(lift("[routes]\n\n[routes.a]\nmode = 'hold'\n", "a"), "[routes]\n");
    let long = "[routes]\na = { mode = 'hold', message = '''\none\ntwo''' } # long\nb = 'hold'\n";
    assert_eq!(lift(long, "a"), "[routes]\nb = 'hold'\n");
}

#[test]
fn a_name_that_is_given_twice_counts_once() {
    let names = ["web", "none", "web"].map(str::to_owned);
    let done = off(FILE, Selection::Routes(&names)).unwrap();
    assert_eq!((done.removed, done.absent), (vec!["web".to_owned()], vec!["none".to_owned()]));
}

#[test]
fn all_flags_go_and_windows_stay() {
    let done = off(FILE, Selection::All).unwrap();
    assert_eq!(done.removed, ["web", "hooks", "api"]);
    assert!(done.text.contains("[routes]\n# The shop.\n\n# 2"), "{}", done.text);
    assert_eq!(done.text[done.text.find("# 3").unwrap()..], FILE[FILE.find("# 3").unwrap()..]);
    assert!(off(&done.text, Selection::All).unwrap().removed.is_empty());
}

#[test]
fn line_ends_and_byte_order_mark_are_kept() {
    let crlf = format!("\u{feff}{}", FILE.replace('\n', "\r\n"));
    for text in [flag(&crlf, "new", &with_words()), flag(&crlf, "api", &offline()), lift(&crlf, "api")] {
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert!(text.starts_with("\u{feff}# maint"));
    }
    assert_eq!(flag("\u{feff}", "a", &offline()), "\u{feff}[routes]\na = \"offline\"\n");
    assert_eq!(
        flag("\u{feff}[routes]\r\na = 'hold'", "b", &offline()),
        "\u{feff}[routes]\r\na = 'hold'\r\nb = \"offline\"\r\n"
    );
    assert_eq!(lift("\u{feff}routes.a = 'hold'\n", "a"), "\u{feff}");
}

#[test]
fn names_are_quoted_where_they_must_be() {
    for (name, key) in [("*", "\"*\""), ("a.b", "\"a.b\""), ("", "\"\""), ("a-b_9", "a-b_9"), ("é", "\"é\"")] {
        let text = flag("", name, &offline());
        assert_eq!(text, format!("[routes]\n{key} = \"offline\"\n"));
        assert_eq!(lift(&text, name), "[routes]\n");
    }
}

#[test]
fn what_cannot_be_edited_is_refused_with_its_place() {
    let error = on("[routes]\nweb = offline\n", &["web".to_owned()], &offline()).unwrap_err();
    assert!(matches!(&error, EditError::Parse { line: 2, column: 7, .. }), "{error}");
    for (text, expected) in [
        ("routes = 3\n", 1),
        ("\n[[routes]]\n", 2),
        ("\n[[routes.web]]\n", 2),
        ("[routes.web.deep]\n", 1),
        ("routes = { web.mode = 'hold' }\n", 1),
    ] {
        let error = on(text, &["web".to_owned()], &offline()).unwrap_err();
        assert!(matches!(&error, EditError::Form { line, .. } if *line == expected), "{text:?}: {error}");
    }
    let until = Some(Timestamp::MIN);
    assert!(matches!(on("", &["a".to_owned()], &Entry { until, ..offline() }), Err(EditError::Until(_))));
}

/// Flags in every way of writing, with comments and blank lines between.
fn a_file() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "web = 'offline' # w",
        "api = { mode = 'hold', message = 'x' }",
        "\"a.b\" = \"read-only\"",
        "hooks.mode = 'hold'",
        "hooks.until = 2026-05-19T15:00:00Z",
        "# a comment",
        "",
        "  deep = 'hold'",
        "text = { mode = 'hold', message = '''\n# x\n''' }",
    ]);
    let tail = prop::sample::select(vec![
        "",
        "[[windows]]\nid = 'x'\n",
        "\n# c\n[routes.sub]\nmode = 'hold'\n\n# d\n[[windows]]\n",
        "[routes.sub]",
        "# end",
    ]);
    (prop::bool::ANY, prop::collection::vec(line, 0..6), tail, prop::bool::ANY).prop_map(
        |(header, lines, tail, crlf)| {
            let head = if header { "[routes]\n" } else { "" };
            let text = format!("{head}{}\n{tail}", lines.join("\n"));
            if crlf { text.replace('\n', "\r\n") } else { text }
        },
    )
}

fn flags_of(text: &str) -> Vec<(String, Option<Entry>)> {
    let doc = parse(text).unwrap();
    let Some(routes) = find::routes(&doc).unwrap().and_then(Item::as_table_like) else { return Vec::new() };
    let mut flags: Vec<_> = routes.iter().map(|(name, item)| (name.to_owned(), find::entry(item))).collect();
    flags.sort_by(|a, b| a.0.cmp(&b.0));
    flags
}

proptest! {
    #[test]
    fn an_edit_touches_only_its_own_flag(
        text in a_file(),
        route in prop::sample::select(vec!["web", "api", "a.b", "hooks", "deep", "sub", "text", "new"]),
        words in prop::bool::ANY,
    ) {
        prop_assume!(parse(&text).is_ok());
        let entry = if words { with_words() } else { offline() };
        let others = |text: &str| flags_of(text).into_iter().filter(|(name, _)| name != route).collect::<Vec<_>>();
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("# ")).count();

        let flagged = flag(&text, route, &entry);
        prop_assert_eq!(others(&flagged), others(&text));
        prop_assert!(flags_of(&flagged).contains(&(route.to_owned(), Some(entry))));
        if route != "text" {
            prop_assert_eq!(comments(&flagged), comments(&text));
        }

        let lifted = lift(&flagged, route);
        prop_assert_eq!(flags_of(&lifted), others(&text));
        if !flags_of(&text).iter().any(|(name, _)| name == route) && text.contains("[routes]") {
            prop_assert_eq!(lifted.trim_end(), text.trim_end());
        }
    }
}
