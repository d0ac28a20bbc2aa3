//! The pause: a flagged route is answered from memory, and its upstream sees nothing.

use std::io::Write;

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, request, wait};
use crate::wire::{alone, has, next, observed, settled, skipped};

#[test]
fn a_flagged_route_is_answered_503_and_its_upstream_sees_zero_bytes() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    upstream.forget();
    let connections = upstream.connections();
    let mut client = Client::connect(backsoon.address());
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        client.send(format!("{method} /x?y HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"));
        let response = client.response();
        assert_eq!(response.status, 503, "{method}");
        assert_eq!(response.field("connection"), None, "a small body is no reason to close");
    }
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(client.response().status, 503, "HEAD had no body: the next answer follows at once");
    assert_eq!((upstream.seen().as_str(), upstream.connections()), ("", connections));
    backsoon.unflag();
}

#[test]
fn the_answer_says_when_to_come_back_and_is_not_cached() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let response = get(backsoon.address(), "/");
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert_eq!(response.field("vary"), Some(VARY));
    let status = response.field("proxy-status").unwrap();
    assert!(status.starts_with("backsoon; error=proxy_internal_response"), "{status}");
    let mut waits: Vec<u64> = (0..40)
        .map(|_| request(backsoon.address(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
        .map(|response| response.field("retry-after").unwrap().parse().unwrap())
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1 && waits.iter().all(|wait| (61..=66).contains(wait)), "{waits:?}");
}

/// The page comes in the form that the client asked for.
#[test]
fn the_answer_is_in_the_form_that_the_client_accepts() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes.web]\nmode = \"offline\"\nmessage = \"Moving <the> \\\"database\\\".\"\n");
    let ask = |accept: &str| {
        let fields = if accept.is_empty() { String::new() } else { format!("accept: {accept}\r\n") };
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
        let response = request(backsoon.address(), &head);
        assert_eq!((response.status, response.field("vary")), (503, Some(VARY)), "{accept:?}");
        response
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, content_type) in [
        (browser, "text/html"),
        ("text/*", "text/html"),
        ("application/json", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("application/*", "application/problem+json"),
        ("text/markdown", "text/markdown"),
        ("application/xml", "application/problem+xml"),
        ("*/*", "text/plain"),
        ("", "text/plain"),
        ("text/plain", "text/plain"),
        ("image/png", "text/plain"),
        ("nonsense;;;,,", "text/plain"),
        ("text/html;q=0, */*", "text/plain"),
    ] {
        let response = ask(accept);
        let got = response.field("content-type").unwrap();
        assert!(got.starts_with(content_type), "{accept:?}: {got}");
    }
    let json: serde_json::Value = serde_json::from_str(&ask("application/json").body).unwrap();
    assert_eq!((&json["status"], &json["detail"]), (&503.into(), &"Moving <the> \"database\".".into()));
    let html = ask(browser).body;
    assert!(html.contains("Moving &lt;the&gt;") && !html.contains("<the>"), "{html}");
    let foreign = html.replace("http://www.w3.org/2000/svg", "");
    let foreign = ["http://", "https://", "src="].into_iter().find(|word| foreign.contains(word));
    assert_eq!(foreign, None, "it needs nothing: {html}");
}

#[test]
fn a_large_upload_to_a_closed_route_gets_an_answer_that_can_be_read() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    for framing in ["content-length: 104857600", "transfer-encoding: chunked"] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("POST /upload HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"));
        // The client writes everything before it reads, as many clients do.
        let block = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            if framing.starts_with("transfer") {
                client.stream.get_mut().write_all(b"100000\r\n").expect("the upload is not reset");
            }
            client.stream.get_mut().write_all(&block).expect("the upload is not reset");
            if framing.starts_with("transfer") {
                client.stream.get_mut().write_all(b"\r\n").expect("the upload is not reset");
            }
        }
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (503, Some("close")));
        assert!(client.is_closed());
    }
    settled(&backsoon);
    assert_eq!((upstream.seen().as_str(), upstream.connections()), ("", 0));
}

#[test]
fn curl_can_read_the_answer_to_a_large_form() {
    if !has("curl") {
        return skipped("curl can read the answer to a large form", "there is no curl");
    }
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    std::fs::write(backsoon.path("upload"), vec![b'x'; 100 << 20]).unwrap();
    for expect in ["Expect:", "Expect: 100-continue"] {
        let output = std::process::Command::new("curl")
            .args(["-sS", "-H", expect, "-H", "accept: application/json", "-w", "%{http_code}", "-F"])
            .arg(format!("file=@{}", backsoon.path("upload").display()))
            .arg(backsoon.url("/upload"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && text.ends_with("503") && text.contains("\"status\":503"), "{text} {error}");
    }
}

#[test]
fn read_only_lets_what_is_safe_pass_and_stops_the_rest() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let body = if head.starts_with("HEAD ") { "" } else { "hello" };
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}"));
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    backsoon.flag("[routes]\nweb = \"read-only\"\n");
    let mut client = Client::connect(backsoon.address());
    for method in ["GET", "OPTIONS"] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(client.response().status, 200, "{method}");
    }
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    upstream.forget();
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPPATCH", "get"] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"));
        assert_eq!(client.response().status, 503, "{method}");
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn a_flag_lifts_by_itself_when_its_time_has_come() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let until = in_millis(1500);
    backsoon.flag(&format!("[routes.web]\nmode = \"offline\"\nuntil = {until}\n"));
    let mut client = Client::connect(backsoon.address());
    let mut last_closed = jiff::Timestamp::UNIX_EPOCH;
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let asked = jiff::Timestamp::now();
        let response = client.response();
        (asked, response)
    };
    let (_, response) = ask();
    assert_eq!(response.status, 503);
    assert!((1..=7).contains(&response.field("retry-after").unwrap().parse::<u64>().unwrap()), "{}", response.head);
    wait("the flag to lift", || {
        let (asked, response) = ask();
        if response.status == 503 {
            last_closed = asked;
        } else {
            assert!(jiff::Timestamp::now() >= until, "not a moment before");
        }
        response.status == 200
    });
    let late = last_closed.duration_since(until);
    assert!(late.as_millis() < 500, "still closed {late:?} after the end");
    assert_eq!(backsoon.route("web")["phase"], "open");
}

#[test]
fn a_window_begins_and_ends_at_its_instants() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let (starts, ends) = (in_millis(1200), in_millis(2600));
    backsoon.flag(&format!(
        "[[windows]]\nid = \"W-1\"\ntitle = \"Planned work\"\nstarts = {starts}\nends = {ends}\nroutes = {{ web = \"offline\" }}\n"
    ));
    let mut client = Client::connect(backsoon.address());
    let mut seen: Vec<(jiff::Timestamp, u16)> = Vec::new();
    wait("the window to come and go", || {
        client.send("GET / HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n");
        let response = client.response();
        let now = jiff::Timestamp::now();
        if response.status == 503 {
            let json: serde_json::Value = serde_json::from_str(&response.body).unwrap();
            assert_eq!((&json["title"], &json["reference"]), (&"Planned work".into(), &"W-1".into()));
        }
        seen.push((now, response.status));
        response.status == 200 && now > ends
    });
    let closed: Vec<_> = seen.iter().filter(|(_, status)| *status == 503).map(|(at, _)| *at).collect();
    let (first, last) = (*closed.first().unwrap(), *closed.last().unwrap());
    assert!(first >= starts && first.duration_since(starts).as_millis() < 500, "{starts} {first}");
    assert!(last.duration_since(ends).as_millis() < 500, "{ends} {last}");
    // One closure without gaps: open, closed, open.
    let mut changes: Vec<_> = seen.iter().map(|(_, status)| *status).collect();
    changes.dedup();
    assert_eq!(changes, [200, 503, 200]);
}

#[test]
fn a_star_closes_every_route_and_an_unmatched_request_stays_404() {
    let upstream = Upstream::ok();
    let route = |name: &str| format!("[routes.{name}]\nhost = \"{name}.example\"\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start(&format!("{LISTEN}{}{}", route("one"), route("two")));
    backsoon.flag("[routes]\n\"*\" = \"offline\"\n");
    let status = |host: &str| request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).status;
    assert_eq!((status("one.example"), status("TWO.example:80"), status("three.example")), (503, 503, 404));
    assert_eq!(upstream.seen(), "");
    backsoon.flag("[routes]\none = \"offline\"\n");
    assert_eq!((status("one.example"), status("two.example"), status("three.example")), (503, 200, 404));
}

#[test]
fn what_is_always_open_is_forwarded_from_a_closed_route() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "always_open = [\"/healthz\", \"/hooks/\"]\n");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    for path in ["/healthz", "/healthz/x", "/healthz?x=/%2e%2e", "/hooks/a"] {
        assert_eq!(get(backsoon.address(), path).status, 200, "{path}");
    }
    upstream.forget();
    // An exception is read narrowly: a path that must be rewritten to match may mean something else to the upstream.
    let rewritten = ["//healthz", "/%68ealthz", "/x/../healthz", "/healthz;x"];
    for path in ["/", "/healthzz", "/x/healthz", "/healthz/../x", "/healthz/%2e%2e/x", "/hook"].iter().chain(&rewritten)
    {
        assert_eq!(get(backsoon.address(), path).status, 503, "{path}");
    }
    assert_eq!(get(backsoon.address(), "/hooks/..;/x").status, 400);
    assert_eq!(upstream.seen(), "");
}

#[test]
fn a_request_under_way_when_its_route_closes_runs_to_its_end() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let mut idle = Client::connect(backsoon.address());
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut other = next(&connections);
    assert!(other.head().is_some());
    other.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(idle.response().status, 200);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    assert_eq!(backsoon.route("web")["in_flight"], 1);
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let response = idle.response();
    assert_eq!((response.status, response.field("connection")), (503, None), "the connection stays");
    client.send("world");
    assert_eq!((0..10).map(|_| connection.byte().unwrap()).collect::<Vec<_>>(), b"helloworld");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ndo");
    client.head();
    connection.send("ne!");
    let mut body = [0; 5];
    std::io::Read::read_exact(&mut client.stream, &mut body).unwrap();
    assert_eq!(&body, b"done!");
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 503, "and the next request on it sees the closed route");
    backsoon.unflag();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(connection.head().is_some() || other.head().is_some());
}

#[test]
fn after_a_day_of_maintenance_somebody_is_asked_whether_it_is_meant() {
    let mut backsoon = Backsoon::before("http://127.0.0.1:1", "");
    let (starts, ends) = (in_millis(2000 - 24 * 3600 * 1000), in_millis(3600 * 1000));
    let window =
        format!("[[windows]]\nid = \"m\"\nstarts = {starts}\nends = {ends}\nroutes = {{ web = \"offline\" }}\n");
    backsoon.flag(&window);
    assert_eq!(backsoon.metric("backsoon_route_closed_long", "route=\"web\""), 0.0);
    let warning = backsoon.wait_for_log("under maintenance for 24 hours: search engines begin to drop its pages");
    assert_eq!((warning["level"].as_str(), warning["route"].as_str()), (Some("WARN"), Some("web")));
    assert_eq!(backsoon.metric("backsoon_route_closed_long", "route=\"web\""), 1.0);
    assert_eq!(backsoon.route("web")["long"], true);
    backsoon.unflag();
    assert_eq!(backsoon.metric("backsoon_route_closed_long", "route=\"web\""), 0.0);
}

/// Returns an instant relative to now, as written in a flag file.
fn in_millis(millis: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_millis(millis)
}

const VARY: &str = "accept, accept-encoding, accept-language, origin";
