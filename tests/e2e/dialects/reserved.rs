//! The proxy's own paths below the reserved prefix: the event stream, the status, the badge.

use std::io::{BufRead, Read};
use std::net::SocketAddr;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::{CLOSED, ask, ask_bytes, closed, json, untimed};
use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};
use crate::two::{Two, patiently, request};

/// Client that watches a route over HTTP/1.1.
pub(super) struct Watcher {
    pub client: Client,
    pub head: String,
    /// Milliseconds before the next attempt, should the stream break.
    retry: u64,
    read: String,
}

impl Watcher {
    /// Connects, and reads the beginning of every stream: the retry time and the current time.
    pub(super) fn connect(address: SocketAddr, path: &str) -> Self {
        let mut client = Client::connect(address);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n"));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut watcher = Self { client, head, retry: 0, read: String::new() };
        let first = watcher.event().expect("a first event");
        let (retry, clock) = first.split_once("\nevent: clock\ndata: ").unwrap_or_else(|| panic!("no clock: {first}"));
        watcher.retry = retry_of(retry);
        let off = json(clock)["now"].as_i64().unwrap() - jiff::Timestamp::now().as_millisecond();
        assert!(off.abs() < 5000, "the clock is {off} ms off");
        watcher
    }

    /// Returns the next event without its last blank line, or `None` at the end of the stream and its connection.
    pub(super) fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(event);
            }
            let mut line = String::new();
            if self.client.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            self.read.push_str(&line);
        }
    }

    /// Returns the version in the next event, which must be about a page.
    fn version(&mut self) -> String {
        version_of(&self.event().expect("an event"))
    }
}

/// Returns the version in an `event: page`, whatever stands before it.
fn version_of(event: &str) -> String {
    let (_, data) = event.split_once("event: page\ndata: ").unwrap_or_else(|| panic!("not about a page: {event}"));
    json(data)["version"].as_str().unwrap().to_owned()
}

fn retry_of(event: &str) -> u64 {
    event.lines().next().unwrap().strip_prefix("retry: ").unwrap().parse().unwrap()
}

fn saying(message: &str) -> String {
    format!("[routes.web]\nmode = \"offline\"\nmessage = \"{message}\"\n")
}

#[test]
fn watchers_are_told_at_once_at_each_change_and_when_the_route_is_back() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag(&saying("one"));
    let mut watchers: Vec<_> = (0..20).map(|_| Watcher::connect(backsoon.address(), "/.backsoon/events")).collect();
    assert!(watchers[0].head.contains("content-type: text/event-stream"), "{}", watchers[0].head);
    let shown = json(&ask(backsoon.address(), "GET /", &["accept: application/json"]).body)["version"].clone();
    for watcher in &mut watchers {
        assert!((1000..=3000).contains(&watcher.retry), "{}", watcher.retry);
        assert_eq!(watcher.version(), shown, "the version is the page's own");
    }
    assert_eq!(backsoon.metric("backsoon_watchers", ""), 20.0);
    let mut late = Watcher::connect(backsoon.address(), "/.backsoon/events/any/path/of/the/route");
    assert_eq!(late.version(), shown);
    watchers.push(late);
    backsoon.flag(&saying("two"));
    let versions: Vec<_> = watchers.iter_mut().map(Watcher::version).collect();
    assert!(versions[0] != shown && versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    backsoon.unflag();
    for watcher in &mut watchers {
        assert_eq!(watcher.event().as_deref(), Some("event: open\ndata: {\"phase\":\"open\",\"spread\":5}"));
        assert_eq!(watcher.event(), None, "there is no more to tell");
    }
    wait("the watchers' places to be free", || backsoon.metric("backsoon_watchers", "") == 0.0);
    assert_eq!(upstream.seen(), "");
}

#[test]
fn a_stream_of_events_ends_with_its_connection_and_what_came_before_it_was_answered() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    client.send(get("/") + &get("/.backsoon/status") + &get("/.backsoon/events") + &get("/behind"));
    assert_eq!(client.response().body, "hello");
    assert_eq!(client.response().body, "{\"phase\":\"open\"}\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("\r\nconnection: close\r\n"), "{head}");
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("event: open\ndata: {\"phase\":\"open\",\"spread\":5}\n\n"), "{rest}");
    assert!(!upstream.seen().contains("/behind"), "what stands behind it on the connection is not answered");
}

#[test]
fn a_watcher_without_a_place_is_told_what_is_and_to_ask_again_later() {
    let backsoon = Backsoon::start(&format!(
        "workers = 1\n{LISTEN}[limits]\nwatchers = 2\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n"
    ));
    backsoon.flag(&saying("one"));
    let mut placed: Vec<_> = (0..2).map(|_| Watcher::connect(backsoon.address(), "/.backsoon/events")).collect();
    let version = placed[0].version();
    let crowded = ask(backsoon.address(), "GET /.backsoon/events", &[]);
    assert_eq!((crowded.status, crowded.field("content-type")), (200, Some("text/event-stream")));
    assert!(retry_of(&crowded.body) >= 20_000, "{}", crowded.body);
    assert_eq!(version_of(crowded.body.trim_end()), version);
    assert_eq!(backsoon.metric("backsoon_limit_reached_total", "limit=\"watchers\""), 1.0);
    placed.pop();
    // At the latest, the next event reveals that a watcher has gone away.
    backsoon.flag(&saying("two"));
    wait("a place to be free", || backsoon.metric("backsoon_watchers", "") == 1.0);
    let mut next = Watcher::connect(backsoon.address(), "/.backsoon/events");
    assert!((1000..=3000).contains(&next.retry));
    assert_ne!(next.version(), version);
}

#[test]
fn sigterm_ends_the_streams_at_once_and_nobody_waits_for_them() {
    // Whoever waited would wait for half a minute to drain, and for a minute of grace.
    let mut backsoon = closed("[limits]\ngrace = \"1m\"\n");
    let mut watchers: Vec<_> = (0..10).map(|_| Watcher::connect(backsoon.address(), "/.backsoon/events")).collect();
    for watcher in &mut watchers {
        watcher.version();
    }
    let began = Instant::now();
    backsoon.signal("INT");
    for watcher in &mut watchers {
        assert_eq!(watcher.event(), None);
    }
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    assert!(began.elapsed().as_secs() < 20, "it took {:?}", began.elapsed());
    let mut backsoon = closed("[limits]\ngrace = \"100ms\"\n");
    let mut watcher = Watcher::connect(backsoon.address(), "/.backsoon/events");
    watcher.version();
    backsoon.signal("TERM");
    assert_eq!(watcher.event(), None);
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[tokio::test]
async fn over_http_2_many_watch_over_one_connection() {
    let backsoon = closed("");
    let mut two = Two::connect(backsoon.address()).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let (response, _) = two.begin(request("GET", "/.backsoon/events"), true).await;
        let response = patiently(response).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        streams.push(response.into_body());
    }
    let mut versions = Vec::new();
    for flags in [&saying("two"), &saying("three")] {
        for stream in &mut streams {
            let event = patiently(stream.data()).await.unwrap().unwrap();
            stream.flow_control().release_capacity(event.len()).unwrap();
            versions.push(version_of(String::from_utf8_lossy(&event).trim_end()));
        }
        backsoon.flag(flags);
    }
    versions.dedup();
    assert_eq!(versions.len(), 2, "every stream is told each version: {versions:?}");
    assert_eq!(two.get("/").await.unwrap().status, 503, "other requests pass between them");
    backsoon.unflag();
    for stream in &mut streams {
        let mut rest = String::new();
        while let Some(event) = patiently(stream.data()).await {
            rest.push_str(&String::from_utf8_lossy(&event.unwrap()));
        }
        assert!(rest.ends_with("event: open\ndata: {\"phase\":\"open\",\"spread\":5}\n\n"), "{rest}");
    }
}

#[test]
fn a_watcher_outlives_the_time_that_an_idle_connection_has() {
    let backsoon = closed("[limits]\nkeep_alive = \"1s\"\n");
    let mut watcher = Watcher::connect(backsoon.address(), "/.backsoon/events");
    watcher.version();
    let mut idle = Client::connect(backsoon.address());
    idle.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    idle.response();
    assert!(idle.is_closed(), "an idle connection is closed");
    backsoon.flag(&saying("still there"));
    watcher.version();
}

#[test]
fn the_status_comes_in_every_form_with_200_and_for_every_origin() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let status = |accept: &str| {
        let fields = [&format!("accept: {accept}"), "origin: https://a.example"];
        let response = ask(backsoon.address(), "GET /.backsoon/status", &fields.map(|field| field as &str));
        assert_eq!((response.status, response.field("access-control-allow-origin")), (200, Some("*")), "{accept}");
        assert_eq!((response.field("cache-control"), response.field("retry-after")), (Some("no-store"), None));
        response
    };
    for accept in ["application/json", "*/*", "text/plain", "text/markdown", "image/*"] {
        let open = status(accept);
        assert_eq!(
            (open.field("content-type"), open.body.as_str()),
            (Some("application/json"), "{\"phase\":\"open\"}\n")
        );
    }
    backsoon.flag(&saying("Moving the database."));
    for (accept, content_type) in [
        ("text/html", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let shown = status(accept);
        assert_eq!(shown.field("content-type"), Some(content_type));
        assert!(shown.body.contains("Moving the database."), "{}", shown.body);
        let page = ask(backsoon.address(), "GET /", &[&format!("accept: {accept}")]);
        assert_eq!((page.status, untimed(page.body)), (503, untimed(shown.body)), "{accept}: it is the page");
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn people_who_ask_for_the_status_of_an_open_route_get_a_page() {
    let backsoon = Backsoon::before(&Upstream::ok().url(), "dialect = \"json\"\n");
    let page = |path: &str, language: &str| {
        let fields = ["accept: text/html,*/*;q=0.8", language];
        let response = ask(backsoon.address(), &format!("GET /.backsoon/status{path}"), &fields);
        assert_eq!((response.status, response.field("content-type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!((response.field("cache-control"), response.field("proxy-status")), (Some("no-store"), None));
        assert!(response.field("content-security-policy").is_some(), "{}", response.head);
        let body = response.body;
        assert!(
            body.contains("data-phase=\"open\"") && !body.contains("503") && !body.contains("http-equiv"),
            "{body}"
        );
        body
    };
    let running = page("", "accept-language: en");
    assert!(running.contains("<h1 dir=\"auto\">The service is running</h1>"), "{running}");
    assert!(page("/x", "accept-language: de").contains("<h1 dir=\"auto\">Der Dienst läuft</h1>"));
    let head = ask_bytes(backsoon.address(), "HEAD /.backsoon/status", &["accept: text/html"]);
    assert_eq!((head.0.status, head.1.len()), (200, 0));
    let starts = Timestamp::now() + SignedDuration::from_hours(5);
    let ends = starts + SignedDuration::from_hours(1);
    backsoon.flag(&format!(
        "[[windows]]\nid = \"W-1\"\ntitle = \"A <new> disk\"\nmessage = \"We are moving now.\"\nstarts = {starts}\n\
         ends = {ends}\nroutes = {{ web = \"offline\" }}\nannounce = \"48h\"\n"
    ));
    let announced = page("", "accept-language: en");
    for part in ["Maintenance is planned", "A &lt;new&gt; disk", "W-1", &starts.strftime("%Y-%m-%dT%H:%M").to_string()]
    {
        assert!(announced.contains(part), "{part}: {announced}");
    }
    assert!(!announced.contains("We are moving now."), "that is not so yet");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let closed = ask(backsoon.address(), "GET /.backsoon/status", &["accept: text/html"]);
    assert_eq!(closed.field("content-type"), Some("application/json"), "the form that the route has");
}

#[test]
fn the_badge_says_how_the_route_is() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let badge = || {
        let response = ask(backsoon.address(), "GET /.backsoon/badge.svg", &["accept: image/*"]);
        assert_eq!((response.status, response.field("content-type")), (200, Some("image/svg+xml")));
        assert_eq!(response.field("access-control-allow-origin"), Some("*"));
        response.body
    };
    let open = badge();
    backsoon.flag(CLOSED);
    let maintenance = badge();
    assert!(open.starts_with("<svg") && open.contains("open") && !open.contains("maintenance"), "{open}");
    assert!(maintenance.starts_with("<svg") && maintenance.contains("maintenance"), "{maintenance}");
}

#[test]
fn what_is_below_the_prefix_is_never_forwarded_however_it_is_written() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    for flags in ["", CLOSED, "[routes]\nweb = \"read-only\"\n"] {
        backsoon.flag(flags);
        for (path, status) in [
            ("/.backsoon/status", 200),
            ("/.backsoon/status/", 200),
            ("/.backsoon//status", 200),
            ("//.backsoon/status", 200),
            ("/%2ebacksoon/status", 200),
            ("/%2Ebacksoo%6e%2fstatus", 200),
            ("/.backsoon\\status", 200),
            ("/x/../.backsoon/status", 200),
            ("/./.backsoon;v=1/status;x", 200),
            ("/.backsoon/badge.svg", 200),
            ("/.backsoon", 404),
            ("/.backsoon/", 404),
            ("/.backsoon/none", 404),
            ("/.backsoon/statuses", 404),
            ("/.backsoon/Status", 404),
            ("//.backsoon/x", 404),
            ("/.backsoon/..;/x", 400),
            ("/.backsoon/%00", 400),
        ] {
            assert_eq!(get(backsoon.address(), path).status, status, "{path}");
        }
        let absolute = ask(backsoon.address(), "GET http://test/.backsoon/status", &[]);
        assert_eq!(absolute.status, 200);
    }
    assert_eq!((upstream.seen().as_str(), upstream.connections()), ("", 0));
    backsoon.unflag();
    for path in ["/.backsoonx", "/x/.backsoon/status", "/.backsoon/../app", "/%252ebacksoon/status"] {
        assert_eq!(get(backsoon.address(), path).body, "hello", "{path} is the app's");
    }
}

#[test]
fn nothing_can_be_written_below_the_prefix() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for name in ["events", "status", "badge.svg"] {
            let response = ask(backsoon.address(), &format!("{method} /.backsoon/{name}"), &["content-length: 0"]);
            assert_eq!((response.status, response.field("allow")), (405, Some("GET, HEAD")), "{method} {name}");
        }
    }
    let preflight = ask(backsoon.address(), "OPTIONS /.backsoon/status", &["origin: https://a.example"]);
    let allowed = [preflight.field("access-control-allow-origin"), preflight.field("access-control-allow-headers")];
    assert_eq!((preflight.status, allowed), (204, [Some("*"); 2]), "any script may ask, with any field");
    let mut client = Client::connect(backsoon.address());
    client.send("GET /.backsoon/status HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.response().body, "{\"phase\":\"open\"}\n");
    assert_eq!(client.response().body, "hello", "the body was no request");
}

#[test]
fn head_on_a_reserved_path_says_what_get_would() {
    let backsoon = closed("");
    for name in ["status", "badge.svg"] {
        let (head, body) = ask_bytes(backsoon.address(), &format!("HEAD /.backsoon/{name}"), &[]);
        let get = get(backsoon.address(), &format!("/.backsoon/{name}"));
        assert_eq!((head.status, body.len()), (200, 0), "{name}");
        assert_eq!(head.field("content-length"), Some(get.body.len().to_string().as_str()), "{name}");
    }
    let (head, body) = ask_bytes(backsoon.address(), "HEAD /.backsoon/events", &[]);
    assert_eq!((head.status, head.field("content-type"), body.len()), (200, Some("text/event-stream"), 0));
    assert_eq!(head.field("content-length"), None, "a stream has no length that could be told: {}", head.head);
    assert_eq!(backsoon.metric("backsoon_watchers", ""), 0.0);
}

#[test]
fn the_prefix_may_be_another_one() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[page]\nprefix = \"/__pause\"\n");
    assert_eq!(get(backsoon.address(), "/__pause/status").body, "{\"phase\":\"open\"}\n");
    assert_eq!(get(backsoon.address(), "/.backsoon/status").body, "hello", "the usual one is the app's then");
    backsoon.flag(CLOSED);
    let mut watcher = Watcher::connect(backsoon.address(), "/__pause/events");
    watcher.version();
    let html = ask(backsoon.address(), "GET /", &["accept: text/html"]).body.replace("&#x2f;", "/");
    assert!(html.contains("data-events=\"/__pause/events\"") && !html.contains("/.backsoon"), "{html}");
}

#[test]
fn who_asks_about_a_host_or_path_without_a_route_learns_nothing() {
    let upstream = Upstream::ok();
    let route = |name: &str, more: &str| {
        format!("[routes.{name}]\nhost = \"{name}.example\"\nupstream = \"{}\"\n{more}", upstream.url())
    };
    let config = format!("{LISTEN}{}{}", route("one", ""), route("two", "path = \"/app\"\n"));
    let backsoon = Backsoon::start(&config);
    backsoon.flag("[routes]\none = \"offline\"\n");
    let ask = |host: &str, path: &str| {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\naccept: application/json\r\n\r\n");
        crate::support::request(backsoon.address(), &head)
    };
    for (host, path, status) in [
        ("one.example", "/.backsoon/status", 200),
        ("two.example", "/.backsoon/status/app", 200),
        ("two.example", "/.backsoon/status/app/x/y", 200),
        ("two.example", "/.backsoon/status", 404),
        ("two.example", "/.backsoon/events", 404),
        ("two.example", "/.backsoon/badge.svg/application", 404),
        ("three.example", "/.backsoon/status", 404),
        ("three.example", "/.backsoon/events", 404),
    ] {
        assert_eq!(ask(host, path).status, status, "{host}{path}");
    }
    assert_eq!(json(&ask("one.example", "/.backsoon/status").body)["status"], 503);
    assert_eq!(json(&ask("two.example", "/.backsoon/status/app").body)["phase"], "open");
}
