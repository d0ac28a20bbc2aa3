//! The page of the admin listener: `backsoon status` for a browser.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Backsoon, Upstream, get, replace};

use super::driver::Browser;

const HEADLINE: &str = "document.querySelector('h1').textContent";
const LINE: &str = "document.querySelector('#line').dataset.is";

fn url(proxy: &Backsoon) -> String {
    format!("http://{}/", proxy.admin)
}

#[test]
fn the_admin_page_follows_an_edit_without_a_reload() {
    let Some(browser) = Browser::start("an admin page that follows an edit") else { return };
    let mut proxy = Backsoon::before(&Upstream::ok().url(), "");
    browser.events();
    browser.go(&url(&proxy));
    browser.wait_for(&format!("{LINE} == 'live'"));
    assert_eq!(browser.text(HEADLINE), "web is open");
    browser.run("window.mark = 1; window.row = document.querySelector('[data-route=web]')");
    proxy.flag("[routes.web]\nmode = \"offline\"\nuntil = 2999-12-31T20:00:00Z\n");
    browser.wait_for(&format!("{HEADLINE} == 'web is closed'"));
    assert_eq!(browser.text("document.title"), "web is closed · backsoon");
    let row = browser.text("document.querySelector('[data-route=web]').innerText");
    for told in ["closed · offline", "by flag until 2999-12-31 20:00 UTC", "then open at 2999-12-31 20:00 UTC"] {
        assert!(row.contains(told), "{told}: {row}");
    }
    assert_eq!(get(proxy.address(), "/").status, 503);
    replace(&proxy.path("maintenance.toml"), "[routes]\nweb = \"<b id=x>of\"\n");
    browser.wait_for(&format!("{HEADLINE} == 'One thing is not as it should be'"));
    assert!(browser.text("document.querySelector('.problem pre').innerText").contains("web = \"<b id=x>of\""));
    assert_eq!(browser.value("document.querySelector('#x')"), json!(null), "text is no markup");
    assert_eq!(browser.value("window.mark"), 1, "it is the same document");
    assert_eq!(browser.value("window.row == document.querySelector('[data-route=web]')"), true, "and the same row");
    assert_eq!(browser.console(), Vec::<String>::new(), "its policy allows all that it does");
    let sent = browser.events().into_iter().filter(|event| event["method"] == "Network.requestWillBeSent");
    let urls: Vec<_> = sent.map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned()).collect();
    let own = |sent: &String| [url(&proxy), url(&proxy) + "events"].contains(sent) || sent.starts_with("data:");
    assert!(urls.iter().all(own), "{urls:?}");
    proxy.signal("INT");
    proxy.wait_for_exit();
    browser.wait_for(&format!("{LINE} == 'lost'"));
    assert!(browser.text("document.querySelector('#words').textContent").starts_with("connection lost, last seen "));
}

#[test]
fn the_admin_page_counts_what_is_asked() {
    let Some(browser) = Browser::start("an admin page that counts") else { return };
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    browser.go(&url(&proxy));
    browser.wait_for(&format!("{LINE} == 'live'"));
    for _ in 0..20 {
        get(proxy.address(), "/");
    }
    browser.wait_for("/ms|s$/.test(document.querySelector('[data-c=p99]').textContent)");
    browser.wait_for("Number(document.querySelector('[data-c=rate]').textContent) > 0");
}

/// The document is whole without its script, since the proxy renders it.
#[test]
fn the_admin_page_needs_no_script() {
    let Some(browser) = Browser::start("an admin page without script") else { return };
    let proxy = Backsoon::before(&Upstream::ok().url(), "");
    proxy.flag("[routes]\nweb = \"offline\"\n");
    browser.tool("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    browser.go(&url(&proxy));
    browser.tool("Emulation.setScriptExecutionDisabled", &json!({ "value": false }));
    assert_eq!(browser.text(HEADLINE), "web is closed");
    assert_eq!(browser.text(LINE), "still");
    assert!(browser.text("document.querySelector('#words').textContent").starts_with("as of "));
}

#[test]
fn the_admin_page_fits_a_phone_and_a_screen() {
    let Some(browser) = Browser::start("pictures of the admin page") else { return };
    let upstream = Upstream::ok().url();
    let more = format!(
        "[routes.api]\nhost = \"api.example.com\"\nupstream = \"{upstream}\"\n\
         [routes.hooks]\nhost = \"hooks.example.com\"\nupstream = \"{upstream}\"\n"
    );
    let proxy = Backsoon::before(&upstream, &more);
    proxy.flag("[routes]\napi = \"hold\"\n[routes.web]\nmode = \"offline\"\nuntil = 2999-12-31T20:00:00Z\n");
    for _ in 0..3 {
        get(proxy.address(), "/");
    }
    for wrong in [false, true] {
        if wrong {
            fs::write(proxy.path("maintenance.toml"), "[routes]\nweb = \"of\"\n").unwrap();
        }
        for (width, scheme) in [(390, "dark"), (390, "light"), (1280, "dark"), (1280, "light")] {
            browser.size(width, 900);
            browser.prefer(scheme);
            browser.go(&url(&proxy));
            browser.wait_for(&format!("{LINE} == 'live'"));
            if wrong {
                browser.wait_for("document.querySelector('.problem')");
            }
            let wider = browser.value("document.documentElement.scrollWidth > innerWidth");
            assert_eq!(wider, false, "nothing stands beside the screen of {width}");
            let name = format!("admin-{width}-{scheme}{}.png", if wrong { "-wrong" } else { "" });
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("pages");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(name), browser.picture(3000)).unwrap();
        }
    }
}
