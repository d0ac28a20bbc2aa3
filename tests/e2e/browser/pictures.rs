//! Pictures of the page for people to look at, written to `pages` in the target directory.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::driver::Browser;
use super::story::{self, LIVE};

#[test]
fn every_kind_of_page_can_be_shown_and_printed() {
    let Some(browser) = Browser::start("pictures of the pages") else { return };
    let proxy = story::proxy(story::BRAND);
    let show = |flags: &str, language: &str, width: u32| {
        story::close(&proxy, flags);
        browser.speak(language);
        browser.size(width, 900);
        browser.go(&proxy.url("/shop"));
        browser.wait_for(LIVE);
    };
    let (full, worst) = (story::full(), story::worst());
    for (name, flags, language, width) in [
        ("full", full.as_str(), "en", 1280),
        ("phone", &full, "en", 390),
        ("arabic", &full, "ar", 1280),
        ("arabic-phone", &full, "ar", 390),
        ("japanese", &full, "ja", 1280),
        ("wide", &full, "de", 2560),
        ("bare", story::BARE, "en", 1280),
        ("bare-phone", story::BARE, "en", 390),
        ("worst", &worst, "en", 1280),
        ("worst-phone", &worst, "ar", 320),
    ] {
        show(flags, language, width);
        keep(name, &browser.picture(HIGHEST));
    }
    show(&full, "en", 1280);
    browser.prefer("dark");
    keep("dark", &browser.picture(HIGHEST));
    browser.prefer("light");
    let sheet = browser.print();
    assert!(sheet.starts_with(b"%PDF"));
    std::fs::write(directory().join("print.pdf"), sheet).unwrap();
    // A4 at 96 pixels to the inch, without margins.
    browser.size(718, 1000);
    browser.tool("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    keep("print", &browser.picture(HIGHEST));
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
