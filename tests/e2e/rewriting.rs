//! Paths that are rewritten on their way to an upstream, and places in the answers that are rewritten back.

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, request};
use crate::two::{Two, TwoUpstream};

/// Starts a proxy with one worker: `/app` of `http://…{base}` by a route with these keys, and the rest by `web`.
fn rewriting(upstream: &str, base: &str, keys: &str) -> Backsoon {
    Backsoon::start(&format!(
        "workers = 1\n{LISTEN}[routes.app]\npath = \"/app\"\nupstream = \"{upstream}{base}\"\n{keys}\n\
         [routes.web]\nupstream = \"{upstream}\"\n"
    ))
}

/// Returns the request lines that an upstream has seen, and forgets them.
fn targets(upstream: &Upstream) -> Vec<String> {
    let seen = upstream.seen();
    upstream.forget();
    let lines = seen.lines().filter(|line| line.ends_with(" HTTP/1.1"));
    lines.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn status(backsoon: &Backsoon, target: &str) -> u16 {
    request(backsoon.address(), &format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).status
}

#[test]
fn a_prefix_is_stripped_in_every_spelling_or_the_request_is_400() {
    let upstream = Upstream::ok();
    for (base, before) in [("", ""), ("/base", "/base")] {
        let backsoon = rewriting(&upstream.url(), base, "strip_prefix = true");
        for (target, reaches) in [
            ("/app", "/"),
            ("/app?q=/app", "/?q=/app"),
            ("/app/", "/"),
            ("/app/x?a=b&c=%2F", "/x?a=b&c=%2F"),
            ("/%61pp/x", "/x"),
            ("//app/x", "/x"),
            ("/app//x", "/x"),
            ("/app;v/x", "/x"),
            ("/app/a%2Fb", "/a%2Fb"),
            ("/app/x;v=1/%7e", "/x;v=1/%7e"),
            ("/x/../app/y", "/y"),
            ("/app/../app/y", "/y"),
            ("http://a/app/x", "/x"),
        ] {
            assert_eq!(status(&backsoon, target), 200, "{target}");
            assert_eq!(targets(&upstream), [format!("{before}{reaches}")], "{target}");
        }
        for target in [
            "/app%2Fx",
            "/app%5cx",
            "/app/a%2Fb/../../x",
            "/app/%2e%2e%2fapp/x",
            "/app/x/..;/../../y",
            "/app/../../x",
            "/app/%zz",
        ] {
            assert_eq!(status(&backsoon, target), 400, "{target}");
            assert_eq!(targets(&upstream).len(), 0, "{target}");
        }
        // These are no paths of the route.
        for target in ["/apple", "/app;x/..", "/app/../x", "/app/%2e%2e/x", "/"] {
            assert_eq!(status(&backsoon, target), 200, "{target}");
            assert_eq!(targets(&upstream), [target], "{target}");
        }
    }
}

#[test]
fn the_upstream_is_told_of_the_prefix() {
    let upstream = Upstream::ok();
    let prefix = |backsoon: &Backsoon, field: &str| {
        upstream.forget();
        let head = format!("GET /app/x HTTP/1.1\r\nhost: a\r\n{field}\r\n");
        assert_eq!(request(backsoon.address(), &head).status, 200);
        let seen = upstream.seen();
        let lines = seen.lines().filter_map(|line| line.strip_prefix("x-forwarded-prefix: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let backsoon = rewriting(&upstream.url(), "", "strip_prefix = \"/app\"");
    assert_eq!(prefix(&backsoon, ""), ["/app"]);
    assert_eq!(prefix(&backsoon, "x-forwarded-prefix: /evil\r\n"), ["/app"]);
    let trusting = Backsoon::start(&format!(
        "workers = 1\ntrusted_proxies = \"127.0.0.1\"\n{LISTEN}[routes.app]\npath = \"/app\"\nstrip_prefix = true\n\
         upstream = \"{}\"\n",
        upstream.url()
    ));
    assert_eq!(prefix(&trusting, "x-forwarded-prefix: /outer/\r\n"), ["/outer/app"]);
    assert_eq!(prefix(&trusting, ""), ["/app"]);
    // Only a base: nothing is missing from what clients write.
    let based = rewriting(&upstream.url(), "/base", "");
    assert_eq!(prefix(&based, ""), [""; 0]);
    assert!(upstream.seen().starts_with("GET /base/app/x HTTP/1.1"), "{}", upstream.seen());
}

#[test]
fn the_places_in_an_answer_are_rewritten_where_asked() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let here = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
            let local = connection.stream.local_addr().unwrap();
            connection.send(format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{local}/base/to?q\r\ncontent-location: http://{here}/base/it\r\n\
                 refresh: 3; url=/base/again\r\nset-cookie: a=b; Path=/base; HttpOnly\r\nset-cookie: c=d; Path=/other\r\n\
                 set-cookie: e=f\r\ncontent-length: 0\r\n\r\n"
            ));
        }
    });
    let fields = |backsoon: &Backsoon| {
        let answer = get(backsoon.address(), "/app/x");
        let cookies = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
        let one = |name: &str| answer.field(name).unwrap().to_owned();
        (one("location"), one("content-location"), one("refresh"), cookies.collect::<Vec<_>>())
    };
    let asked = rewriting(&upstream.url(), "/base", "strip_prefix = true\nrewrite_answers = true");
    let (location, content, refresh, cookies) = fields(&asked);
    assert_eq!(location, "/app/to?q");
    assert!(content.starts_with("http://") && content.ends_with("/app/it"), "{content}");
    assert_eq!(refresh, "3; url=/app/again");
    assert_eq!(cookies, ["a=b; Path=/app; HttpOnly", "c=d; Path=/other", "e=f"]);
    let unasked = rewriting(&upstream.url(), "/base", "strip_prefix = true");
    let (location, _, refresh, cookies) = fields(&unasked);
    assert!(location.ends_with("/base/to?q"), "{location}");
    assert_eq!((refresh.as_str(), cookies[0].as_str()), ("3; url=/base/again", "a=b; Path=/base; HttpOnly"));
}

#[test]
fn a_websocket_and_a_request_that_is_sent_again_are_rewritten_once() {
    let upstream = Upstream::handling(|connection| {
        // The first request of a connection is answered, and the second finds it closed.
        if let Some(head) = connection.head() {
            let upgrades = head.to_ascii_lowercase().contains("upgrade: websocket");
            connection.send(if upgrades {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            });
            connection.head();
        }
    });
    let backsoon = rewriting(&upstream.url(), "/base", "strip_prefix = true");
    let mut client = Client::connect(backsoon.address());
    for _ in 0..4 {
        client.send("GET /app/x HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert!(targets(&upstream).iter().all(|target| target == "/base/x"));
    client.send("GET /app/ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(targets(&upstream).last().unwrap(), "/base/ws");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn paths_to_an_http2_upstream_are_rewritten() {
    let upstream = TwoUpstream::echoing_paths().await;
    let backsoon = rewriting(&upstream.url(), "/base", "strip_prefix = true\nhttp2 = true");
    let mut client = Two::connect(backsoon.address()).await;
    for (path, reaches) in [("/app/x?q", "/base/x?q"), ("/app", "/base/"), ("//app//y", "/base/y")] {
        assert_eq!(client.get(path).await.unwrap().status, 200, "{path}");
        assert_eq!(upstream.heads().pop().unwrap().uri().path_and_query().unwrap(), reaches, "{path}");
    }
    assert_eq!(client.get("/app%2Fx").await.unwrap().status, 400);
}

#[test]
fn own_paths_and_open_ones_are_as_clients_write_them_and_checks_go_below_the_base() {
    let upstream = Upstream::ok();
    let backsoon = rewriting(
        &upstream.url(),
        "/base",
        "strip_prefix = true\nalways_open = [\"/app/open\"]\nverify = { get = \"/healthz?deep\" }",
    );
    let checked = || upstream.seen().contains("GET /base/healthz?deep HTTP/1.1");
    crate::support::wait("the check", checked);
    backsoon.flag("[routes]\napp = \"offline\"\n");
    assert_eq!((status(&backsoon, "/app/x"), status(&backsoon, "/app/.backsoon/status")), (503, 503));
    assert_ne!(status(&backsoon, "/.backsoon/status"), 404);
    upstream.forget();
    assert_eq!(status(&backsoon, "/app/open/x"), 200);
    assert_eq!(targets(&upstream), ["/base/open/x"]);
}
