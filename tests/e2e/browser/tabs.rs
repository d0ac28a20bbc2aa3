//! Several tabs of one visitor: those that nobody sees hold nothing and still learn of the return, and all together
//! hold one stream.

use crate::support::{Backsoon, wait};

use super::driver::{Browser, Engine, in_every_browser};
use super::story::{self, IN_APP, LIVE};

in_every_browser! {
    a_hidden_tab_holds_no_stream_and_learns_of_the_return
    eight_windows_share_one_stream_and_leave_room_for_more
    who_goes_back_to_the_page_finds_it_as_it_is_now
}

fn a_hidden_tab_holds_no_stream_and_learns_of_the_return(engine: Engine) {
    let Some(browser) = engine.start("a hidden tab that learns of the return") else { return };
    let proxy = story::proxy_with("script.js", BEGIN, &format!("{FAST}{BEGIN}"));
    story::close(&proxy, story::BARE);
    browser.go(&proxy.url("/shop"));
    browser.wait_for(LIVE);
    wait("the stream to open", || watchers(&proxy) == 1.0);
    browser.hide();
    wait("the stream to close", || watchers(&proxy) == 0.0);
    browser.show();
    wait("the stream to open again", || watchers(&proxy) == 1.0);
    browser.hide();
    wait("the stream to close again", || watchers(&proxy) == 0.0);
    proxy.flag(story::OPEN);
    browser.wait_for(IN_APP);
    assert_eq!(browser.value("document.hidden"), true, "nobody has looked");
    assert_eq!(browser.text("sessionStorage.title"), "✓ Back · Paused for maintenance");
}

/// A browser has six connections to a host over HTTP/1.1, and each stream keeps one.
fn eight_windows_share_one_stream_and_leave_room_for_more(engine: Engine) {
    let Some(browser) = engine.start("eight windows over HTTP/1.1") else { return };
    let (proxy, full) = (story::proxy("always_open = [\"/open\"]\n"), story::full());
    story::close(&proxy, &full);
    for window in 0..WINDOWS {
        if window > 0 {
            browser.open();
        }
        browser.go(&proxy.url("/shop"));
        browser.wait_for(LIVE);
    }
    wait("one stream for all", || watchers(&proxy) == 1.0);
    let status = browser.promised("fetch('/another').then(answer => answer.status)");
    assert_eq!(status, 503, "there is room for more");
    story::close(&proxy, &story::later(&full));
    for window in 0..WINDOWS {
        browser.switch(window);
        browser.wait_for(&format!("{STEP} == 'Smoke tests in every region' && {LIVE}"));
    }
    // One of them holds the stream. Whichever leaves, the others go on.
    for window in 0..WINDOWS - 1 {
        browser.switch(window);
        browser.go(&proxy.url("/open"));
    }
    wait("one stream for the last", || watchers(&proxy) == 1.0);
    browser.switch(WINDOWS - 1);
    proxy.flag(story::OPEN);
    browser.wait_for(IN_APP);
}

/// A browser may keep the page as it was, and show that.
fn who_goes_back_to_the_page_finds_it_as_it_is_now(engine: Engine) {
    let Some(browser) = engine.start("the way back to the page") else { return };
    let (proxy, full) = (story::proxy("always_open = [\"/open\"]\n"), story::full());
    story::close(&proxy, &full);
    browser.go(&proxy.url("/shop"));
    live(&browser, &proxy);
    browser.go(&proxy.url("/open"));
    wait("the stream to close", || watchers(&proxy) == 0.0);
    story::close(&proxy, &story::later(&full));
    browser.back();
    browser.wait_for(&format!("{STEP} == 'Smoke tests in every region'"));
    live(&browser, &proxy);
    proxy.flag(story::OPEN);
    browser.wait_for(IN_APP);
}

fn live(browser: &Browser, proxy: &Backsoon) {
    browser.wait_for(LIVE);
    wait("the stream to open", || watchers(proxy) == 1.0);
}

fn watchers(proxy: &Backsoon) -> f64 {
    proxy.metric("backsoon_watchers", "")
}

/// Number of windows: more than a browser has connections to a host.
const WINDOWS: usize = 8;

const STEP: &str = "document.querySelector('#timeline [aria-current] b')?.innerText";

/// Beginning of the page's script.
const BEGIN: &str = "(()=>{\nconst D";

/// Lets minutes pass in seconds, and keeps the last title of a page.
const FAST: &str = "const slow = setTimeout; setTimeout = (call, time) => slow(call, time / 20);
    addEventListener('pagehide', () => sessionStorage.title = document.title);\n";
