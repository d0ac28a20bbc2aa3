//! Remote calls: gRPC, gRPC-Web and Connect. Each client sees its own kind of error, and a time to try again.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::{Buf, BufMut, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use jiff::Timestamp;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{BROWSER, ask, ask_bytes, in_seconds, json};
use crate::clients::{printed, python, script};
use crate::support::{Backsoon, Response};
use crate::two::{Two, request, whole};

/// Seconds for which the route is closed; a page shows them in whole minutes, rounded up.
const SECONDS: i64 = 300;

/// `google.rpc.RetryInfo { retry_delay { seconds: 300 } }`.
const RETRY_INFO: [u8; 5] = [0x0a, 0x03, 0x08, 0xac, 0x02];

/// Returns a route that is closed for [`SECONDS`], and the message for its callers.
fn paused(more: &str) -> (Backsoon, String) {
    let backsoon = Backsoon::before("http://127.0.0.1:1", &format!("http2 = true\n{more}"));
    let (starts, ends): (Timestamp, Timestamp) = (in_seconds(-60), in_seconds(SECONDS));
    backsoon.flag(&format!(
        "[[windows]]\nid = \"M-1\"\ntitle = \"50 % für alle\"\nstarts = {starts}\nends = {ends}\nroutes = {{ web = \"offline\" }}\n"
    ));
    (backsoon, format!("50 % für alle (until {ends})"))
}

#[test]
fn a_grpc_client_sees_unavailable_and_when_to_try_again() {
    let Some(python) = python("a gRPC client sees when to try again") else { return };
    let (backsoon, message) = paused("");
    let mut client = script(&python, "grpc_closed.py");
    printed(client.arg(backsoon.address().to_string()).arg(message).arg(SECONDS.to_string()));
}

/// Codec that leaves messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[tokio::test]
async fn tonic_sees_unavailable_and_when_to_try_again() {
    let (backsoon, message) = paused("");
    let channel = Channel::from_shared(backsoon.url("")).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    for _ in 0..2 {
        client.ready().await.unwrap();
        let method = PathAndQuery::from_static("/test.Test/Unary");
        let answer = client.unary(tonic::Request::new(Bytes::from_static(b"hello")), method, Raw).await;
        let status = answer.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, message.as_str()));
        assert!(status.details().ends_with(&RETRY_INFO), "{:?}", status.details());
        assert!(pushback(&status.metadata().clone().into_headers()), "{:?}", status.metadata());
    }
    client.ready().await.unwrap();
    let method = PathAndQuery::from_static("/test.Test/Stream");
    let streamed = client.server_streaming(tonic::Request::new(Bytes::new()), method, Raw).await;
    assert_eq!(streamed.map(|_| ()).unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_grpc_answer_is_one_head_that_is_its_trailers_too() {
    let (backsoon, message) = paused("dialect = \"json\"\n");
    let mut two = Two::connect(backsoon.address()).await;
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc+json"] {
        let mut request = request("POST", "/test.Test/Unary");
        for (name, value) in [("content-type", content_type), ("te", "trailers"), ("accept", BROWSER)] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (response, mut upload) = two.begin(request, false).await;
        upload.send_data(Bytes::from_static(b"\0\0\0\0\x05hello"), true).unwrap();
        let response = response.await.unwrap();
        assert!(response.body().is_end_stream(), "nothing follows the head");
        let answer = whole(response).await.unwrap();
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/grpc")));
        assert_eq!((answer.field("grpc-status"), answer.field("content-length")), (Some("14"), None));
        let told = answer.field("grpc-message").unwrap();
        assert!(told.starts_with("50 %25 f%C3%BCr alle (until ") && told.is_ascii(), "{told}");
        let details = STANDARD_NO_PAD.decode(answer.field("grpc-status-details-bin").unwrap()).unwrap();
        assert!(details.ends_with(&RETRY_INFO), "{details:?}");
        assert!(details.windows(message.len()).any(|part| part == message.as_bytes()), "{details:?}");
        assert!(pushback(&answer.headers), "{:?}", answer.headers);
    }
}

/// Returns true if a client with a retry policy is told not to wait within its call.
fn pushback(headers: &HeaderMap) -> bool {
    headers.get("grpc-retry-pushback-ms").is_some_and(|value| value == "-1")
}

#[test]
fn a_grpc_web_client_finds_the_trailers_in_the_body() {
    let (backsoon, _) = paused("dialect = \"html\"\n");
    for (content_type, expected, text) in [
        ("application/grpc-web", "application/grpc-web+proto", false),
        ("application/grpc-web+proto", "application/grpc-web+proto", false),
        ("application/grpc-web-text", "application/grpc-web-text+proto", true),
        ("application/grpc-web-text+proto", "application/grpc-web-text+proto", true),
    ] {
        let fields = [&format!("content-type: {content_type}"), "accept: */*", "accept-encoding: gzip, br"];
        let (response, body) = ask_bytes(backsoon.address(), "POST /test.Test/Unary", &fields);
        assert_eq!((response.status, response.field("content-type")), (200, Some(expected)));
        assert_eq!(response.field("content-encoding"), None, "a frame's length is that of what is sent");
        let body = if text { STANDARD.decode(&body).unwrap() } else { body };
        let trailers = String::from_utf8(only_frame(&body, 0x80)).unwrap();
        let trailer = |name: &str| {
            let mut lines = trailers.split_terminator("\r\n").filter_map(|line| line.split_once(':'));
            lines.find(|(own, _)| *own == name).map(|(_, value)| value.trim().to_owned())
        };
        assert_eq!(trailer("grpc-status").as_deref(), Some("14"), "{trailers}");
        assert!(trailer("grpc-message").unwrap().starts_with("50 %25 f%C3%BCr alle"), "{trailers}");
        assert_eq!(trailer("grpc-retry-pushback-ms").as_deref(), Some("-1"), "{trailers}");
    }
}

/// Returns the message of the only frame, after its flag and its length in four bytes.
fn only_frame(body: &[u8], mark: u8) -> Vec<u8> {
    let (head, message) = body.split_at(5);
    let length = u32::from_be_bytes(head[1..].try_into().unwrap());
    assert_eq!((head[0], length as usize), (mark, message.len()));
    message.to_vec()
}

#[test]
fn a_connect_client_reads_the_error_of_a_unary_call() {
    let (backsoon, message) = paused("dialect = \"html\"\n");
    let by_post = ["content-type: application/proto", "connect-protocol-version: 1", "accept-encoding: gzip"];
    let by_get = ["accept: text/html"];
    let query = "GET /test.Test/Unary?encoding=json&message=%7B%7D&connect=v1";
    for (line, fields) in [("POST /test.Test/Unary", &by_post[..]), (query, &by_get)] {
        let response = ask(backsoon.address(), line, fields);
        assert_eq!((response.status, response.field("content-type")), (503, Some("application/json")), "{line}");
        assert!(response.field("retry-after").is_some(), "{}", response.head);
        is_error(&json(&response.body), &message);
    }
}

/// Returns the error of Connect, in JSON.
fn is_error(error: &serde_json::Value, message: &str) {
    assert_eq!((&error["code"], &error["message"]), (&"unavailable".into(), &message.into()), "{error}");
    assert_eq!(error["details"][0]["type"], "google.rpc.RetryInfo");
    let value = STANDARD_NO_PAD.decode(error["details"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(value, RETRY_INFO);
}

#[test]
fn a_connect_client_reads_the_last_message_of_a_stream() {
    let (backsoon, message) = paused("");
    for content_type in ["application/connect+json", "application/connect+proto"] {
        let fields = [&format!("content-type: {content_type}"), "accept-encoding: br", "connect-protocol-version: 1"];
        let (response, body) = ask_bytes(backsoon.address(), "POST /test.Test/Echo", &fields);
        assert_eq!((response.status, response.field("content-type")), (200, Some(content_type)));
        assert_eq!(not_coded(&response), None);
        let end = json(std::str::from_utf8(&only_frame(&body, 0x02)).unwrap());
        is_error(&end["error"], &message);
    }
}

fn not_coded(response: &Response) -> Option<&str> {
    response.field("content-encoding").or(response.field("connect-content-encoding"))
}
