//! Wave of pages that come back together: each says when it will.

use crate::support::{Client, wait};

use super::driver::Browser;
use super::story::{self, LIVE};

#[test]
fn a_page_that_comes_back_later_than_now_says_so() {
    let Some(browser) = Browser::start("a page that comes back later than now") else { return };
    let proxy = story::proxy("hold = { release = \"1/m\" }\n");
    story::close(&proxy, story::BARE);
    browser.go(&proxy.url("/"));
    browser.wait_for(LIVE);
    let mut other = Client::connect(proxy.address());
    other.send("GET /.backsoon/events/ HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("both to watch", || proxy.metric("backsoon_watchers", "") == 2.0);
    proxy.flag(story::OPEN);
    // Two watchers at one in a minute take two minutes, of which a random number of a tenth is 12 s.
    let said = "document.querySelector('#say').innerText";
    browser.wait_for(&format!("{said} == 'The service is back. This page reloads within two minutes.'"));
}
