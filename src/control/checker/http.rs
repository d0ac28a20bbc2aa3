//! HTTP request of a check, over HTTP/1 or HTTP/2, and the judgement on its answer.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::net;
use crate::plan::config::HttpProbe;

use super::{AGENT, Failure, MOST_HEAD, MOST_HEAD_FIELDS, Permits, Stream, Target, absolute, connect};

/// Answer of an upstream.
struct Answer {
    status: u16,
    fields: HeaderMap,
    /// The beginning of the body.
    body: Vec<u8>,
}

/// Sends the request, follows redirects, and judges the last answer.
///
/// The head and the beginning of the body must arrive unbroken. A page that stops in the middle does not pass.
pub(super) async fn ask(target: &Target, probe: &HttpProbe, permits: &Permits) -> Result<(), Failure> {
    let host = probe.host.as_deref().unwrap_or(&target.host);
    // The path of an upstream comes before that of everything that is asked of it.
    let first = format!("{}{}", target.upstream.base.as_str(), probe.target);
    let mut asked = Asked { method: probe.method.clone(), target: first, send: probe.send.as_deref().unwrap_or("") };
    for _ in 0..=probe.follow {
        let answer = exchange(target, probe, &asked, host, permits).await?;
        let location = answer.redirect().filter(|_| probe.follow > 0).map(str::to_owned);
        let Some(location) = location else { return judge(probe, &answer) };
        let next = resolve(&location, &asked.target, host).ok_or(Failure::Elsewhere(location))?;
        asked = asked.after(answer.status, next);
    }
    Err(Failure::Redirects(probe.follow))
}

/// One request on the way.
struct Asked<'p> {
    method: Method,
    target: String,
    send: &'p str,
}

impl Asked<'_> {
    /// Returns the request that follows a redirect (RFC 9110 section 15.4). Only 307 and 308 repeat the method.
    fn after(self, status: u16, target: String) -> Self {
        if matches!(status, 307 | 308) || matches!(self.method, Method::GET | Method::HEAD) {
            return Self { target, ..self };
        }
        Self { method: Method::GET, target, send: "" }
    }
}

async fn exchange(
    target: &Target,
    probe: &HttpProbe,
    asked: &Asked<'_>,
    host: &str,
    permits: &Permits,
) -> Result<Answer, Failure> {
    let mut request = Request::new(Bytes::copy_from_slice(asked.send.as_bytes()));
    *request.method_mut() = asked.method.clone();
    let fields = request.headers_mut();
    fields.insert(USER_AGENT, AGENT);
    fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // The operator's fields replace those.
    fields.extend(probe.fields.iter().cloned());
    if !asked.send.is_empty() {
        fields.insert(CONTENT_LENGTH, asked.send.len().into());
    }
    let stream = connect(target, permits).await.map_err(Failure::Connection)?;
    if target.upstream.http2 {
        *request.uri_mut() = absolute(target, host, &asked.target)?;
        *request.version_mut() = Version::HTTP_2;
        over_http2(stream, request).await
    } else {
        *request.uri_mut() = asked.target.parse::<Uri>().map_err(|error| Failure::Request(error.into()))?;
        let host = HeaderValue::from_str(host).map_err(|error| Failure::Request(error.into()))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        over_http1(stream, request).await
    }
}

async fn over_http1(stream: Box<dyn Stream>, request: Request<Bytes>) -> Result<Answer, Failure> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
    let answer = async {
        let response = sender.send_request(request.map(Full::new)).await.map_err(Failure::Broken)?;
        let (head, mut body) = response.into_parts();
        let mut read = Vec::new();
        while read.len() < MOST_BODY
            && let Some(frame) = body.frame().await
        {
            read.extend_from_slice(frame.map_err(Failure::Broken)?.data_ref().map_or(&[], |data| data));
        }
        Ok(Answer::new(&Response::from_parts(head, ()), read))
    };
    net::drive(connection, answer).await
}

async fn over_http2(stream: Box<dyn Stream>, request: Request<Bytes>) -> Result<Answer, Failure> {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MOST_HEAD_FIELDS);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(Failure::Reset)?;
    let answer = async {
        let mut sender = sender.ready().await.map_err(Failure::Reset)?;
        let (head, send) = request.into_parts();
        let is_empty = send.is_empty();
        let sent = sender.send_request(Request::from_parts(head, ()), is_empty);
        let (response, mut stream) = sent.map_err(Failure::Reset)?;
        if !is_empty {
            // Small enough to be kept until the upstream takes it.
            stream.send_data(send, true).map_err(Failure::Reset)?;
        }
        let (head, mut body) = response.await.map_err(Failure::Reset)?.into_parts();
        let mut read = Vec::new();
        while read.len() < MOST_BODY
            && let Some(data) = body.data().await
        {
            let data = data.map_err(Failure::Reset)?;
            body.flow_control().release_capacity(data.len()).map_err(Failure::Reset)?;
            read.extend_from_slice(&data);
        }
        Ok(Answer::new(&Response::from_parts(head, ()), read))
    };
    net::drive(connection, answer).await
}

impl Answer {
    fn new(head: &Response<()>, mut body: Vec<u8>) -> Self {
        body.truncate(MOST_BODY);
        Self { status: head.status().as_u16(), fields: head.headers().clone(), body }
    }

    /// Returns where the answer redirects to.
    fn redirect(&self) -> Option<&str> {
        let redirects = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.fields.get(LOCATION).filter(|_| redirects)?.to_str().ok()
    }
}

/// Resolves a redirect against the path that was asked for. `None` if it leads to another host.
fn resolve(location: &str, from: &str, host: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = ["http://", "https://", "//"].iter().find(|scheme| location.starts_with(**scheme));
    let target = match scheme {
        Some(scheme) => {
            let rest = &location[scheme.len()..];
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let name =
                |authority: &str| authority.rsplit_once(':').map_or(authority, |(name, _)| name).to_ascii_lowercase();
            if name(authority) != name(host) {
                return None;
            }
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        None if location.starts_with('/') => location.to_owned(),
        None => {
            let path = from.split('?').next().unwrap_or_default();
            let folder = path.rfind('/').map_or("/", |last| &path[..=last]);
            format!("{folder}{location}")
        }
    };
    PathAndQuery::try_from(target.as_str()).ok().map(|_| target)
}

/// Returns the first condition that an answer does not meet.
fn judge(probe: &HttpProbe, answer: &Answer) -> Result<(), Failure> {
    if !probe.expect.iter().any(|statuses| statuses.has(answer.status)) {
        return Err(Failure::Answered { status: answer.status, expected: probe.expect.clone() });
    }
    for (name, expected) in &probe.expect_fields {
        let values = answer.fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let found: Vec<_> = values.collect();
        if !found.iter().any(|value| value.contains(expected.as_str())) {
            let found = (!found.is_empty()).then(|| shortened(&found.join(", ")));
            return Err(Failure::Field { name: name.to_string(), expected: expected.clone(), found });
        }
    }
    let body = String::from_utf8_lossy(&answer.body);
    if let Some(text) = probe.body.as_ref().filter(|text| !body.contains(text.as_str())) {
        return Err(Failure::Lacks(shortened(text)));
    }
    match probe.matches.as_ref().filter(|pattern| !pattern.is_in(&body)) {
        Some(pattern) => Err(Failure::Unmatched(shortened(&pattern.to_string()))),
        None => Ok(()),
    }
}

/// Shortens a text that is put into a sentence.
fn shortened(text: &str) -> String {
    let harmless = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = harmless.take(LONGEST_QUOTE).collect();
    if short.len() < text.len() && text.chars().nth(LONGEST_QUOTE).is_some() {
        short.push('…');
    }
    short
}

/// Bytes of a response body that are read.
const MOST_BODY: usize = 64 * 1024;
/// Characters of a quoted text.
const LONGEST_QUOTE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_on_the_same_host_alone() {
        let to = |location: &str| resolve(location, "/a/b?c", "www.example.com");
        for (location, target) in [
            ("/login", "/login"),
            ("/login?next=%2F#top", "/login?next=%2F"),
            ("c", "/a/c"),
            ("http://www.example.com/x", "/x"),
            ("https://WWW.example.com:8443/x?y", "/x?y"),
            ("http://www.example.com", "/"),
            ("http://www.example.com?q", "/?q"),
            ("//www.example.com/x", "/x"),
        ] {
            assert_eq!(to(location).as_deref(), Some(target), "{location}");
        }
        for location in ["http://example.org/", "//evil.example/", "/with space"] {
            assert_eq!(to(location), None, "{location}");
        }
    }
}
