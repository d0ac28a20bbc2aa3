//! Sends a request to an upstream of its route, and brings the response back.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;

use crate::live::Generation;
use crate::plan::config::{Upstream, UpstreamAddress};
use crate::plan::snapshot::Route;

use super::balance;
use super::body::{Body, ClientBody, RequestBody, Upload, UploadState, UpstreamBody};
use super::check;
use super::connection::Connection;
use super::error::Error;
use super::flight::Flight;
use super::headers::{self, Wishes, X_REQUEST_ID};
use super::lease::{Lease, Unsent};
use super::pool::{Pool, Reuse};
use super::tunnel::Tunnel;
use super::worker::Worker;

/// What forwarding a request needs to know besides the request.
pub(super) struct Hop<'h> {
    pub worker: &'h Rc<Worker>,
    pub connection: &'h Rc<Connection>,
    pub generation: &'h Generation,
    pub route: &'h Route,
    /// Whether the peer's word on others is believed.
    pub trusted: bool,
    pub id: HeaderValue,
}

/// A request that got no response.
pub(super) struct Failed {
    pub error: Error,
    pub flight: Flight,
    /// The request, if its body was not touched.
    pub unread: Option<Request<Incoming>>,
}

/// A request on its way, in a form that fits any upstream.
struct Outgoing {
    request: Request<RequestBody>,
    target: PathAndQuery,
    host: HeaderValue,
    wishes: Wishes,
    upload: Rc<UploadState>,
    /// It can be sent twice: a safe method, and no body.
    repeatable: bool,
}

/// Forwards a request.
///
/// # Errors
/// When no upstream answered; the books are given back open.
pub(super) async fn forward(
    hop: Hop<'_>,
    request: Request<Incoming>,
    mut flight: Flight,
) -> Result<Response<Body>, Failed> {
    if too_large(&hop, &request) {
        return Err(Failed { error: Error::BodyTooLarge, flight, unread: Some(request) });
    }
    let client_version = request.version();
    let mut outgoing = Outgoing::new(&hop, request);
    let upload = Rc::clone(&outgoing.upload);
    let wishes = std::mem::take(&mut outgoing.wishes);
    match send(&hop, outgoing, &wishes, &mut flight).await {
        Ok((response, lease)) => receive(&hop, response, lease, &wishes, client_version, flight),
        Err(error) => Err(Failed { error: blame(error, &upload), flight, unread: None }),
    }
}

fn too_large(hop: &Hop<'_>, request: &Request<Incoming>) -> bool {
    let most = hop.generation.snapshot.limits.body_size;
    most.is_some_and(|most| request.body().size_hint().lower() > most)
}

/// A request that failed because its own body did is the client's fault.
fn blame(error: Error, upload: &UploadState) -> Error {
    match upload.state.get() {
        Upload::TooLarge => Error::BodyTooLarge,
        Upload::TimedOut => Error::BodyTimeout,
        Upload::Broken => Error::BodyBroken,
        Upload::Open | Upload::Complete => error,
    }
}

impl Outgoing {
    fn new(hop: &Hop<'_>, request: Request<Incoming>) -> Self {
        let limits = &hop.generation.snapshot.limits;
        let host = host(&request);
        let (mut head, incoming) = request.into_parts();
        let empty = incoming.is_end_stream();
        let mut wishes = headers::strip_request(&mut head.headers, head.version);
        // A body before the switch would be read by one side as part of the request and by the other as the tunnel's.
        wishes.upgrade = wishes.upgrade.filter(|_| empty);
        headers::add_forwarded(&mut head.headers, &hop.connection.peer, &host, hop.trusted);
        head.headers.insert(X_REQUEST_ID, hop.id.clone());
        // What hyper keeps there belongs to the client's side.
        head.extensions.clear();
        let target = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let state = if empty { Upload::Complete } else { Upload::Open };
        let upload = Rc::new(UploadState::new(state));
        let repeatable = empty && head.method.is_safe();
        let body = if empty {
            RequestBody::Empty
        } else {
            RequestBody::Client(ClientBody::new(incoming, Rc::clone(&upload), limits.body_size, limits.body_read))
        };
        Self { request: Request::from_parts(head, body), target, host, wishes, upload, repeatable }
    }
}

/// The authority of the target, else the `Host` field: what `check` has found to be well-formed.
fn host(request: &Request<Incoming>) -> HeaderValue {
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or_else(|| request.headers().get(HOST).cloned()).unwrap_or(HeaderValue::from_static(""))
}

/// Tries upstreams until one answers, one may have begun to work on the request, or none is left.
async fn send(
    hop: &Hop<'_>,
    outgoing: Outgoing,
    wishes: &Wishes,
    flight: &mut Flight,
) -> Result<(Response<Incoming>, Lease), Error> {
    let limits = &hop.generation.snapshot.limits;
    let Outgoing { mut request, target, host, upload, repeatable, .. } = outgoing;
    let mut candidates = balance::Candidates::new(hop.worker, hop.generation, hop.route);
    let mut reuse = if repeatable { Reuse::Any } else { Reuse::Recent };
    let Some(mut pool) = candidates.next() else {
        return Err(Error::NoConnection);
    };
    let mut last = Error::NoConnection;
    for _ in 0..MOST_ATTEMPTS {
        flight.goes_to(&pool.meter, &upload);
        let mut lease = match pool.checkout(limits, reuse).await {
            Ok(lease) => lease,
            Err(error) => {
                if error.is_failure() {
                    pool.failed(&error);
                }
                match candidates.next() {
                    Some(other) if error.never_left() => pool = other,
                    _ => return Err(error),
                }
                continue;
            }
        };
        address(&mut request, &pool, &target, &host, hop.route.config.keep_host, wishes);
        // Its upstream may close a connection at any moment, also one that was used just now: when it restarts, say.
        let keeps_copy = if pool.http2() { request.body().is_end_stream() } else { repeatable && lease.reused };
        let copy = keeps_copy.then(|| copy(&request));
        match lease.send(request, Rc::clone(&upload), limits.first_byte).await {
            Ok(response) => {
                upload.answered.set(true);
                pool.succeeded();
                return Ok((response, lease));
            }
            // It closed the connection while it was idle, before anything left: that is no failure of the upstream.
            Err(Unsent { request: Some(back), error }) if lease.reused || pool.http2() => {
                request = back;
                last = error;
            }
            // It accepted a connection and took nothing on it.
            Err(Unsent { request: Some(back), error }) => {
                request = back;
                pool.cell().failures.increment();
                pool.failed(&error);
                match candidates.next() {
                    Some(other) => pool = other,
                    None => return Err(error),
                }
            }
            Err(Unsent { error, request: None }) => match copy.filter(|_| goes_again(&pool, &error)) {
                Some(copy) => {
                    request = copy;
                    last = error;
                }
                None => {
                    // A body that the client broke off is not the upstream's failure.
                    if matches!(upload.state.get(), Upload::Complete | Upload::Open) {
                        pool.cell().failures.increment();
                        pool.failed(&error);
                    }
                    return Err(error);
                }
            },
        }
        reuse = Reuse::Fresh;
    }
    Err(last)
}

/// Whether a request without a body that got no answer may be sent a second time.
fn goes_again(pool: &Pool, error: &Error) -> bool {
    if pool.http2() { error.unprocessed() } else { !matches!(error, Error::FirstByte) }
}

/// A second copy of a request without a body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Gives the request the form that this upstream's protocol wants.
fn address(
    request: &mut Request<RequestBody>,
    pool: &Pool,
    target: &PathAndQuery,
    host: &HeaderValue,
    keep_host: bool,
    wishes: &Wishes,
) {
    let own = (!keep_host || host.is_empty()).then(|| authority_of(pool.upstream()));
    let host = own.as_ref().unwrap_or(host);
    if pool.http2() {
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = absolute(pool.upstream(), host, target);
        request.headers_mut().remove(HOST);
        headers::ask_http2(request.headers_mut(), wishes);
    } else {
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(target.clone());
        let unsized_body = request.body().size_hint().exact().is_none();
        let method_has_body = !matches!(*request.method(), Method::GET | Method::HEAD);
        let headers = request.headers_mut();
        headers.insert(HOST, host.clone());
        headers::join_cookies(headers);
        if unsized_body && !method_has_body {
            // Without it hyper sends these methods without their body.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        headers::ask(headers, wishes);
    }
}

/// What an upstream is called in its own words.
fn authority_of(upstream: &Upstream) -> HeaderValue {
    let text = match &upstream.address {
        UpstreamAddress::Unix(_) => "localhost".to_owned(),
        UpstreamAddress::Host(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        UpstreamAddress::Host(host, port) => format!("{host}:{port}"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("localhost"))
}

fn absolute(upstream: &Upstream, host: &HeaderValue, target: &PathAndQuery) -> Uri {
    let scheme = if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = Authority::try_from(host.as_bytes()).unwrap_or(Authority::from_static("localhost"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(target.clone());
    Uri::from_parts(parts).unwrap_or_default()
}

/// Brings a response into the form that the client's connection wants.
fn receive(
    hop: &Hop<'_>,
    response: Response<Incoming>,
    mut lease: Lease,
    wishes: &Wishes,
    client_version: Version,
    mut flight: Flight,
) -> Result<Response<Body>, Failed> {
    if let Err(error) = check::response(&response) {
        return Err(Failed { error, flight, unread: None });
    }
    let (mut head, incoming) = response.into_parts();
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if switched && wishes.upgrade.is_none() {
        let error = Error::BadResponse("the upstream switched protocols unasked");
        return Err(Failed { error, flight, unread: None });
    }
    flight.answered(head.status);
    let protocol = head.headers.get(UPGRADE).cloned();
    headers::strip_response(&mut head.headers, wishes.trailers);
    head.headers.entry(X_REQUEST_ID).or_insert_with(|| hop.id.clone());
    let reason = head.extensions.remove::<ReasonPhrase>();
    head.extensions.clear();
    // Its own words for the status, if they are not the usual ones; hyper has none for statuses it does not know.
    if let Some(reason) = reason {
        head.extensions.insert(reason);
    }
    // An HTTP/1.0 upstream must not make the client's connection one.
    head.version = Version::HTTP_11;
    if head.status == StatusCode::NO_CONTENT || head.status == StatusCode::NOT_MODIFIED {
        head.headers.remove(CONTENT_LENGTH);
    }
    if switched {
        headers::set_upgrade(&mut head.headers, protocol.or_else(|| wishes.upgrade.clone()).unwrap_or(WEBSOCKET));
        if let Some(stream) = lease.tunnel() {
            hop.connection.open_tunnel(Tunnel { upstream: stream, flight, lease });
        }
        return Ok(Response::from_parts(head, Body::Empty));
    }
    let limits = &hop.generation.snapshot.limits;
    let progress = (client_version == Version::HTTP_2).then(|| hop.connection.stream()).flatten();
    let body = UpstreamBody::new(incoming, lease, flight, limits.upstream_read, progress);
    Ok(Response::from_parts(head, Body::Upstream(Box::new(body))))
}

/// How often one request is tried, counting connections that turned out to be closed.
const MOST_ATTEMPTS: usize = 5;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
