//! Credentials of testers over the life of a closure: they last as long as the route stays down, and no longer.

use std::process::{Command, Output, Stdio};

use crate::support::{Backsoon, Response, Upstream, request, wait};

const SECRET: &str = "correct horse battery staple";

/// Starts a proxy for a route `web` with a secret, and with these lines besides.
fn start(upstream: &Upstream, lines: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), format!("{SECRET}\n")).unwrap();
    let config = format!(
        "workers = 1\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[routes.web]\n\
         upstream = \"{}\"\nbypass = {{ header = \"X-Key\", secret_file = \"key\" }}\n{lines}",
        upstream.url()
    );
    Backsoon::start_in(dir, &config)
}

/// Asks for a path with these fields.
fn ask(backsoon: &Backsoon, path: &str, fields: &[&str]) -> Response {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    request(backsoon.address(), &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n"))
}

/// Runs `backsoon bypass`.
fn run(backsoon: &Backsoon, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.arg("bypass").args(args).current_dir(backsoon.dir.path()).stdin(Stdio::null());
    command.output().unwrap()
}

/// Runs `backsoon bypass`, and returns what it prints.
fn bypass(backsoon: &Backsoon, args: &[&str]) -> String {
    let output = run(backsoon, args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const OFFLINE: &str = "[routes]\nweb = \"offline\"\n";

/// Returns a window that is in force.
fn window(id: &str) -> String {
    format!(
        "[[windows]]\nid = \"{id}\"\nstarts = 2020-01-01T00:00:00Z\nends = 2099-01-01T00:00:00Z\nroutes = {{ web = \"offline\" }}\n"
    )
}

#[test]
fn a_credential_lasts_as_long_as_the_route_stays_down_whatever_closes_it() {
    let backsoon = start(&Upstream::ok(), "");
    backsoon.flag(OFFLINE);
    let cookie = format!("cookie: {}", bypass(&backsoon, &["web", "--cookie"]));
    let link = bypass(&backsoon, &["web", "--url", "https://a/"]);
    let link = &link["https://a".len()..];
    for flags in [
        format!("{OFFLINE}{}", window("M-1")),
        window("M-1"),
        format!("{OFFLINE}{}", window("M-2")),
        OFFLINE.replace("offline", "read-only"),
        OFFLINE.to_owned(),
    ] {
        backsoon.flag(&flags);
        assert_eq!(ask(&backsoon, "/", &[&cookie]).status, 200, "{flags}");
        assert_eq!(ask(&backsoon, link, &[]).status, 303, "{flags}");
    }
    backsoon.unflag();
    wait("the route to open", || backsoon.route("web")["phase"] == "open");
    backsoon.flag(OFFLINE);
    assert_eq!(ask(&backsoon, "/", &[&cookie]).status, 503, "the next closure is another one");
    let answer = ask(&backsoon, link, &[]);
    assert_eq!((answer.status, answer.field("set-cookie")), (403, None));
    assert!(answer.body.contains("it was issued for another maintenance"), "{}", answer.body);
    let again = format!("cookie: {}", bypass(&backsoon, &["web", "--cookie"]));
    assert_eq!(ask(&backsoon, "/", &[&again]).status, 200);
}
