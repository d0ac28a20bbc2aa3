//! The page for an error in a browser: it comes back by itself, and never sends a form again.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Backsoon, Client, Upstream, wait_for_page};

use super::access::{WIDER, equipped, violates_nothing};
use super::driver::Browser;
use super::story::{self, IN_APP};

/// Lets a test turn the page's clock on, hide the page, and count its ticks.
const CLOCK: &str = "const now = Date.now, every = setInterval;
    window.shift = 0; window.ticks = 0;
    Date.now = () => now() + window.shift;
    setInterval = (call, time) => every(() => { window.ticks++; call() }, time / 20);
    Object.defineProperty(document, 'hidden', { get: () => window.away === true })";

/// Expression that is true in a page for an error whose script is running.
const WAITS: &str = "document.querySelector('#wait')?.hidden === false";

/// Number of attempts that the page knows of.
const ATTEMPTS: &str = "JSON.parse(sessionStorage.getItem('backsoon-retry'))[1]";

/// Returns an address that refuses connections.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_page_asks_again_by_itself_and_makes_way_for_the_app() {
    let Some(browser) = Browser::start("a page for an error that comes back by itself") else { return };
    browser.on_new_document(CLOCK);
    let down = Arc::new(AtomicBool::new(true));
    let app = failing(&down);
    let proxy = Backsoon::before(&app.url(), "");
    let asked = |method: &str| app.seen().matches(&format!("{method} /shop?a=1 HTTP/1.1\r\n")).count();
    browser.go(&proxy.url("/shop?a=1#part"));
    browser.wait_for(WAITS);
    assert_eq!((browser.text("document.title").as_str(), asked("GET")), ("The service did not answer", 1));
    assert_eq!(browser.text("document.querySelector('#host').textContent"), "127.0.0.1");
    browser.wait_for("document.querySelector('#next').textContent.startsWith('Next try in 0:0')");
    assert_eq!((browser.value(ATTEMPTS), asked("HEAD")), (json!(1), 0));
    assert_eq!(browser.text("document.querySelector('#say').textContent"), "", "counting is not announced");
    browser.run("window.mark = 1; window.away = true; window.shift = 1e5; window.ticks = 0");
    browser.wait_for("window.ticks > 3");
    assert_eq!(asked("HEAD"), 0, "a page that nobody sees asks nothing");
    for attempts in 2..=6 {
        browser.run("window.away = false; window.shift += 1e5; document.dispatchEvent(new Event('visibilitychange'))");
        browser.wait_for(&format!("{ATTEMPTS} == {attempts}"));
        assert_eq!((asked("GET"), asked("HEAD"), browser.value("window.mark")), (1, attempts - 1, json!(1)));
    }
    browser.wait_for("/in 0:[45]|in 1:/.test(document.querySelector('#next').textContent)");
    down.store(false, Ordering::Relaxed);
    browser.run("window.shift += 1e5");
    browser.wait_for(IN_APP);
    assert_eq!(browser.text("location.href"), proxy.url("/shop?a=1#part"));
    let complaints = browser.console();
    assert!(complaints.iter().all(|line| line.contains("502 (Bad Gateway)")), "{complaints:#?}");
}

#[test]
fn what_the_app_answers_with_an_error_of_its_own_comes_back_too() {
    let Some(browser) = Browser::start("a page in the place of an app's error") else { return };
    browser.on_new_document(CLOCK);
    let busy = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&busy);
    let app = Upstream::handling(move |connection| {
        while let Some(head) = connection.request() {
            let busy = state.load(Ordering::Relaxed);
            let (length, body) = if head.starts_with("HEAD ") { (4, "") } else { (4, "busy") };
            let answer = format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {length}\r\n\r\n{body}");
            connection.send(if busy { answer } else { app_answer(&head) });
        }
    });
    let proxy = Backsoon::before(&app.url(), "errors = { upstream = 503 }\n");
    browser.go(&proxy.url("/"));
    browser.wait_for(WAITS);
    assert_eq!(browser.text("document.title"), "The service is not available right now");
    browser.run("window.shift = 1e5");
    browser.wait_for(&format!("{ATTEMPTS} == 2"));
    busy.store(false, Ordering::Relaxed);
    browser.run("window.shift += 1e5");
    browser.wait_for(IN_APP);
}

#[test]
fn a_form_that_got_no_answer_is_not_sent_again() {
    let Some(browser) = Browser::start("a form without an answer that is not sent again") else { return };
    browser.on_new_document(CLOCK);
    let down = Arc::new(AtomicBool::new(false));
    let app = failing(&down);
    let proxy = Backsoon::before(&app.url(), "");
    let posted = || app.seen().matches("POST /order HTTP/1.1\r\n").count();
    browser.go(&proxy.url("/shop"));
    browser.wait_for(IN_APP);
    down.store(true, Ordering::Relaxed);
    browser.click("form button");
    browser.wait_for("document.title == 'The service did not answer'");
    let said = browser.text("document.querySelector('main').innerText");
    assert!(said.contains("It is not known whether what you sent has arrived."), "{said}");
    assert!(!said.contains("by itself"), "{said}");
    down.store(false, Ordering::Relaxed);
    let before = app.seen().len();
    browser.run("window.shift = 1e6; document.dispatchEvent(new Event('visibilitychange'))");
    assert_eq!(browser.value("window.ticks"), 0, "nothing counts down");
    assert_eq!((app.seen().len(), posted()), (before, 1));
    browser.click(".acts .btn");
    browser.wait_for(IN_APP);
    assert_eq!((browser.text("location.pathname").as_str(), posted()), ("/order", 1), "the link asks by GET");
}

#[test]
fn the_page_for_an_error_is_accessible_in_every_language_and_scheme() {
    let Some((axe, browser)) = equipped("the accessibility of the page for an error") else { return };
    let proxy = Backsoon::before(&format!("http://{}", refusing()), story::BRAND);
    wait_for_page("the pages to be finished", || {
        let head = "GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\naccept-encoding: br\r\nconnection: close\r\n\r\n";
        let mut client = Client::connect(proxy.address());
        client.send(head);
        client.head().contains("content-encoding: br")
    });
    for language in ["en", "de", "fr", "es", "ja", "ar"] {
        browser.speak(language);
        browser.go(&proxy.url("/shop"));
        browser.wait_for(WAITS);
        assert_eq!(browser.text("document.documentElement.lang"), language);
        for width in [320, 390, 1440] {
            browser.size(width, 900);
            assert_eq!(browser.value(WIDER), json!([]), "{language}, {width} pixels");
        }
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            violates_nothing(&browser, &axe, &format!("{language}, {scheme}"));
        }
    }
}

/// Starts an app that breaks off in place of an answer while `down` is true.
fn failing(down: &Arc<AtomicBool>) -> Upstream {
    let down = Arc::clone(down);
    Upstream::handling(move |connection| {
        while let Some(head) = connection.request() {
            if down.load(Ordering::Relaxed) {
                return;
            }
            connection.send(app_answer(&head));
        }
    })
}

/// Returns the page of the app, or the head of it.
fn app_answer(head: &str) -> String {
    let answer = story::html(APP);
    if head.starts_with("HEAD ") { answer.trim_end_matches(APP).to_owned() } else { answer }
}

const APP: &str = "<!doctype html><html lang=en><link rel=icon href=data:,><title>the app</title>\
    <form method=post action=/order><button>Order</button></form>";
