//! The buttons of the admin page: somebody logs in, closes a route for half an hour, makes it longer, and opens it again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Backsoon, Upstream, get};

use super::access::{axe, violates_nothing};
use super::driver::Browser;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HEADLINE: &str = "document.querySelector('h1').textContent";
const DONE: &str = "document.querySelector('#done').textContent";

fn proxy(upstream: &Upstream) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    fs::write(&tokens, format!("ann:{TOKEN}\n")).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\nwrite = {{ token_file = \"tokens\" }}\n\
         [routes.web]\nupstream = \"{}\"\n",
        upstream.url()
    );
    Backsoon::start_in(dir, &config)
}

fn log_in(browser: &Browser, token: &str) {
    browser
        .run(&format!("const t = document.querySelector('#who input'); t.value = '{token}'; t.form.requestSubmit()"));
}

#[test]
fn a_route_is_closed_made_longer_and_opened_by_buttons() {
    let Some(browser) = Browser::start("the buttons of the admin page") else { return };
    let upstream = Upstream::ok();
    let proxy = proxy(&upstream);
    browser.go(&format!("http://{}/", proxy.admin));
    browser.wait_for("document.querySelector('#line').dataset.is == 'live'");
    let shown = |act: &str| {
        format!("[...document.querySelectorAll('[data-act={act}]')].some(button => button.checkVisibility())")
    };
    assert_eq!(browser.value(&shown("close")), false, "nobody has logged in");
    log_in(&browser, "0123456789abcdef0123456789abcdeX");
    browser.wait_for(&format!("{DONE} == 'this token is not known'"));
    log_in(&browser, TOKEN);
    browser.wait_for(&format!("{DONE} == 'logged in as token ann'"));
    assert_eq!(browser.text("document.querySelector('#who input').value"), "");
    assert_eq!(browser.text("document.cookie"), "", "no script reads the cookie");

    browser.click("[data-act=close]");
    browser.wait_for("document.querySelector('dialog').open");
    assert_eq!(browser.text("document.querySelector('#title').textContent"), "Close web");
    let effect = browser.text("document.querySelector('#effect').textContent");
    assert!(
        effect.starts_with("web will be offline for 30 min, until ") && effect.contains("0 requests are in flight"),
        "{effect}"
    );
    browser.run("document.querySelector('[name=message]').value = 'A bigger <disk>.'");
    keep(&browser, "dialog");
    look(&browser, "the dialog");
    browser.click("#do");
    browser.wait_for(&format!("{DONE} == 'web: done, and in force'"));
    browser.wait_for(&format!("{HEADLINE} == 'web is closed'"));
    let answer = get(proxy.address(), "/");
    assert!(answer.status == 503 && answer.body.contains("A bigger <disk>."), "{}", answer.head);
    keep(&browser, "closed");
    look(&browser, "the buttons");
    let flags = || fs::read_to_string(proxy.path("maintenance.toml")).unwrap();
    let first = flags();

    // The session outlasts a reload of the page.
    browser.go(&format!("http://{}/", proxy.admin));
    browser.wait_for(&shown("extend"));
    browser.click("[data-act=extend]");
    browser.wait_for("document.querySelector('dialog').open");
    browser.click("#do");
    browser.wait_for(&format!("{DONE} == 'web: done, and in force'"));
    assert!(flags() != first && flags().contains("A bigger <disk>."), "{}", flags());

    browser.click("[data-act=open]");
    browser.wait_for("document.querySelector('dialog').open");
    // Escape changes nothing.
    browser.run("document.querySelector('#not').click()");
    assert_eq!(get(proxy.address(), "/").status, 503);
    browser.click("[data-act=open]");
    browser.click("#do");
    browser.wait_for(&format!("{HEADLINE} == 'web is open'"));
    assert_eq!(get(proxy.address(), "/").status, 200);

    // A request without the word of the session is refused, although the browser sends its cookie.
    let bare = "fetch('routes/web/flag', { method: 'DELETE' }).then(answer => answer.status)";
    assert_eq!(browser.promised(bare), json!(403));
    browser.run("document.querySelector('#me button').click()");
    browser.wait_for(&format!("{DONE} == 'logged out'"));
    assert_eq!(browser.value(&shown("close")), false);
    assert_eq!(browser.promised(bare), json!(401));
    // A refusal is all that the console tells of, and never the policy of the page.
    let odd: Vec<_> = browser.console().into_iter().filter(|line| !line.contains("Failed to load resource")).collect();
    assert_eq!(odd, Vec::<String>::new());
}

/// Has axe-core look at the page, where it is installed.
fn look(browser: &Browser, what: &str) {
    if let Some(axe) = axe("the buttons of the admin page are not looked at") {
        violates_nothing(browser, &axe, what);
    }
}

/// Writes a picture into the folder that `BACKSOON_PICTURES` names, for people to look at.
fn keep(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("BACKSOON_PICTURES") {
        fs::write(std::path::Path::new(&folder).join(format!("write-{name}.png")), browser.screen()).unwrap();
    }
}
