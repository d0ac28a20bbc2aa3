//! A closed route as foreign scripts see it: on the app's own pages, and on pages of other origins.

use serde_json::{Value, json};

use crate::support::{Backsoon, Upstream};

use super::driver::Browser;
use super::story;

#[test]
fn the_event_source_of_an_app_outlives_a_maintenance() {
    let Some(browser) = Browser::start("an EventSource that outlives a maintenance") else { return };
    let proxy = Backsoon::before(&streaming().url(), "always_open = [\"/app\"]\n");
    browser.go(&proxy.url("/app"));
    browser.run(
        "window.heard = [];
         window.source = new EventSource('/stream');
         for (const kind of ['tick', 'maintenance'])
             source.addEventListener(kind, event => heard.push([kind, event.data]))",
    );
    browser.wait_for("heard.length > 1");
    story::close(&proxy, &story::READ_ONLY.replace("read-only", "offline"));
    browser.wait_for("heard.at(-1)[0] == 'maintenance'");
    let told: Value = serde_json::from_str(&browser.text("heard.at(-1)[1]")).unwrap();
    assert_eq!(told["phase"], json!("closed"), "{told}");
    assert!(told["retry_after"].is_u64() && told["title"].is_string(), "{told}");
    proxy.flag(story::OPEN);
    browser.wait_for("heard.at(-1)[0] == 'tick'");
}

#[test]
fn a_script_of_a_named_origin_reads_the_answer() {
    let Some(browser) = Browser::start("a script of another origin that reads the answer") else { return };
    let page = Upstream::answering(&story::html("<!doctype html><title>another origin</title>"));
    let proxy = story::proxy(&format!("[page]\ncors = [\"{}\"]\n", page.url()));
    story::close(&proxy, &story::READ_ONLY.replace("read-only", "offline"));
    browser.go(&page.url());
    for options in [PLAIN, PREFLIGHTED] {
        let answer = browser.promised(&asking(&proxy, options));
        assert_eq!(answer["status"], 503, "{options}: {answer}");
        assert_eq!(answer["body"]["detail"], "We are moving the database.", "{options}");
        assert!(answer["after"].as_str().unwrap().parse::<u64>().is_ok(), "{options}: {answer}");
    }
}

#[test]
fn a_script_of_any_origin_reads_the_answer_by_default_unless_it_must_ask_first() {
    let Some(browser) = Browser::start("a script of any origin that reads the answer") else { return };
    let page = Upstream::answering(&story::html("<!doctype html><title>another origin</title>"));
    let proxy = story::proxy("");
    story::close(&proxy, story::BARE);
    browser.go(&page.url());
    let answer = browser.promised(&asking(&proxy, PLAIN));
    assert_eq!((&answer["status"], &answer["body"]["status"]), (&json!(503), &json!(503)), "{answer}");
    // The proxy allows no preflight in the name of the app: the request itself could reach it.
    let answer = browser.promised(&asking(&proxy, PREFLIGHTED));
    assert_eq!(answer, "failed: TypeError: Failed to fetch");
}

/// An app embeds a route of its own. While that is closed, its place in the app is not a sad face.
#[test]
fn an_embedded_route_shows_its_page_to_those_who_may_embed_it() {
    let Some(browser) = Browser::start("the page in a frame") else { return };
    let page = Upstream::answering(&story::html("<!doctype html><title>another origin</title>"));
    let app = Upstream::answering(&story::html("<!doctype html><title>the app</title>"));
    let framed = |proxy: &Backsoon, from: &str| {
        story::close(proxy, story::BARE);
        browser.go(from);
        let url = proxy.url("/widget");
        browser.promised(&format!(
            "new Promise(done => {{ const frame = document.createElement('iframe'); frame.onload = () => done(1); \
             frame.src = '{url}'; document.body.append(frame) }})"
        ));
        let refused = browser.console().iter().any(|line| line.contains("frame-ancestors"));
        !refused
    };
    let proxy = Backsoon::before(&app.url(), "always_open = [\"/app\"]\n");
    assert!(framed(&proxy, &proxy.url("/app")), "an app's own page");
    let shown = browser.text("document.querySelector('iframe').contentDocument.body.innerText");
    assert!(shown.contains("This service is paused"), "{shown}");
    assert!(!framed(&proxy, &page.url()), "a page of another origin");
    let named = Backsoon::before(&app.url(), &format!("[page]\nframing = [\"{}\"]\n", page.url()));
    assert!(framed(&named, &page.url()), "a page of an origin that is named");
    let none = Backsoon::before(&app.url(), "always_open = [\"/app\"]\n[page]\nframing = \"none\"\n");
    assert!(!framed(&none, &none.url("/app")), "an app's own page, and nobody may");
}

/// Returns an app with a page and a stream that ends after each event, so that the browser reconnects for the next.
fn streaming() -> Upstream {
    Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            if head.starts_with("GET /stream ") {
                let event = "retry: 100\nevent: tick\ndata: 1\n\n";
                return connection.send(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{event}"));
            }
            connection.send(story::html("<!doctype html><title>an app</title>"));
        }
    })
}

/// Returns a script that asks the proxy and reads the answer.
fn asking(proxy: &Backsoon, options: &str) -> String {
    let read = "status: answer.status, after: answer.headers.get('retry-after'), body: await answer.json()";
    format!("fetch('{}', {options}).then(async answer => ({{ {read} }}))", proxy.url("/api/order"))
}

const PLAIN: &str = "{ headers: { accept: 'application/json' } }";
const PREFLIGHTED: &str = "{ method: 'PUT', headers: { accept: 'application/json', 'x-order': '7' }, body: '{}' }";
