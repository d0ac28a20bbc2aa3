//! HTTP/1 heads and connections: heads as the upstream and the client receive them, and connections that stay open.

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, request};
use crate::wire::{alone, next, observed};

/// Returns an upstream whose response body is the head that it received.
fn mirror() -> Upstream {
    Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()));
        }
    })
}

/// Returns a field's values in a head that a [`mirror`] sent back.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn a_path_is_matched_in_its_normal_form_and_forwarded_byte_for_byte() {
    let (web, admin) = (mirror(), mirror());
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[routes.admin]\npath = \"/admin\"\nupstream = \"{}\"\n",
        web.url(),
        admin.url()
    );
    let backsoon = Backsoon::start(&config);
    let mut client = Client::connect(backsoon.address());
    let mut sent_to = |upstream: &Upstream, target: &str| {
        client.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 200, "{target}: {}", response.body);
        assert_eq!(response.body.lines().next(), Some(format!("GET {target} HTTP/1.1").as_str()));
        assert!(upstream.seen().contains(&response.body), "{target} went to the other upstream");
        upstream.forget();
    };
    for target in [
        "/admin",
        "/admin?q=//y&%61",
        "//admin/x",
        "/%61dmin",
        "/%61%64min/%2e%2e/admin",
        "/a/%2e%2e/admin;v=1",
        "/./admin//x",
        "/admin%2Fx",
    ] {
        sent_to(&admin, target);
    }
    for target in ["/", "/adminx", "/x?/admin", "/?a=%00&b=../admin", "/a;b=c", "/caf%C3%A9", "/x?y?z", "/%2561dmin"] {
        sent_to(&web, target);
    }
}

#[test]
fn a_path_that_two_could_read_differently_is_refused() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    for target in [
        "/..",
        "/a/../../b",
        "/%2e%2e/x",
        "/%",
        "/%zz",
        "/a%00b",
        "/a%0d%0ab",
        "/x/..;p=1/admin",
        "*",
        "a",
        "a.example:80",
    ] {
        let response = request(backsoon.address(), &format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(response.status, 400, "{target}");
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn the_host_is_kept_unless_the_route_says_otherwise() {
    let upstream = mirror();
    let config = format!(
        "{LISTEN}[routes.kept]\nhost = \"kept.example\"\nupstream = \"{0}\"\n\
         [routes.own]\nhost = \"own.example\"\nupstream = \"{0}\"\nkeep_host = false\n",
        upstream.url()
    );
    let backsoon = Backsoon::start(&config);
    let head = |host: &str| request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).body;
    let kept = head("Kept.Example:8080");
    assert_eq!(values(&kept, "host"), ["Kept.Example:8080"]);
    let own = head("own.example");
    assert_eq!(values(&own, "host"), [upstream.address.to_string()]);
    assert_eq!(values(&own, "x-forwarded-host"), ["own.example"]);
}

#[test]
fn the_authority_of_an_absolute_target_wins_over_the_host_field() {
    let upstream = mirror();
    let config = format!("{LISTEN}[routes.web]\nhost = \"a.example\"\nupstream = \"{}\"\n", upstream.url());
    let backsoon = Backsoon::start(&config);
    let head = "GET http://a.example/x?y HTTP/1.1\r\nhost: b.example\r\n\r\n";
    let head = request(backsoon.address(), head).body;
    assert!(head.starts_with("GET /x?y HTTP/1.1\r\n"), "{head}");
    assert_eq!(values(&head, "host"), ["a.example"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["a.example"]);
    for target in ["http://b.example/", "http://user:pw@a.example/", "ftp://a.example/"] {
        let response = request(backsoon.address(), &format!("GET {target} HTTP/1.1\r\nhost: a.example\r\n\r\n"));
        assert!([400, 404].contains(&response.status), "{target}");
    }
}

#[test]
fn options_of_the_whole_server_is_forwarded() {
    let backsoon = Backsoon::before(&mirror().url(), "");
    let head = request(backsoon.address(), "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").body;
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
}

#[test]
fn connect_and_trace_are_405() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    for request_line in ["CONNECT a.example:443", "TRACE /"] {
        let response = request(backsoon.address(), &format!("{request_line} HTTP/1.1\r\nhost: a.example:443\r\n\r\n"));
        assert_eq!(response.status, 405, "{request_line}");
        assert!(response.field("allow").unwrap().contains("POST"));
    }
    assert_eq!(upstream.seen(), "");
}

#[test]
fn fields_that_end_at_a_hop_are_removed_in_both_directions() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let fields = "connection: keep-alive, X-Hop-Down\r\nkeep-alive: timeout=5\r\nx-hop-down: 1\r\n\
                          proxy-connection: keep-alive\r\nupgrade: h2c\r\nproxy-authenticate: Basic\r\nx-end-down: 1";
            connection.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: {}\r\n\r\n{head}", head.len()));
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let response = request(
        backsoon.address(),
        "GET / HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, X-Hop\r\nconnection: x-other,host, content-length\r\n\
         x-hop: 1\r\nX-Other: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\nproxy-authorization: x\r\nte: trailers, gzip\r\n\
         upgrade: h2c\r\nhttp2-settings: x\r\nx-end: 1\r\n\r\n",
    );
    for gone in ["keep-alive", "x-hop-down", "proxy-connection", "upgrade", "proxy-authenticate"] {
        assert_eq!(response.field(gone), None, "{gone}");
    }
    assert_eq!((response.field("connection"), response.field("x-end-down")), (None, Some("1")));
    let head = response.body;
    for gone in
        ["x-hop", "x-other", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings"]
    {
        assert_eq!(values(&head, gone), <[&str; 0]>::default(), "{gone}");
    }
    // RFC 9110 section 10.1.4: a sender of `TE` lists it in `Connection`.
    assert_eq!((values(&head, "te"), values(&head, "connection")), (vec!["trailers"], vec!["te"]));
    assert_eq!((values(&head, "x-end"), values(&head, "host")), (vec!["1"], vec!["a"]));
}

#[test]
fn what_a_stranger_says_of_others_is_replaced() {
    let backsoon = Backsoon::before(&mirror().url(), "");
    let said = "x-forwarded-for: 1.1.1.1\r\nforwarded: for=1.1.1.1\r\nx-forwarded-proto: https\r\n\
                x-forwarded-host: evil\r\nx-request-id: mine\r\nX-Forwarded-For: 2.2.2.2";
    let head = request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a:80\r\n{said}\r\n\r\n"));
    let id = head.field("x-request-id").unwrap().to_owned();
    assert_eq!(values(&head.body, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&head.body, "forwarded"), ["for=127.0.0.1;host=\"a:80\";proto=http"]);
    assert_eq!(values(&head.body, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head.body, "x-forwarded-host"), ["a:80"]);
    assert_eq!(values(&head.body, "x-request-id"), [id.as_str()]);
    assert_eq!(id.len(), 32, "{id}");
}

#[test]
fn what_a_trusted_proxy_says_of_others_is_passed_on() {
    let config =
        format!("trusted_proxies = [\"127.0.0.0/8\"]\n{LISTEN}[routes.web]\nupstream = \"{}\"\n", mirror().url());
    let backsoon = Backsoon::start(&config);
    let said = "x-forwarded-for: 1.1.1.1\r\nforwarded: for=1.1.1.1\r\nx-forwarded-proto: https\r\n\
                x-forwarded-host: outer\r\nx-request-id: mine\r\nx-forwarded-for: 2.2.2.2";
    let response = request(backsoon.address(), &format!("GET / HTTP/1.1\r\nhost: a\r\n{said}\r\n\r\n"));
    assert_eq!(response.field("x-request-id"), Some("mine"));
    let head = response.body;
    assert_eq!(values(&head, "x-forwarded-for"), ["1.1.1.1, 2.2.2.2, 127.0.0.1"]);
    assert_eq!(values(&head, "forwarded"), ["for=1.1.1.1, for=127.0.0.1;host=a;proto=http"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["outer"]);
    assert_eq!(values(&head, "x-request-id"), ["mine"]);
}

#[test]
fn cookies_and_bytes_beyond_ascii_pass_unchanged() {
    let upstream = Upstream::handling(|connection| {
        while connection.request().is_some() {
            connection.send(b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-latin: caf\xe9\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=\"2\"\r\nx-latin: caf\xe9\r\nx-utf8: \xc3\xa9\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut client.stream, &mut byte).unwrap();
        head.push(byte[0]);
    }
    let has = |bytes: &[u8]| head.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"x-latin: caf\xe9\r\n") && has(b"set-cookie: a=1\r\nset-cookie: b=2\r\n"));
    let seen = upstream.seen_bytes();
    let saw = |bytes: &[u8]| seen.windows(bytes.len()).any(|window| window == bytes);
    assert!(saw(b"x-latin: caf\xe9\r\n") && saw(b"x-utf8: \xc3\xa9\r\n") && saw(b"cookie: a=1; b=\"2\"\r\n"));
}

#[test]
fn an_answer_without_a_body_leaves_the_connection_usable() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            connection.send(match head.split(' ').nth(1).unwrap() {
                "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\netag: \"x\"\r\n\r\n",
                "/head-chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 12345\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            });
        }
    });
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("HEAD /head HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 12345\r\n"), "{head}");
    client.send("HEAD /head-chunked HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200"));
    for (path, status) in [("/204", 204), ("/304", 304), ("/", 200)] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nif-none-match: \"x\"\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (status, None), "{path}");
        assert!(status == 200 || response.field("transfer-encoding").is_none(), "{path}");
    }
    assert_eq!(upstream.connections(), 1, "and the upstream's connection, too");
}

#[test]
fn a_reason_phrase_of_the_upstreams_own_is_kept() {
    let backsoon =
        Backsoon::before(&Upstream::answering("HTTP/1.1 599 Fine So Far\r\ncontent-length: 0\r\n\r\n").url(), "");
    assert!(get(backsoon.address(), "/").head.starts_with("HTTP/1.1 599 Fine So Far\r\n"));
}

#[test]
fn an_http_1_0_client_is_answered_in_its_own_words() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let backsoon = alone(&upstream.url(), "");
    let response = request(backsoon.address(), "GET /x HTTP/1.0\r\n\r\n");
    assert!(response.head.starts_with("HTTP/1.0 200 OK"), "{}", response.head);
    assert_eq!((response.field("transfer-encoding"), response.body.as_str()), (None, "hello"));
    assert!(upstream.seen().starts_with("GET /x HTTP/1.1\r\n"), "{}", upstream.seen());
    assert!(upstream.seen().contains(&format!("\r\nhost: {}\r\n", upstream.address)), "{}", upstream.seen());
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let backsoon = alone(&Upstream::ok().url(), "");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!((response.field("connection"), response.body.as_str()), (Some("keep-alive"), "hello"));
    }
}

#[test]
fn an_http_1_0_upstream_does_not_cost_the_client_its_connection() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.send("HTTP/1.0 200 OK\r\nx-old: 1\r\n\r\nto the end");
    });
    let backsoon = alone(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = client.response();
        assert!(response.head.starts_with("HTTP/1.1 200 OK"), "{}", response.head);
        assert_eq!((response.field("connection"), response.body.as_str()), (None, "to the end"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backsoon = alone(&mirror().url(), "");
    let mut client = Client::connect(backsoon.address());
    let mut requests = String::new();
    for number in 0..20 {
        requests += &match number % 2 {
            0 => format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"),
            _ => format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"),
        };
    }
    client.send(requests);
    for number in 0..20 {
        let response = client.response();
        assert!(response.body.contains(&format!(" /{number} HTTP/1.1\r\n")), "{number}: {}", response.body);
    }
}

#[test]
fn a_body_of_a_get_is_forwarded_with_its_framing() {
    let (upstream, connections) = observed();
    let backsoon = alone(&upstream.url(), "");
    for framing in ["content-length: 3\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"] {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{framing}"));
        let mut connection = next(&connections);
        assert!(connection.request().is_some());
        connection.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.response().status, 200);
        assert!(upstream.seen().contains("abc"));
        upstream.forget();
    }
}
