//! Intruders at the forms of the status site: what they send changes nothing, costs little, and is kept nowhere.

use crate::support::{Backsoon, Client, LISTEN, Upstream, wait};

/// Returns a config with a status site, with or without what tells subscribers.
fn config(app: &Upstream, more: &str) -> String {
    format!(
        "{LISTEN}[log]\naccess = \"full\"\naccess_file = \"access.log\"\n[routes.web]\nhost = \"a.test\"\nupstream = \"{}\"\n\
         [status]\nhost = \"status.test\"\n{more}",
        app.url()
    )
}

#[test]
fn no_access_log_has_the_token_of_a_link() {
    let app = Upstream::ok();
    let asked = [
        ("GET", "/manage/SECRET", "status.test"),
        ("HEAD", "/confirm/SECRET", "status.test"),
        ("POST", "/u/SECRET", "status.test"),
        ("PUT", "/u/SECRET", "status.test"),
        ("OPTIONS", "/u/SECRET", "status.test"),
        ("GET", "/manage/SECRET/", "status.test"),
        ("GET", "/manage/SECRET/more", "status.test"),
        ("GET", "//manage/./SECRET", "status.test"),
        ("GET", "/.backsoon/news/manage/SECRET", "a.test"),
    ];
    for more in ["send = true\n", ""] {
        let backsoon = Backsoon::start(&config(&app, more));
        for (method, path, host) in asked {
            let mut client = Client::connect(backsoon.address());
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
            client.head();
        }
        let log = || std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
        wait("all lines", || log().lines().count() == asked.len());
        assert!(!log().contains("SECRET") && log().contains("/manage/…"), "{more}{}", log());
    }
}
