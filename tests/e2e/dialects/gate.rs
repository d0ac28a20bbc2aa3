//! Requests that pass a route under maintenance, and answers beside the page.

use super::{CLOSED, ask, json};
use crate::support::{Backsoon, Upstream, get};

#[test]
fn a_probe_is_answered_as_the_operator_says_while_the_route_is_closed() {
    let upstream = Upstream::ok();
    let exceptions =
        "[{ path = \"/healthz\", answer = 200, body = \"ok\" }, { path = \"/ping\", answer = 204 }, \"/hooks/\"]";
    let backsoon = Backsoon::before(&upstream.url(), &format!("always_open = {exceptions}\n"));
    for path in ["/healthz", "/ping", "/hooks/a"] {
        assert_eq!(get(backsoon.address(), path).body, "hello", "{path}: an open route forwards everything");
    }
    backsoon.flag(CLOSED);
    upstream.forget();
    for line in ["GET /healthz", "POST /healthz", "GET /healthz?deep=1", "GET /healthz/db"] {
        let response = ask(backsoon.address(), line, &["accept: text/html"]);
        assert_eq!((response.status, response.body.as_str()), (200, "ok"), "{line}");
        assert_eq!(response.field("cache-control"), Some("no-store"));
        assert_eq!(response.field("retry-after"), None, "a probe that passes is no reason to wait");
    }
    let head = ask(backsoon.address(), "GET /ping", &[]);
    assert_eq!((head.status, head.field("content-length"), head.body.as_str()), (204, None, ""));
    for path in ["/healthzz", "/x/healthz", "//healthz", "/%68ealthz", "/x/../healthz", "/healthz;x", "/healthz/../x"] {
        assert_eq!(get(backsoon.address(), path).status, 503, "{path}: an exception is read narrowly");
    }
    assert_eq!(upstream.seen(), "");
    assert_eq!(get(backsoon.address(), "/hooks/a").body, "hello", "an exception without an answer is forwarded");
}

#[test]
fn crawlers_and_certificate_authorities_pass_unless_they_are_told_not_to() {
    let upstream = Upstream::ok();
    let known = ["/robots.txt", "/.well-known/acme-challenge/token"];
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag(CLOSED);
    for path in known {
        assert_eq!(get(backsoon.address(), path).body, "hello", "{path}");
    }
    upstream.forget();
    for path in [
        "/robots.txt/x",
        "/robots.txtx",
        "/ROBOTS.TXT",
        "//robots.txt",
        "/robots%2etxt",
        "/.well-known/acme-challenge/../x",
        "/.well-known/acme-challenge",
        "/.well-known/security.txt",
        "/x/.well-known/acme-challenge/token",
    ] {
        assert_eq!(get(backsoon.address(), path).status, 503, "{path}");
    }
    assert_eq!(upstream.seen(), "");
    let strict = Backsoon::before(&upstream.url(), "well_known = \"closed\"\n");
    strict.flag(CLOSED);
    for path in known {
        assert_eq!(get(strict.address(), path).status, 503, "{path}");
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn read_only_shows_the_page_for_a_change_and_lets_a_preflight_reach_the_app() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[page]\ncors = [\"*\"]\n");
    backsoon.flag("[routes]\nweb = \"read-only\"\n");
    let preflight = ["origin: https://a.example", "access-control-request-method: PUT"];
    assert_eq!(ask(backsoon.address(), "OPTIONS /", &preflight).body, "hello", "the app knows what it allows");
    assert_eq!(ask(backsoon.address(), "GET /", &["accept: text/html"]).body, "hello");
    upstream.forget();
    let response = ask(backsoon.address(), "POST /", &["accept: application/json", "content-length: 0"]);
    assert_eq!((response.status, &json(&response.body)["mode"]), (503, &"read-only".into()));
    let form = ask(backsoon.address(), "POST /", &["accept: text/html", "content-length: 0"]);
    assert_eq!(form.field("refresh"), None, "a form must not be sent again by itself");
    assert!(form.body.contains("Reading works as usual"), "{}", form.body);
    assert_eq!(upstream.seen(), "");
}

#[test]
fn hold_shows_its_page() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "hold = { max_wait = \"100ms\" }\n");
    backsoon.flag("[routes]\nweb = \"hold\"\n");
    let response = ask(backsoon.address(), "GET /", &["accept: application/json"]);
    assert_eq!((response.status, &json(&response.body)["mode"]), (503, &"hold".into()));
    assert_eq!(upstream.seen(), "");
}

#[test]
fn a_service_that_is_bound_to_a_route_is_shown_as_that_route_is() {
    let upstream = Upstream::ok();
    let config = format!("[routes.api]\npath = \"/api\"\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::before(&upstream.url(), &config);
    let (starts, ends) = (super::in_seconds(-60), super::in_seconds(600));
    let window = |routes: &str| {
        format!(
            "[[windows]]\nid = \"M-1\"\nstarts = {starts}\nends = {ends}\nroutes = {{ {routes} }}\n\
             services = [\n{{ name = \"Site\", status = \"operational\", route = \"web\" }},\n\
             {{ name = \"API\", status = \"offline\", route = \"api\" }},\n{{ name = \"Mail\", status = \"degraded\" }},\n]\n"
        )
    };
    let statuses = || {
        let response = ask(backsoon.address(), "GET /", &["accept: application/json"]);
        assert_eq!(response.status, 503);
        let services = json(&response.body)["services"].clone();
        services.as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    backsoon.flag(&window("web = \"offline\""));
    assert_eq!(statuses(), ["offline", "operational", "degraded"], "the API is open, whatever is typed");
    backsoon.flag(&window("web = \"offline\", api = \"offline\""));
    assert_eq!(statuses(), ["offline", "offline", "degraded"]);
    backsoon.flag(&window("web = \"offline\", api = \"read-only\""));
    assert_eq!(statuses(), ["offline", "degraded", "degraded"]);
}
