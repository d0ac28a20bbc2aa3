//! Scripts of other origins: readers of the page, and answers to a browser's preflight.

use super::{ask, closed};
use crate::support::Response;

const NAMED: &str = "https://app.example.com";

fn origins(list: &str) -> String {
    format!("[page]\ncors = [{list}]\n")
}

fn cors<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.field(&format!("access-control-{name}"))
}

#[test]
fn a_named_origin_may_read_the_page_with_its_credentials() {
    let backsoon =
        closed(&origins("\"https://app.example.com\", \"https://*.example.org\", \"http://localhost:3000\""));
    for origin in [NAMED, "https://a.example.org", "https://a.b.example.org", "http://localhost:3000"] {
        let response = ask(backsoon.address(), "GET /api", &[&format!("origin: {origin}"), "accept: application/json"]);
        assert_eq!((response.status, cors(&response, "allow-origin")), (503, Some(origin)));
        assert_eq!(cors(&response, "allow-credentials"), Some("true"));
        let exposed = cors(&response, "expose-headers").unwrap();
        assert!(exposed.split(", ").any(|name| name == "retry-after"), "{exposed}");
        assert!(response.field("vary").unwrap().split(", ").any(|name| name == "origin"), "{}", response.head);
    }
}

#[test]
fn an_origin_that_is_not_named_may_read_nothing() {
    let backsoon = closed(&origins("\"https://app.example.com\", \"https://*.example.org\""));
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://example.org",
        "https://.example.org",
        "https://evil.example/.example.org",
        "https://evil.example#.example.org",
        "https://evil.example:1.example.org",
        "https://user@a.example.org",
        "https://a.example.org.",
        "https://a.example.org evil",
        "https://evilexample.org",
        "null",
        "",
        "*",
    ] {
        for line in ["GET /", "OPTIONS /"] {
            let fields = [&format!("origin: {origin}"), "access-control-request-method: PUT"];
            let response = ask(backsoon.address(), line, &fields);
            assert!(!response.head.contains("access-control-"), "{origin:?}: {}", response.head);
            assert_eq!(response.status, if line == "GET /" { 503 } else { 204 }, "{origin:?}");
        }
    }
}

#[test]
fn any_origin_may_read_the_page_without_credentials() {
    let backsoon = closed(&origins("\"*\", \"https://app.example.com\""));
    for (origin, allowed, credentials) in
        [("https://evil.example", "*", None), ("null", "*", None), (NAMED, NAMED, Some("true"))]
    {
        let response = ask(backsoon.address(), "GET /", &[&format!("origin: {origin}")]);
        assert_eq!(
            (cors(&response, "allow-origin"), cors(&response, "allow-credentials")),
            (Some(allowed), credentials)
        );
    }
    let response = ask(backsoon.address(), "GET /", &[]);
    assert!(!response.head.contains("access-control-"), "nobody asked: {}", response.head);
}

#[test]
fn without_a_word_from_the_operator_any_origin_may_read_the_page_and_no_preflight_is_allowed() {
    let backsoon = closed("");
    for origin in [NAMED, "null"] {
        let origin = format!("origin: {origin}");
        for (line, accept) in
            [("GET /api", "accept: application/json"), ("POST /api", "content-type: application/grpc-web")]
        {
            let response = ask(backsoon.address(), line, &[&origin, accept]);
            assert_eq!(
                (cors(&response, "allow-origin"), cors(&response, "allow-credentials")),
                (Some("*"), None),
                "{line}"
            );
            assert!(cors(&response, "expose-headers").unwrap().contains("retry-after"), "{}", response.head);
        }
        // The browser would remember it, and the request could reach an app that has never allowed it.
        let fields = [&origin, "access-control-request-method: PUT", "access-control-request-headers: x-own"];
        let response = ask(backsoon.address(), "OPTIONS /api", &fields);
        assert!(response.status == 204 && !response.head.contains("access-control-"), "{}", response.head);
    }
}

#[test]
fn an_empty_list_lets_nobody_read_the_page() {
    let backsoon = closed(&origins(""));
    let response = ask(backsoon.address(), "GET /", &["origin: https://app.example.com"]);
    assert!(response.status == 503 && !response.head.contains("access-control-"), "{}", response.head);
}

#[test]
fn a_preflight_passes_and_is_soon_forgotten() {
    let backsoon = closed(&origins("\"https://app.example.com\", \"*\""));
    for (origin, credentials) in [(NAMED, Some("true")), ("https://other.example", None)] {
        let fields = [
            &format!("origin: {origin}"),
            "access-control-request-method: PATCH",
            "access-control-request-headers: authorization, x-own",
        ];
        let response = ask(backsoon.address(), "OPTIONS /api", &fields);
        assert_eq!((response.status, response.body.as_str()), (204, ""));
        assert_eq!((response.field("content-length"), response.field("content-type")), (None, None));
        assert_eq!(cors(&response, "allow-methods"), Some("PATCH"));
        assert_eq!(cors(&response, "allow-headers"), Some("authorization, x-own"));
        assert_eq!(cors(&response, "allow-credentials"), credentials);
        let age: u64 = cors(&response, "max-age").unwrap().parse().unwrap();
        assert!(age <= 10, "what holds now is the maintenance's word: {age}");
    }
    let plain = ask(backsoon.address(), "OPTIONS /api", &["origin: https://app.example.com"]);
    assert_eq!(plain.status, 503, "an OPTIONS that asks for nothing is no preflight");
}
