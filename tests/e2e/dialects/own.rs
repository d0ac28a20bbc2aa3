//! The operator's own page: templates, messages and a logo in a directory. They are checked before use and read again
//! when they change.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{CLOSED, ask, json};
use crate::support::{Backsoon, LISTEN, replace, sha256, wait, wait_for_page};

/// Returns a page with this word, valid in every language.
fn page(word: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"{{{{ lang }}}}\">\n<title>{{{{ title }}}}</title>\n<p>{word}: {{{{ message[0] }}}}\n"
    )
}

/// Returns a closed route with a directory `pages`, and more config.
fn own(files: &[(&str, &str)], more: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    let backsoon = Backsoon::start_in(dir, &config(more));
    backsoon.flag(CLOSED);
    backsoon
}

fn config(more: &str) -> String {
    format!("pages = \"pages\"\n{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n[page]\n{more}")
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(dir.join("pages/messages")).unwrap();
    for (name, text) in files {
        replace(&dir.join(name), text);
    }
}

fn html(backsoon: &Backsoon) -> String {
    in_language(backsoon, "")
}

fn in_language(backsoon: &Backsoon, language: &str) -> String {
    let fields = ["accept: text/html", &format!("accept-language: {language}")];
    let response = ask(backsoon.address(), "GET /", &fields);
    assert_eq!(response.status, 503);
    response.body
}

/// Returns the entry of a file in `/status`.
fn problems(backsoon: &Backsoon, name: &str) -> Vec<Value> {
    let status = backsoon.status();
    let mut files = status["files"].as_array().unwrap().iter();
    let file = files.find(|file| file["path"].as_str().unwrap().ends_with(name));
    file.and_then(|file| file["problems"].as_array().cloned()).unwrap_or_default()
}

/// Runs `backsoon check` on a directory. Returns its exit code and the problems.
fn check(dir: &Path) -> (Option<i32>, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    let output = command.args(["check", "--json", "--config"]).arg(dir.join("backsoon.toml")).output().unwrap();
    let told = json(&String::from_utf8_lossy(&output.stdout));
    (output.status.code(), told["problems"].as_array().unwrap().clone())
}

/// Runs `check` on these files, without a running proxy.
fn checked(files: &[(&str, &str)], more: &str) -> (Option<i32>, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    fs::write(dir.path().join("backsoon.toml"), config(more)).unwrap();
    check(dir.path())
}

/// Returns true if a problem is an error with these words, in this file and line (0: in no line).
fn is_error(problem: &Value, file: &str, line: u64, words: &str) -> bool {
    problem["severity"] == "error"
        && problem["file"].as_str().unwrap().ends_with(file)
        && problem["line"].as_u64().unwrap_or(0) == line
        && problem["message"].as_str().unwrap().contains(words)
}

#[test]
fn an_own_page_is_shown_follows_its_file_and_gives_way_to_the_built_in_one() {
    let backsoon = own(&[("pages/page.html", &page("One"))], "");
    assert!(html(&backsoon).contains("<p>One: This service is paused"), "{}", html(&backsoon));
    let version = || json(&ask(backsoon.address(), "GET /", &["accept: application/json"]).body)["version"].clone();
    let before = version();
    replace(&backsoon.path("pages/page.html"), &page("Two"));
    wait_for_page("the new page", || html(&backsoon).contains("<p>Two:"));
    assert_ne!(version(), before, "who watches is told");
    fs::remove_file(backsoon.path("pages/page.html")).unwrap();
    wait_for_page("the built-in page", || html(&backsoon).contains("class=\"bare\""));
    write(backsoon.dir.path(), &[("pages/page.html", &page("Three"))]);
    wait_for_page("the page that came back", || html(&backsoon).contains("<p>Three:"));
}

#[test]
fn a_wrong_page_is_refused_with_its_place_and_the_last_good_one_stays() {
    let backsoon = own(&[("pages/page.html", &page("Good"))], "");
    for (wrong, line, words) in [
        ("<p>\n\n{{ nobody }}\n".to_owned(), 3, "undefined"),
        ("<p>\n{{ steps.nobody }}".to_owned(), 2, "undefined"),
        ("<p>\n{% if %}\n".to_owned(), 2, "syntax"),
        ("<p>\n{{ \"x\"|nobody }}\n".to_owned(), 2, "filter"),
        ("<p>\n{% include \"/etc/passwd\" %}\n".to_owned(), 2, "template"),
        ("<p>\n{{ t(\"nobody\") }}\n".to_owned(), 2, "nobody"),
        (LOOP.to_owned(), 0, "fuel"),
        (String::new(), 0, "renders nothing"),
        ("{# all of it #}\n".to_owned(), 0, "renders nothing"),
        ("<!doctype html>\n<p>{{ title }}</p>\n".to_owned(), 0, "no title"),
        ("<title> </title><body><svg><title>a picture</title></svg>\n".to_owned(), 0, "no title"),
    ] {
        replace(&backsoon.path("pages/page.html"), &wrong);
        wait_for_page("the wrong page to be refused", || {
            problems(&backsoon, "page.html").iter().any(|problem| is_error(problem, "pages/page.html", line, words))
        });
        assert!(html(&backsoon).contains("<p>Good:"), "{wrong}");
        let (code, found) = check(backsoon.dir.path());
        assert_eq!(code, Some(64), "{wrong}");
        assert!(found.iter().any(|problem| is_error(problem, "pages/page.html", line, words)), "{wrong}: {found:?}");
    }
    replace(&backsoon.path("pages/page.html"), &page("Better"));
    wait_for_page("the better page", || html(&backsoon).contains("<p>Better:"));
    assert_eq!(problems(&backsoon, "page.html"), [] as [Value; 0]);
}

/// Template that would not end in a lifetime.
const LOOP: &str = "{% for a in range(10000) %}{% for b in range(10000) %}{{ a * b }}{% endfor %}{% endfor %}";

#[test]
fn a_config_that_was_refused_for_a_wrong_page_is_taken_once_that_is_removed() {
    let backsoon = own(&[("pages/page.html", &page("Good"))], "");
    fs::create_dir(backsoon.path("other")).unwrap();
    replace(&backsoon.path("other/page.html"), "<p>\n{% if %}\n");
    replace(&backsoon.path("backsoon.toml"), &config("").replace("\"pages\"", "\"other\""));
    wait_for_page("the config to be refused", || !problems(&backsoon, "backsoon.toml").is_empty());
    assert!(html(&backsoon).contains("<p>Good:"));
    fs::remove_file(backsoon.path("other/page.html")).unwrap();
    wait("the config to be taken", || html(&backsoon).contains("class=\"bare\""));
    assert_eq!(problems(&backsoon, "backsoon.toml"), [] as [Value; 0]);
}

#[test]
fn a_flag_does_not_wait_for_a_page_that_is_tried() {
    let backsoon = own(&[("pages/page.html", &page("Good"))], "");
    replace(&backsoon.path("pages/page.html"), LOOP);
    // Its trial has begun once the proxy has read it, and takes seconds in each language.
    wait("the page to be read", || {
        let status = backsoon.status();
        let file = status["files"].as_array().unwrap().iter().find(|file| file["role"] == "page").cloned();
        file.is_some_and(|file| file["hash"].as_str() == Some(&sha256(LOOP.as_bytes())))
    });
    replace(&backsoon.path("maintenance.toml"), "[routes]\n");
    wait("the flag to be lifted", || ask(backsoon.address(), "GET /", &[]).status != 503);
    assert_eq!(problems(&backsoon, "page.html"), [] as [Value; 0], "the flag was faster than the trial");
    wait_for_page("the end of the trial", || {
        problems(&backsoon, "page.html").iter().any(|problem| is_error(problem, "pages/page.html", 0, "fuel"))
    });
}

#[test]
fn a_page_that_was_refused_is_not_tried_again_by_a_reload() {
    let backsoon = own(&[("pages/page.html", &page("Good"))], "");
    let began = Instant::now();
    replace(&backsoon.path("pages/page.html"), LOOP);
    wait_for_page("the end of the trial", || !problems(&backsoon, "page.html").is_empty());
    let trial = began.elapsed();
    for _ in 0..2 {
        let refused = backsoon.metric("backsoon_refused_inputs_total", "");
        let began = Instant::now();
        backsoon.signal("HUP");
        wait("the reload", || backsoon.metric("backsoon_refused_inputs_total", "") > refused);
        assert!(began.elapsed() < trial / 2, "{:?} of {trial:?}", began.elapsed());
        assert!(problems(&backsoon, "backsoon.toml").iter().any(|problem| is_error(
            problem,
            "pages/page.html",
            0,
            "fuel"
        )));
    }
    replace(&backsoon.path("pages/page.html"), &page("Better"));
    wait_for_page("the new page", || html(&backsoon).contains("Better"));
}

#[test]
fn what_is_remarked_upon_a_page_is_told_once() {
    let remarked = |word: &str| format!("{}<img src=\"x.png\" alt=\"\">\n", page(word));
    let backsoon = own(&[("pages/page.html", &remarked("One"))], "");
    assert_eq!(problems(&backsoon, "page.html").len(), 1);
    for brand in ["A", "B"] {
        let before = backsoon.status()["generation"].clone();
        replace(&backsoon.path("backsoon.toml"), &config(&format!("brand = \"{brand}\"\n")));
        wait("the config to be taken", || backsoon.status()["generation"] != before);
        assert_eq!(problems(&backsoon, "page.html").len(), 1, "{brand}");
    }
}

#[test]
fn a_wrong_page_at_the_start_is_refused_and_the_command_says_where() {
    let (code, found) = checked(&[("pages/page.html", "<p>\n{{ nobody }}\n")], "");
    assert_eq!(code, Some(64));
    assert!(is_error(&found[0], "pages/page.html", 2, "undefined"), "{found:?}");
    assert!(found[0]["help"].as_str().is_some_and(|help| !help.is_empty()), "{found:?}");
}

#[test]
fn own_messages_replace_some_and_bring_a_language() {
    let german = "default-message = \"Wir sind gleich zurück.\"\n";
    let english = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pages/messages/en.toml")).unwrap();
    let italian = english.replace("default-title = \"Paused for maintenance\"", "default-title = \"In manutenzione\"");
    let files = [("pages/messages/de.toml", german), ("pages/messages/it.toml", &italian)];
    let backsoon = own(&files, "languages = [\"en\", \"de\", \"it\"]\n");
    backsoon.finished("");
    assert!(in_language(&backsoon, "it-IT").contains("<html lang=\"it\""));
    assert!(in_language(&backsoon, "it").contains("In manutenzione"));
    let shown = in_language(&backsoon, "de");
    assert!(shown.contains("Wir sind gleich zurück."), "{shown}");
    assert!(shown.contains("<html lang=\"de\"") && !shown.contains("Paused for maintenance"), "the rest is built in");
    assert!(in_language(&backsoon, "fr").contains("<html lang=\"en\""), "it is not among the languages");
    replace(&backsoon.path("pages/messages/de.toml"), "default-message = \"Wir sind bald zurück.\"\n");
    wait_for_page("the new words", || in_language(&backsoon, "de").contains("Wir sind bald zurück."));
    replace(&backsoon.path("pages/messages/de.toml"), "default-message = \"{nobody}\"\nnobody = \"x\"\n[\n");
    wait_for_page("the wrong words to be refused", || !problems(&backsoon, "de.toml").is_empty());
    assert!(in_language(&backsoon, "de").contains("Wir sind bald zurück."));
}

#[test]
fn a_language_without_messages_is_refused() {
    let (code, found) = checked(&[], "languages = [\"en\", \"sv\"]\n");
    assert_eq!(code, Some(64));
    assert!(is_error(&found[0], "backsoon.toml", 0, "`sv` has no messages"), "{found:?}");
    assert!(found[0]["help"].as_str().unwrap().contains("messages/sv.toml"), "{found:?}");
}

#[test]
fn a_logo_becomes_a_part_of_the_page() {
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    let backsoon = own(&[("logo.svg", svg)], "brand = \"Acme & Sons\"\nlogo = \"logo.svg\"\n");
    let shown = html(&backsoon).replace("&#x2f;", "/");
    let inlined = format!("src=\"data:image/svg+xml;base64,{}\"", STANDARD.encode(svg));
    assert!(shown.contains(&inlined) && shown.contains("Acme &amp; Sons"), "{shown}");
    replace(&backsoon.path("logo.svg"), "<svg/>");
    wait_for_page("the new logo", || !html(&backsoon).replace("&#x2f;", "/").contains(&inlined));
}

#[test]
fn a_logo_that_is_too_large_or_no_picture_is_refused() {
    let large = "x".repeat(65 * 1024);
    for (name, text, words) in
        [("logo.svg", large.as_str(), "66560 bytes"), ("logo.exe", "x", "no picture"), ("none.svg", "", "")]
    {
        let files = [(name, text)];
        let files = if words.is_empty() { &[][..] } else { &files[..] };
        let (code, found) = checked(files, &format!("logo = \"{name}\"\n"));
        assert_eq!(code, Some(64), "{name}");
        assert!(found.iter().any(|problem| is_error(problem, name, 0, words)), "{name}: {found:?}");
    }
}

#[test]
fn a_file_that_nothing_asks_for_is_warned_of() {
    let files = [
        ("pages/pgae.html", "x"),
        ("pages/messages/sv.toml", "name = \"Italiano\"\n"),
        ("pages/notes.md", "mine"),
        ("pages/.page.html.swp", "x"),
    ];
    let (code, found) = checked(&files, "");
    assert_eq!(code, Some(0), "{found:?}");
    let warned: Vec<_> =
        found.iter().map(|problem| (problem["severity"].as_str(), problem["file"].as_str().unwrap())).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    let about = |name: &str| {
        let problem = found.iter().find(|problem| problem["file"].as_str().unwrap().ends_with(name)).unwrap();
        assert_eq!(problem["severity"], "warning");
        problem["help"].as_str().unwrap().to_owned()
    };
    assert!(about("pages/pgae.html").contains("`page.html`"), "{found:?}");
    assert!(about("messages/sv.toml").contains("`languages`"), "{found:?}");
}

#[test]
fn what_a_page_has_inline_is_named_in_its_policy_and_nothing_else() {
    let own_page = page("x") + "<style>p { color: red }</style>\n<script>let mine = 1</script>\n";
    let backsoon = own(&[("pages/page.html", &own_page)], "");
    let response = ask(backsoon.address(), "GET /", &["accept: text/html"]);
    let policy = response.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for part in ["p { color: red }", "let mine = 1"] {
        assert!(policy.contains(&hash(part)), "{part}: {policy}");
    }
}

/// Returns the name of an inline part as a policy states it.
fn hash(part: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(part)))
}
