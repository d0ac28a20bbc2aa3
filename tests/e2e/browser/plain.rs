//! Without script: everything is there, and the page still makes way for the app.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::wait_for_page;

use super::driver::Browser;
use super::story::{self, IN_APP};

#[test]
fn without_script_everything_is_there() {
    let Some(browser) = start("a page without script") else { return };
    let proxy = story::proxy("");
    story::close(&proxy, &story::full());
    browser.go(&proxy.url("/shop?q=1"));
    let text = browser.text("document.body.innerText");
    for words in [
        "Scheduled maintenance in progress",
        "one part after the other",
        "MNT-2026-0519-a",
        "Updated ",
        "API gateway",
        "queued",
        "in about 32 min",
        "Database migrations",
        "3 of 7 schema changes",
        "You don't need to do anything.",
        "Check again",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("Pause live updates"), "what needs script is not offered: {text}");
}

#[test]
fn without_script_check_again_asks_again() {
    let Some(browser) = start("\"check again\" without script") else { return };
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

#[test]
fn without_script_the_page_makes_way_by_itself() {
    let Some(browser) = start("a page without script that makes way by itself") else { return };
    let proxy = story::proxy("");
    proxy.flag(&until(4));
    browser.go(&proxy.url("/shop?q=1"));
    assert_eq!(browser.value(&format!("!({IN_APP})")), true);
    // The page asks again within a minute.
    wait_for_page("the app", || browser.value(IN_APP) == true);
    assert_eq!(browser.text("location.pathname + location.search"), "/shop?q=1");
}

/// Starts a browser that runs no script of a page.
fn start(claim: &str) -> Option<Browser> {
    let browser = Browser::start(claim)?;
    browser.tool("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    Some(browser)
}

/// Returns a flag that lifts in this many seconds.
fn until(seconds: i64) -> String {
    let until = Timestamp::now() + SignedDuration::from_secs(seconds);
    format!("[routes.web]\nmode = \"offline\"\nuntil = {until}\n")
}
