//! Document of a web server: asked again and again, with its tag.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};

use crate::files::author;
use crate::files::source::Hash;
use crate::plan::config::FleetUrl;

use super::http::{Client, bearer, wrong};
use super::{Document, FleetError, MOST_TEXT, Outlet, Revision, SignedText, Swapped};

/// State of the requests: what the last answer said.
#[derive(Default)]
struct Asked {
    tag: Option<HeaderValue>,
    /// `X-Consul-Index`.
    index: Option<String>,
}

/// Answer to a request.
enum Told {
    Document(Document),
    Same,
    Missing,
}

/// Follows a document until something fails.
pub(super) async fn follow(url: &FleetUrl, ca: Option<&Path>, outlet: &mut Outlet) -> FleetError {
    let mut asked = Asked::default();
    loop {
        let begun = tokio::time::Instant::now();
        match ask(url, ca, &mut asked, url.wait).await {
            Ok(Told::Document(document)) => drop(outlet.found(document)),
            Ok(Told::Same) => outlet.confirmed(),
            Ok(Told::Missing) => outlet.missing(),
            Err(error) => return error,
        }
        // A request that the server kept for long needs no pause.
        let pause = if url.wait.is_some() { LEAST_PAUSE } else { url.every };
        tokio::time::sleep_until(begun + spread(pause)).await;
    }
}

/// Reads a document once.
pub(super) async fn read(url: &FleetUrl, ca: Option<&Path>) -> Result<Option<Document>, FleetError> {
    match ask(url, ca, &mut Asked::default(), None).await? {
        Told::Document(document) => Ok(Some(document)),
        Told::Missing => Ok(None),
        Told::Same => {
            Err(FleetError::Wrong("the server says that nothing has changed, and was not asked that".to_owned()))
        }
    }
}

/// Writes a document in the place of one that was read.
pub(super) async fn swap(
    url: &FleetUrl,
    ca: Option<&Path>,
    before: Option<&Document>,
    SignedText { text, signature }: SignedText,
) -> Result<Swapped, FleetError> {
    if !url.edits {
        let why = "commands do not write it: edit it where it comes from, or allow it by `edits = true` in `[fleet]`";
        return Err(FleetError::ReadOnly(why.to_owned()));
    }
    let condition = match before.map(|before| &before.revision) {
        None => (IF_NONE_MATCH, HeaderValue::from_static("*")),
        // A weak tag never matches (RFC 9110 section 13.1.1).
        Some(Revision::Tag(tag)) if tag.starts_with('"') => {
            (IF_MATCH, HeaderValue::from_str(tag).map_err(|error| wrong(&error))?)
        }
        Some(Revision::Tag(_) | Revision::Number(_)) => {
            let why = "its server gives no strong `ETag`, so edits of others could be lost";
            return Err(FleetError::ReadOnly(why.to_owned()));
        }
    };
    let mut request = request(url, Method::PUT, url.url.target.as_str())?;
    if let Some(signature) = signature.and_then(|text| HeaderValue::from_str(&text).ok()) {
        request.headers_mut().insert(EDIT, signature);
    }
    request.headers_mut().extend([condition, (CONTENT_TYPE, HeaderValue::from_static("application/toml"))]);
    *request.body_mut() = Bytes::from(text);
    let answer = Client::new(&url.url, ca).send(request, PATIENCE).await?;
    let status = answer.head.status;
    match status {
        _ if status.is_success() => Ok(Swapped::Done),
        StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(Swapped::Conflict),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
            Err(FleetError::ReadOnly(format!("its server does not let us write: it answered {status}")))
        }
        _ => Err(FleetError::Wrong(format!("answered {status} to an edit"))),
    }
}

async fn ask(url: &FleetUrl, ca: Option<&Path>, asked: &mut Asked, wait: Option<Duration>) -> Result<Told, FleetError> {
    let mut request = request(url, Method::GET, &target(url, asked.index.as_deref(), wait))?;
    let fields = request.headers_mut();
    fields.insert(ACCEPT, HeaderValue::from_static("application/toml, text/plain, */*"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.extend(asked.tag.clone().map(|tag| (IF_NONE_MATCH, tag)));
    if let Some(wait) = wait {
        // RFC 7240 section 4.3.
        let prefer = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).map_err(|error| wrong(&error))?;
        fields.insert(HeaderName::from_static("prefer"), prefer);
    }
    let answer = Client::new(&url.url, ca).send(request, PATIENCE + wait.unwrap_or_default()).await?;
    match answer.head.status {
        StatusCode::OK => {
            let (tag, index) = (answer.head.headers.get(ETAG).cloned(), next_index(&answer.head.headers));
            let by = answer.head.headers.get(EDIT).cloned();
            let text = answer.whole(MOST_TEXT).await?;
            *asked = Asked { tag, index };
            let hash = Hash::of(&text);
            let by = by.and_then(|signature| author::signed(signature.as_bytes(), hash));
            Ok(Told::Document(Document { revision: revision(asked.tag.as_ref(), hash), text, by }))
        }
        StatusCode::NOT_MODIFIED if asked.tag.is_some() => {
            asked.index = next_index(&answer.head.headers).or(asked.index.take());
            Ok(Told::Same)
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            *asked = Asked { index: next_index(&answer.head.headers), tag: None };
            Ok(Told::Missing)
        }
        status if status.is_redirection() => {
            Err(FleetError::Wrong(format!("answered {status}: redirects are not followed, name the place itself")))
        }
        status => Err(FleetError::Wrong(format!("answered {status}"))),
    }
}

fn request(url: &FleetUrl, method: Method, target: &str) -> Result<Request<Bytes>, FleetError> {
    let built = Request::builder().method(method).uri(target).body(Bytes::new());
    let mut request = built.map_err(|error| wrong(&error))?;
    if let Some(file) = &url.token_file {
        request.headers_mut().extend([bearer(file)?]);
    }
    Ok(request)
}

/// Returns path and query. A server that told an index is Consul, which waits for a later one.
fn target(url: &FleetUrl, index: Option<&str>, wait: Option<Duration>) -> String {
    let target = url.url.target.as_str();
    match (index, wait) {
        (Some(index), Some(wait)) => {
            let between = if target.contains('?') { '&' } else { '?' };
            format!("{target}{between}index={index}&wait={}s", wait.as_secs())
        }
        _ => target.to_owned(),
    }
}

fn next_index(fields: &HeaderMap) -> Option<String> {
    let index = fields.get("x-consul-index")?.to_str().ok()?;
    index.bytes().all(|byte| byte.is_ascii_digit()).then(|| index.to_owned())
}

/// Returns the tag, or the beginning of the text's hash where there is none.
fn revision(tag: Option<&HeaderValue>, hash: Hash) -> Revision {
    let tag = tag.and_then(|tag| tag.to_str().ok()).filter(|tag| tag.len() <= LONGEST_TAG);
    Revision::Tag(tag.map_or_else(|| hash.to_string().chars().take(12).collect(), str::to_owned))
}

/// Spreads requests of many replicas, by a tenth of the time between them.
fn spread(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + fastrand::f64() / 10.0)
}

/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_TAG: usize = 200;
/// Field that says who made an edit. A server may keep it and give it back.
const EDIT: HeaderName = HeaderName::from_static("backsoon-edit");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::config::HookUrl;

    #[test]
    fn consul_is_asked_to_wait_for_a_later_index() {
        let parse = |text: &str| FleetUrl {
            url: HookUrl::parse(text).unwrap(),
            every: Duration::from_secs(5),
            wait: None,
            token_file: None,
            edits: false,
        };
        let (wait, url) = (Some(Duration::from_secs(30)), parse("http://127.0.0.1:8500/v1/kv/flags?raw"));
        assert_eq!(target(&url, None, wait), "/v1/kv/flags?raw");
        assert_eq!(target(&url, Some("7"), wait), "/v1/kv/flags?raw&index=7&wait=30s");
        assert_eq!(target(&url, Some("7"), None), "/v1/kv/flags?raw");
        assert_eq!(target(&parse("http://127.0.0.1/flags"), Some("7"), wait), "/flags?index=7&wait=30s");
    }
}
