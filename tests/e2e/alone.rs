//! The status site at a listener of its own: nothing but the site is there, whatever is asked for.

use std::fs;
use std::process::Command;

use crate::support::{Backsoon, LISTEN, Response, Upstream, replace, request, wait};

/// Proxy with a route for every host, and the site at the second listener.
fn config(app: &Upstream) -> String {
    format!(
        "{LISTEN}[status]\nlisten = \"127.0.0.1:0\"\nurl = \"http://status.test\"\n[routes.web]\nupstream = \"{}\"\n",
        app.url()
    )
}

const WINDOW: &str = "[[windows]]\nid = \"MNT-7\"\ntitle = \"New disks\"\nstarts = 2020-01-01T00:00:00Z\n\
    ends = 2090-01-01T00:00:00Z\nroutes = { web = \"offline\" }\n";

fn ask(proxy: &Backsoon, listener: usize, method: &str, path: &str) -> Response {
    request(proxy.listen[listener], &format!("{method} {path} HTTP/1.1\r\nHost: any.test\r\nAccept: text/html\r\n\r\n"))
}

#[test]
fn the_site_has_a_listener_of_its_own_where_nothing_else_is() {
    let app = Upstream::ok();
    let proxy = Backsoon::start(&config(&app));
    assert_eq!((proxy.listen.len(), ask(&proxy, 0, "GET", "/").body.as_str()), (2, "hello"));
    proxy.flag(WINDOW);
    wait("the site has the window", || ask(&proxy, 1, "GET", "/").body.contains("New disks"));
    for path in ["/history", "/incidents/MNT-7", "/feed.json", "/maintenance.ics", "/api/v2/summary.json"] {
        let answer = ask(&proxy, 1, "GET", path);
        assert!(answer.status == 200 && answer.body.contains("New disks"), "{path}: {}", answer.body);
    }
    assert_eq!(ask(&proxy, 0, "GET", "/history").status, 503, "the listener of routes has the page");
    let before = app.seen().len();
    let long = format!("/incidents/{}", "x".repeat(10_000));
    for (path, method, status) in [
        ("/any/path/of/the/app", "GET", 404),
        ("/.backsoon/status", "GET", 404),
        ("/.backsoon/news/", "GET", 404),
        ("/", "POST", 405),
        ("/incidents/", "GET", 404),
        ("/incidents/..%2f", "GET", 200),
        ("/incidents/..%2fhistory", "GET", 200),
        ("/incidents/../history", "GET", 200),
        ("/incidents/%00", "GET", 404),
        ("/incidents/MNT-7%00", "GET", 404),
        ("/incidents/MNT-7/", "GET", 404),
        ("/incidents/%ff%fe", "GET", 404),
        (&long, "GET", 404),
        ("/feed.json?window=%00%ff&region=&service=%E2%82", "GET", 200),
    ] {
        let answer = ask(&proxy, 1, method, path);
        assert!(
            answer.status == status || status == 404 && answer.status == 400,
            "{path}: {} {}",
            answer.head,
            answer.body
        );
    }
    assert_eq!(app.seen().len(), before, "nothing reached the app");
}

#[test]
fn a_listener_that_cannot_be_is_refused_and_a_change_waits_for_the_restart() {
    let app = Upstream::ok();
    let proxy = Backsoon::start(&config(&app));
    let text = config(&app).replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"");
    replace(&proxy.path("backsoon.toml"), &text);
    wait("the change is noticed", || proxy.log_lines().iter().any(|line| line.to_string().contains("restart")));
    assert_eq!(ask(&proxy, 1, "GET", "/").status, 200, "the old one goes on");
    let port =
        |text: &str| format!("[[listen]]\naddress = \"127.0.0.1:8080\"\n[admin]\naddress = \"127.0.0.1:9901\"\n{text}");
    let dir = tempfile::tempdir().unwrap();
    for (status, said) in [
        ("[status]\nlisten = \"127.0.0.1:8080\"\n", "clients of routes connect there as well"),
        ("[status]\nlisten = \"127.0.0.1:9901\"\n", "the admin listener has this address as well"),
        ("[status]\nlisten = 8081\n", "listen"),
        ("[status]\nlisten = \"example.com\"\n", "example.com"),
        ("[status]\ntls = { cert = \"a.pem\", key = \"b.pem\" }\n", "there is none"),
        ("[status]\nlisten = \"127.0.0.1:8081\"\ntls = { cert = \"a.pem\" }\n", "key"),
    ] {
        let file = dir.path().join("backsoon.toml");
        fs::write(&file, port(&format!("{status}[routes.web]\nupstream = \"{}\"\n", app.url()))).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_backsoon"));
        let checked = check.args(["check", "--config"]).arg(&file).output().unwrap();
        let all = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert!(!checked.status.success() && all.contains(said), "{status}: {all}");
    }
}
