//! Pages for errors: what each client is told if no upstream answers, and in the place of an app's own errors.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, request, wait, wait_for_page};
use crate::wire::{Counts, alone, next, observed};

/// `Accept` of a browser that opens a document.
const BROWSER: &str =
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nsec-fetch-mode: navigate\r\n";

/// Returns the URL of an upstream that refuses connections.
fn refusing() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

/// Asks with these fields, each with its line end.
fn ask(proxy: &Backsoon, line: &str, fields: &str) -> Response {
    request(proxy.address(), &format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n"))
}

/// Asserts what holds for every answer of this kind.
fn assert_true(answer: &Response, error: &str) {
    let said = answer.field("proxy-status").unwrap();
    assert_eq!(said, format!("backsoon; error={error}"), "{}", answer.head);
    assert_eq!((answer.field("cache-control"), answer.field("maintenance")), (Some("no-store"), None));
    assert!(!answer.body.to_lowercase().contains("maintenance"), "{}", answer.body);
}

#[test]
fn where_nobody_answers_each_client_is_told_in_its_own_form() {
    let proxy = Backsoon::before(&refusing(), "");
    for (fields, status, kind, said) in [
        (BROWSER, 502, "text/html; charset=utf-8", "<h1>The service did not answer</h1>"),
        ("", 502, "text/plain; charset=utf-8", "Error · HTTP 502\n\nThe service did not answer\n===="),
        ("accept: */*\r\n", 502, "text/plain; charset=utf-8", "\nPlease try again in a moment.\n"),
        ("accept: image/avif,image/webp,*/*;q=0.8\r\n", 502, "text/plain; charset=utf-8", "did not answer"),
        ("accept: application/json\r\n", 502, "application/json", "\"type\":\"urn:backsoon:upstream-failed\""),
        ("accept: application/problem+json\r\n", 502, "application/problem+json", "\"status\":502"),
        ("accept: text/xml\r\n", 502, "application/problem+xml; charset=utf-8", "<sent>nothing</sent>"),
        ("accept: text/markdown\r\n", 502, "text/markdown; charset=utf-8", "\n# The service did not answer\n"),
        ("content-type: application/grpc\r\n", 200, "application/grpc", ""),
        ("content-type: application/grpc-web-text\r\n", 200, "application/grpc-web-text+proto", ""),
        (
            "connect-protocol-version: 1\r\ncontent-type: application/json\r\n",
            502,
            "application/json",
            "\"unavailable\"",
        ),
    ] {
        let answer = ask(&proxy, "GET /", fields);
        assert_eq!((answer.status, answer.field("content-type")), (status, Some(kind)), "{fields}: {}", answer.head);
        assert!(answer.body.contains(said), "{fields}: {}", answer.body);
        assert_true(&answer, "connection_refused");
        assert_eq!((answer.field("retry-after"), answer.field("refresh")), (None, None), "{}", answer.head);
        assert!(answer.field("x-request-id").is_some());
        if fields.contains("grpc") {
            assert_eq!(answer.field("grpc-status"), Some("14"), "{}", answer.head);
            assert_eq!(answer.field("grpc-message"), Some("502 Bad Gateway: The service did not answer"));
        }
    }
    let mut client = Client::connect(proxy.address());
    client.send(format!("HEAD / HTTP/1.1\r\nhost: a\r\n{BROWSER}connection: close\r\n\r\n"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 502 ") && !head.contains("content-length: 0\r\n"), "{head}");
    assert!(client.try_head().is_none(), "a HEAD has no body");
    assert_eq!(proxy.metric("backsoon_maintenance_responses_total", "route=\"web\""), 0.0);
}

#[test]
fn the_page_has_every_language_and_coding() {
    let proxy = Backsoon::before(&refusing(), "[page]\nbrand = \"Example\"\n");
    let asked = |language: &str, coding: &str| {
        ask(&proxy, "GET /", &format!("{BROWSER}accept-language: {language}\r\naccept-encoding: {coding}\r\n"))
    };
    wait_for_page("the pages to be finished", || asked("en", "br").field("content-encoding") == Some("br"));
    for (language, heading) in [
        ("de-AT, de;q=0.8", "Der Dienst hat nicht geantwortet"),
        ("fr", "Le service n’a pas répondu"),
        ("es", "El servicio no ha respondido"),
        ("ja", "サービスから応答がありませんでした"),
        ("ar", "لم تستجب الخدمة"),
        ("xx", "The service did not answer"),
    ] {
        let answer = asked(language, "identity");
        assert!(answer.body.contains(&format!("<h1>{heading}</h1>")), "{language}: {}", answer.body);
        assert!(answer.body.contains(&format!("<title>{heading} · Example</title>")), "{language}");
        let told = answer.field("content-language").unwrap();
        assert!(language.starts_with(told) || told == "en" && language == "xx", "{language}: {told}");
        assert_eq!(asked(language, "gzip").field("content-encoding"), Some("gzip"), "{language}");
    }
    assert!(
        ask(&proxy, "GET /", "accept-language: de\r\n").body.contains("\nBitte versuchen Sie es gleich noch einmal.\n")
    );
}

#[test]
fn what_was_sent_is_told_to_be_lost_or_perhaps_not() {
    let proxy = Backsoon::before(&refusing(), "");
    let form = format!("{BROWSER}content-type: application/x-www-form-urlencoded\r\ncontent-length: 0\r\n");
    let refused = ask(&proxy, "POST /order", &form);
    assert_eq!(refused.status, 502);
    assert!(
        refused.body.contains("<p>What you sent was not passed on. Please send it again later.</p>"),
        "{}",
        refused.body
    );
    let (upstream, connections) = observed();
    let proxy = alone(&upstream.url(), "[limits]\nfirst_byte = \"200ms\"\n");
    let late = ask(&proxy, "POST /order", &form);
    drop(next(&connections));
    assert_eq!(late.status, 504);
    assert_true(&late, "http_response_timeout");
    assert!(late.body.contains("<h1>The service took too long to answer</h1>"), "{}", late.body);
    assert!(late.body.contains("<p>It is not known whether what you sent has arrived."), "{}", late.body);
    for answer in [&refused, &late] {
        assert!(
            !answer.body.contains("http-equiv=\"refresh\"") && !answer.body.contains("data-again"),
            "{}",
            answer.body
        );
    }
    let program = ask(&proxy, "POST /order", "accept: application/json\r\ncontent-length: 0\r\n");
    let problem: Value = serde_json::from_str(&program.body).unwrap();
    assert_eq!((&problem["type"], &problem["sent"]), (&"urn:backsoon:upstream-timeout".into(), &"unknown".into()));
    let asked = ask(&proxy, "GET /order", BROWSER);
    assert_eq!(asked.status, 504);
    assert!(asked.body.contains("http-equiv=\"refresh\"") && asked.body.contains("data-again"), "{}", asked.body);
}

#[test]
fn where_no_connection_is_free_the_page_is_503_with_a_time_to_come_back() {
    let (upstream, connections) = observed();
    let limits = "[limits]\nupstream_connections = 1\nupstream_queue = 1\nconnect = \"20s\"\n";
    let proxy = alone(&upstream.url(), limits);
    let ask_and_wait = || {
        let mut client = Client::connect(proxy.address());
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client
    };
    let first = ask_and_wait();
    let connection = next(&connections);
    let second = ask_and_wait();
    wait("the second to wait", || proxy.in_flight() == 2.0);
    let answer = ask(&proxy, "GET /", BROWSER);
    assert_eq!(answer.status, 503, "{}", answer.head);
    assert_true(&answer, "connection_limit_reached");
    assert!(answer.body.contains("<h1>The service is not available right now</h1>"), "{}", answer.body);
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
    drop((first, second, connection));
}

#[test]
fn switched_off_an_error_is_one_line() {
    let proxy = Backsoon::before(&refusing(), "[page]\nerrors = false\n");
    let answer = ask(&proxy, "GET /", BROWSER);
    assert_eq!((answer.status, answer.field("content-type")), (502, Some("text/plain; charset=utf-8")));
    assert_eq!(answer.body, "502 Bad Gateway: the upstream could not be connected to\n");
    assert_true(&answer, "connection_refused");
}

#[test]
fn a_route_with_one_form_has_its_errors_in_it() {
    let proxy = Backsoon::before(&refusing(), "dialect = \"json\"\n");
    assert_eq!(ask(&proxy, "GET /", BROWSER).field("content-type"), Some("application/json"));
    assert_eq!(ask(&proxy, "GET /", "content-type: application/grpc\r\n").field("grpc-status"), Some("14"));
}

/// Answer of an app to everything, in its own words.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\ncontent-language: en\r\n\
    content-security-policy: default-src 'none'\r\netag: \"1\"\r\nset-cookie: seen=1\r\nset-cookie: kept=1\r\n\
    retry-after: 7\r\nx-app: web-3\r\ncache-control: public, max-age=9\r\nexpires: 0\r\ncontent-length: 8\r\n\r\nown busy";

#[test]
fn an_apps_own_error_reaches_everybody_by_default() {
    let upstream = Upstream::answering(BUSY);
    let proxy = Backsoon::before(&upstream.url(), "");
    let answer = ask(&proxy, "GET /", BROWSER);
    assert_eq!((answer.status, answer.body.as_str(), answer.field("proxy-status")), (503, "own busy", None));
    assert_eq!(answer.field("etag"), Some("\"1\""));
}

#[test]
fn by_choice_a_browser_gets_the_page_in_its_place_and_nobody_else() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            connection.send(if head.starts_with("HEAD ") { BUSY.trim_end_matches("own busy") } else { BUSY });
        }
    });
    let log = "[log]\naccess = \"full\"\naccess_file = \"access.log\"\n";
    let config = format!(
        "workers = 1\nerrors = {{ upstream = [502, 503] }}\n{LISTEN}[routes.web]\nupstream = \"{}\"\n\
         [routes.raw]\npath = \"/raw\"\nupstream = \"{0}\"\nerrors = {{ upstream = 504 }}\n{log}",
        upstream.url()
    );
    let proxy = Backsoon::start(&config);
    let mut client = Client::connect(proxy.address());
    for (line, own) in [("GET /", true), ("HEAD /", false), ("GET /", true)] {
        client.send(format!("{line} HTTP/1.1\r\nhost: a\r\n{BROWSER}range: bytes=0-1\r\n\r\n"));
        let head = client.head();
        let answer = Response { status: 503, head, body: String::new() };
        let length: usize = answer.field("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; if own { length } else { 0 }];
        std::io::Read::read_exact(&mut client.stream, &mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(answer.head.starts_with("HTTP/1.1 503 "), "{}", answer.head);
        assert_eq!(body.contains("<h1>The service is not available right now</h1>"), own, "{body}");
        for (name, value) in [
            ("content-type", Some("text/html; charset=utf-8")),
            ("cache-control", Some("no-store")),
            ("proxy-status", Some("backsoon; received-status=503")),
            ("retry-after", Some("7")),
            ("x-app", Some("web-3")),
            ("etag", None),
            ("expires", None),
            ("maintenance", None),
        ] {
            assert_eq!(answer.field(name), value, "{name}: {}", answer.head);
        }
        let cookies = answer.head.lines().filter(|line| line.to_lowercase().starts_with("set-cookie:")).count();
        assert_eq!((cookies, answer.head.matches("content-security-policy").count()), (2, 1), "{}", answer.head);
        assert!(answer.field("content-security-policy").unwrap().contains("sha256-"), "{}", answer.head);
    }
    assert_eq!(upstream.connections(), 1, "what was discarded leaves the connection in use");
    drop(client);
    for (line, fields) in [
        ("GET /", ""),
        ("GET /", "accept: application/json\r\n"),
        ("GET /", "accept: text/html\r\nsec-fetch-mode: cors\r\n"),
        ("POST /", "accept: text/html\r\ncontent-length: 0\r\n"),
        ("GET /raw", BROWSER),
    ] {
        let answer = ask(&proxy, line, fields);
        assert_eq!((answer.status, answer.body.as_str()), (503, "own busy"), "{line} {fields}");
    }
    let counted =
        |route: &str| proxy.metric("backsoon_upstream_responses_total", &format!("route=\"{route}\",class=\"5xx\""));
    assert_eq!((counted("web"), counted("raw")), (7.0, 1.0), "each is the upstream's, whoever sees it");
    assert_eq!(proxy.metric("backsoon_proxy_errors_total", "route=\"web\""), 0.0);
    let log = || fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    wait("the log to be written", || log().lines().count() == 8);
    let replaced =
        log().lines().filter(|line| line.contains("\"status\":503") && line.contains("\"error\":\"replaced\"")).count();
    assert_eq!(replaced, 3, "{}", log());
}

#[test]
fn a_long_error_of_an_app_does_not_delay_the_page() {
    let (upstream, connections) = observed();
    let proxy = alone(&upstream.url(), "errors = { upstream = 502 }\n");
    let mut client = Client::connect(proxy.address());
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{BROWSER}\r\n"));
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 10000000\r\n\r\nbegins");
    let answer = client.response();
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("<h1>The service did not answer</h1>"), "{}", answer.body);
    connection.send(vec![b'x'; 200_000]);
    assert!(crate::wire::ended(&mut connection.stream), "its connection is not used again");
    wait("the connection to be gone", || proxy.upstream_connections(&upstream.url()) == 0.0);
    assert_eq!(proxy.in_flight(), 0.0);
}

#[test]
fn a_route_cannot_want_a_page_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{LISTEN}[page]\nerrors = false\n[routes.web]\nupstream = \"{}\"\nerrors = {{ upstream = 503 }}\n",
        refusing()
    );
    fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.arg("check").current_dir(dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("`[page]` has `errors = false`"), "{said}");
}

#[test]
fn a_route_with_a_page_of_its_own_has_its_errors_in_that_look() {
    let config = format!(
        "{LISTEN}[page]\nbrand = \"Everybody\"\n[routes.web]\nupstream = \"{}\"\n\
         [routes.shop]\npath = \"/shop\"\nupstream = \"{0}\"\npage = {{ brand = \"The shop\" }}\n",
        refusing()
    );
    let proxy = Backsoon::start(&config);
    let titled = |path: &str, name: &str| {
        let answer = ask(&proxy, &format!("GET {path}"), &format!("{BROWSER}accept-language: de\r\n"));
        answer.body.contains(&format!("<title>Der Dienst hat nicht geantwortet · {name}</title>"))
    };
    wait_for_page("the pages to be finished", || titled("/shop/cart", "The shop") && titled("/", "Everybody"));
}
