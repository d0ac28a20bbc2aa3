//! Pictures of the page for people to look at, written to `pages` in the target directory: every variant on a phone and
//! a desk, dark, printed, in Arabic and in Japanese.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::driver::{Browser, Engine, in_every_browser};
use super::story::{self, LIVE};
use super::variants::Variants;

in_every_browser! {
    the_first_screen_of_a_phone_can_be_shown
}

#[test]
fn every_variant_can_be_shown_and_printed() {
    let Some(browser) = Browser::start("pictures of the pages") else { return };
    let variants = Variants::start();
    let show = |name: &str, language: &str, width: u32| {
        browser.speak(language);
        browser.size(width, 900);
        browser.go(&variants.url(name));
        browser.wait_for(LIVE);
    };
    for name in variants.shown() {
        for (language, kind) in [("ar", "phone-arabic"), ("ja", "phone-japanese"), ("en", "phone")] {
            show(name, language, 390);
            keep(&format!("{name}-{kind}"), &browser.picture(HIGHEST));
        }
        show(name, "en", 1440);
        keep(name, &browser.picture(HIGHEST));
        browser.prefer("dark");
        keep(&format!("{name}-dark"), &browser.picture(HIGHEST));
        browser.prefer("light");
        // A4 at 96 pixels to the inch, without margins.
        browser.size(718, 1000);
        browser.tool("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
        keep(&format!("{name}-print"), &browser.picture(HIGHEST));
        browser.prefer("light");
    }
    show("back", "en", 1280);
    let sheet = browser.print();
    assert!(sheet.starts_with(b"%PDF"));
    std::fs::write(directory().join("print.pdf"), sheet).unwrap();
}

#[test]
fn the_worst_page_can_be_shown() {
    let Some(browser) = Browser::start("pictures of the worst page") else { return };
    let (proxy, worst) = (story::proxy(story::BRAND), story::worst());
    story::close(&proxy, &worst);
    for (name, language, width) in [("worst", "en", 1280), ("worst-wide", "de", 2560), ("worst-phone", "ar", 320)] {
        browser.speak(language);
        browser.size(width, 900);
        browser.go(&proxy.url("/shop"));
        browser.wait_for(LIVE);
        keep(name, &browser.picture(HIGHEST));
    }
}

fn the_first_screen_of_a_phone_can_be_shown(engine: Engine) {
    let Some(browser) = engine.start("a picture of the first screen of a phone") else { return };
    let (proxy, full) = (story::proxy(story::BRAND), story::full());
    story::close(&proxy, &full);
    browser.size(390, 844);
    browser.go(&proxy.url("/shop"));
    browser.wait_for(LIVE);
    keep(&format!("screen-{engine:?}").to_lowercase(), &browser.screen());
}

fn keep(name: &str, picture: &[u8]) {
    assert!(picture.starts_with(b"\x89PNG"), "{name}");
    std::fs::write(directory().join(format!("{name}.png")), picture).unwrap();
}

fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pages");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Greatest height in pixels: more shows nothing new.
const HIGHEST: u64 = 6000;
