//! The page for everybody: checked by axe-core in every language and colour scheme, and never wider than its window.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::wire::skipped;

use super::driver::{Browser, Engine, in_every_browser};
use super::story::{self, IN_APP, LIVE};
use super::variants::Variants;

in_every_browser! {
    no_page_is_wider_than_its_window
}

#[test]
fn a_bare_page_is_accessible_in_every_language_and_scheme() {
    accessible("the accessibility of a bare page", story::BARE);
}

#[test]
fn a_full_page_is_accessible_in_every_language_and_scheme() {
    accessible("the accessibility of a full page", &story::full());
}

#[test]
fn every_variant_is_accessible_in_chromium() {
    every_variant_is_accessible(Engine::Chromium);
}

#[test]
fn every_variant_is_accessible_in_firefox() {
    every_variant_is_accessible(Engine::Firefox);
}

fn every_variant_is_accessible(engine: Engine) {
    let claim = "the accessibility of every variant";
    let (Some(axe), Some(browser)) = (axe(claim), engine.start(claim)) else { return };
    let variants = Variants::start();
    for name in variants.shown() {
        for (language, scheme, width) in [("ar", "light", 320), ("en", "dark", 320), ("en", "light", 1280)] {
            browser.speak(language);
            browser.prefer(scheme);
            browser.size(width, 900);
            browser.go(&variants.url(name));
            browser.wait_for(LIVE);
            let page = format!("{name}, {language}, {scheme}, {width} pixels");
            violates_nothing(&browser, &axe, &page);
            assert_eq!(browser.value(WIDER), json!([]), "{page}");
        }
    }
}

#[test]
fn a_form_that_is_sent_to_a_read_only_route_is_answered_by_an_accessible_page() {
    let claim = "the accessibility of a read-only page";
    let Some((axe, browser)) = equipped(claim) else { return };
    let proxy = story::proxy("");
    story::close(&proxy, story::READ_ONLY);
    browser.go(&proxy.url("/shop"));
    assert_eq!(browser.value(IN_APP), true, "reading goes on");
    browser.click("form button");
    browser.wait_for(LIVE);
    assert!(browser.text("document.body.innerText").contains("We are moving the database."));
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        violates_nothing(&browser, &axe, &format!("read-only, {scheme}"));
    }
    proxy.flag(story::OPEN);
    browser.wait_for(IN_APP);
    assert_eq!(browser.text("location.pathname"), "/order", "and nothing is sent twice");
}

fn no_page_is_wider_than_its_window(engine: Engine) {
    let Some(browser) = engine.start("pages that are no wider than their window") else { return };
    // WebKit asks for no other language.
    let languages = if engine == Engine::WebKit { vec!["en"] } else { vec!["en", "ar"] };
    let proxy = story::proxy(&format!("{}languages = [\"en\", \"ar\"]\n", story::BRAND));
    for (name, flags) in [("bare", story::BARE), ("full", &story::full()), ("worst", &story::worst())] {
        story::close(&proxy, flags);
        for language in &languages {
            if engine != Engine::WebKit {
                browser.speak(language);
            }
            browser.go(&proxy.url("/shop"));
            browser.wait_for(LIVE);
            for width in [320, 390, 1280, 2560] {
                browser.size(width, 900);
                assert_eq!(browser.value(WIDER), json!([]), "{name} page, {language}, {width} pixels");
            }
        }
    }
}

#[test]
fn words_of_the_operator_are_words_and_never_markup() {
    let Some(browser) = Browser::start("markup that is shown as words") else { return };
    let proxy = story::proxy("");
    story::close(&proxy, &story::worst());
    browser.go(&proxy.url("/shop"));
    browser.wait_for(LIVE);
    assert_eq!(browser.value("document.querySelectorAll('main script, main img, main b b').length"), 0);
    assert_eq!(browser.value("document.querySelectorAll('tbody tr').length"), 100);
    assert_eq!(browser.value("document.querySelectorAll('#timeline li').length"), 40);
    assert!(browser.text("document.querySelector('tbody').innerText").contains("<script>alert(1)</script>"));
}

/// Shows the page of a flag file in every language and colour scheme, and looks for barriers.
fn accessible(claim: &str, flags: &str) {
    let Some((axe, browser)) = equipped(claim) else { return };
    let proxy = story::proxy(story::BRAND);
    story::close(&proxy, flags);
    for language in ["en", "de", "fr", "es", "ja", "ar", "pt-BR", "zh-Hans", "it", "nl", "pl", "ko"] {
        browser.speak(language);
        browser.go(&proxy.url("/shop"));
        browser.wait_for(LIVE);
        assert_eq!(browser.text("document.documentElement.lang"), language);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            violates_nothing(&browser, &axe, &format!("{language}, {scheme}"));
        }
    }
    browser.click("#pause");
    violates_nothing(&browser, &axe, "paused");
}

pub fn equipped(claim: &str) -> Option<(Axe, Browser)> {
    Some((axe(claim)?, Browser::start(claim)?))
}

pub fn violates_nothing(browser: &Browser, axe: &Axe, page: &str) {
    if browser.value("window.axe == null") == true {
        browser.run(&axe.0);
    }
    let brief = format!("result => ({{ violations: result.violations.map({BRIEF}), passes: result.passes.length }})");
    let result = browser.promised(&format!("axe.run({}).then({brief})", json!({ "runOnly": TAGS })));
    assert_eq!(result["violations"], json!([]), "{page}");
    assert!(result["passes"].as_u64().unwrap() > 20, "{page}: nothing was looked at: {result}");
}

/// Source of axe-core.
pub struct Axe(String);

/// Finds axe-core in a Python package, which ships it as a file.
pub fn axe(claim: &str) -> Option<Axe> {
    let python = std::env::var_os("BACKSOON_TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    let found = python.and_then(|python| {
        let output =
            Command::new(python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).output();
        let dir = String::from_utf8(output.ok()?.stdout).ok()?;
        std::fs::read_to_string(Path::new(dir.trim()).join("axe_playwright_python/axe.min.js")).ok()
    });
    if found.is_none() {
        skipped(claim, "BACKSOON_TEST_PYTHON names no Python with axe-core; tests/all makes one");
    }
    found.map(Axe)
}

const TAGS: [&str; 6] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/// Script that shows a violation in a line.
const BRIEF: &str = "({ id, nodes }) => [id, ...nodes.slice(0, 3).map(({ html, failureSummary }) => [html.slice(0, 200), failureSummary])]";

/// Script that lists the elements beyond either edge of the window; none if the page is not wider.
pub const WIDER: &str = "document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]
    .filter(e => { const { left, right, width } = e.getBoundingClientRect(); return width > 1 && (left < 0 || right > innerWidth) })
    .map(e => e.outerHTML.slice(0, 100))";
