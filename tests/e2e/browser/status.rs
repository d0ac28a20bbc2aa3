//! The status page of an open route in a browser.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::driver::Browser;
use super::story;

const TITLE: &str = "document.querySelector('h1')?.textContent";

#[test]
fn the_status_page_of_an_open_route_says_that_it_runs_and_follows_it() {
    let Some(browser) = Browser::start("a status page of an open route") else { return };
    let proxy = story::proxy("");
    browser.console();
    browser.events();
    browser.go(&proxy.url("/.backsoon/status/shop"));
    browser.wait_for(&format!("{TITLE} == 'The service is running'"));
    browser.wait_for("!document.querySelector('#pause').hidden");
    assert_eq!(browser.value("document.documentElement.dataset.phase"), json!("open"));
    // It asks at once when it is resumed.
    let look = || browser.run("const b = document.querySelector('#pause'); b.click(); b.click()");
    look();
    assert_eq!(browser.text(TITLE), "The service is running", "it stays where it is");
    assert_eq!(browser.console(), Vec::<String>::new(), "its policy allows all that it does");
    let starts = Timestamp::now() + SignedDuration::from_hours(5);
    let ends = starts + SignedDuration::from_hours(1);
    proxy.flag(&format!(
        "[[windows]]\nid = \"W-1\"\ntitle = \"A new disk\"\nstarts = {starts}\nends = {ends}\n\
         routes = {{ web = \"offline\" }}\nannounce = \"48h\"\n"
    ));
    browser.go(&proxy.url("/.backsoon/status/shop"));
    browser.wait_for(&format!("{TITLE} == 'Maintenance is planned'"));
    assert_eq!(browser.text("document.querySelector('#lead').textContent"), "A new disk");
    proxy.flag(story::OPEN);
    browser.wait_for("!document.querySelector('#pause').hidden");
    look();
    browser.wait_for(&format!("{TITLE} == 'The service is running'"));
    let sent = browser.events().into_iter().filter(|event| event["method"] == "Network.requestWillBeSent");
    let mut urls = sent.map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned());
    assert!(
        !urls.any(|url| url.contains("/events/")),
        "the stream of an open route would end at once, again and again"
    );
    story::close(&proxy, story::BARE);
    // The page loads itself anew at most once a minute; clearing its memory allows the next time.
    browser.run("sessionStorage.clear()");
    browser.wait_for("!document.querySelector('#pause').hidden");
    look();
    browser.wait_for(&format!("{TITLE} == 'Paused for maintenance'"));
}
