//! Several upstreams, and dead connections: no request is lost needlessly, and none is sent twice.

use std::net::TcpListener;

use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, ask_until, get, request, wait};
use crate::wire::{Blackhole, Counts, alone, balanced, ended, next, observed, settled};

/// Returns an address that refuses connections.
fn refusing() -> String {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}")
}

#[test]
fn where_one_of_two_upstreams_refuses_the_other_answers_and_nothing_fails() {
    let (good, bad) = (Upstream::ok(), refusing());
    let backsoon = balanced(&[&bad, &good.url()], "");
    let mut client = Client::connect(backsoon.address());
    for number in 0..50 {
        let body = if number % 2 == 0 { "" } else { "abc" };
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(client.response().status, 200, "{number}");
    }
    let of = |name: &str| backsoon.metric(name, &format!("upstream=\"{bad}\""));
    assert!(of("backsoon_upstream_ejections_total") >= 1.0 && of("backsoon_upstream_ejected") == 1.0);
    let tried = of("backsoon_upstream_connect_failures_total");
    assert!((3.0..10.0).contains(&tried), "an ejected upstream is left alone: {tried}");
}

#[test]
fn an_upstream_that_stays_down_is_avoided_for_longer_each_time_and_then_taken_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bad = format!("http://{address}");
    let good = Upstream::ok();
    let backsoon = balanced(&[&bad, &good.url()], "");
    let of = |name: &str| backsoon.metric(name, &format!("upstream=\"{bad}\""));
    let mut client = Client::connect(backsoon.address());
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    };
    let mut ejected = Vec::new();
    for ejections in [1.0, 2.0] {
        ask_until("an ejection", || {
            ask();
            of("backsoon_upstream_ejections_total") >= ejections
        });
        ejected.push(std::time::Instant::now());
    }
    let first = ejected[1] - ejected[0];
    assert!(first.as_millis() >= 1000, "one second at first: {first:?}");
    // The upstream comes back while it is avoided, and the proxy notices.
    let back = Upstream::listening(TcpListener::bind(address).unwrap());
    ask_until("the upstream to be taken back", || {
        ask();
        of("backsoon_upstream_ejected") == 0.0
    });
    assert!(ejected[1].elapsed().as_millis() >= 2000, "two seconds the second time: {:?}", ejected[1].elapsed());
    ask_until("a request to it", || {
        ask();
        back.seen().contains("GET / HTTP/1.1")
    });
}

#[test]
fn where_every_upstream_is_down_the_answer_is_502_and_says_why() {
    let backsoon = balanced(&[&refusing(), &refusing()], "");
    for _ in 0..10 {
        let response = get(backsoon.address(), "/");
        assert_eq!(response.status, 502);
        assert_eq!(response.field("proxy-status"), Some("backsoon; error=connection_refused"));
        assert_eq!(response.field("cache-control"), Some("no-store"));
    }
    assert_eq!(backsoon.metric("backsoon_proxy_errors_total", "route=\"web\""), 10.0);
    settled(&backsoon);
}

#[test]
fn an_upstream_that_accepts_and_closes_is_502() {
    let upstream = Upstream::handling(|_| {});
    let backsoon = alone(&upstream.url(), "");
    for number in 0..20 {
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        let response =
            request(backsoon.address(), &format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(response.status, 502, "{}", response.body);
    }
    settled(&backsoon);
}

#[test]
fn an_upstream_that_answers_nonsense_is_502() {
    for nonsense in ["nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nbad field: x\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "\0\0\0\0"] {
        let upstream = Upstream::handling(move |connection| {
            connection.head();
            connection.send(nonsense);
        });
        let backsoon = alone(&upstream.url(), "");
        let response = get(backsoon.address(), "/");
        assert_eq!(response.status, 502, "{nonsense:?}");
        assert!(response.field("proxy-status").unwrap().starts_with("backsoon; error=http_"), "{}", response.head);
    }
}

/// Answers the first request of every connection and closes it when the second arrives. An upstream that closes idle
/// connections may do so in the moment of their reuse.
fn closing_under_the_second_request() -> Upstream {
    Upstream::handling(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        connection.request();
    })
}

#[test]
fn a_get_on_a_connection_that_is_being_closed_is_sent_again() {
    let upstream = closing_under_the_second_request();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for method in ["GET", "GET", "HEAD", "OPTIONS", "GET"] {
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"));
        if method == "HEAD" {
            assert!(client.head().starts_with("HTTP/1.1 200"));
        } else {
            assert_eq!(client.response().status, 200, "sent again on a connection of its own");
        }
    }
    let labels = format!("upstream=\"{}\"", upstream.url());
    assert_eq!(backsoon.metric("backsoon_upstream_failures_total", &labels), 0.0);
}

#[test]
fn a_post_is_never_sent_twice_and_not_on_a_connection_that_was_idle() {
    let upstream = closing_under_the_second_request();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    // Long enough for the connection to count as idle.
    std::thread::sleep(std::time::Duration::from_millis(1000));
    client.send("POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.response().status, 200, "on a connection of its own");
    client.send("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.response().status, 502, "nobody knows whether it was acted on");
    assert_eq!((upstream.seen().matches("POST /1 ").count(), upstream.seen().matches("POST /2 ").count()), (1, 1));
}

#[test]
fn an_idle_connection_that_the_upstream_has_closed_is_not_used() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for number in 0..10 {
        let method = if number % 2 == 0 { "POST" } else { "GET" };
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"));
        let mut connection = next(&connections);
        assert!(connection.request().is_some());
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.response().status, 200, "{number}");
        drop(connection);
        wait("the end to be noticed", || backsoon.upstream_connections(&upstream.url()) == 0.0);
    }
}

#[test]
fn a_connection_that_the_upstream_says_it_closes_is_not_used_again() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        // Announces the close, and leaves the closing to the proxy.
        while connection.byte().is_some() {}
    });
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..20 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(upstream.connections(), 20);
}

#[test]
fn connections_are_reused_and_closed_when_they_have_been_idle() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_keep_alive = \"1s\"\n");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    wait("the idle connection to be closed", || backsoon.upstream_connections(&upstream.url()) == 0.0);
}

#[test]
fn requests_beyond_the_upstreams_connections_wait_and_then_are_503() {
    let (upstream, connections) = observed();
    let limits = "[limits]\nupstream_connections = 1\nupstream_queue = 1\nconnect = \"1s\"\n";
    let backsoon = alone(&upstream.url(), limits);
    let ask = || {
        let mut client = Client::connect(backsoon.address());
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client
    };
    let mut first = ask();
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let mut second = ask();
    wait("the second to wait", || backsoon.in_flight() == 2.0);
    // The queue is full, so the answer comes at once.
    let third = ask().response();
    assert_eq!((third.status, backsoon.reached("upstream_queue")), (503, 1.0));
    assert_eq!(third.field("proxy-status"), Some("backsoon; error=connection_limit_reached"));
    assert!(third.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // The second has waited as long as allowed.
    let waited = second.response();
    assert_eq!((waited.status, backsoon.reached("upstream_connections")), (503, 1.0));
    assert!(waited.field("retry-after").is_some());
    // The next waiting request takes the freed connection.
    let mut fourth = ask();
    wait("the fourth to wait", || backsoon.in_flight() == 2.0);
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(first.response().body, "ok");
    assert!(connection.head().is_some());
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!((fourth.response().body.as_str(), upstream.connections()), ("ok", 1));
    assert_eq!(backsoon.metric("backsoon_upstream_ejections_total", &format!("upstream=\"{}\"", upstream.url())), 0.0);
}

/// An idle connection must not hold its place against a request that may not reuse it.
#[test]
fn a_post_finds_a_place_though_idle_connections_hold_them_all() {
    let upstream = Upstream::ok();
    let backsoon = alone(&upstream.url(), "[limits]\nupstream_connections = 1\nconnect = \"2s\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    std::thread::sleep(std::time::Duration::from_millis(1000));
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_that_is_only_busy_is_not_ejected() {
    let (busy, busy_connections) = observed();
    let (other, other_connections) = observed();
    let limits = "[limits]\nupstream_connections = 1\nupstream_queue = 0\n";
    let backsoon = balanced(&[&busy.url(), &other.url()], limits);
    let ask = || {
        let mut client = Client::connect(backsoon.address());
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client
    };
    let clients = [ask(), ask()];
    let connections = [next(&busy_connections), next(&other_connections)];
    for _ in 0..10 {
        assert_eq!(ask().response().status, 503);
    }
    for upstream in [&busy, &other] {
        let labels = format!("upstream=\"{}\"", upstream.url());
        assert_eq!(backsoon.metric("backsoon_upstream_ejections_total", &labels), 0.0);
    }
    drop((clients, connections));
    settled(&backsoon);
}

/// A client that sends nothing must not make an upstream look dead.
#[test]
fn a_client_that_withholds_its_body_does_not_get_the_upstream_ejected() {
    let (first, first_connections) = observed();
    let (second, second_connections) = observed();
    let limits = "[limits]\nfirst_byte = \"200ms\"\nbody_read = \"1s\"\n";
    let backsoon = balanced(&[&first.url(), &second.url()], limits);
    let mut clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.response().status, 408, "it is the client that was slow");
    }
    assert_eq!((backsoon.reached("body_read"), backsoon.reached("first_byte")), (8.0, 0.0));
    for upstream in [&first, &second] {
        let labels = format!("upstream=\"{}\"", upstream.url());
        assert_eq!(backsoon.metric("backsoon_upstream_ejections_total", &labels), 0.0);
    }
    for connections in [first_connections, second_connections] {
        for mut connection in connections.try_iter() {
            connection.stream.set_read_timeout(Some(PATIENCE)).unwrap();
            assert!(ended(&mut connection.stream));
        }
    }
}

#[test]
fn an_upstream_that_does_not_accept_is_504_and_another_is_tried() {
    let hole = Blackhole::new();
    let dead = format!("http://{}", hole.address);
    let backsoon = alone(&dead, "[limits]\nconnect = \"100ms\"\n");
    let response = get(backsoon.address(), "/");
    assert_eq!(response.status, 504);
    assert_eq!(response.field("proxy-status"), Some("backsoon; error=connection_timeout"));
    assert_eq!(backsoon.reached("connect"), 1.0);
    let good = Upstream::ok();
    let backsoon = balanced(&[&dead, &good.url()], "[limits]\nconnect = \"100ms\"\n");
    for _ in 0..10 {
        assert_eq!(get(backsoon.address(), "/").status, 200);
    }
}

#[test]
fn an_upstream_that_is_no_longer_configured_loses_its_idle_connections() {
    let (ended, end) = std::sync::mpsc::channel();
    let ended = std::sync::Mutex::new(ended);
    let old = Upstream::handling(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold");
        }
        let _ = ended.lock().unwrap().send(());
    });
    let new = Upstream::ok();
    let config = |upstream: &Upstream| format!("{LISTEN}[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start(&config(&old));
    assert_eq!(get(backsoon.address(), "/").body, "old");
    backsoon.config(&config(&new));
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    end.recv_timeout(PATIENCE).expect("the old upstream's connection to be closed");
}
