//! Call of the health service of gRPC: `grpc.health.v1.Health/Check`, over HTTP/2.
//!
//! The two messages have one field each, and are framed here by hand.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Version};

use crate::net;
use crate::plan::config::GrpcProbe;

use super::{AGENT, Failure, MOST_HEAD_FIELDS, Permits, Stream, Target, absolute, connect};

/// Asks whether a service is serving.
pub(super) async fn ask(target: &Target, probe: &GrpcProbe, permits: &Permits) -> Result<(), Failure> {
    let host = probe.host.as_deref().unwrap_or(&target.host);
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = absolute(target, host, PATH)?;
    let fields = request.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    fields.insert(USER_AGENT, AGENT);
    let stream = connect(target, permits).await.map_err(Failure::Connection)?;
    call(stream, request, framed(&probe.service)).await
}

async fn call(stream: Box<dyn Stream>, request: Request<()>, message: Bytes) -> Result<(), Failure> {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MOST_HEAD_FIELDS);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(Failure::Reset)?;
    let answer = async {
        let mut sender = sender.ready().await.map_err(Failure::Reset)?;
        let (response, mut send) = sender.send_request(request, false).map_err(Failure::Reset)?;
        send.send_data(message, true).map_err(Failure::Reset)?;
        let (head, mut body) = response.await.map_err(Failure::Reset)?.into_parts();
        // A call that fails at once has its status in the only head.
        if let Some(code) = code(&head.headers).filter(|code| *code != 0) {
            return Err(Failure::Call(Some(code), message_of(&head.headers)));
        }
        if head.status != http::StatusCode::OK {
            return Err(Failure::Answered { status: head.status.as_u16(), expected: vec![OK] });
        }
        let read = read(&mut body).await?;
        let trailers = body.trailers().await.map_err(Failure::Reset)?.unwrap_or_default();
        match code(&trailers) {
            Some(0) => serving(&read),
            code => Err(Failure::Call(code, message_of(&trailers))),
        }
    };
    net::drive(connection, answer).await
}

/// Reads the data up to the trailers. A health message has at most a few bytes.
async fn read(body: &mut RecvStream) -> Result<BytesMut, Failure> {
    let mut read = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(Failure::Reset)?;
        body.flow_control().release_capacity(data.len()).map_err(Failure::Reset)?;
        if read.len() + data.len() > MOST_MESSAGE {
            return Err(Failure::NoHealth);
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}

fn code(fields: &HeaderMap) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn message_of(fields: &HeaderMap) -> String {
    let text = fields.get("grpc-message").map(|message| String::from_utf8_lossy(message.as_bytes()).into_owned());
    text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

/// Returns the message `HealthCheckRequest { string service = 1 }` in its frame: not compressed, and its length.
fn framed(service: &str) -> Bytes {
    let mut message = Vec::new();
    // A name has at most 255 bytes, whose length takes one or two bytes.
    if let Ok(length) = u8::try_from(service.len())
        && length > 0
    {
        message.push(SERVICE_FIELD);
        message.extend(if length < 0x80 { vec![length] } else { vec![length & 0x7f | 0x80, length >> 7] });
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0, 0, 0];
    frame.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// Reads `HealthCheckResponse { ServingStatus status = 1 }`. A status that is absent is 0.
fn serving(frame: &[u8]) -> Result<(), Failure> {
    let Some((&[0, 0, 0, 0, length], message)) = frame.split_first_chunk::<5>() else { return Err(Failure::NoHealth) };
    if message.len() != usize::from(length) {
        return Err(Failure::NoHealth);
    }
    match message {
        [STATUS_FIELD, 1] => Ok(()),
        [STATUS_FIELD, 2] => Err(Failure::NotServing("NOT_SERVING")),
        [STATUS_FIELD, 3] => Err(Failure::NotServing("SERVICE_UNKNOWN")),
        [] | [STATUS_FIELD, 0] => Err(Failure::NotServing("UNKNOWN")),
        _ => Err(Failure::NoHealth),
    }
}

const PATH: &str = "/grpc.health.v1.Health/Check";
const OK: crate::plan::config::Statuses = crate::plan::config::Statuses::One(200);

/// Key of field 1, a string.
const SERVICE_FIELD: u8 = 0x0a;
/// Key of field 1, a number.
const STATUS_FIELD: u8 = 0x08;
/// Bytes of an answer.
const MOST_MESSAGE: usize = 1024;
/// Characters of the message of a failed call.
const LONGEST_MESSAGE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_as_protobuf_is() {
        assert_eq!(&framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&framed("ab")[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = framed(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 10, 200, 1]);
        assert_eq!(long.len(), 208);
    }

    #[test]
    fn an_answer_is_read_to_the_last_byte() {
        assert!(serving(&[0, 0, 0, 0, 2, 8, 1]).is_ok());
        let told = |frame: &[u8]| serving(frame).unwrap_err().to_string();
        assert_eq!(told(&[0, 0, 0, 0, 2, 8, 2]), "answered NOT_SERVING, expected SERVING");
        assert_eq!(told(&[0, 0, 0, 0, 2, 8, 3]), "answered SERVICE_UNKNOWN, expected SERVING");
        assert_eq!(told(&[0, 0, 0, 0, 0]), "answered UNKNOWN, expected SERVING");
        for bad in [&[] as &[u8], &[0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8]] {
            assert_eq!(told(bad), "answered with no health message", "{bad:?}");
        }
    }
}
