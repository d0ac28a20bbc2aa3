//! The banner in the page of an open app.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{Backsoon, Upstream};

use super::driver::Browser;

const POLICY: &str = "default-src 'none'; script-src 'self'; require-trusted-types-for 'script'";
const TEXT: &str = "document.querySelector('backsoon-banner')?.shadowRoot.querySelector('[role=status]').textContent";
const SHADOW: &str = "document.querySelector('backsoon-banner').shadowRoot";

/// Starts a proxy before an app whose policy allows scripts of its own host and nothing else.
fn proxy() -> Backsoon {
    let page = "<!doctype html><html lang=en><title>the app</title>\
        <script src=/.backsoon/banner.js defer></script><h1>It works</h1>";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncache-control: no-store";
    let app = format!("{head}\r\ncontent-security-policy: {POLICY}\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    Backsoon::before(&Upstream::answering(&app).url(), "announce_banner = true\n")
}

fn announce(proxy: &Backsoon, id: &str, starts: Timestamp, title: &str) {
    let ends = starts + SignedDuration::from_hours(1);
    proxy.flag(&format!(
        "[[windows]]\nid = \"{id}\"\ntitle = '{title}'\nroutes = {{ web = \"offline\" }}\nstarts = {starts}\n\
         ends = {ends}\nannounce = \"8784h\"\n"
    ));
}

#[test]
fn an_app_shows_what_is_announced_until_its_visitor_dismisses_it() {
    let Some(browser) = Browser::start("a banner of an announced maintenance") else { return };
    let proxy = proxy();
    browser.go(&proxy.url("/"));
    browser.wait_for("document.readyState == 'complete'");
    assert_eq!(browser.value("document.querySelector('backsoon-banner')"), json!(null), "nothing is announced");
    // The browser may keep the empty script for a minute.
    browser.tool("Network.enable", &json!({}));
    browser.tool("Network.setCacheDisabled", &json!({ "cacheDisabled": true }));
    browser.tool("Emulation.setTimezoneOverride", &json!({ "timezoneId": "Asia/Kolkata" }));
    browser.console();
    // A quarter to two by the visitor's clock, three days from now.
    let zone = TimeZone::get("Asia/Kolkata").unwrap();
    let local = zone.to_datetime(Timestamp::now() + SignedDuration::from_hours(72)).date().at(1, 45, 0, 0);
    let starts = zone.to_timestamp(local).unwrap();
    announce(&proxy, "W-1", starts, "<b id=x>A new disk</b>");
    browser.go(&proxy.url("/"));
    browser.wait_for(&format!("{TEXT}?.includes('planned')"));
    let day = local.strftime("%a %-d %b").to_string();
    let words = format!("<b id=x>A new disk</b> Maintenance is planned from {day}, 01:45 to 02:45 GMT+5:30.");
    assert_eq!(browser.text(TEXT), words);
    assert_eq!(browser.text(&format!("{SHADOW}.querySelector('a').href")), proxy.url("/.backsoon/news/"));
    let color = format!("getComputedStyle({SHADOW}.querySelector('div')).backgroundColor");
    assert_eq!(browser.text(&color), "rgb(253, 243, 214)", "its style passes the policy of the app");
    assert_eq!(browser.text("getComputedStyle(document.querySelector('h1')).position"), "static");
    assert_eq!(browser.console(), Vec::<String>::new(), "the policy allows all that it does");
    picture(&browser, "banner");
    // Dismissed for this session, and for this window alone.
    browser.run(&format!("{SHADOW}.querySelector('button').click()"));
    assert_eq!(browser.value("document.querySelector('backsoon-banner')"), json!(null));
    browser.go(&proxy.url("/other"));
    browser.wait_for("document.readyState == 'complete'");
    assert_eq!(browser.value("document.querySelector('backsoon-banner')"), json!(null));
    announce(&proxy, "W-1", starts + SignedDuration::from_mins(10), "A new disk");
    browser.go(&proxy.url("/"));
    browser.wait_for(&format!("{TEXT}?.includes('01:55')"));
}

#[test]
fn a_banner_is_read_from_right_to_left_and_on_a_small_screen() {
    let Some(browser) = Browser::start("a banner in Arabic") else { return };
    let proxy = proxy();
    announce(&proxy, "W", Timestamp::now() + SignedDuration::from_hours(5), "A new disk");
    browser.speak("ar");
    browser.size(320, 568);
    browser.go(&proxy.url("/"));
    browser.wait_for(&format!("{TEXT}?.length > 20"));
    assert_eq!(browser.text(&format!("getComputedStyle({SHADOW}.querySelector('div')).direction")), "rtl");
    assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true);
    browser.prefer("dark");
    picture(&browser, "banner-ar-dark-320");
}

/// Leaves a picture for people.
fn picture(browser: &Browser, name: &str) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pages");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{name}.png")), browser.picture(1000)).unwrap();
}
