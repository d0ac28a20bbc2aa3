//! A finished page of the operator's own, in the browser: it looks and acts as its designer made it.

use std::fs;

use crate::support::{Backsoon, LISTEN, Upstream};

use super::driver::Browser;
use super::story;

#[test]
fn a_finished_page_looks_and_acts_as_it_was_made() {
    let Some(browser) = Browser::start("a finished page as it was made") else { return };
    let picture = "<svg xmlns='http://www.w3.org/2000/svg' width='7' height='7'></svg>";
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: image/svg+xml\r\ncontent-length: {}\r\n\r\n", picture.len());
    let other = Upstream::answering(&(head + picture));
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pages")).unwrap();
    let page = PAGE.replace("OTHER", &other.url());
    fs::write(dir.path().join("pages/page.html"), &page).unwrap();
    let config = format!("pages = \"pages\"\n{LISTEN}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
    let proxy = Backsoon::start_in(dir, &config);
    proxy.flag(story::BARE);
    browser.go(&proxy.url("/"));
    let color = |selector: &str| browser.text(&format!("getComputedStyle(document.querySelector('{selector}')).color"));
    assert_eq!(color("#minified"), "rgb(1, 2, 3)", "a minified style");
    assert_eq!(color("#attribute"), "rgb(4, 5, 6)", "an attribute");
    browser.click("#attribute");
    browser.wait_for("document.title == 'clicked'");
    browser.wait_for("document.querySelector('img').naturalWidth == 7");
    assert_eq!(browser.value("window.foreign === undefined"), true, "a script of another host does not run");
    let refused: Vec<String> = browser.console().into_iter().filter(|line| line.contains("Security Policy")).collect();
    assert!(refused.len() == 1 && refused[0].contains("/foreign.js"), "{refused:?}");
}

/// Page as a designer delivers it, minified.
const PAGE: &str = "<!doctype html><html lang=en><title>Back soon</title>\
    <style>@media screen{#minified{color:#010203}}</style><h1 id=minified>Back soon</h1>\
    <p id=attribute style=\"color:#040506\" onclick=\"done(&quot;clicked&quot;)\">Call us</p><img src=OTHER/logo.svg>\
    <script>class A{#x=1;y(){return this.#x}}function done(word){document.title=new A().y()&&word}</script>\
    <script src=OTHER/foreign.js></script>";
