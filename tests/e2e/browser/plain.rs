//! Without script: everything is there, and the page still makes way for the app.

use serde_json::json;

use crate::support::{Backsoon, wait};

use super::driver::{Browser, Engine, Script, Visitor, in_every_browser};
use super::story::{self, IN_APP, LIVE, LOST};

in_every_browser! {
    without_script_everything_is_there
    without_script_the_page_makes_way_by_itself
    with_script_nothing_is_loaded_again_even_without_the_proxy
}

fn without_script_everything_is_there(engine: Engine) {
    let Some(browser) = start(engine, "a page without script") else { return };
    let proxy = story::proxy("");
    story::close(&proxy, &story::full());
    browser.go(&proxy.url("/shop?q=1"));
    let text = browser.text("document.body.innerText");
    for words in [
        "Scheduled maintenance in progress",
        "Back at ",
        "in about 32 min",
        "Check again",
        "one part after the other",
        "MNT-2026-0519-a",
        "Updated ",
        "API gateway",
        "queued",
        "5 running normally",
        "Database migrations",
        "3 of 7 schema changes",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("Pause live updates"), "what needs script is not offered: {text}");
}

fn without_script_the_page_makes_way_by_itself(engine: Engine) {
    let Some(browser) = start(engine, "a page without script that makes way by itself") else { return };
    let proxy = hasty();
    story::close(&proxy, story::BARE);
    browser.go(&proxy.url("/shop?q=1"));
    assert_eq!(browser.value(&format!("!({IN_APP})")), true);
    proxy.flag(story::OPEN);
    browser.wait_for(IN_APP);
    assert_eq!(browser.text("location.pathname + location.search"), "/shop?q=1");
}

/// A page that the browser loads again while the proxy is away is gone for good.
fn with_script_nothing_is_loaded_again_even_without_the_proxy(engine: Engine) {
    let Some(browser) = engine.start("a page with script that is not loaded again") else { return };
    let mut proxy = hasty();
    story::close(&proxy, story::BARE);
    browser.go(&proxy.url("/shop?q=1"));
    browser.wait_for(LIVE);
    browser.run("window.mark = 1");
    proxy.signal("INT");
    proxy.wait_for_exit();
    browser.wait_for(LOST);
    wait("the time of the refresh to be over", || browser.value("performance.now()").as_f64().unwrap() > 3000.0);
    assert_eq!(browser.value("window.mark"), 1, "it is the same document");
}

/// Starts a proxy whose page reloads soon, where it reloads at all.
fn hasty() -> Backsoon {
    story::proxy_with("page.html", "{{ [retry_after, 60]|min }}", "2")
}

#[test]
fn without_script_check_again_asks_again() {
    let Some(browser) = start(Engine::Chromium, "\"check again\" without script") else { return };
    let proxy = story::proxy("");
    story::close(&proxy, story::BARE);
    browser.go(&proxy.url("/shop?q=1"));
    browser.events();
    browser.run("document.documentElement.dataset.old = 1");
    browser.click(".btn");
    browser.wait_for("document.querySelector('.btn') && !document.documentElement.dataset.old");
    let events = browser.events();
    let requests = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
    let requests: Vec<_> = requests.map(|event| &event["params"]["request"]).collect();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!((&requests[0]["method"], &requests[0]["url"]), (&json!("GET"), &json!(proxy.url("/shop?q=1"))));
    proxy.flag(story::OPEN);
    browser.click(".btn");
    browser.wait_for(IN_APP);
}

/// Starts a browser that runs no script of a page.
fn start(engine: Engine, claim: &str) -> Option<Browser> {
    engine.start_for(claim, Visitor { script: Script::Off, ..Visitor::default() })
}
