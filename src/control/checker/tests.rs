//! Attempts of each kind against small servers in this process.

use ::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

use crate::plan::config;

use super::*;

/// Runs a test the way control runs: one thread with local tasks.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Makes one attempt of a check on a server, and returns its failure without the name of the server.
async fn failure(port: u16, check: &str) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}");
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"{url}\"\nverify = [{{ {check} }}]\n"
    );
    let (config, problems) = config::parse("backsoon.toml", &text);
    let config = config.unwrap_or_else(|| panic!("{check}: {problems:?}"));
    let route = &config.routes[0];
    let target = Target { upstream: route.upstreams[0].clone(), tls: None, host: "www.example.com".to_owned() };
    let attempt = attempt(&target, &route.policy.verify[0], &Permits::default()).await;
    attempt.failure.map(|failure| failure.replace(&format!(" on {url}"), ""))
}

/// Serves HTTP/1: answers by the path, and the path `/echo` with the request itself.
async fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let mut request = String::from_utf8_lossy(&head).to_ascii_lowercase();
                if let Some((_, rest)) = request.split_once("content-length: ") {
                    let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await?;
                    request += &String::from_utf8_lossy(&body);
                }
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                stream.write_all(answer(&path, &request).as_bytes()).await
            });
        }
    });
    port
}

fn answer(path: &str, request: &str) -> String {
    let with = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    match path {
        "/echo" => with("200 OK", request),
        "/ready" => with("200 OK\r\ncontent-type: application/json; charset=utf-8", "{\"state\": \"ready\"}"),
        "/empty" => with("204 Empty", ""),
        "/denied" => with("401 Who", ""),
        "/moved" => with("302 Found\r\nlocation: /ready", ""),
        "/kept" => with("307 Again\r\nlocation: /echo", ""),
        "/away" => with("302 Found\r\nlocation: https://login.example.org/", ""),
        "/loop" => with("302 Found\r\nlocation: /loop", ""),
        _ => with("500 Oh", ""),
    }
}

#[test]
fn each_condition_on_an_answer_passes_or_says_what_came() {
    run(async {
        let port = serve().await;
        let asks = |what: &str| format!("get = \"/echo\", {what}");
        for (check, told) in [
            ("get = \"/ready\"", ""),
            ("get = \"/empty\", expect = \"2xx\"", ""),
            ("get = \"/denied\", expect = [200, \"4XX\"]", ""),
            ("get = \"/empty\", expect = [200, \"3xx\"]", "GET /empty answered 204, expected 200 or 3xx"),
            ("get = \"/ready\", body = \"\\\"ready\\\"\"", ""),
            ("get = \"/ready\", body = \"done\"", "GET /ready answered without \"done\" in its body"),
            ("get = \"/ready\", matches = '\"state\": \"(ready|ok)\"'", ""),
            ("get = \"/ready\", matches = '^ok$'", "GET /ready answered with a body that `^ok$` does not match"),
            ("get = \"/ready\", expect_headers = { content-type = \"json\" }", ""),
            (
                "get = \"/ready\", expect_headers = { content-type = \"html\" }",
                "GET /ready answered with `content-type: application/json; charset=utf-8`, expected \"html\" in it",
            ),
            ("get = \"/ready\", expect_headers = { x-a = \"b\" }", "GET /ready answered without `x-a: b`"),
            (&asks("host = \"shop.example.com\", body = \"host: shop.example.com\""), ""),
            (&asks("body = \"host: www.example.com\""), ""),
            (&asks("headers = { X-Test = \"1\", User-Agent = \"me\" }, body = \"x-test: 1\""), ""),
            (&asks("headers = { User-Agent = \"me\" }, body = \"user-agent: me\""), ""),
            (&asks("send = \"a=b\", matches = 'post /echo(?s:.*)\\r\\n\\r\\na=b$'"), ""),
            (&asks("method = \"PUT\", send = \"a=b\", body = \"put /echo\""), ""),
            ("get = \"/ready\", method = \"HEAD\"", ""),
            ("get = \"/moved\"", "GET /moved answered 302, expected 200"),
            ("get = \"/moved\", expect = 302", ""),
            ("get = \"/moved\", follow = 1, body = \"ready\"", ""),
            ("get = \"/kept\", follow = 1, send = \"a=b\", body = \"a=b\"", ""),
            ("get = \"/loop\", follow = 2", "GET /loop redirects more than 2 times"),
            ("get = \"/away\", follow = 2", "GET /away redirects to another host, https://login.example.org/"),
            ("tcp = true", ""),
        ] {
            assert_eq!(failure(port, check).await.unwrap_or_default(), told, "{check}");
        }
        let slow = failure(port, "get = \"/ready\", faster_than = \"1ms\", within = \"20s\"").await;
        // On a fast machine the answer may well come within a millisecond.
        assert!(slow.is_none_or(|slow| slow.ends_with(" ms, must be faster than 1 ms")));
    });
}

#[test]
fn where_nobody_listens_no_kind_passes() {
    run(async {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        for (check, name) in [("tcp = true", "connecting"), ("grpc = \"\"", "gRPC health"), ("get = \"/\"", "GET /")] {
            let told = failure(port, check).await;
            assert_eq!(told, Some(format!("{name} got no connection: Connection refused")), "{check}");
        }
    });
}

/// Serves the health service over HTTP/2 in clear text: the answer depends on the name of the service.
async fn serve_health() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    spawn_local(health(request, respond));
                }
            });
        }
    });
    port
}

async fn health(request: ::http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let is_call = request.uri().path() == "/grpc.health.v1.Health/Check"
        && request.headers()["content-type"] == "application/grpc"
        && request.headers()["te"] == "trailers";
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        message.extend_from_slice(&data);
    }
    let service = String::from_utf8_lossy(message.get(7..).unwrap_or_default()).into_owned();
    let status =
        |code: &'static str| HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(code))]);
    let mut head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    if !is_call || service == "nobody" {
        head.headers_mut().extend(status("5"));
        head.headers_mut().insert("grpc-message", HeaderValue::from_static("unknown service"));
        respond.send_response(head, true).unwrap();
        return;
    }
    let mut stream = respond.send_response(head, false).unwrap();
    let serves = if service == "down" { 2 } else { 1 };
    stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, serves]), false).unwrap();
    if service != "torn" {
        stream.send_trailers(status(if service == "broken" { "13" } else { "0" })).unwrap();
    }
}

#[test]
fn the_health_service_of_grpc_is_asked_over_http2_in_clear_text() {
    run(async {
        let port = serve_health().await;
        for (check, told) in [
            ("grpc = \"\"", ""),
            ("grpc = \"shop.Cart\", host = \"shop.example.com\"", ""),
            ("grpc = \"down\"", "gRPC health of down answered NOT_SERVING, expected SERVING"),
            ("grpc = \"nobody\"", "gRPC health of nobody answered with grpc-status 5: unknown service"),
            ("grpc = \"broken\"", "gRPC health of broken answered with grpc-status 13"),
        ] {
            assert_eq!(failure(port, check).await.unwrap_or_default(), told, "{check}");
        }
        let torn = failure(port, "grpc = \"torn\", within = \"20s\"").await.unwrap();
        assert!(torn.starts_with("gRPC health of torn "), "{torn}");
        // A server that speaks HTTP/1 alone breaks off.
        let port = serve().await;
        let told = failure(port, "grpc = \"\", within = \"500ms\"").await.unwrap();
        assert!(told.starts_with("gRPC health "), "{told}");
    });
}
