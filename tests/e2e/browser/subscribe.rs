//! Somebody subscribes, confirms, changes and leaves in a browser, without script, and meets no barrier.

use serde_json::json;

use crate::forms::World;

use super::access::{WIDER, equipped, violates_nothing};
use super::driver::Browser;

#[test]
fn somebody_subscribes_in_a_browser_and_meets_no_barrier() {
    let Some((axe, browser)) = equipped("subscribing in a browser") else { return };
    let world = World::at("prefix = \"/status\"\nurl = \"https://status.test\"");
    let page = |path: &str| world.proxy.url(&format!("/status{path}"));
    let fine = |about: &str| {
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            violates_nothing(&browser, &axe, &format!("{about}, {scheme}"));
        }
        browser.size(320, 900);
        assert_eq!(browser.value(WIDER), json!([]), "{about}");
        browser.size(1280, 900);
    };
    for language in ["ar", "ja", "en"] {
        browser.speak(language);
        browser.go(&page("/subscribe"));
        browser.run("document.querySelectorAll('details').forEach(one => one.open = true)");
        fine(&format!("subscribe, {language}"));
    }
    // The browser takes it for an address, and the server does not.
    fill(&browser, "a@b");
    says(&browser, "Stay informed");
    assert_eq!(browser.text("document.querySelector('#mail-a').value"), "a@b");
    fine("a mistake");
    fill(&browser, "reader@example.org");
    says(&browser, "One more step");
    fine("sent");
    browser.go(&page(&world.link("reader@example.org", "/confirm/")));
    fine("confirm");
    browser.click("form button");
    says(&browser, "You are subscribed");
    fine("confirmed");
    browser.click(".sum a");
    says(&browser, "Your subscription");
    fine("preferences");
    browser.click("input[value=course]");
    browser.click("form button.btn");
    browser.wait_for("document.querySelector('[role=status]')");
    assert_eq!(browser.value("document.querySelector('input[value=course]').checked"), true);
    assert_eq!(browser.value("document.querySelector('input[value=plans]').checked"), false);
    browser.click("button[value=erase]");
    says(&browser, "You are unsubscribed");
    fine("erased");
    assert!(!world.list().contains("reader@"), "{}", world.list());
}

fn fill(browser: &Browser, address: &str) {
    browser.run(&format!("document.querySelector('#mail-a').value = '{address}'"));
    browser.click("#mail-h + form > button");
}

fn says(browser: &Browser, heading: &str) {
    browser.wait_for(&format!("document.querySelector('h1')?.innerText == '{heading}'"));
}

#[test]
fn the_button_for_notifications_is_shown_where_it_can_work_and_the_worker_starts() {
    let Some(browser) = Browser::start("notifications in a browser") else { return };
    let world = World::at("prefix = \"/status\"\nurl = \"https://status.test\"");
    let place = world.proxy.url("/status/subscribe");
    let has_key = || world.get("/status/subscribe").body.contains("data-key=");
    crate::support::wait("the key of browsers", has_key);
    browser.go(&place);
    browser.wait_for("!document.querySelector('#push-s').hidden");
    assert_eq!(browser.text("document.querySelector('#push-s button').textContent"), "Turn notifications on");
    // The push service of the browser may be out of reach, but its worker is ours.
    browser.run("navigator.serviceWorker.register('sw.js')");
    browser.wait_for("navigator.serviceWorker.controller || document.querySelector('#push-s')");
    let scope = browser.promised("navigator.serviceWorker.ready.then(one => new URL(one.scope).pathname)");
    assert_eq!(scope, "/status/");
}
