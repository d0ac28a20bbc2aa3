//! Visits of the forms of the status site: reads what was sent, and hands it to control. A worker decides nothing of it.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::live::{FormCall, FormDoor};
use crate::plan::client;
use crate::plan::dialect::Dialect;
use crate::plan::news::Words;
use crate::plan::news::forms::{MOST_BODY, Media, Place, Reading, Visit, is_cross_site};
use crate::telemetry::FormEnd;

use super::body::Body;
use super::exchange::{Exchange, Progress};
use super::respond;

/// Reason against a visit, with its status and what would be right.
type Refused = (FormEnd, StatusCode, &'static str);

impl Exchange {
    /// Answers a visit of a form.
    pub(super) fn visit<S>(
        self,
        place: Place,
        routes: Option<BTreeSet<String>>,
        host: &str,
        request: Request<Incoming>,
    ) -> Progress<S> {
        let door = self.record.worker.forms();
        let media = match media(&place, host, &request) {
            Ok(media) => media,
            Err(refused) => return self.refuse_visit(&door, refused, request),
        };
        let (language, reading) = self.reading(media, &request);
        let client = self.client(request.headers()).map(client::network);
        let mut visit = Visit { place, sent: None, client, routes, language, reading };
        Progress::Waiting(Box::pin(async move {
            if let Some(media) = media {
                match read(request.into_body()).await {
                    Ok(body) => visit.sent = Some((media, body)),
                    Err(refused) => {
                        // The rest of the body must not be taken for a request.
                        self.record.connection.close_after_answer();
                        return self.refused_visit(&door, refused);
                    }
                }
            }
            let (reply, replied) = oneshot::channel();
            let is_taken = door.calls.try_send(FormCall { visit, reply }).is_ok();
            let replied = if is_taken { timeout(LONGEST_WAIT, replied).await } else { return self.busy(&door) };
            let Ok(Ok(reply)) = replied else { return self.busy(&door) };
            let answer = respond::reply(reply, &self.context);
            self.record.answered_here("site", answer)
        }))
    }

    /// Returns the language and the form in which a visitor reads the answer.
    fn reading(&self, media: Option<Media>, request: &Request<Incoming>) -> (String, Reading) {
        let renderer = &self.generation.snapshot.renderer;
        let variant = renderer.choose(None, &Method::GET, request.uri().query(), request.headers());
        let language = Words::all(renderer).nth(variant.language).map(|words| words.tag().to_owned());
        let reading = if media == Some(Media::Json) || matches!(variant.dialect, Dialect::Json | Dialect::Problem) {
            Reading::Json
        } else if matches!(variant.dialect, Dialect::Text | Dialect::Short | Dialect::Markdown) {
            Reading::Text
        } else {
            Reading::Html
        };
        (language.unwrap_or_default(), reading)
    }

    fn refuse_visit<S>(self, door: &FormDoor, refused: Refused, request: Request<Incoming>) -> Progress<S> {
        let door = door.clone();
        self.answer(request, move |exchange| exchange.refused_visit(&door, refused))
    }

    fn refused_visit(self, door: &FormDoor, (end, status, detail): Refused) -> Response<Body> {
        door.meter.count(end);
        let answer = respond::refused_visit(status, detail, &self.context);
        self.record.answered_here("site", answer)
    }

    fn busy(self, door: &FormDoor) -> Response<Body> {
        let detail = "subscriptions cannot be taken right now; try again in a minute";
        self.refused_visit(door, (FormEnd::Busy, StatusCode::SERVICE_UNAVAILABLE, detail))
    }
}

/// Returns the type of the body; `None` for a visitor who only looks.
fn media(place: &Place, host: &str, request: &Request<Incoming>) -> Result<Option<Media>, Refused> {
    match *request.method() {
        Method::GET | Method::HEAD => return Ok(None),
        Method::POST => {}
        _ => {
            let detail = "this path takes GET, HEAD and POST";
            return Err((FormEnd::Media, StatusCode::METHOD_NOT_ALLOWED, detail));
        }
    }
    // The other places have a token, which no other site knows.
    if !place.has_token() && is_cross_site(request.headers(), host) {
        let detail = "this form was sent by another site; open the page and send it from there";
        return Err((FormEnd::CrossSite, StatusCode::FORBIDDEN, detail));
    }
    let said = text(request.headers());
    let media = Media::find(said).filter(|media| place.takes(*media));
    let media = media.ok_or((FormEnd::Media, StatusCode::UNSUPPORTED_MEDIA_TYPE, place.other_media()))?;
    let length: Option<u64> = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(length) if length > u64::try_from(MOST_BODY).unwrap_or(u64::MAX) => Err(TOO_LARGE),
        Some(_) | None => Ok(Some(media)),
    }
}

fn text(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Reads a body, up to its limits.
async fn read(mut body: Incoming) -> Result<Bytes, Refused> {
    let deadline = Instant::now() + LONGEST_BODY;
    let mut read = BytesMut::new();
    loop {
        match timeout_at(deadline, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            Ok(None) => return Ok(read.freeze()),
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                if read.len() + data.len() > MOST_BODY {
                    return Err(TOO_LARGE);
                }
                read.extend_from_slice(&data);
            }
            Ok(Some(Err(_))) => return Err((FormEnd::Body, StatusCode::BAD_REQUEST, "the body was cut off")),
            Err(_) => return Err((FormEnd::Body, StatusCode::REQUEST_TIMEOUT, "the body took longer than 10 seconds")),
        }
    }
}

const TOO_LARGE: Refused = (FormEnd::Body, StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 8 KiB");

/// Time for a body.
const LONGEST_BODY: Duration = Duration::from_secs(10);
/// Time for an answer. It is longer than the store may take.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
