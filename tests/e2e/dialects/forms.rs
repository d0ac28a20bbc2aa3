//! Forms of the page: by accepted types, language, coding, and ranges of a document.

use std::io::Read;

use super::{BROWSER, CLOSED, ask, ask_bytes, closed, json, untimed};
use crate::clients::{curl, has_curl, printed, python, script};
use crate::support::{Backsoon, Client, Response};
use crate::two::{Two, request};

/// Types that have a form of the page.
const TYPES: [&str; 6] =
    ["text/html", "text/plain", "text/markdown", "application/problem+json", "application/json", "application/xml"];

#[test]
fn curl_reads_the_page_in_every_form_compressed_and_as_it_is() {
    if !has_curl("curl reads the page in every form") {
        return;
    }
    let backsoon = told();
    let url = backsoon.url("/");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for accept in TYPES {
            let field = format!("accept: {accept}");
            let plain = curl(&[version, "-H", &field, &url]);
            assert!(plain.contains("Moving the database.") && plain.ends_with(" 503"), "{accept}: {plain}");
            let compressed = curl(&[version, "--compressed", "-H", &field, &url]);
            assert_eq!(untimed(compressed), untimed(plain), "{accept}");
        }
        let bare = curl(&[version, &url]);
        assert!(!bare.contains('<') && bare.lines().all(|line| line.chars().count() <= 80), "{bare}");
    }
}

/// Returns a closed route with a message on its finished page.
fn told() -> Backsoon {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes.web]\nmode = \"offline\"\nmessage = \"Moving the database.\"\n");
    backsoon.finished("");
    backsoon
}

#[test]
fn httpx_reads_the_page_and_a_websocket_is_refused_in_a_few_words() {
    let Some(python) = python("httpx reads the page in every form") else { return };
    let backsoon = told();
    printed(script(&python, "closed_clients.py").arg(backsoon.address().to_string()));
}

#[test]
fn every_coding_unpacks_to_the_same_bytes() {
    let backsoon = told();
    for accept in TYPES {
        let accept = format!("accept: {accept}");
        let (identity, plain) = ask_bytes(backsoon.address(), "GET /", &[&accept]);
        assert_eq!(identity.field("content-encoding"), None);
        for (asked, coding) in [
            ("br", "br"),
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "br"),
            ("gzip;q=1, br;q=0.5", "gzip"),
            ("*", "br"),
        ] {
            let (response, body) =
                ask_bytes(backsoon.address(), "GET /", &[&accept, &format!("accept-encoding: {asked}")]);
            assert_eq!(response.field("content-length"), Some(body.len().to_string().as_str()));
            match response.field("content-encoding") {
                Some(coded) => assert_eq!(coded, coding, "{accept} {asked}"),
                None => assert!(plain.len() < 1024, "{accept} {asked}: {} bytes are worth a coding", plain.len()),
            }
            assert!(untimed(unpacked(&response, body)) == untimed(&plain), "{accept} {asked}");
        }
        for asked in ["", "identity", "br;q=0, gzip;q=0", "deflate, zstd", "identity, br;q=0.5"] {
            let (response, body) =
                ask_bytes(backsoon.address(), "GET /", &[&accept, &format!("accept-encoding: {asked}")]);
            let same = untimed(body) == untimed(&plain);
            assert_eq!((response.field("content-encoding"), same), (None, true), "{accept} {asked}");
        }
    }
}

fn unpacked(response: &Response, body: Vec<u8>) -> Vec<u8> {
    let mut plain = Vec::new();
    match response.field("content-encoding") {
        None => return body,
        Some("br") => brotli::Decompressor::new(&*body, 4096).read_to_end(&mut plain).unwrap(),
        Some("gzip") => flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap(),
        Some(other) => panic!("{other} was not asked for"),
    };
    plain
}

#[test]
fn the_page_comes_in_the_language_that_the_client_would_rather_read() {
    let backsoon = told();
    for (asked, language) in [
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at,en;q=0.5", "de"),
        ("fr;q=0.1", "fr"),
        ("fr;q=0.1, es;q=0.2", "es"),
        ("xx, ja;q=0.3", "ja"),
        ("ar-EG", "ar"),
        ("xx", "en"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("*;q=0.1, de", "de"),
        ("", "en"),
    ] {
        let field = format!("accept-language: {asked}");
        for accept in ["text/html", "text/plain", "application/problem+json"] {
            let response = ask(backsoon.address(), "GET /", &[&field, &format!("accept: {accept}")]);
            assert_eq!(response.field("content-language"), Some(language), "{asked} {accept}");
        }
        let html = ask(backsoon.address(), "GET /", &[&field, "accept: text/html"]).body;
        assert!(html.contains(&format!("<html lang=\"{language}\"")), "{asked}");
        assert_eq!(html.contains("dir=\"rtl\""), language == "ar", "{asked}");
    }
}

#[test]
fn the_operator_says_which_languages_there_are() {
    let german = closed("[page]\nlanguage = \"de\"\n");
    german.finished("");
    let language = |backsoon: &Backsoon, asked: &str| {
        let response = ask(backsoon.address(), "GET /", &[&format!("accept-language: {asked}")]);
        response.field("content-language").unwrap().to_owned()
    };
    assert_eq!([language(&german, ""), language(&german, "xx"), language(&german, "en")], ["de", "de", "en"]);
    let two = closed("[page]\nlanguages = [\"fr\", \"en\"]\n");
    two.finished("");
    assert_eq!([language(&two, ""), language(&two, "de"), language(&two, "en-GB")], ["fr", "fr", "en"]);
}

#[test]
fn head_says_all_that_get_does_and_sends_nothing() {
    let backsoon = told();
    for (accept, coding) in
        [(BROWSER, "br"), ("application/json", "gzip"), ("text/plain", ""), ("text/event-stream", "")]
    {
        let fields = [format!("accept: {accept}"), format!("accept-encoding: {coding}"), "origin: null".to_owned()];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let (head, nothing) = ask_bytes(backsoon.address(), "HEAD /", &fields);
        let (get, body) = ask_bytes(backsoon.address(), "GET /", &fields);
        assert_eq!((lasting(&head), nothing.len()), (lasting(&get), 0));
        assert_eq!(head.field("content-length"), Some(body.len().to_string().as_str()), "{accept}");
    }
}

/// Returns the fields that do not change between answers.
fn lasting(response: &Response) -> Vec<String> {
    let changing = ["x-request-id", "retry-after", "refresh", "date"];
    let lines = response.head.lines().map(str::to_owned);
    let mut fields: Vec<_> =
        lines.filter(|line| !changing.iter().any(|name| line.starts_with(&format!("{name}:")))).collect();
    fields.sort_unstable();
    fields
}

#[test]
fn conditions_and_ranges_mean_nothing_to_the_page() {
    let backsoon = told();
    let whole = ask(backsoon.address(), "GET /", &["accept: text/html"]);
    for condition in [
        "range: bytes=0-9",
        "range: bytes=0-9\r\nif-range: \"x\"",
        "if-none-match: *",
        "if-match: \"x\"",
        "if-modified-since: Thu, 01 Jan 2099 00:00:00 GMT",
        "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT",
        "expect: 100-continue",
    ] {
        let response = ask(backsoon.address(), "GET /", &["accept: text/html", condition]);
        assert_eq!((response.status, response.body == whole.body), (503, true), "{condition}: {}", response.head);
        let validators = ["etag", "last-modified", "accept-ranges", "content-range"];
        assert!(validators.iter().all(|name| response.field(name).is_none()), "{}", response.head);
    }
}

#[test]
fn every_method_gets_503_whatever_it_accepts() {
    let backsoon = told();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "QUERY", "get"] {
        for accept in ["text/html", "application/json", "*/*"] {
            let response = ask(backsoon.address(), &format!("{method} /"), &[&format!("accept: {accept}")]);
            assert_eq!(response.status, 503, "{method} {accept}");
        }
    }
}

#[test]
fn only_what_an_event_source_can_send_gets_a_200() {
    let backsoon = told();
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] {
        let response = ask(backsoon.address(), &format!("{method} /"), &["accept: text/event-stream"]);
        assert_eq!(response.status, 503, "{method}: a change that did not happen must not look like one that did");
        assert_eq!(response.field("content-type"), Some("application/problem+json"), "{method}");
    }
}

#[test]
fn an_event_source_is_told_to_come_back() {
    let backsoon = told();
    for accept in ["text/event-stream", "text/event-stream, */*;q=0.1"] {
        let response = ask(backsoon.address(), "GET /stream", &[&format!("accept: {accept}")]);
        assert_eq!((response.status, response.field("content-type")), (200, Some("text/event-stream")));
        assert_eq!(response.field("retry-after"), None);
        let lines: Vec<&str> = response.body.lines().collect();
        let [retry, "event: maintenance", data, ""] = lines[..] else { panic!("{}", response.body) };
        assert!(retry.strip_prefix("retry: ").unwrap().parse::<u64>().unwrap() >= 1000, "{retry}");
        let event = json(data.strip_prefix("data: ").unwrap());
        let members: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(members, ["phase", "retry_after", "title", "version"], "it comes again and again, so it is short");
        assert_eq!((&event["phase"], &event["title"]), (&"closed".into(), &"Paused for maintenance".into()));
    }
    let off = closed("[page]\nevent_stream = false\n");
    let response = ask(off.address(), "GET /stream", &["accept: text/event-stream"]);
    assert_eq!((response.status, response.field("content-type")), (503, Some("application/problem+json")));
}

#[test]
fn what_no_person_reads_is_short_and_never_html() {
    let backsoon = told();
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==";
    for field in [
        "sec-fetch-dest: script",
        "sec-fetch-dest: style",
        "sec-fetch-dest: image",
        "sec-fetch-dest: font",
        "sec-fetch-dest: serviceworker",
        "sec-fetch-dest: manifest",
        "service-worker: script",
        upgrade,
    ] {
        let accept = format!("accept: {BROWSER}");
        let response = ask(backsoon.address(), "GET /sw.js", &[&accept, field, "accept-language: de"]);
        assert_eq!((response.status, response.field("content-language")), (503, Some("de")), "{field}");
        assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"), "{field}");
        assert_eq!(response.field("x-content-type-options"), Some("nosniff"), "{field}");
        assert!(response.body.lines().count() == 1 && !response.body.contains('<'), "{field}: {}", response.body);
    }
    for destination in ["document", "iframe", "empty"] {
        let fields = [&format!("accept: {BROWSER}"), &format!("sec-fetch-dest: {destination}")];
        let response = ask(backsoon.address(), "GET /", &fields.map(String::as_str));
        assert_eq!(response.field("content-type"), Some("text/html; charset=utf-8"), "{destination}");
    }
}

#[test]
fn a_refused_upgrade_leaves_a_connection_that_can_be_used() {
    let backsoon = told();
    let mut client = Client::connect(backsoon.address());
    client.send("GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.field("upgrade")), (503, None));
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 503);
}

#[test]
fn a_route_may_fix_the_form_where_accept_would_choose() {
    let backsoon = closed("dialect = \"json\"\n");
    for accept in [BROWSER, "text/plain", "text/markdown", "*/*", "application/xml"] {
        let response = ask(backsoon.address(), "GET /", &[&format!("accept: {accept}")]);
        assert_eq!(response.field("content-type"), Some("application/json"), "{accept}");
        assert_eq!(json(&response.body)["status"], 503);
    }
    for (fields, status, content_type) in [
        (["accept: text/event-stream", ""], 200, "text/event-stream"),
        (["accept: text/html", "sec-fetch-dest: image"], 503, "text/plain; charset=utf-8"),
        (["accept: text/html", "content-type: application/grpc"], 200, "application/grpc"),
    ] {
        let fields: Vec<&str> = fields.into_iter().filter(|field| !field.is_empty()).collect();
        let response = ask(backsoon.address(), "GET /", &fields);
        assert_eq!((response.status, response.field("content-type")), (status, Some(content_type)), "{fields:?}");
    }
}

#[tokio::test]
async fn over_http_2_the_answers_are_the_same() {
    let backsoon = told();
    let mut two = Two::connect(backsoon.address()).await;
    for (method, fields) in [
        ("GET", &[("accept", BROWSER), ("accept-language", "de")][..]),
        ("HEAD", &[("accept", BROWSER)]),
        ("POST", &[("accept", "application/json")]),
        ("GET", &[("accept", "text/event-stream")]),
        ("GET", &[("accept", BROWSER), ("sec-fetch-dest", "script")]),
        ("OPTIONS", &[("origin", "https://a.example"), ("access-control-request-method", "PUT")]),
    ] {
        let mut asked = request(method, "/");
        for (name, value) in fields {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = two.ask(asked, "").await.unwrap();
        let written: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        let (one, body) = ask_bytes(backsoon.address(), &format!("{method} /"), &written);
        assert_eq!(answer.status, one.status, "{method} {fields:?}");
        for name in ["content-type", "content-length", "content-language", "vary", "content-security-policy"] {
            assert_eq!(answer.field(name), one.field(name), "{method} {fields:?} {name}");
        }
        assert!(untimed(answer.body) == untimed(body), "{method} {fields:?}");
    }
}

#[test]
fn a_flag_that_is_lifted_leaves_nothing_behind() {
    let upstream = crate::support::Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag(CLOSED);
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(client.response().status, 200);
    backsoon.unflag();
    client.send("GET / HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n");
    assert_eq!(client.response().body, "hello", "the stream that the client asks for again is the app's");
}
