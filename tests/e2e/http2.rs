//! HTTP/2: on the same port as HTTP/1.1, towards clients and towards upstreams.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};

use crate::support::{Backsoon, Client, LISTEN, Upstream, get, wait};
use crate::two::{
    ACK, DATA, Frames, HEADERS, Leave, NO_ERROR, PING, PREFACE, RST_STREAM, SETTINGS, Two, TwoUpstream, WINDOW_UPDATE,
    code, frame, get_block, has_status, patiently, post_block, read, request, whole, write,
};

/// Starts a proxy with a route to an upstream that speaks HTTP/2.
fn before(upstream: &TwoUpstream, more: &str) -> Backsoon {
    Backsoon::before(&upstream.url(), &format!("http2 = true\n{more}"))
}

/// Waits until the route has nothing in flight, and the upstream has only idle connections.
fn wait_for_quiet(backsoon: &Backsoon) {
    wait("the route to be quiet", || {
        let route = backsoon.route("web");
        route["in_flight"] == 0 && route["upstreams"][0]["pending"] == 0
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_port_speaks_both_versions() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    let mut client = Two::connect(backsoon.address()).await;
    let answer = client.get("/two").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    assert!(upstream.seen().contains("GET /two HTTP/1.1\r\n"), "{}", upstream.seen());
}

#[test]
fn the_preface_may_come_in_single_bytes() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Frames::silent(backsoon.address());
    let request = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 5, 1, &get_block(&[]))].concat();
    for byte in request {
        assert!(client.send([byte]));
        std::thread::yield_now();
    }
    let (head, _) = client.answer(1).unwrap();
    assert!(has_status(&head, 200), "{head:?}");
}

#[test]
fn what_only_begins_like_the_preface_is_http_1() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Client::connect(backsoon.address());
    client.send("PR");
    client.send("OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    // A preface that breaks off midway is neither.
    let mut client = Client::connect(backsoon.address());
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert_eq!(client.try_response().map(|response| response.status), Some(400));
    assert!(client.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hundred_streams_run_at_once() {
    let upstream = Upstream::handling(|connection| {
        while let Some(head) = connection.request() {
            let path = head.split(' ').nth(1).unwrap();
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let client = Two::connect(backsoon.address()).await;
    let mut answers = Vec::new();
    for number in 0..300 {
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, _) = send.send_request(request("GET", &format!("/{number}")), true).unwrap();
        answers.push(tokio::spawn(async move { whole(patiently(response).await.unwrap()).await.unwrap() }));
    }
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.body), (200, format!("/{number}")));
    }
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_bodies_go_both_ways_within_their_windows() {
    const SIZE: usize = 3 << 20;
    // Answers with the request's body as it arrives, which fills every window twice.
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            write(&mut answer, data, false).await.unwrap();
        }
        answer.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, mut upload) = client.begin(request("POST", "/"), false).await;
    let sent: Bytes = (0..SIZE).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let body = sent.clone();
    let upload = tokio::spawn(async move { write(&mut upload, body, true).await });
    let mut response = patiently(response).await.unwrap();
    let received = read(response.body_mut()).await.unwrap();
    upload.await.unwrap().unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upload_waits_for_its_upstream_in_constant_memory() {
    const SIZE: usize = 64 << 20;
    // Reads the head, and nothing of an upload's body until told to.
    let (go, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::handling(move |connection| {
        if connection.head().is_some_and(|head| head.starts_with("GET")) {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return;
        }
        told.lock().unwrap().recv().unwrap();
        let mut sink = [0; 65536];
        let mut tail: Vec<u8> = Vec::new();
        while !tail.ends_with(b"\r\n0\r\n\r\n") {
            let read = std::io::Read::read(&mut connection.stream, &mut sink).unwrap();
            // The end may arrive in two pieces.
            tail.extend_from_slice(&sink[..read]);
            tail.drain(..tail.len().saturating_sub(7));
        }
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Two::connect(backsoon.address()).await;
    // A worker's first request allocates memory that stays: up to 8 MiB, in huge pages.
    let (response, _) = client.begin(request("GET", "/"), true).await;
    assert_eq!(patiently(response).await.unwrap().status(), 200);
    let before = backsoon.resident();
    let (response, mut upload) = client.begin(request("POST", "/"), false).await;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let upload = tokio::spawn(async move {
        let piece = Bytes::from(vec![b'x'; 1 << 16]);
        for _ in 0..SIZE / piece.len() {
            write(&mut upload, piece.clone(), false).await.unwrap();
            counted.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
        }
        upload.send_data(Bytes::new(), true).unwrap();
    });
    // All buffers are full once nothing more is accepted for a while.
    let sent = || sent.load(std::sync::atomic::Ordering::SeqCst);
    loop {
        let now = sent();
        tokio::time::sleep(A_WHILE).await;
        if sent() == now && now > 0 {
            break;
        }
    }
    assert!(sent() < SIZE / 2, "{} bytes went into nowhere", sent());
    let grown = backsoon.resident().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for one upload");
    go.send(()).unwrap();
    upload.await.unwrap();
    assert_eq!(patiently(response).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn trailers_pass_from_end_to_end() {
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let mut body = request.into_body();
        let question = read(&mut body).await.unwrap();
        let asked = body.trailers().await.unwrap().unwrap();
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(question.into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("x-asked", asked["x-checksum"].clone());
        answer.send_trailers(trailers).unwrap();
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    let mut head = request("POST", "/Service/Method");
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    let (response, mut upload) = client.begin(head, false).await;
    upload.send_data(Bytes::from_static(b"question"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc".parse().unwrap());
    upload.send_trailers(trailers).unwrap();
    let answer = whole(patiently(response).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "question"));
    let trailers = answer.trailers.unwrap();
    assert_eq!((trailers["grpc-status"].as_bytes(), trailers["x-asked"].as_bytes()), (&b"0"[..], &b"abc"[..]));
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_response_of_nothing_but_trailers_passes() {
    let upstream = TwoUpstream::handling(|_, mut respond| async move {
        // gRPC reports a call that failed at once in this form.
        respond.send_response(Response::builder().header("grpc-status", "12").body(()).unwrap(), true).unwrap();
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, _upload) = client.begin(request("POST", "/Service/Method"), false).await;
    let answer = whole(patiently(response).await.unwrap()).await.unwrap();
    assert_eq!((answer.field("grpc-status"), answer.body.as_str()), (Some("12"), ""));
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_trailers_of_an_http_1_upstream_reach_an_http_2_client() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Two::connect(backsoon.address()).await;
    let mut head = request("GET", "/");
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    let answer = client.ask(head, "").await.unwrap();
    assert_eq!(answer.body, "abc");
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.trailers.unwrap()["x-sum"], "9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_1_upstream_gets_the_authority_as_its_host_and_one_cookie_field() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Two::connect(backsoon.address()).await;
    let mut head = Request::get("http://shop.example:8443/a/b?c=d").body(()).unwrap();
    for crumb in ["a=1", "b=2", "c=3"] {
        head.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    head.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    assert_eq!(client.ask(head, "").await.unwrap().status, 200);
    let seen = upstream.seen();
    assert!(seen.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{seen}");
    for line in [
        "host: shop.example:8443",
        "cookie: a=1; b=2; c=3",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: shop.example:8443",
    ] {
        assert_eq!(seen.lines().filter(|seen| seen == &line).count(), 1, "{line} in {seen}");
    }
    assert!(!seen.contains("203.0.113.9"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_2_upstream_gets_the_clients_authority_and_the_forwarding_fields() {
    let upstream = TwoUpstream::echoing_paths().await;
    let backsoon = before(&upstream, "");
    let mut one = Client::connect(backsoon.address());
    one.send("GET /one?q HTTP/1.1\r\nhost: shop.example\r\nconnection: x-hop\r\nx-hop: 1\r\nte: trailers\r\n\r\n");
    assert_eq!(one.response().body, "/one");
    let mut two = Two::connect(backsoon.address()).await;
    two.ask(Request::get("http://shop.example/two").body(()).unwrap(), "").await.unwrap();
    let heads = upstream.heads();
    assert_eq!(heads[0].uri(), "http://shop.example/one?q");
    assert_eq!(heads[1].uri(), "http://shop.example/two");
    for head in &heads {
        let fields = head.headers();
        assert_eq!(fields["x-forwarded-for"], "127.0.0.1");
        assert_eq!(fields["forwarded"], "for=127.0.0.1;host=shop.example;proto=http");
        assert!(["host", "connection", "x-hop"].iter().all(|name| !fields.contains_key(*name)), "{fields:?}");
    }
    assert!(upstream.connections() <= 2, "at most one connection for each of two workers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_head_request_is_answered_without_a_body() {
    let upstream = Upstream::handling(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n");
        }
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Two::connect(backsoon.address()).await;
    for _ in 0..2 {
        let answer = client.ask(request("HEAD", "/"), "").await.unwrap();
        assert_eq!((answer.field("content-length"), answer.body.as_str()), (Some("1234"), ""));
    }
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let shown = client.get("/").await.unwrap();
    let head = client.ask(request("HEAD", "/"), "").await.unwrap();
    assert_eq!((head.status, head.body.as_str()), (503, ""));
    assert_eq!(head.field("content-length"), Some(shown.body.len().to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_page_comes_over_http_2_in_every_dialect() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes.web]\nmode = \"offline\"\nmessage = \"We move the database.\"\n");
    let mut client = Two::connect(backsoon.address()).await;
    for (accept, content_type) in [
        ("text/html", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("text/markdown", "text/markdown; charset=utf-8"),
        ("application/xml", "application/problem+xml; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
    ] {
        let mut head = request("GET", "/");
        head.headers_mut().insert("accept", accept.parse().unwrap());
        let answer = client.ask(head, "").await.unwrap();
        assert_eq!((answer.status, answer.field("content-type")), (503, Some(content_type)));
        assert!(answer.body.contains("We move the database."), "{}", answer.body);
        assert!(answer.field("retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.field("connection"), None);
    }
}

/// Pingora's CVE-2025-4366, in HTTP/2: the proxy answers a request whose body is still arriving.
#[test]
fn a_closed_route_answers_at_once_and_resets_only_a_stream_whose_body_does_not_end() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[limits]\nlinger = \"1s\"\nlinger_size = \"2KiB\"\n");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    upstream.forget();
    let mut client = Frames::connect(backsoon.address(), &[]);
    // The first two stop sending. The others send more than is discarded for them.
    for stream in [1, 3, 5, 7] {
        client.send(frame(HEADERS, 4, stream, &post_block(&[])));
        client.send(frame(DATA, 0, stream, &[b'x'; 1000]));
        let (head, last) = client.answer(stream).unwrap();
        assert!(has_status(&head, 503), "{head:?}");
        assert_ne!(last.kind, RST_STREAM, "the page was cut by the reset");
        if stream > 3 {
            client.send(frame(DATA, 0, stream, &[b'x'; 2000]));
        }
        // The whole page arrives, and then the client is told without an error that the rest of its body is not wanted.
        let reset = client.until(RST_STREAM, stream).unwrap();
        assert_eq!(code(&reset.payload), NO_ERROR);
        // Frames that were already on their way do no harm.
        client.send(frame(DATA, 1, stream, &[b'x'; 1000]));
    }
    backsoon.unflag();
    client.send(frame(HEADERS, 5, 9, &get_block(&[])));
    let (head, last) = client.answer(9).unwrap();
    assert!(has_status(&head, 200) && last.kind != RST_STREAM, "{head:?} {last:?}");
    assert!(!upstream.seen().contains("xx"), "{}", upstream.seen());
    assert_eq!(backsoon.metric("backsoon_limit_reached_total", "limit=\"linger\""), 4.0);
}

/// curl before version 8 and httpx lose an answer that is followed by a reset, although they must not.
#[test]
fn an_upload_to_a_closed_route_that_ends_soon_is_not_reset() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send(frame(HEADERS, 4, 1, &post_block(&[])));
    let (head, _) = client.answer(1).unwrap();
    assert!(has_status(&head, 503), "{head:?}");
    for last in [0, 1] {
        client.send(frame(DATA, last, 1, &[b'x'; 1000]));
    }
    client.send(frame(HEADERS, 5, 3, &get_block(&[])));
    let next = std::iter::from_fn(|| client.frame()).find(|frame| frame.kind == HEADERS || frame.kind == RST_STREAM);
    assert_eq!(next.map(|frame| (frame.kind, frame.stream)), Some((HEADERS, 3)));
}

#[test]
fn idle_clients_are_pinged_and_stay_as_long_as_they_answer() {
    let upstream = Upstream::ok();
    let limits = "[limits]\nh2_ping = \"1s\"\nhead_read = \"1s\"\n";
    let backsoon = Backsoon::before(&upstream.url(), limits);
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send(frame(HEADERS, 5, 1, &get_block(&[])));
    client.answer(1).unwrap();
    // Answers to pings do not begin a request, so `head_read` does not count from them.
    for _ in 0..3 {
        let ping = client.until(PING, 0).expect("a ping, not the end of the connection");
        assert_eq!(ping.flags & ACK, 0);
        client.send(frame(PING, ACK, 0, &ping.payload));
    }
    client.send(frame(HEADERS, 5, 3, &get_block(&[])));
    let (head, _) = client.answer(3).unwrap();
    assert!(has_status(&head, 200));
}

#[test]
fn an_idle_client_is_told_to_go_after_keep_alive() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[limits]\nkeep_alive = \"1s\"\n");
    let mut client = Frames::connect(backsoon.address(), &[]);
    client.send(frame(HEADERS, 5, 1, &get_block(&[])));
    client.answer(1).unwrap();
    // A client that acknowledges settings and returns its window is still idle.
    client.send(frame(SETTINGS, ACK, 0, &[]));
    client.send(frame(WINDOW_UPDATE, 0, 0, &5_u32.to_be_bytes()));
    assert_eq!(client.goaway(), Some(NO_ERROR));
    wait("the connection to be counted out", || backsoon.metric("backsoon_client_connections", "") == 0.0);
    let limit = |name: &str| backsoon.metric("backsoon_limit_reached_total", &format!("limit=\"{name}\""));
    assert_eq!((limit("keep_alive"), limit("head_read")), (1.0, 0.0));
}

#[test]
fn a_client_that_begins_and_asks_for_nothing_is_let_go_after_head_read() {
    let backsoon = Backsoon::before("http://127.0.0.1:1", "[limits]\nhead_read = \"1s\"\n");
    for begun in [&PREFACE[..10], PREFACE, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()] {
        let mut client = Frames::silent(backsoon.address());
        client.send(begun);
        client.goaway();
        wait("the connection to be freed", || backsoon.metric("backsoon_client_connections", "") == 0.0);
    }
    let reached = || backsoon.metric("backsoon_limit_reached_total", "limit=\"head_read\"");
    wait("all to be counted", || reached() == 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_end_of_the_process_loses_no_stream() {
    let (release, held) = tokio::sync::watch::channel(false);
    let upstream = TwoUpstream::handling(move |_, mut respond| {
        let mut held = held.clone();
        async move {
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            held.wait_for(|released| *released).await.unwrap();
            answer.send_data(Bytes::from_static(b"whole"), true).unwrap();
        }
    })
    .await;
    let mut backsoon = before(&upstream, "[limits]\ngrace = \"400ms\"\n");
    let mut client = Two::connect(backsoon.address()).await;
    let mut under_way = Vec::new();
    for _ in 0..20 {
        let (response, _) = client.begin(request("GET", "/"), true).await;
        under_way.push(response);
    }
    wait("the requests to be under way", || backsoon.route("web")["in_flight"] == 20);
    let mut idle = Two::connect(backsoon.address()).await;
    idle.ping().await.unwrap();
    backsoon.signal("TERM");
    wait("readiness to go down", || get(backsoon.admin, "/readyz").status == 503);
    // Within the grace time a new stream is still answered.
    let (response, _) = idle.begin(request("GET", "/"), true).await;
    under_way.push(response);
    wait("the new request to be under way", || backsoon.route("web")["in_flight"] == 21);
    release.send(true).unwrap();
    for response in under_way {
        assert_eq!(whole(patiently(response).await.unwrap()).await.unwrap().body, "whole");
    }
    client.ended().await.unwrap();
    idle.ended().await.unwrap();
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_clients_reset_cancels_the_request_at_an_http_1_upstream() {
    let (gone, ended) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::handling(move |connection| {
        connection.head();
        // Never answers; waits for the end of its connection.
        assert_eq!(connection.byte(), None);
        let _ = gone.lock().unwrap().send(());
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    wait("the request to be under way", || backsoon.route("web")["in_flight"] == 1);
    drop(response);
    ended.recv_timeout(crate::support::PATIENCE).unwrap();
    wait_for_quiet(&backsoon);
    wait("the connection to be counted out", || backsoon.route("web")["upstreams"][0]["connections"] == 0);
    assert_eq!(backsoon.route("web")["requests"]["aborted"], 1);
    client.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_clients_reset_in_the_middle_of_bodies_cancels_the_stream_at_an_http_2_upstream() {
    let (cancelled, mut resets) = tokio::sync::mpsc::unbounded_channel();
    let upstream = TwoUpstream::handling(move |request, mut respond| {
        let cancelled = cancelled.clone();
        async move {
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(Bytes::from_static(b"begun"), false).unwrap();
            let reason = std::future::poll_fn(|cx| answer.poll_reset(cx)).await;
            let _ = cancelled.send(reason.ok());
            drop(request);
        }
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    for _ in 0..30 {
        let (response, mut upload) = client.begin(request("POST", "/"), false).await;
        upload.send_data(Bytes::from_static(b"more to come"), false).unwrap();
        let mut response = patiently(response).await.unwrap();
        assert_eq!(patiently(response.body_mut().data()).await.unwrap().unwrap(), "begun");
        upload.send_reset(Reason::CANCEL);
        assert!(patiently(resets.recv()).await.unwrap().is_some());
    }
    wait_for_quiet(&backsoon);
    assert_eq!(upstream.connections(), 1, "the connection survives its streams");
    assert_eq!(backsoon.route("web")["requests"]["aborted"], 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_2_upstream_is_asked_hundreds_of_things_at_once() {
    let (release, held) = tokio::sync::watch::channel(false);
    let upstream = TwoUpstream::handling(move |request, mut respond| {
        let mut held = held.clone();
        async move {
            held.wait_for(|released| *released).await.unwrap();
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(Bytes::from(request.uri().path().to_owned()), true).unwrap();
        }
    })
    .await;
    let backsoon = before(&upstream, "[limits]\nh2_streams = 300\n");
    let mut client = Two::connect(backsoon.address()).await;
    client.ping().await.unwrap();
    let mut under_way = Vec::new();
    for number in 0..250 {
        let (response, _) = client.begin(request("GET", &format!("/{number}")), true).await;
        under_way.push(response);
    }
    wait("all requests to have arrived", || upstream.heads().len() == 250);
    release.send(true).unwrap();
    for (number, response) in under_way.into_iter().enumerate() {
        let answer = whole(patiently(response).await.unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.body), (200, format!("/{number}")));
    }
    assert!(upstream.connections() <= 3, "{} connections for 250 streams", upstream.connections());
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_allows_few_streams_gets_no_more_and_none_fails() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(4);
    let upstream = TwoUpstream::start(
        |_, mut respond| async move {
            tokio::task::yield_now().await;
            respond.send_response(Response::new(()), true).unwrap();
        },
        None,
        builder,
    )
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    for _ in 0..5 {
        let mut under_way = Vec::new();
        for _ in 0..60 {
            under_way.push(client.begin(request("GET", "/"), true).await.0);
        }
        for response in under_way {
            assert_eq!(patiently(response).await.unwrap().status(), 200);
        }
    }
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_says_goaway_is_asked_over_a_new_connection() {
    let upstream = TwoUpstream::echoing_paths().await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    for round in 0..10 {
        for number in 0..5 {
            let path = format!("/{round}/{number}");
            assert_eq!(client.get(&path).await.unwrap().body, path);
        }
        upstream.leave(Leave::Gracefully);
    }
    assert!(upstream.connections() >= 2);
    wait_for_quiet(&backsoon);
    assert_eq!(backsoon.route("web")["requests"]["failed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_that_the_upstream_refused_is_sent_again_if_it_can_be() {
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        // Every other stream is refused; the client's streams are numbered 1, 3, 5…
        if respond.stream_id().as_u32() % 4 == 1 {
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        drop(request);
        respond.send_response(Response::new(()), true).unwrap();
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    for method in ["GET", "DELETE", "POST", "GET"] {
        assert_eq!(client.ask(request(method, "/"), "").await.unwrap().status, 200, "{method}");
    }
    // A body that was sent is gone, so the request cannot be repeated.
    assert_eq!(client.ask(request("POST", "/"), "body").await.unwrap().status, 502);
    assert_eq!(upstream.connections(), 1);
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_dies_costs_the_requests_under_way_and_no_later_one() {
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        if request.uri().path() == "/never" {
            std::future::pending().await
        }
        respond.send_response(Response::new(()), true).unwrap();
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, _) = client.begin(request("GET", "/never"), true).await;
    wait("the request to have arrived", || upstream.heads().len() == 1);
    upstream.leave(Leave::Dying);
    let answer = whole(patiently(response).await.unwrap()).await.unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.field("proxy-status").unwrap().starts_with("backsoon; error="), "{answer:?}");
    assert_eq!(client.get("/").await.unwrap().status, 200);
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_that_dies_in_the_middle_of_a_response_breaks_off_the_stream() {
    let upstream = TwoUpstream::handling(|_, mut respond| async move {
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(b"half"), false).unwrap();
        std::future::pending().await
    })
    .await;
    let backsoon = before(&upstream, "");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    let mut response = patiently(response).await.unwrap();
    assert_eq!(patiently(response.body_mut().data()).await.unwrap().unwrap(), "half");
    upstream.leave(Leave::Dying);
    // An error, never a clean end: a cut response must not look whole.
    patiently(response.body_mut().data()).await.unwrap().unwrap_err();
    client.ping().await.unwrap();
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_2_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = TwoUpstream::handling(|request, respond| async move {
        let _kept = (request, respond);
        std::future::pending().await
    })
    .await;
    let backsoon = before(&upstream, "[limits]\nfirst_byte = \"200ms\"\n");
    let mut client = Two::connect(backsoon.address()).await;
    let answer = client.get("/").await.unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(answer.field("proxy-status"), Some("backsoon; error=http_response_timeout"));
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_1_server_behind_an_http_2_route_is_a_bad_gateway() {
    let upstream = Upstream::answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let backsoon = Backsoon::start(&format!("{LISTEN}[routes.web]\nupstream = \"{}\"\nhttp2 = true\n", upstream.url()));
    let mut client = Two::connect(backsoon.address()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.unwrap().status, 502);
    }
    assert_eq!(get(backsoon.address(), "/").status, 502);
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_larger_than_allowed_is_413_and_the_connection_goes_on() {
    let upstream = Upstream::ok();
    let backsoon = Backsoon::before(&upstream.url(), "[limits]\nbody_size = \"1KiB\"\n");
    let mut client = Two::connect(backsoon.address()).await;
    let mut announced = request("POST", "/");
    announced.headers_mut().insert("content-length", "5000".parse().unwrap());
    let (response, _upload) = client.begin(announced, false).await;
    assert_eq!(patiently(response).await.unwrap().status(), 413);
    let (response, mut upload) = client.begin(request("POST", "/"), false).await;
    upload.send_data(Bytes::from(vec![b'x'; 5000]), false).unwrap();
    assert_eq!(patiently(response).await.unwrap().status(), 413);
    assert_eq!(client.get("/").await.unwrap().status, 200);
    wait_for_quiet(&backsoon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_event_stream_is_not_held_back() {
    let (tell, told) = std::sync::mpsc::channel::<&str>();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::handling(move |connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for event in told.lock().unwrap().iter() {
            connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
        }
        connection.send("0\r\n\r\n");
    });
    let backsoon = Backsoon::before(&upstream.url(), "");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, _) = client.begin(request("GET", "/events"), true).await;
    let mut response = patiently(response).await.unwrap();
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        tell.send(event).unwrap();
        assert_eq!(patiently(response.body_mut().data()).await.unwrap().unwrap(), event);
        response.body_mut().flow_control().release_capacity(event.len()).unwrap();
    }
    drop(tell);
    assert!(read(response.body_mut()).await.unwrap().is_empty());
    wait_for_quiet(&backsoon);
}

/// Time that the tests wait for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(200);
