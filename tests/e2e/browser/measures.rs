//! Measures of the page: what stands on the first screen of a phone, and what does not move.

use serde_json::json;

use super::driver::{Browser, Engine, in_every_browser};
use super::story::{self, LIVE};
use super::variants::{OPEN, Variants};

in_every_browser! {
    a_phone_shows_the_answer_and_what_to_do_on_its_first_screen
}

fn a_phone_shows_the_answer_and_what_to_do_on_its_first_screen(engine: Engine) {
    let Some(browser) = engine.start("the first screen of a phone") else { return };
    let variants = Variants::start();
    browser.size(390, 844);
    for name in variants.shown() {
        browser.go(&variants.url(name));
        browser.wait_for(LIVE);
        assert_eq!(browser.value("[innerWidth, innerHeight]"), json!([390, 844]));
        let last = if OPEN.contains(&name) { "#answer" } else { "#acts li" };
        let ends = ["h1", "#answer", last].map(|part| {
            let end = format!("document.querySelector('{part}').getBoundingClientRect().bottom + scrollY");
            browser.value(&end).as_f64().unwrap()
        });
        assert!(ends.iter().all(|end| *end <= 600.0), "{name}: {ends:?}");
        let long = browser.value("document.documentElement.scrollHeight").as_f64().unwrap();
        assert!(long <= LONGEST, "{name}: {long} pixels long");
        println!("{engine:?}, {name}: title, answer and action end at {ends:.0?}, page at {long}");
    }
}

/// Chromium alone measures that.
#[test]
fn nothing_moves_when_a_step_is_done() {
    let Some(browser) = Browser::start("a page that does not move") else { return };
    let (proxy, full) = (story::proxy(story::BRAND), story::full());
    for (width, height) in [(390, 844), (1280, 900)] {
        story::close(&proxy, &full);
        browser.size(width, height);
        browser.go(&proxy.url("/shop"));
        browser.wait_for(LIVE);
        browser.run(
            "window.shifts = [];
             const told = list => list.getEntries().forEach(shift =>
                shifts.push([shift.value, ...shift.sources.map(source => source.node?.outerHTML?.slice(0, 80))]));
             new PerformanceObserver(told).observe({ type: 'layout-shift' })",
        );
        story::close(&proxy, &story::later(&full));
        browser.wait_for("document.querySelector('#timeline [aria-current] b')?.innerText.startsWith('Smoke')");
        // Two frames later, what moved was told.
        browser.promised(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))",
        );
        assert_eq!(browser.value("shifts"), json!([]), "{width} pixels");
    }
}

/// Greatest length of the page with everything, in pixels. The fonts of a phone are narrower than those of Debian.
const LONGEST: f64 = 4000.0;
