//! Draining: requests in flight when their route closes finish, leave properly, or are cut when the drain time ends.

use std::io::{BufRead, Read};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Response};
use tonic::transport::Channel;

use crate::clients::{Helper, printed, python, script};
use crate::dialects::calls::Raw;
use crate::support::{Backsoon, Client, LISTEN, PATIENCE, Upstream, UpstreamConnection, get, replace, wait};
use crate::two::{Two, TwoUpstream, patiently, request};
use crate::wire::{Counts, ended, next, observed, settled};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const OFFLINE: &str = "[routes]\nweb = \"offline\"\n";

/// Masked Close frame from a client: 1012.
const ANSWER: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];

/// Starts a proxy with one route `web` for everything, and this policy.
fn before(upstream: &str, policy: &str) -> Backsoon {
    let log = "[log]\naccess = \"full\"\naccess_file = \"access.log\"\n";
    Backsoon::start(&format!("workers = 2\n{LISTEN}{log}[routes.web]\nupstream = \"{upstream}\"\n{policy}\n"))
}

/// Waits until the route is closed, not only draining.
fn closed(backsoon: &Backsoon) {
    wait("the drain time to be over", || backsoon.route("web")["phase"] == "closed");
}

fn cut(backsoon: &Backsoon) -> f64 {
    backsoon.metric("backsoon_drain_cut_total", "route=\"web\"")
}

/// Opens a WebSocket through the proxy.
fn websocket(
    backsoon: &Backsoon,
    connections: &std::sync::mpsc::Receiver<UpstreamConnection>,
) -> (Client, UpstreamConnection) {
    let mut client = Client::connect(backsoon.address());
    client.send(ASK);
    let mut connection = next(connections);
    assert!(connection.head().is_some());
    connection.send(SWITCH);
    assert!(client.head().starts_with("HTTP/1.1 101"));
    (client, connection)
}

fn read(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads a Close frame from the server's side and returns its code.
fn close_frame(client: &mut Client) -> u16 {
    let head = read(client, 2);
    assert_eq!((head[0], head[1] & 0x80), (0x88, 0), "{head:?}");
    let payload = read(client, usize::from(head[1]));
    u16::from_be_bytes([payload[0], payload[1]])
}

/// Reads the masked Close frame sent to an upstream and returns its code.
fn masked_close_frame(connection: &mut UpstreamConnection) -> u16 {
    let mut byte = || connection.byte().expect("a byte of a frame");
    let (first, second) = (byte(), byte());
    assert_eq!((first, second & 0x80), (0x88, 0x80));
    let mask: Vec<u8> = (0..4).map(|_| byte()).collect();
    let payload: Vec<u8> = (0..usize::from(second & 0x7f)).map(|at| byte() ^ mask[at % 4]).collect();
    u16::from_be_bytes([payload[0], payload[1]])
}

#[test]
fn a_websocket_is_closed_between_two_frames_and_its_client_is_waited_for() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"20s\"\nstreams = \"1ms\"");
    let (mut client, mut connection) = websocket(&backsoon, &connections);
    connection.send(b"\x81\x05hel");
    assert_eq!(read(&mut client, 5), b"\x81\x05hel");
    backsoon.flag(OFFLINE);
    assert_eq!(masked_close_frame(&mut connection), 1001, "that way stood between two frames");
    // The other direction is inside a frame: that frame is finished first, and nothing after it is forwarded.
    connection.send(b"lo\x81\x02no");
    assert_eq!(read(&mut client, 2), b"lo");
    assert_eq!(close_frame(&mut client), 1012);
    assert_eq!(backsoon.metric("backsoon_tunnels", ""), 1.0, "it waits for the client's word");
    client.send(ANSWER);
    assert!(client.is_closed() && ended(&mut connection.stream));
    settled(&backsoon);
    assert_eq!(cut(&backsoon), 0.0);
}

#[test]
fn a_real_client_sees_1012_and_no_error() {
    let Some(python) = python("a WebSocket client sees 1012") else { return };
    let (_server, port) = Helper::start(script(&python, "websocket_server.py"));
    let backsoon = before(&format!("http://127.0.0.1:{port}"), "drain = \"20s\"\nstreams = \"500ms\"");
    let mut client = script(&python, "websocket_leaving.py");
    printed(
        client.arg(format!("ws://{}/echo", backsoon.address())).arg(backsoon.path("maintenance.toml")).arg(OFFLINE),
    );
    settled(&backsoon);
}

#[test]
fn a_websocket_whose_client_says_nothing_is_not_waited_for_when_the_drain_time_is_over() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"300ms\"");
    let (mut client, mut connection) = websocket(&backsoon, &connections);
    let began = Instant::now();
    backsoon.flag(OFFLINE);
    assert_eq!(close_frame(&mut client), 1012);
    assert!(client.is_closed() && ended(&mut connection.stream));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_tunnel_of_another_protocol_just_ends() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"20s\"\nstreams = \"100ms\"");
    let mut client = Client::connect(backsoon.address());
    client.send(ASK.replace("websocket", "other"));
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send(SWITCH.replace("websocket", "other"));
    client.head();
    connection.send("ping");
    assert_eq!(read(&mut client, 4), b"ping");
    backsoon.flag(OFFLINE);
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "no word of a protocol that it does not speak");
    assert!(ended(&mut connection.stream));
    settled(&backsoon);
}

#[test]
fn websockets_get_1012_when_the_process_ends() {
    let (upstream, connections) = observed();
    let mut backsoon = Backsoon::start(&format!(
        "drain = \"1s\"\n{LISTEN}[limits]\ngrace = \"200ms\"\n[routes.web]\nupstream = \"{}\"\n",
        upstream.url()
    ));
    let (mut client, _connection) = websocket(&backsoon, &connections);
    backsoon.signal("TERM");
    assert_eq!(close_frame(&mut client), 1012);
    client.send(ANSWER);
    assert!(client.is_closed());
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
}

#[test]
fn a_stream_of_events_ends_as_if_there_were_no_more_and_its_connection_goes_on() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"20s\"\nstreams = \"200ms\"");
    let mut client = Client::connect(backsoon.address());
    client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send(format!("{EVENTS}9\r\ndata: 1\n\n\r\n"));
    assert!(client.head().starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    backsoon.flag(OFFLINE);
    assert_eq!(read(&mut client, 14 + 5), b"9\r\ndata: 1\n\n\r\n0\r\n\r\n");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(ended(&mut connection.stream), "its upstream need not tell more");
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.response().status, 503);
    assert_eq!(cut(&backsoon), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_of_events_ends_well_over_http_2() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.send(format!("{EVENTS}9\r\ndata: 1\n\n\r\n"));
        connection.byte();
    });
    let backsoon = before(&upstream.url(), "drain = \"20s\"\nstreams = \"200ms\"");
    let mut client = Two::connect(backsoon.address()).await;
    let (response, _) = client.begin(request("GET", "/"), true).await;
    let mut response = patiently(response).await.unwrap();
    assert_eq!(patiently(response.body_mut().data()).await.unwrap().unwrap(), "data: 1\n\n");
    backsoon.flag(OFFLINE);
    while let Some(data) = patiently(response.body_mut().data()).await {
        assert_eq!(data.unwrap(), "", "it has ended, and well");
    }
    assert_eq!(client.get("/").await.unwrap().status, 503);
}

#[test]
fn a_stream_of_events_that_begins_late_has_only_the_rest_of_the_drain_time() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"4s\"");
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
            let mut connection = next(&connections);
            assert!(connection.head().is_some());
            (client, connection)
        })
        .collect();
    let began = Instant::now();
    backsoon.flag(OFFLINE);
    thread::sleep(Duration::from_millis(2500).saturating_sub(began.elapsed()));
    let mut clients = clients;
    for (_, connection) in &mut clients {
        connection.send(format!("{EVENTS}9\r\ndata: 1\n\n\r\n"));
    }
    for (client, _) in &mut clients {
        assert_eq!(client.response().body, "data: 1\n\n", "it ended well");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(cut(&backsoon), 0.0);
}

#[test]
fn a_stream_of_events_whose_client_takes_nothing_is_cut_in_the_end() {
    let upstream = Upstream::handling(|connection| {
        connection.request();
        connection.send(EVENTS);
        let piece = [b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat();
        while std::io::Write::write_all(&mut connection.stream, &piece).is_ok() {}
    });
    let backsoon = before(&upstream.url(), "drain = \"500ms\"");
    let mut deaf = Client::connect(backsoon.address());
    deaf.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(deaf.head().starts_with("HTTP/1.1 200"));
    backsoon.flag(OFFLINE);
    wait("it to be cut", || cut(&backsoon) == 1.0);
    settled(&backsoon);
    assert!(deaf.is_closed());
}

#[test]
fn what_is_to_be_kept_outlives_the_drain_time() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"200ms\"\nstreams = \"keep\"");
    let (mut tunnel, mut through) = websocket(&backsoon, &connections);
    let mut events = Client::connect(backsoon.address());
    events.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    connection.send(EVENTS);
    events.head();
    backsoon.flag(OFFLINE);
    closed(&backsoon);
    // Longer than the interval at which overdue requests are cut.
    thread::sleep(Duration::from_millis(300));
    through.send(b"\x81\x02hi");
    assert_eq!(read(&mut tunnel, 4), b"\x81\x02hi");
    connection.send("3\r\n:2\n\r\n");
    assert_eq!(read(&mut events, 8), b"3\r\n:2\n\r\n");
    assert_eq!((cut(&backsoon), backsoon.in_flight()), (0.0, 2.0));
}

#[test]
fn a_slow_answer_may_take_the_drain_time() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"10s\"");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    backsoon.flag(OFFLINE);
    assert_eq!((get(backsoon.address(), "/").status, &backsoon.route("web")["phase"]), (503, &"draining".into()));
    thread::sleep(Duration::from_millis(300));
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.response().body, "hello");
}

#[test]
fn who_got_no_answer_in_the_drain_time_gets_the_page() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"300ms\"");
    let mut client = Client::connect(backsoon.address());
    for (accept, content_type) in [("text/html", "text/html; charset=utf-8"), ("application/json", "application/")] {
        replace(&backsoon.path("maintenance.toml"), "# nothing\n");
        wait("the route to be open", || backsoon.route("web")["phase"] == "open");
        client.send(format!("GET /slow HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n"));
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        backsoon.flag(OFFLINE);
        // On the same connection, which stays open.
        let answer = client.response();
        assert_eq!(answer.status, 503);
        assert!(answer.field("proxy-status").is_some_and(|field| field.contains("details=\"maintenance\"")));
        assert!(answer.field("retry-after").is_some(), "{}", answer.head);
        assert!(answer.field("content-type").unwrap().starts_with(content_type), "{}", answer.head);
        let promise = answer.field("x-should-retry").is_some() || answer.body.contains("processed");
        assert!(!promise, "the upstream had the request: {}", answer.head);
        assert!(ended(&mut connection.stream), "the upstream sees that nobody waits any more");
    }
    assert_eq!(cut(&backsoon), 2.0);
    assert_eq!(backsoon.route("web")["requests"]["failed"], 0, "the upstream did nothing wrong");
    wait("the access log", || {
        let log = std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("\"error\":\"drained\"") && line.contains("\"status\":503")).count()
            == 2
    });
}

#[test]
fn who_still_sends_or_waits_for_a_connection_gets_the_page_too() {
    let (upstream, connections) = observed();
    let more = "drain = \"300ms\"\n[limits]\nupstream_connections = 1\n";
    let backsoon =
        Backsoon::start(&format!("workers = 1\n{LISTEN}[routes.web]\nupstream = \"{}\"\n{more}", upstream.url()));
    let mut upload = Client::connect(backsoon.address());
    upload.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    let mut queued = Client::connect(backsoon.address());
    queued.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wait("both to be in flight", || backsoon.in_flight() == 2.0);
    backsoon.flag(OFFLINE);
    let answer = upload.response();
    assert_eq!((answer.status, answer.field("connection")), (503, Some("close")), "the rest is no request");
    assert_eq!(queued.response().status, 503);
    assert!(ended(&mut connection.stream));
    assert_eq!((cut(&backsoon), upstream.connections()), (2.0, 1));
}

#[test]
fn an_answer_that_is_not_whole_when_the_drain_time_is_over_is_broken_off() {
    let upstream = Upstream::handling(|connection| {
        let head = connection.request().unwrap_or_default();
        connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        while head.starts_with("GET /much") && connection.stream.peer_addr().is_ok() {
            let sent = std::io::Write::write_all(
                &mut connection.stream,
                &[b"4000\r\n", &[b'x'; 0x4000][..], b"\r\n"].concat(),
            );
            if sent.is_err() {
                return;
            }
        }
        connection.byte();
    });
    let backsoon = before(&upstream.url(), "drain = \"500ms\"");
    // One client has a slow upstream, and one reads nothing.
    let (mut slow, mut deaf) = (Client::connect(backsoon.address()), Client::connect(backsoon.address()));
    slow.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    deaf.send("GET /much HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(slow.head().starts_with("HTTP/1.1 200") && deaf.head().starts_with("HTTP/1.1 200"));
    backsoon.flag(OFFLINE);
    let mut body = Vec::new();
    let _ = slow.stream.read_to_end(&mut body);
    assert_eq!(body, b"5\r\nhello\r\n", "no end that could be taken for one");
    wait("both to be cut", || cut(&backsoon) == 2.0);
    settled(&backsoon);
    assert!(deaf.is_closed());
    assert_eq!(backsoon.route("web")["requests"]["aborted"], 0, "no client gave up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_2_stream_is_answered_or_reset_with_cancel_and_the_others_go_on() {
    let upstream = TwoUpstream::handling(|request, mut respond| async move {
        if request.uri().path() == "/begun" {
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(Bytes::from_static(b"begun"), false).unwrap();
            let _ = std::future::poll_fn(|cx| answer.poll_reset(cx)).await;
        } else {
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        }
    })
    .await;
    let backsoon = before(&upstream.url(), "http2 = true\ndrain = \"300ms\"");
    let mut client = Two::connect(backsoon.address()).await;
    let (begun, _) = client.begin(request("GET", "/begun"), true).await;
    let (silent, _) = client.begin(request("GET", "/silent"), true).await;
    let mut begun = patiently(begun).await.unwrap();
    assert_eq!(patiently(begun.body_mut().data()).await.unwrap().unwrap(), "begun");
    wait("both to be in flight", || backsoon.in_flight() == 2.0);
    backsoon.flag(OFFLINE);
    let error = patiently(begun.body_mut().data()).await.unwrap().unwrap_err();
    assert_eq!((error.reason(), error.is_reset(), error.is_remote()), (Some(h2::Reason::CANCEL), true, true));
    let silent = patiently(silent).await.unwrap();
    assert_eq!(silent.status(), 503);
    assert!(silent.headers()["proxy-status"].to_str().unwrap().contains("maintenance"));
    client.ping().await.unwrap();
    wait("nothing to be in flight", || backsoon.in_flight() == 0.0);
    wait("the upstream to be rid of them", || backsoon.route("web")["upstreams"][0]["pending"] == 0);
    assert_eq!(cut(&backsoon), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_grpc_stream_ends_with_unavailable() {
    let upstream = TwoUpstream::handling(|_, mut respond| async move {
        let mut head = Response::new(());
        head.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
        let mut answer = respond.send_response(head, false).unwrap();
        answer.send_data(Bytes::from_static(b"\0\0\0\0\x05hello"), false).unwrap();
        // The beginning of the next message.
        answer.send_data(Bytes::from_static(b"\0\0\0"), false).unwrap();
        let _ = std::future::poll_fn(|cx| answer.poll_reset(cx)).await;
    })
    .await;
    let backsoon = before(&upstream.url(), "http2 = true\ndrain = \"300ms\"");
    let channel = Channel::from_shared(backsoon.url("")).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let method = PathAndQuery::from_static("/test.Test/Stream");
    let asked = client.server_streaming(tonic::Request::new(Bytes::new()), method, Raw).await;
    let mut messages = asked.unwrap().into_inner();
    assert!(patiently(messages.message()).await.unwrap().is_some());
    backsoon.flag(OFFLINE);
    let status = patiently(messages.message()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    // The same bytes as they stand on the wire.
    backsoon.flag("# nothing\n");
    let mut two = Two::connect(backsoon.address()).await;
    let (response, _upload) = two.begin(request("POST", "/test.Test/Stream"), false).await;
    let mut response = patiently(response).await.unwrap();
    backsoon.flag(OFFLINE);
    while let Some(data) = patiently(response.body_mut().data()).await {
        data.unwrap();
    }
    let trailers: HeaderMap = patiently(response.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!((&trailers["grpc-status"], trailers.contains_key("grpc-message")), (&"14".parse().unwrap(), true));
    wait("both to be counted", || cut(&backsoon) == 2.0);
}

#[test]
fn what_the_mode_would_let_pass_is_left_alone() {
    let (upstream, connections) = observed();
    let backsoon = before(
        &upstream.url(),
        "drain = \"200ms\"\nalways_open = [\"/hooks/\"]\nread_only = { allow = [\"POST /login\"] }",
    );
    let ask = |line: &str| {
        let mut client = Client::connect(backsoon.address());
        client.send(format!("{line} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"));
        let mut connection = next(&connections);
        assert!(connection.head().is_some());
        (client, connection)
    };
    let mut spared: Vec<_> = ["GET /read", "POST /login", "POST /hooks/1"].map(ask).into();
    let (mut writes, _connection) = ask("POST /write");
    let (mut tunnel, mut through) = websocket(&backsoon, &connections);
    backsoon.flag("[routes]\nweb = \"read-only\"\n");
    assert_eq!(writes.response().status, 503);
    assert_eq!(cut(&backsoon), 1.0);
    through.send(b"\x81\x02hi");
    assert_eq!(read(&mut tunnel, 4), b"\x81\x02hi");
    // A stricter mode drains again.
    backsoon.flag(OFFLINE);
    let (mut hook, mut connection) = spared.pop().unwrap();
    for (mut client, _) in spared {
        assert_eq!(client.response().status, 503);
    }
    assert_eq!(close_frame(&mut tunnel), 1012);
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(hook.response().body, "ok");
}

#[test]
fn a_route_that_is_lifted_while_it_drains_cuts_nothing() {
    let (upstream, connections) = observed();
    let backsoon = before(&upstream.url(), "drain = \"1s\"\nstreams = \"10s\"");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut connection = next(&connections);
    assert!(connection.head().is_some());
    backsoon.flag(OFFLINE);
    assert_eq!(get(backsoon.address(), "/").status, 503);
    backsoon.flag("# nothing\n");
    thread::sleep(Duration::from_millis(1300));
    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!((client.response().body.as_str(), cut(&backsoon)), ("hello", 0.0));
}

#[test]
fn hundreds_of_tunnels_leave_one_by_one() {
    const TUNNELS: usize = 300;
    const SPREAD: Duration = Duration::from_secs(2);
    let upstream = Upstream::handling(|connection| {
        connection.head();
        connection.send(SWITCH);
        while connection.byte().is_some() {}
    });
    let backsoon = before(&upstream.url(), "drain = \"20s\"\nstreams = \"2s\"");
    let clients: Vec<Client> = (0..TUNNELS)
        .map(|_| {
            let mut client = Client::connect(backsoon.address());
            client.send(ASK);
            assert!(client.head().starts_with("HTTP/1.1 101"));
            client
        })
        .collect();
    let began = Instant::now();
    backsoon.flag(OFFLINE);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                client.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
                assert_eq!(client.stream.fill_buf().unwrap()[..4], [0x88, 17, 0x03, 0xf4]);
                let told = began.elapsed();
                client.send(ANSWER);
                client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
                told
            })
        })
        .collect();
    let mut told: Vec<Duration> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    told.sort_unstable();
    let slots = told.iter().fold([0; 4], |mut slots, time| {
        let since = *time - told[0];
        slots[usize::try_from(since.as_millis() * 4 / SPREAD.as_millis()).unwrap().min(3)] += 1;
        slots
    });
    // About 75 in each quarter. A busy machine shifts them, but never brings all of them together.
    assert!(slots.iter().all(|&count| count <= TUNNELS * 2 / 3), "{slots:?}, the last after {:?}", told.last());
    settled(&backsoon);
}
