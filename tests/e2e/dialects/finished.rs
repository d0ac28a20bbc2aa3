//! A finished page of the operator's own is served as it stands.

use std::fs;
use std::process::Command;

use crate::support::{Backsoon, LISTEN, replace, wait_for_page};

use super::{CLOSED, ask, json};

/// Page as a designer delivers it. Its minified style has what begins a comment of the template engine.
const PAGE: &str = "<!doctype html><html lang=en><title>Back soon</title><style>@media print{#a{color:red}}</style>\
    <body style=\"margin:0\"><h1 id=a>We are back soon</h1></body></html>\n";

const CONFIG: &str = "pages = \"pages\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";

#[test]
fn a_finished_page_is_served_byte_by_byte_and_becomes_a_template_with_its_first_placeholder() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pages")).unwrap();
    fs::write(dir.path().join("pages/page.html"), PAGE).unwrap();
    let backsoon = Backsoon::start_in(dir, &format!("{CONFIG}{LISTEN}"));
    backsoon.flag(CLOSED);
    let html = |language: &str| {
        ask(backsoon.address(), "GET /", &["accept: text/html", &format!("accept-language: {language}")])
    };
    for language in ["en", "de"] {
        let answer = html(language);
        assert_eq!((answer.status, answer.body.as_str()), (503, PAGE));
        assert_eq!(answer.field("content-language"), None, "its language is not known");
        assert!(answer.field("retry-after").is_some());
    }
    let told = ask(backsoon.address(), "GET /", &["accept: application/json"]).body;
    assert_eq!(json(&told)["status"], 503, "programs get data");
    let page = PAGE.replace("We are back soon", "{{ title }}");
    replace(&backsoon.path("pages/page.html"), &page);
    wait_for_page("the template", || !html("de").body.contains("We are back soon"));
    assert!(html("en").body.contains("@media print{ #a{color:red}}"), "{}", html("en").body);
    replace(&backsoon.path("pages/page.html"), PAGE);
    wait_for_page("the finished page", || html("de").body == PAGE);
}

#[test]
fn check_says_in_one_line_that_a_page_is_served_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pages")).unwrap();
    fs::write(dir.path().join("pages/page.html"), PAGE).unwrap();
    fs::write(dir.path().join("backsoon.toml"), format!("{CONFIG}{LISTEN}")).unwrap();
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        command.args(["check", "--config"]).arg(dir.path().join("backsoon.toml")).args(more).output().unwrap()
    };
    let output = check(&[]);
    let told = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("page.html")).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 1), "{told}");
    assert!(lines[0].contains("has no placeholders, and is served as it stands") && lines[0].contains("{{ title }}"));
    let told = json(&String::from_utf8(check(&["--json"]).stdout).unwrap());
    assert!(told["finished_pages"][0].as_str().unwrap().ends_with("pages/page.html"), "{told}");
    let template = PAGE.replace(" style=\"margin:0\"", "").replace("soon<", "soon {{ title }}<");
    fs::write(dir.path().join("pages/page.html"), template).unwrap();
    let output = check(&[]);
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("page.html"), "{output:?}");
}
