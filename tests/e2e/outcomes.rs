//! Outcomes of gRPC calls: their status stands in the trailers, and a guard heeds it.

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};

use crate::support::{Backsoon, wait};
use crate::two::{Two, TwoUpstream, patiently, request, whole};

/// Answers as the path asks: `/trailers/13`, `/head/14`, `/nothing`, `/broken`.
async fn answer(asked: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = asked.uri().path().to_owned();
    let head = || Response::builder().header("content-type", "application/grpc");
    if let Some(status) = path.strip_prefix("/head/") {
        respond.send_response(head().header("grpc-status", status).body(()).unwrap(), true).unwrap();
        return;
    }
    let mut stream = respond.send_response(head().body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), path == "/nothing").unwrap();
    if let Some(status) = path.strip_prefix("/trailers/") {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
        stream.send_trailers(trailers).unwrap();
    } else if path == "/broken" {
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    }
}

fn call(path: &str) -> Request<()> {
    let mut call = request("POST", path);
    call.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    call.headers_mut().insert("te", "trailers".parse().unwrap());
    call
}

/// Makes a call. A call that breaks off is one, too.
async fn make(client: &mut Two, path: &str) {
    let (response, _upload) = client.begin(call(path), true).await;
    if let Ok(response) = patiently(response).await {
        let _ = whole(response).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_fails_by_its_status_and_by_having_none() {
    let upstream = TwoUpstream::handling(answer).await;
    let log = "[log]\naccess = \"full\"\naccess_file = \"access.log\"\n";
    let backsoon = Backsoon::before(&upstream.url(), &format!("http2 = true\n{log}"));
    let mut client = Two::connect(backsoon.address()).await;
    let failed = || {
        let metric = |name: &str| backsoon.metric(name, "route=\"web\"");
        (metric("backsoon_grpc_failures_total"), metric("backsoon_proxy_errors_total"))
    };
    for path in ["/trailers/0", "/trailers/5", "/trailers/9", "/head/7", "/head/12"] {
        make(&mut client, path).await;
    }
    wait("nothing to be in flight", || backsoon.route("web")["in_flight"] == 0);
    assert_eq!(failed(), (0.0, 0.0), "these answers are the service's own");
    for path in ["/trailers/2", "/trailers/4", "/trailers/13", "/trailers/14", "/head/15", "/head/13", "/nothing"] {
        make(&mut client, path).await;
    }
    make(&mut client, "/broken").await;
    wait("each to be counted once", || failed() == (7.0, 1.0));
    let log = || std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
    wait("the log to tell why", || {
        ["grpc_unavailable", "grpc_no_status"].iter().all(|why| log().contains(&format!("\"error\":\"{why}\"")))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_guard_closes_a_route_whose_calls_fail() {
    let upstream = TwoUpstream::handling(answer).await;
    let guard = "http2 = true\ndrain = \"1ms\"\nguard = { error_rate = \"5%\", min_requests = 20 }\n";
    let backsoon = Backsoon::before(&upstream.url(), guard);
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the route to be closed", || backsoon.route("web")["phase"] == "closed");
    backsoon.unflag();
    wait("the route to be open", || backsoon.route("web")["phase"] == "open");
    let mut client = Two::connect(backsoon.address()).await;
    let began = std::time::Instant::now();
    while backsoon.route("web")["phase"] == "open" {
        assert!(began.elapsed() < crate::support::PATIENCE, "{}", backsoon.route("web"));
        for _ in 0..10 {
            make(&mut client, "/trailers/13").await;
        }
    }
    let why = backsoon.route("web")["why"].to_string();
    assert!(why.contains("the guard tripped"), "{why}");
}
