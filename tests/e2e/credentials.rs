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

#[test]
fn a_link_works_over_plain_http_where_the_route_allows_it() {
    let upstream = Upstream::ok();
    let backsoon = start(&upstream, "cookie_secure = false\n");
    backsoon.flag(OFFLINE);
    let link = bypass(&backsoon, &["web", "--url", "http://a/x"]);
    let answer = ask(&backsoon, &link["http://a".len()..], &[]);
    let set = answer.field("set-cookie").unwrap();
    assert!(set.starts_with("backsoon-bypass-web=") && !set.contains("Secure"), "{set}");
    let cookie = format!("cookie: {}; a=b", set.split(';').next().unwrap());
    upstream.forget();
    assert_eq!(ask(&backsoon, "/x", &[&cookie]).status, 200);
    let seen = upstream.seen().to_lowercase();
    assert!(seen.contains("cookie: a=b\r\n") && !seen.contains("backsoon-bypass"), "{seen}");

    let strict = start(&upstream, "");
    strict.flag(OFFLINE);
    let refused = run(&strict, &["web", "--url", "http://a/x"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(64) && said.contains("`cookie_secure = false`"), "{said}");
    assert_eq!(ask(&strict, "/x", &[&cookie]).status, 503, "the cookie of another site");
}

#[test]
fn the_upstream_can_tell_a_tester_and_nobody_else_can_claim_to_be_one() {
    let upstream = Upstream::ok();
    let backsoon = start(&upstream, "always_open = \"/open\"\n");
    let secret = format!("x-key: {SECRET}");
    let claims = ["X-Maintenance: bypass", "x_maintenance: bypass"];
    let seen = |path: &str, fields: &[&str]| {
        upstream.forget();
        assert_eq!(ask(&backsoon, path, fields).status, 200);
        upstream.seen().to_lowercase()
    };
    assert!(!seen("/", &[claims[0], claims[1], &secret]).contains("maintenance"), "it is open");
    backsoon.flag(OFFLINE);
    let seen_open = seen("/open", &claims);
    assert!(!seen_open.contains("maintenance"), "{seen_open}");
    let tester = seen("/", &[&secret, claims[1], "x-maintenance: other"]);
    assert_eq!(tester.matches("maintenance").count(), 1, "{tester}");
    assert!(tester.contains("\r\nx-maintenance: bypass\r\n"), "{tester}");
}

#[test]
fn the_list_tells_how_often_each_link_was_opened() {
    let backsoon = start(&Upstream::ok(), "");
    backsoon.flag(OFFLINE);
    let link = |name: &str| bypass(&backsoon, &["web", "--name", name, "--url", "https://www.example.com/"]);
    let (ann, bob) = (link("ann"), link("bob"));
    let open = |link: &str| ask(&backsoon, &link[link.find("/.backsoon").unwrap()..], &[]).status;
    assert_eq!((open(&ann), open(&ann)), (303, 303));
    assert_eq!(open(&bob.replace("token=", "token=x")), 403);
    let listed = bypass(&backsoon, &["--list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(
        lines[0].starts_with("ann  web  good until ") && lines[0].contains("; this proxy: used 2 times, last "),
        "{listed}"
    );
    assert!(lines[1].ends_with("; this proxy: not used"), "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&bypass(&backsoon, &["--list", "--json"])).unwrap();
    let used = |index: usize| (&listed["links"][index]["uses"], listed["links"][index]["last"].is_string());
    assert_eq!((used(0), used(1)), ((&2.into(), true), (&0.into(), false)), "{listed}");
    let opened = |link: &str| backsoon.metric("backsoon_link_opened_total", &format!("route=\"web\",link=\"{link}\""));
    assert_eq!((opened("ann"), opened("bob")), (2.0, 0.0));
    // A link that is made anew counts anew.
    assert_eq!(open(&link("ann")), 303);
    assert!(bypass(&backsoon, &["--list"]).contains("; this proxy: used 1 time, last "));
}

#[test]
fn a_named_link_is_listed_and_revoked_alone() {
    let backsoon = start(&Upstream::ok(), "");
    backsoon.flag(OFFLINE);
    let cookie = |args: &[&str]| format!("cookie: {}", bypass(&backsoon, &[&["web", "--cookie"], args].concat()));
    let status = |cookie: &str| ask(&backsoon, "/", &[cookie]).status;
    let (ann, bob, unnamed) = (cookie(&["--name", "ann"]), cookie(&["--name", "bob", "--for", "2h"]), cookie(&[]));
    assert_eq!((status(&ann), status(&bob), status(&unnamed)), (200, 200, 200));
    let flags = std::fs::read_to_string(backsoon.path("maintenance.toml")).unwrap();
    assert!(flags.starts_with(OFFLINE) && flags.contains("\nann = { route = \"web\", issued = "), "{flags}");
    assert!(!flags.contains("horse"), "{flags}");
    let listed = bypass(&backsoon, &["--list"]);
    assert!(listed.starts_with("ann  web  good until ") && listed.contains("\nbob  web  good until "), "{listed}");

    let said = bypass(&backsoon, &["--revoke", "ann"]);
    assert!(said.starts_with("the link ann and its cookies are void"), "{said}");
    assert_eq!((status(&ann), status(&bob), status(&unnamed)), (503, 200, 200));
    let newer = cookie(&["--name", "bob"]);
    assert_eq!((status(&bob), status(&newer)), (503, 200), "a newer link replaces it");
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 0.0, "none of these was a guess");
    let listed: serde_json::Value = serde_json::from_str(&bypass(&backsoon, &["--list", "--json"])).unwrap();
    let links = listed["links"].as_array().unwrap();
    assert_eq!((links.len(), &links[0]["name"], &links[0]["revoked"]), (1, &"bob".into(), &false.into()));

    bypass(&backsoon, &["web", "--revoke"]);
    wait("all of them to be revoked", || [&newer, &unnamed].iter().all(|cookie| status(cookie) == 503));
    for (args, expected) in [
        (&["--revoke", "ann"][..], "no link `ann`"),
        (&["--revoke"], "not said what to revoke"),
        (&["web", "--name", "a b"], "1 to 64 letters"),
        (&[], "ROUTE"),
    ] {
        let output = run(&backsoon, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(expected), "{args:?}: {said}");
    }
}
