//! A form posted to a closed route: our page never sends it again, and returns by GET to the same place.

use serde_json::Value;

use crate::support::{Backsoon, Upstream, wait};

use super::driver::{Browser, Engine, Script, Visitor, in_every_browser};
use super::story::{self, IN_APP, LIVE};

/// Endings of the forms' targets: an anchor must neither keep the page nor resubmit the form.
const ENDINGS: [&str; 7] = ["", "#part", "#", "?a=1", "?a=1#part", "?#part", "?a=1&#a#b"];

in_every_browser! {
    a_form_is_not_sent_again_when_the_route_opens
}

fn a_form_is_not_sent_again_when_the_route_opens(engine: Engine) {
    let Some(browser) = engine.start("a form that is not sent again") else { return };
    for ending in ENDINGS {
        let posted = Posted::at(&browser, ending);
        posted.proxy.flag(story::OPEN);
        posted.comes_back_by_get();
    }
}

/// Without events, the page polls now and then.
#[test]
fn a_form_is_not_sent_again_by_a_page_that_polls() {
    let Some(browser) = Browser::start("a form that is not sent again by a page that polls") else { return };
    browser.on_new_document(
        "const slow = setTimeout;
         setTimeout = (call, time) => slow(call, time / 50);
         const ask = fetch;
         fetch = (...about) => (window.polls = true, ask(...about));
         EventSource = class { readyState = 2; addEventListener() {} close() {} constructor() { slow(() => this.onerror()) } }",
    );
    for ending in ["#part", "#", ""] {
        let posted = Posted::before(&browser, ending);
        browser.wait_for("window.polls");
        posted.proxy.flag(story::OPEN);
        posted.comes_back_by_get();
    }
}

#[test]
fn a_form_is_not_sent_again_by_a_page_that_was_paused() {
    let Some(browser) = Browser::start("a form that is not sent again by a page that was paused") else { return };
    for ending in ["#part", "#", ""] {
        let posted = Posted::at(&browser, ending);
        browser.click("#pause");
        wait("the stream to close", || posted.proxy.metric("backsoon_watchers", "") == 0.0);
        posted.proxy.flag(story::OPEN);
        browser.click("#pause");
        posted.comes_back_by_get();
        browser.run("sessionStorage.clear()");
    }
}

/// New colours are not swapped in place: the page reloads while the route is closed.
#[test]
fn a_form_is_not_sent_again_for_new_colours() {
    let Some(browser) = Browser::start("a form that is not sent again for new colours") else { return };
    for ending in ["#part", "#", ""] {
        let posted = Posted::at(&browser, ending);
        browser.run("window.mark = 1");
        let config = std::fs::read_to_string(posted.proxy.path("backsoon.toml")).unwrap();
        posted.proxy.config(&format!("{config}\n[page]\naccent = \"#a00\"\n"));
        browser.wait_for(&format!("!window.mark && {LIVE}"));
        assert_eq!(posted.sent(), Vec::<String>::new(), "{ending}");
        assert_eq!(browser.text("location.href"), posted.url);
        posted.proxy.flag(story::OPEN);
        posted.comes_back_by_get();
    }
}

#[test]
fn a_form_is_not_sent_again_by_check_again() {
    for script in [Script::Runs, Script::Off] {
        let visitor = Visitor { script, ..Visitor::default() };
        let claim = "a form that is not sent again by \"check again\"";
        let Some(browser) = Engine::Chromium.start_for(claim, visitor) else { return };
        // The page hears of nothing, or it would come back by itself while the link is clicked.
        browser.on_new_document("EventSource = class { addEventListener() {} close() {} }");
        for ending in ENDINGS {
            let posted = Posted::before(&browser, ending);
            posted.proxy.flag(story::OPEN);
            browser.click(".btn");
            browser.wait_for(IN_APP);
            assert_eq!(posted.upstream_saw(), ["GET"], "{script:?} {ending}");
        }
    }
}

/// Form that a browser has posted to a closed route.
struct Posted<'b> {
    browser: &'b Browser,
    proxy: Backsoon,
    upstream: Upstream,
    url: String,
}

impl<'b> Posted<'b> {
    /// Posts the form, and returns once its page follows the route.
    fn at(browser: &'b Browser, ending: &str) -> Self {
        let posted = Self::before(browser, ending);
        browser.wait_for(LIVE);
        wait("the stream to open", || posted.proxy.metric("backsoon_watchers", "") == 1.0);
        posted
    }

    /// Posts the form, and returns once it got the page.
    fn before(browser: &'b Browser, ending: &str) -> Self {
        let target = format!("/app/form{ending}");
        let form =
            format!("<form method=post action='{target}'><input name=order value=7><button>Order</button></form>");
        let upstream = Upstream::answering(&story::html(&format!(
            "<!doctype html><link rel=icon href=data:,><title>the app</title>{form}"
        )));
        let proxy = Backsoon::before(&upstream.url(), "always_open = [\"/shop\"]\n");
        story::close(&proxy, story::BARE);
        browser.go(&proxy.url("/shop"));
        browser.click("button");
        browser.wait_for("document.querySelector('main .btn')");
        let url = proxy.url(&target);
        assert_eq!(browser.text("location.href"), url);
        let posted = Self { browser, proxy, upstream, url };
        if browser.engine == Engine::Chromium {
            assert_eq!(posted.sent(), ["POST"], "the form was sent once");
        }
        posted.upstream.forget();
        posted
    }

    /// Waits for the app, and checks how it was requested.
    fn comes_back_by_get(&self) {
        self.browser.wait_for(IN_APP);
        assert_eq!(self.upstream_saw(), ["GET"], "{}", self.url);
        assert_eq!(self.sent(), Vec::<String>::new(), "{}", self.url);
        assert_eq!(self.browser.text("location.href"), self.url, "the anchor is kept");
        assert_eq!(self.browser.value("history.state"), Value::Null);
    }

    /// Returns the methods of the requests that reached the app.
    fn upstream_saw(&self) -> Vec<String> {
        let seen = self.upstream.seen();
        let lines = seen.lines().filter_map(|line| line.strip_suffix(" HTTP/1.1"));
        lines.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    /// Returns the methods, except GET, that the browser has sent since the last call. Chromium alone tells.
    fn sent(&self) -> Vec<String> {
        if self.browser.engine != Engine::Chromium {
            return Vec::new();
        }
        let events = self.browser.events();
        let sent = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        let methods = sent.filter_map(|event| event["params"]["request"]["method"].as_str());
        methods.filter(|method| *method != "GET").map(str::to_owned).collect()
    }
}
