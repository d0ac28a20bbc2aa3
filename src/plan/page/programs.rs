//! Dialects for programs, which need no template: JSON, gRPC, Connect, event streams.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::super::flags::StepState;
use super::super::text::Text;
use super::model::{Counts, Eta, PageModel, Trouble};

/// Problem document (RFC 9457): its standard members, and the rest as extensions. Instants are RFC 3339, lengths of
/// time are seconds.
#[derive(Debug, Serialize)]
struct Problem<'f> {
    r#type: &'static str,
    title: &'f str,
    status: u16,
    detail: &'f str,
    mode: &'static str,
    phase: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    problem: bool,
    retry_after: u64,
    /// False: no upstream has got the request. The answer to one that was cut is without this.
    processed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'static str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    regions: &'f [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    impact: Option<Impact<'f>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<Service<'f>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step<'f>>,
    /// Version. It changes with every other member, but not as time passes.
    version: String,
    errors: [ProblemError<'f>; 1],
}

/// The problem once more, as clients of GraphQL (`message`, `extensions`), JSON:API (`status`, `code`, `title`, `detail`)
/// and OCI registries (`code`, `message`) look for it.
#[derive(Debug, Serialize)]
struct ProblemError<'f> {
    message: &'f str,
    title: &'f str,
    detail: &'f str,
    status: &'static str,
    code: &'static str,
    extensions: Extensions,
}

#[derive(Debug, Serialize)]
struct Extensions {
    code: &'static str,
}

#[derive(Debug, Serialize)]
struct Window {
    starts: Timestamp,
    ends: Timestamp,
}

#[derive(Debug, Serialize)]
struct Impact<'f> {
    level: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'f str>,
}

#[derive(Debug, Serialize)]
struct Service<'f> {
    name: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'f str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_false")]
    overdue: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    regions: &'f [String],
}

#[derive(Debug, Serialize)]
struct Step<'f> {
    title: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'f str>,
    state: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress<'f>>,
}

#[derive(Debug, Serialize)]
struct Progress<'f> {
    done: u64,
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'f str>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Words for people in a program's answer, in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wording<'s> {
    pub tag: &'s str,
    pub title: &'s str,
    pub detail: &'s str,
}

/// Returns the problem document, with a newline at its end.
pub(super) fn problem(model: &PageModel, version: u64, words: Wording<'_>) -> String {
    let content = &model.content;
    let own = |text| Text::in_language(text, words.tag);
    let current = model.current_step().filter(|&index| content.steps[index].state != StepState::Pending);
    let problem = Problem {
        r#type: PROBLEM_TYPE,
        title: words.title,
        status: 503,
        detail: words.detail,
        mode: content.mode.as_str(),
        phase: content.phase.as_str(),
        problem: content.trouble == Trouble::Found,
        retry_after: model.retry_after(),
        processed: false,
        reference: content.id.as_deref(),
        summary: content.summary.as_ref().map(own),
        label: content.label.as_ref().map(own),
        started: content.started,
        until: content.until,
        window: content.planned.map(|(starts, ends)| Window { starts, ends }),
        elapsed: model.clock.elapsed,
        schedule: model.clock.schedule.map(super::model::Schedule::as_str),
        regions: &content.regions,
        impact: content.impact.as_ref().map(|impact| Impact {
            level: impact.level.in_language(words.tag),
            note: impact.note.as_ref().map(|note| note.in_language(words.tag)),
        }),
        counts: model.counts(),
        services: services(model, words.tag),
        steps: content
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| Step {
                title: step.title.in_language(words.tag),
                detail: step.detail.as_ref().map(|detail| detail.in_language(words.tag)),
                state: step.state.as_str(),
                current: current == Some(index),
                progress: step.progress.as_ref().map(|progress| Progress {
                    done: progress.done,
                    total: progress.total,
                    unit: progress.unit.as_ref().map(|unit| unit.in_language(words.tag)),
                }),
            })
            .collect(),
        version: format!("{version:016x}"),
        errors: [ProblemError {
            message: words.title,
            title: words.title,
            detail: words.detail,
            status: "503",
            code: "maintenance",
            extensions: Extensions { code: "MAINTENANCE" },
        }],
    };
    // Serializing numbers, texts and lists cannot fail.
    let mut json = serde_json::to_string(&problem).unwrap_or_default();
    json.push('\n');
    json
}

fn services<'f>(model: &'f PageModel, tag: &str) -> Vec<Service<'f>> {
    let rows = model.content.services.iter().zip(&model.clock.etas);
    rows.map(|(service, eta)| Service {
        name: service.name.in_language(tag),
        detail: service.detail.as_ref().map(|detail| detail.in_language(tag)),
        status: service.status.as_str(),
        eta: service.eta,
        overdue: *eta == Some(Eta::Overdue),
        regions: &service.regions,
    })
    .collect()
}

/// Returns the fault for a message of SOAP 1.1.
pub(super) fn soap(model: &PageModel, words: Wording<'_>) -> String {
    fault(&message(model, words), &fault_detail(model, words))
}

/// Returns the fault for a message of SOAP 1.2.
pub(super) fn soap_12(model: &PageModel, words: Wording<'_>) -> String {
    fault_12(&message(model, words), words.tag, &fault_detail(model, words))
}

/// Returns a fault of SOAP 1.1 (<https://www.w3.org/TR/2000/NOTE-SOAP-20000508/>, section 4.4). `detail` is XML.
pub(super) fn fault(reason: &str, detail: &str) -> String {
    let reason = escaped(reason);
    format!(
        "{XML_HEAD}<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body><soap:Fault>\
         <faultcode>soap:Server</faultcode><faultstring>{reason}</faultstring><detail>{detail}</detail>\
         </soap:Fault></soap:Body></soap:Envelope>\n"
    )
}

/// Returns a fault of SOAP 1.2 (<https://www.w3.org/TR/soap12-part1/#soapfault>). `detail` is XML.
pub(super) fn fault_12(reason: &str, tag: &str, detail: &str) -> String {
    let (reason, tag) = (escaped(reason), escaped(tag));
    format!(
        "{XML_HEAD}<env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\"><env:Body><env:Fault>\
         <env:Code><env:Value>env:Receiver</env:Value></env:Code>\
         <env:Reason><env:Text xml:lang=\"{tag}\">{reason}</env:Text></env:Reason>\
         <env:Detail>{detail}</env:Detail></env:Fault></env:Body></env:Envelope>\n"
    )
}

/// Returns the problem document of a fault, in short.
fn fault_detail(model: &PageModel, words: Wording<'_>) -> String {
    let (title, detail) = (escaped(words.title), escaped(words.detail));
    let until = model.content.until.map(|until| format!("<until>{until}</until>")).unwrap_or_default();
    let after = model.retry_after();
    format!(
        "<problem xmlns=\"urn:ietf:rfc:7807\"><type>{PROBLEM_TYPE}</type><title>{title}</title><status>503</status>\
         <detail>{detail}</detail><retry_after>{after}</retry_after><processed>false</processed>{until}</problem>"
    )
}

/// Escapes a text for XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the single line that the error of a remote call shows.
pub(super) fn message(model: &PageModel, words: Wording<'_>) -> String {
    let until = model.content.until.map(|until| format!(" (until {until})")).unwrap_or_default();
    format!("{}{until}", words.title)
}

/// Encodes a gRPC message for its field (gRPC over HTTP/2, "Responses").
pub(super) fn percent_encoded(message: &str) -> String {
    utf8_percent_encode(message, GRPC_MESSAGE).to_string()
}

/// Encodes `grpc-status-details-bin`: a `google.rpc.Status` with a `RetryInfo`, in base64.
pub(super) fn status_details(message: &str, retry_after: u64) -> String {
    let any = [string(1, b"type.googleapis.com/google.rpc.RetryInfo"), string(2, &retry_info(retry_after))].concat();
    let status = [number(1, UNAVAILABLE), string(2, message.as_bytes()), string(3, &any)].concat();
    STANDARD_NO_PAD.encode(status)
}

/// Returns the milliseconds after which a gRPC client may try again, or −1: it must not by itself (gRPC proposal A6).
///
/// A client with a retry policy would wait as long as it is told, and not heed its deadline. It would end in
/// `DEADLINE_EXCEEDED` without the message, so it is only told of a wait that a call may take. `RetryInfo` says when.
pub(in crate::plan) fn pushback(seconds: u64) -> i64 {
    if seconds > LONGEST_PUSHBACK { -1 } else { i64::try_from(seconds * 1000).unwrap_or(-1) }
}

/// Encodes the trailers of gRPC-Web: a frame that is marked as trailers.
pub(super) fn web_trailers(message: &str, retry_after: u64) -> Vec<u8> {
    let trailers = format!(
        "grpc-status:{UNAVAILABLE}\r\ngrpc-message:{}\r\ngrpc-retry-pushback-ms:{}\r\n",
        percent_encoded(message),
        pushback(retry_after)
    );
    frame(0x80, trailers.as_bytes())
}

/// Encodes the trailers of gRPC-Web in base64.
pub(super) fn web_trailers_text(message: &str, retry_after: u64) -> Vec<u8> {
    STANDARD.encode(web_trailers(message, retry_after)).into_bytes()
}

/// Error of a Connect call (<https://connectrpc.com/docs/protocol#error-end-stream>).
#[derive(Debug, Serialize)]
struct ConnectError<'m> {
    code: &'static str,
    message: &'m str,
    details: [ConnectDetail; 1],
}

#[derive(Debug, Serialize)]
struct ConnectDetail {
    r#type: &'static str,
    value: String,
}

fn connect_error(message: &str, retry_after: u64) -> ConnectError<'_> {
    let value = STANDARD_NO_PAD.encode(retry_info(retry_after));
    ConnectError { code: "unavailable", message, details: [ConnectDetail { r#type: "google.rpc.RetryInfo", value }] }
}

/// Returns the body of a unary call's error.
pub(super) fn connect(message: &str, retry_after: u64) -> String {
    serde_json::to_string(&connect_error(message, retry_after)).unwrap_or_default()
}

/// Returns the last message of a stream.
pub(super) fn connect_end(message: &str, retry_after: u64) -> Vec<u8> {
    let error = serde_json::json!({ "error": connect_error(message, retry_after) });
    frame(0x02, error.to_string().as_bytes())
}

/// Event for an `EventSource`. It comes again with each reconnect, so it says only what changes.
#[derive(Debug, Serialize)]
struct Event<'f> {
    phase: &'static str,
    title: &'f str,
    retry_after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    version: String,
}

/// Returns an event stream with the state and the time to reconnect
/// (<https://html.spec.whatwg.org/#event-stream-interpretation>).
pub(super) fn events(model: &PageModel, version: u64, words: Wording<'_>) -> String {
    let event = Event {
        phase: model.content.phase.as_str(),
        title: words.title,
        retry_after: model.retry_after(),
        until: model.content.until,
        version: format!("{version:016x}"),
    };
    let data = serde_json::to_string(&event).unwrap_or_default();
    format!("retry: {EVENTS_RETRY}\nevent: maintenance\ndata: {data}\n\n")
}

/// Puts five bytes before a message: a mark and its length.
fn frame(mark: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[mark][..], &length.to_be_bytes(), message].concat()
}

/// Encodes a `google.rpc.RetryInfo` with its delay.
fn retry_info(seconds: u64) -> Vec<u8> {
    string(1, &number(1, seconds))
}

/// Encodes a number as a field of Protocol Buffers.
fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(value)].concat()
}

/// Encodes bytes as a field of Protocol Buffers.
fn string(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Type of the problem, which docs/responses.md describes. A program can tell this answer from every other 503 by it.
pub(super) const PROBLEM_TYPE: &str = "urn:backsoon:maintenance";

const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// gRPC's code for a service that is unavailable for now.
pub(super) const UNAVAILABLE: u64 = 14;

/// Most seconds that a gRPC client is told to wait within a call.
const LONGEST_PUSHBACK: u64 = 5;

/// Milliseconds after which an `EventSource` reconnects. Clients that lost their connection at once would come back in
/// their former rhythm.
const EVENTS_RETRY: u64 = 10_000;

const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_client_waits_within_its_call_only_for_a_moment() {
        assert_eq!([1, 5, 6, 3600, u64::MAX].map(pushback), [1000, 5000, -1, -1, -1]);
    }

    #[test]
    fn the_details_are_those_of_the_protocol() {
        // From `google.rpc.status_pb2`: code 14, message "x", a RetryInfo of 300 s.
        let expected = "CA4SAXgaMQoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIFCgMIrAI";
        assert_eq!(status_details("x", 300), expected);
        assert_eq!(percent_encoded("50 % für %\n"), "50 %25 f%C3%BCr %25%0A");
        assert_eq!(frame(0x80, b"ab"), [0x80, 0, 0, 0, 2, b'a', b'b']);
    }
}
