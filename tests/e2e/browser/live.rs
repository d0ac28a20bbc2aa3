//! The live page: it follows the flag file in place, and makes way for the app.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Backsoon, wait};

use super::driver::{Browser, Engine, Visitor, in_every_browser};
use super::story::{self, IN_APP, LIVE, LOST, PAUSED};

in_every_browser! {
    a_clock_that_is_wrong_by_an_hour_changes_nothing
    the_clock_of_the_visitor_comes_first
    a_change_is_shown_in_place
    a_lifted_flag_brings_the_visitor_to_the_app
    a_page_that_lost_its_proxy_says_so_and_recovers
    a_paused_page_stands_still_and_catches_up_afterwards
}

#[test]
fn the_page_is_a_503_that_needs_nothing_and_breaks_no_rule() {
    let Some(browser) = Browser::start("a page that needs nothing, in a browser") else { return };
    let (proxy, full) = (story::proxy(""), story::full());
    browser.events();
    follow(&browser, &proxy, &full);
    assert_eq!(browser.console(), [COMPLAINT.replace("URL", &proxy.url(PATH))], "the status, and nothing else");
    story::close(&proxy, &story::later(&full));
    browser.wait_for("document.querySelector('#say').textContent");
    assert_eq!(browser.console(), Vec::<String>::new());
    let events = browser.events();
    let document = events.iter().filter(|event| event["method"] == "Network.responseReceived");
    let statuses: Vec<_> = document.map(|event| &event["params"]["response"]).filter(of(&proxy)).collect();
    assert_eq!(statuses[0]["status"], 503);
    let sent = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
    let urls: Vec<_> = sent.map(|event| event["params"]["request"]["url"].as_str().unwrap()).collect();
    let own = [PATH, "/.backsoon/events/shop/cart", "/.backsoon/status/shop/cart"].map(|path| proxy.url(path));
    assert_eq!(urls, own, "the document, its stream, and the change");
}

fn a_change_is_shown_in_place(engine: Engine) {
    let Some(browser) = engine.start("a change that is shown in place") else { return };
    let (proxy, full) = (story::proxy(""), story::full());
    follow(&browser, &proxy, &full);
    browser.run(
        "window.mark = 1; window.row = document.querySelector('tbody tr');
         document.querySelector('#again').focus({ preventScroll: true }); scrollTo(0, 300)",
    );
    assert_eq!(browser.text(FIRST_STATUS), "offline");
    assert_eq!(browser.text(SAID), "", "nothing is announced that did not change");
    story::close(&proxy, &story::later(&full));
    browser.wait_for(&format!("{FIRST_STATUS} == 'degraded'"));
    assert_eq!(browser.text(STEP), "Smoke tests in every region");
    assert_eq!(browser.text(SAID), "Step 5 of 7: Smoke tests in every region");
    assert_eq!(browser.value("window.mark"), 1, "it is the same document");
    assert_eq!(browser.value("window.row == document.querySelector('tbody tr')"), true, "and the same row");
    assert_eq!(browser.value("document.activeElement == document.querySelector('#again')"), true);
    assert_eq!(browser.value("scrollY"), 300);
    story::close(&proxy, &full);
    browser.wait_for(&format!("{SAID} == 'Step 4 of 7: Database migrations'"));
    assert_eq!(browser.value("document.querySelector('#timeline progress').value"), 3, "what went comes back");
}

/// The other languages of a page follow its publication, and a quick browser may ask before they exist.
#[test]
fn a_change_does_not_change_the_language() {
    let Some(browser) = Browser::start("a change that does not change the language") else { return };
    let (proxy, full) = (story::proxy(""), story::full());
    browser.on_new_document("Math.random = () => 0");
    browser.speak("ar");
    follow(&browser, &proxy, &full);
    browser.run(
        "const root = document.documentElement;
         const watch = () => { if (root.lang != 'ar') window.other = root.lang };
         new MutationObserver(watch).observe(root, { attributeFilter: ['lang'] })",
    );
    proxy.flag(&story::later(&full));
    browser.wait_for(&format!("{FIRST_STATUS} != 'متوقفة'"));
    assert_eq!(browser.text("document.documentElement.lang"), "ar");
    assert_eq!(browser.text(FIRST_STATUS), "أداء متدنٍّ");
    assert_eq!(browser.value("window.other"), Value::Null, "not even for a moment");
}

fn the_clock_of_the_visitor_comes_first(engine: Engine) {
    let visitor = Visitor { zone: Some("Asia/Kolkata"), ..Visitor::default() };
    let Some(browser) = engine.start_for("the clock of the visitor", visitor) else { return };
    let proxy = story::proxy("");
    story::close(&proxy, &until("2999-12-31T20:00:00Z"));
    browser.go(&proxy.url(PATH));
    watched(&browser, &proxy);
    assert_eq!(browser.text(ANSWER), "Back at 1 Jan, 01:30");
    assert_eq!(browser.text("document.querySelector('#answer time').innerText"), "31 December 2999, 20:00 UTC");
    assert!(browser.text("document.querySelector('#fresh').innerText").contains("(your time)"));
}

#[test]
fn times_are_told_by_the_clock_of_the_visitor_in_every_language() {
    let Some(browser) = Browser::start("times by the clock of the visitor") else { return };
    let proxy = story::proxy("");
    story::close(&proxy, &until("2999-12-31T20:00:00Z"));
    for (zone, language, local) in [
        ("America/New_York", "de", "Wieder da: 31. Dez., 15:00"),
        ("Asia/Tokyo", "ja", "1月1日 05:00 に再開見込み"),
        ("UTC", "en", "Back at 31 Dec, 20:00"),
    ] {
        browser.tool("Emulation.setTimezoneOverride", &json!({ "timezoneId": zone }));
        browser.speak(language);
        browser.go(&proxy.url(PATH));
        watched(&browser, &proxy);
        assert_eq!(browser.text(ANSWER), local, "{zone}");
    }
}

/// The page counts by the clock of the server, however wrong that of the visitor is.
fn a_clock_that_is_wrong_by_an_hour_changes_nothing(engine: Engine) {
    let Some(browser) = engine.start("a visitor's clock that is wrong") else { return };
    for shift in [-3_600_000, 3_600_000] {
        let clock = format!(
            "const Right = Date; Date = class extends Right {{
                constructor(...parts) {{ parts.length ? super(...parts) : super(Right.now() + {shift}) }}
                static now() {{ return Right.now() + {shift} }}
            }};\n(()=>{{\nconst D"
        );
        let proxy = story::proxy_with("script.js", "(()=>{\nconst D", &clock);
        let ends = Timestamp::now() + SignedDuration::from_mins(30);
        story::close(&proxy, &until(&ends.to_string()));
        browser.go(&proxy.url(PATH));
        watched(&browser, &proxy);
        browser.wait_for(r"/^in about (29|30) min$/.test(document.querySelector('#answer [data-k=in]').innerText)");
        browser.wait_for(r"/^in about (29|30) min · Paused for maintenance$/.test(document.title)");
        let (at, answer) = (ends.strftime("%H:%M").to_string(), browser.text(ANSWER));
        if ends.strftime("%F").to_string() == Timestamp::now().strftime("%F").to_string() {
            assert_eq!(answer, format!("Back at {at}"), "without a day, since that is today");
        } else {
            assert!(answer.starts_with("Back at ") && answer.contains(&at), "{answer}");
        }
        let off = browser.value(
            "[...document.querySelector('#fresh').innerText.matchAll(/[0-9]+/g)].reduce((all, part) => all * 60 + +part, 0) \
             - new Date().getUTCHours() * 60 - new Date().getUTCMinutes()",
        );
        let wrong = shift / 60_000;
        let apart = (off.as_i64().unwrap() + wrong).rem_euclid(1440);
        assert!([0, 1, 1439].contains(&apart), "updated {off} minutes from a clock that is {wrong} off");
    }
}

fn a_lifted_flag_brings_the_visitor_to_the_app(engine: Engine) {
    let Some(browser) = engine.start("a lifted flag that brings the visitor to the app") else { return };
    let proxy = story::proxy("");
    for fragment in ["", "#part"] {
        story::close(&proxy, story::BARE);
        // The page brings a visitor back at most once a minute; clearing its memory allows the next time.
        browser.run("try { sessionStorage.clear() } catch {}");
        browser.go("about:blank");
        browser.go(&proxy.url(&format!("{PATH}{fragment}")));
        watched(&browser, &proxy);
        browser
            .run("addEventListener('pagehide', () => sessionStorage.said = document.querySelector('#say').innerText)");
        proxy.flag(story::OPEN);
        browser.wait_for(IN_APP);
        assert_eq!(browser.text("sessionStorage.said"), "The service is back. This page reloads now.");
        assert_eq!(browser.text("location.pathname + location.search + location.hash"), format!("{PATH}{fragment}"));
    }
}

fn a_paused_page_stands_still_and_catches_up_afterwards(engine: Engine) {
    let Some(browser) = engine.start("a page that can be paused") else { return };
    let (proxy, full) = (story::proxy(""), story::full());
    follow(&browser, &proxy, &full);
    browser.click("#pause");
    browser.wait_for(PAUSED);
    assert_eq!(browser.text("document.activeElement.innerText"), "Resume live updates");
    wait("the stream to close", || watchers(&proxy) == 0.0);
    let before = browser.text("document.querySelector('main').innerText");
    story::close(&proxy, &story::later(&full));
    // A second page receives the event, so the first one would have, too.
    let told =
        "new Promise(done => new EventSource('/.backsoon/events/').addEventListener('page', done)).then(() => 1)";
    assert_eq!(browser.promised(told), 1);
    assert_eq!(browser.text("document.querySelector('main').innerText"), before);
    browser.go(&proxy.url(PATH));
    browser.wait_for(PAUSED);
    story::close(&proxy, &full);
    browser.click("#pause");
    browser.wait_for(&format!("{LIVE} && {STEP} == 'Database migrations'"));
}

fn a_page_that_lost_its_proxy_says_so_and_recovers(engine: Engine) {
    let Some(browser) = engine.start("a page that lost its proxy") else { return };
    // An address that no other test takes while nobody listens on it. Its route is closed from the start.
    let start = |port: u16| {
        let dir = tempfile::tempdir().unwrap();
        let flags = "[routes.web]\nmode = \"offline\"\nuntil = 2999-12-31T20:00:00Z\n";
        std::fs::write(dir.path().join("maintenance.toml"), flags).unwrap();
        Backsoon::start_in(dir, &format!("[[listen]]\naddress = \"127.0.5.1:{port}\"\n{ADMIN}{ROUTE}"))
    };
    let mut proxy = start(0);
    browser.go(&proxy.url(PATH));
    watched(&browser, &proxy);
    let (address, port) = (proxy.url(PATH), proxy.address().port());
    proxy.signal("INT");
    proxy.wait_for_exit();
    browser.wait_for(LOST);
    let fresh = browser.text("document.querySelector('#fresh').innerText");
    assert!(fresh.starts_with("Live updates are interrupted, last updated "), "{fresh}");
    assert_eq!(browser.text(SAID), fresh, "and it is announced");
    assert_eq!(browser.text("document.title"), "⚠ Paused for maintenance");
    drop(proxy);
    let proxy = start(port);
    watched(&browser, &proxy);
    assert_eq!(browser.text("location.href"), address);
    assert_eq!(browser.text("document.querySelector('#fresh').innerText").split(' ').next(), Some("Updated"));
    assert!(
        browser.text("document.title").ends_with(" · Paused for maintenance"),
        "the time that is left is there again"
    );
}

/// Opens the page of a flag file, and waits until it follows the route.
fn follow(browser: &Browser, proxy: &Backsoon, flags: &str) {
    story::close(proxy, flags);
    browser.go(&proxy.url(PATH));
    watched(browser, proxy);
}

fn watched(browser: &Browser, proxy: &Backsoon) {
    browser.wait_for(LIVE);
    wait("the stream to open", || watchers(proxy) == 1.0);
}

fn watchers(proxy: &Backsoon) -> f64 {
    proxy.metric("backsoon_watchers", "")
}

/// Returns a filter for the proxy's responses; the browser begins with an empty page of its own.
fn of(proxy: &Backsoon) -> impl Fn(&&Value) -> bool {
    let prefix = proxy.url("/");
    move |response| response["url"].as_str().unwrap().starts_with(&prefix)
}

/// Returns a flag that says when the service is back.
fn until(instant: &str) -> String {
    format!("[routes.web]\nmode = \"offline\"\nuntil = {instant}\n")
}

const PATH: &str = "/shop/cart?q=1";
const ANSWER: &str = "document.querySelector('#answer strong').innerText";
const FIRST_STATUS: &str = "document.querySelector('tbody .pill').innerText";
const STEP: &str = "document.querySelector('#timeline [aria-current] b')?.innerText";
const SAID: &str = "document.querySelector('#say').innerText";

/// Console message of Chromium for any document with this status.
const COMPLAINT: &str =
    "URL - Failed to load resource: the server responded with a status of 503 (Service Unavailable)";

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
const ROUTE: &str = "[routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
