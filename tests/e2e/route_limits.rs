//! Limits of a route, which take the place of those of the whole proxy, and limits of the heads of answers.

use std::time::{Duration, Instant};

use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, get, request, wait};
use crate::wire::{Counts, alone, balanced, ended, next, observed, pour, settled, stands_still};

/// Starts a proxy with one worker and two routes to one upstream: `own`, with limits of its own, and `web`.
fn two_routes(upstream: &Upstream, limits: &str, own: &str) -> Backsoon {
    Backsoon::start(&format!(
        "workers = 1\n{LISTEN}[limits]\n{limits}\n[routes.web]\nupstream = \"{0}\"\n\
         [routes.own]\npath = \"/own\"\nupstream = \"{0}\"\nlimits = {{ {own} }}\n",
        upstream.url()
    ))
}

fn fields(number: usize) -> String {
    (0..number).map(|number| format!("set-cookie: c{number}={number}\r\n")).collect()
}

#[test]
fn an_answer_with_many_cookies_passes() {
    for number in [120, 999] {
        let upstream = Upstream::answering(&format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", fields(number)));
        let backsoon = alone(&upstream.url(), "");
        let response = get(backsoon.address(), "/");
        assert_eq!(response.status, 200);
        let cookies: Vec<_> = response.head.lines().filter(|line| line.starts_with("set-cookie: ")).collect();
        assert_eq!((cookies.len(), cookies[0]), (number, "set-cookie: c0=0"));
        assert_eq!(cookies[number - 1], format!("set-cookie: c{0}={0}", number - 1));
    }
}

#[test]
fn an_upstream_gets_room_for_many_fields_once_an_answer_had_many() {
    let many = || Upstream::answering(&format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", fields(120)));
    let post = |backsoon: &Backsoon| post(backsoon, "/", 1).status;
    let came = |upstream: &Upstream| upstream.seen().matches("\r\nhost: ").count();
    // A POST is not sent twice.
    let upstream = many();
    let backsoon = alone(&upstream.url(), "");
    assert_eq!((post(&backsoon), came(&upstream)), (502, 1));
    assert_eq!((post(&backsoon), came(&upstream)), (200, 2));
    // A GET is, once.
    let upstream = many();
    let backsoon = alone(&upstream.url(), "");
    assert_eq!((get(backsoon.address(), "/").status, came(&upstream)), (200, 2));
    assert_eq!((get(backsoon.address(), "/").status, came(&upstream)), (200, 3));
    assert_eq!((post(&backsoon), came(&upstream)), (200, 4));
}

#[test]
fn a_head_of_an_answer_that_is_too_large_is_502_and_names_its_limit() {
    let filler = "x".repeat(9000);
    let large = format!("HTTP/1.1 200 OK\r\nx: {filler}\r\ncontent-length: 0\r\n\r\n");
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", fields(30));
    for (answer, limits, limit, words) in [
        (&large, "upstream_head_size = \"8KiB\"", "upstream_head_size", "is larger than `upstream_head_size`"),
        (&many, "upstream_head_fields = 20", "upstream_head_fields", "has more fields than `upstream_head_fields`"),
    ] {
        let upstream = Upstream::answering(answer);
        let backsoon = alone(&upstream.url(), &format!("[limits]\n{limits}\n[page]\nerrors = false\n"));
        let response = get(backsoon.address(), "/");
        assert_eq!(response.status, 502);
        assert!(response.body.contains(words), "{}", response.body);
        assert_eq!(response.field("proxy-status"), Some("backsoon; error=http_response_header_section_size"));
        assert_eq!(backsoon.reached(limit), 1.0);
    }
    // The limits of requests are others.
    let upstream = Upstream::answering(&many);
    let backsoon = alone(&upstream.url(), "[limits]\nhead_fields = 20\nhead_size = \"8KiB\"\n");
    assert_eq!(get(backsoon.address(), "/").status, 200);
    let upstream = Upstream::answering(&large);
    let backsoon = alone(&upstream.url(), "[limits]\nhead_fields = 20\nhead_size = \"8KiB\"\n");
    assert_eq!(get(backsoon.address(), "/").status, 200);
}

#[test]
fn an_odd_answer_is_no_failure_of_its_upstream() {
    let odd = [
        format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", fields(1100)),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(300_000)),
        "HTTP/1.1 200 OK\r\na b: c\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n".to_owned(),
    ];
    for answer in odd {
        let upstream = Upstream::answering(&answer);
        let backsoon = balanced(&[&upstream.url()], "[page]\nerrors = false\n");
        for _ in 0..6 {
            let response = get(backsoon.address(), "/");
            assert_eq!(response.status, 502, "{}", &answer[..answer.len().min(60)]);
            assert!(!response.body.contains("broke off"), "{}", response.body);
        }
        let of = |name: &str| backsoon.metric(name, &format!("upstream=\"{}\"", upstream.url()));
        assert_eq!(of("backsoon_upstream_ejections_total"), 0.0, "{}", &answer[..answer.len().min(60)]);
    }
    // What does not speak HTTP fails.
    let upstream = Upstream::answering("SSH-2.0-OpenSSH_9.2\r\n");
    let backsoon = balanced(&[&upstream.url()], "[page]\nerrors = false\n");
    for _ in 0..3 {
        assert!(get(backsoon.address(), "/").body.contains("the upstream does not speak HTTP"));
    }
    let label = format!("upstream=\"{}\"", upstream.url());
    assert_eq!(backsoon.metric("backsoon_upstream_ejections_total", &label), 1.0);
}

fn post(backsoon: &Backsoon, path: &str, size: usize) -> Response {
    let body = "x".repeat(size);
    request(backsoon.address(), &format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{body}"))
}

#[test]
fn a_route_has_a_body_size_of_its_own() {
    let upstream = Upstream::ok();
    let backsoon = two_routes(&upstream, "body_size = 100", "body_size = 1000");
    assert_eq!((post(&backsoon, "/", 100).status, post(&backsoon, "/", 101).status), (200, 413));
    assert_eq!((post(&backsoon, "/own", 1000).status, post(&backsoon, "/own", 1001).status), (200, 413));
    let chunked = |path: &str, size: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        request(backsoon.address(), &format!("{head}{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size))).status
    };
    assert_eq!((chunked("/", 101), chunked("/own", 1000), chunked("/own", 1001)), (413, 200, 413));
    assert_eq!(backsoon.reached("body_size"), 4.0);
}

#[test]
fn a_route_has_times_of_its_own() {
    let (upstream, connections) = observed();
    let backsoon = two_routes(&upstream, "", "first_byte = \"200ms\", upstream_read = \"1s\", body_read = \"1s\"");
    assert_eq!(get(backsoon.address(), "/own").status, 504);
    assert!(ended(&mut next(&connections).stream));
    let mut client = Client::connect(backsoon.address());
    client.send("GET /own HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    client.head();
    assert!(ended(&mut connection.stream), "its body stalls");
    let mut client = Client::connect(backsoon.address());
    client.send("POST /own HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    assert_eq!(client.response().status, 408);
    let reached = ["first_byte", "upstream_read", "body_read"].map(|limit| backsoon.reached(limit));
    assert_eq!(reached, [1.0, 1.0, 1.0]);
    // The other route waits as long as the proxy does.
    let began = Instant::now();
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = loop {
        let mut connection = next(&connections);
        if connection.head().is_some_and(|head| head.starts_with("GET / ")) {
            break connection;
        }
    };
    wait("longer than the route's time", || began.elapsed() > Duration::from_millis(500));
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.response().body, "ok");
}

#[test]
fn a_route_has_a_number_of_connections_and_a_queue_of_its_own() {
    let (upstream, connections) = observed();
    let backsoon = two_routes(&upstream, "connect = \"30s\"", "upstream_connections = 1, upstream_queue = 1");
    let ask = |path: &str| {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client
    };
    let mut first = ask("/own");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let mut second = ask("/own");
    wait("the second to wait", || backsoon.metric("backsoon_requests_in_flight", "route=\"own\"") == 2.0);
    assert_eq!(get(backsoon.address(), "/own").status, 503, "a place in the queue is one");
    assert_eq!(backsoon.reached("upstream_queue"), 1.0);
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(first.response().body, "ok");
    assert!(connection.head().is_some(), "the second has the same connection");
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!((second.response().body.as_str(), upstream.connections()), ("ok", 1));
}

#[test]
fn a_route_lets_a_client_go_that_takes_nothing_for_a_time_of_its_own() {
    let (upstream, connections) = observed();
    let backsoon = two_routes(&upstream, "write = \"1h\"", "write = \"1s\"");
    let mut client = Client::connect(backsoon.address());
    client.send("GET /own HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
    let written = pour(connection.stream.try_clone().unwrap(), 1_000_000_000);
    stands_still(&written);
    assert!(ended(&mut connection.stream), "its upstream is freed as well");
    assert_eq!(backsoon.reached("write"), 1.0);
    drop(client);
}

#[test]
fn an_edit_of_a_routes_limits_takes_effect_at_once() {
    let upstream = Upstream::ok();
    let backsoon = two_routes(&upstream, "", "body_size = 10");
    assert_eq!(post(&backsoon, "/own", 11).status, 413);
    let config = std::fs::read_to_string(backsoon.path("backsoon.toml")).unwrap();
    backsoon.config(&config.replace("body_size = 10", "body_size = 20"));
    wait("the new limit", || post(&backsoon, "/own", 11).status == 200);
    assert_eq!(post(&backsoon, "/own", 21).status, 413);
    settled(&backsoon);
}
