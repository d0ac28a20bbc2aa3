//! Sends a request to an upstream of its route, and brings the response back.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use tokio::time::Instant;

use crate::plan::config::{Upstream, UpstreamAddress};
use crate::plan::verdict::Pass;
use crate::proxy::error::Error;
use crate::proxy::http::check;
use crate::proxy::http::fields::{Field, Fields};
use crate::proxy::http::headers::{self, Wishes, X_REQUEST_ID};
use crate::proxy::in_flight::{Fate, Kind, Standing};
use crate::proxy::io::gather::{Gather, Source};
use crate::proxy::io::upload::{ClientBody, RequestBody, Upload, UploadState};
use crate::proxy::upstream::lease::{Dispatch, Lease, Received, Unsent};
use crate::proxy::upstream::pool::{Order, Pool, Reuse};

use super::balance::Candidates;
use super::body::{Body, UpstreamBody};
use super::exchange::Exchange;
use super::respond;
use super::tunnel::Tunnel;

/// How a request sets out.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Departure<S> {
    /// It was sent over a connection that was at hand: nothing is left to wait for but what comes of it.
    Sent(S, Box<Journey>),
    /// A connection has to be waited for.
    Waiting(Request<RequestBody>, Box<Journey>),
    /// It did not set out.
    Failed(Box<Failed>),
}

/// What came of a request that was sent.
pub(crate) enum Arrival {
    Answered(Response<Body>),
    /// Nothing, and it may be sent again.
    Again(Request<RequestBody>, Box<Journey>),
    Failed(Box<Failed>),
}

/// A request that got no response.
pub(crate) struct Failed {
    pub error: Error,
    pub exchange: Exchange,
    /// The request, if its body was not touched.
    pub unread: Option<Request<Incoming>>,
}

/// A request on its way. Boxed: it is handed on more than once.
pub(crate) struct Journey {
    exchange: Exchange,
    wishes: Wishes,
    /// The host that the client asked for.
    host: HeaderValue,
    keep_host: bool,
    /// The upstream that it goes to, and those that it was not tried on yet.
    pool: Rc<Pool>,
    candidates: Candidates,
    lease: Option<Lease>,
    dispatch: Dispatch,
    reuse: Reuse,
    attempts: usize,
    /// What an HTTP/2 upstream may be sent once more.
    copy: Option<Box<Request<RequestBody>>>,
    /// It is not sent before the first bytes of its body have come.
    waits_for_body: bool,
    /// Why the attempt before this one came to nothing.
    last: Error,
}

/// Sends a request to an upstream, if that can be done without waiting.
pub(crate) fn depart(
    mut exchange: Exchange,
    route: usize,
    request: Request<Incoming>,
) -> Departure<impl Future<Output = Received> + use<>> {
    let generation = Rc::clone(&exchange.generation);
    let route = &generation.snapshot.routes[route];
    if too_large(&exchange, &request) {
        return Departure::Failed(Box::new(Failed { error: Error::BodyTooLarge, exchange, unread: Some(request) }));
    }
    let mut candidates = Candidates::new(&exchange.flight.worker, &generation, route);
    let Some(pool) = candidates.next() else {
        return Departure::Failed(Box::new(Failed { error: Error::NoConnection, exchange, unread: Some(request) }));
    };
    let host = host(&request);
    let (mut request, wishes, dispatch) = prepare(&exchange, &host, request);
    let reuse = if dispatch.repeatable { Reuse::Any } else { Reuse::Recent };
    exchange.flight.goes_to(&pool, dispatch.upload.as_ref());
    let early = goes_ahead(&exchange, &mut request, &pool);
    let lease = if early && !pool.http2() && pool.waiting() == 0 { pool.take_idle(reuse) } else { None };
    let keep_host = route.config.keep_host;
    let mut journey = Box::new(Journey {
        exchange,
        wishes,
        host,
        keep_host,
        pool,
        candidates,
        lease: None,
        dispatch,
        reuse,
        attempts: 0,
        copy: None,
        waits_for_body: !early,
        last: Error::NoConnection,
    });
    let Some(mut lease) = lease else {
        return Departure::Waiting(request, journey);
    };
    journey.address(&mut request);
    journey.holds_connection();
    let started = lease.start(request, &journey.dispatch);
    journey.lease = Some(lease);
    match started {
        Ok(sent) => {
            journey.attempts = 1;
            Departure::Sent(sent, journey)
        }
        Err(request) => Departure::Waiting(request, journey),
    }
}

/// Whether a request may be sent now: it has no body, or may go ahead of its body.
///
/// A request ahead of its body holds a connection to the upstream for as long as its client likes, and so do few: one of
/// an HTTP/2 connection, and some of an upstream. An HTTP/2 upstream has one connection for many requests.
fn goes_ahead(exchange: &Exchange, request: &mut Request<RequestBody>, pool: &Rc<Pool>) -> bool {
    let RequestBody::Client(body) = request.body_mut() else { return true };
    if pool.http2() {
        return true;
    }
    let connection = &exchange.flight.connection;
    if exchange.version == Version::HTTP_2 && connection.activity.request.is_ahead() {
        return false;
    }
    let ahead = pool.lets_ahead(&connection.activity);
    let goes = ahead.is_some();
    body.go_ahead(ahead);
    goes
}

fn too_large(exchange: &Exchange, request: &Request<Incoming>) -> bool {
    let most = exchange.generation.snapshot.limits.body_size;
    most.is_some_and(|most| request.body().size_hint().lower() > most)
}

/// How a response goes on whose length is not known.
fn kind(headers: &HeaderMap) -> Kind {
    let is =
        |value: &[u8], start: &[u8]| value.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start));
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(value) if is(value, b"text/event-stream") => Kind::Events,
        Some(value) if is(value, b"application/grpc") && !is(value, b"application/grpc-web") => Kind::Grpc,
        Some(_) | None => Kind::Plain,
    }
}

/// Waits for something, unless the request is cut meanwhile: then there is nothing.
pub(crate) async fn unless_cut<F: Future>(standing: &Standing, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if standing.is_cut() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The authority of the target, else the `Host` field: what `check` has found to be well-formed.
fn host(request: &Request<Incoming>) -> HeaderValue {
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or_else(|| request.headers().get(HOST).cloned()).unwrap_or(HeaderValue::from_static(""))
}

/// Brings a request into a form that fits any upstream.
fn prepare(
    exchange: &Exchange,
    host: &HeaderValue,
    request: Request<Incoming>,
) -> (Request<RequestBody>, Wishes, Dispatch) {
    let limits = &exchange.generation.snapshot.limits;
    let empty = request.body().is_end_stream();
    let repeatable = empty && request.method().is_safe();
    let upload = (!empty).then(|| Rc::new(UploadState::new(exchange.flight.set_out)));
    let mut request = request.map(|incoming| match &upload {
        None => RequestBody::Empty,
        Some(upload) => {
            let source = source(exchange, incoming);
            let body = ClientBody::new(source, Rc::clone(upload), limits.body_size, limits.body_read);
            RequestBody::Client(Box::new(body))
        }
    });
    // What hyper keeps there belongs to the client's side.
    request.extensions_mut().clear();
    let headers = request.headers_mut();
    let mut wishes = headers::strip_request(headers, exchange.fields, exchange.version);
    // A body before the switch would be read by one side as part of the request and by the other as the tunnel's.
    wishes.upgrade = wishes.upgrade.filter(|_| empty);
    if let Some(bypass) = &exchange.route().config.policy.bypass {
        headers::strip_pass(headers, exchange.fields, bypass);
    }
    headers.reserve(MOST_ADDED);
    let peer = &exchange.flight.connection.peer;
    let trusted = exchange.trusted.then_some(&exchange.generation.snapshot.trusted_proxies);
    headers::add_forwarded(headers, exchange.fields, peer, host, trusted);
    headers::say_length_once(headers, exchange.fields);
    headers.insert(X_REQUEST_ID, exchange.asked.id.clone());
    headers::join_cookies(headers, exchange.fields);
    let upgrades = wishes.upgrade.is_some();
    let dispatch =
        Dispatch { at: exchange.flight.set_out, first_byte: limits.first_byte, upload, repeatable, upgrades };
    (request, wishes, dispatch)
}

/// Chooses how a client's body is read.
fn source(exchange: &Exchange, incoming: Incoming) -> Source {
    if exchange.version == Version::HTTP_2 {
        return Source::Ready(incoming, None);
    }
    if incoming.size_hint().exact().is_some() {
        return Source::Frames(incoming);
    }
    let gather = Gather::new(incoming, None);
    exchange.flight.connection.upload.replace(Some(Rc::clone(&gather)));
    Source::Gathered(gather)
}

impl Journey {
    /// What came of a request that set out. Nothing did if it was cut: then the connection to the upstream ends.
    pub(crate) fn received(mut self: Box<Self>, received: Option<Received>) -> Arrival {
        let Some(received) = received else {
            self.lease = None;
            return Arrival::Failed(self.failed(Error::Drained));
        };
        let Some(lease) = self.lease.take() else {
            return Arrival::Failed(self.failed(Error::NoConnection));
        };
        match lease.received(received) {
            Ok(response) => self.arrived(response, lease).map_or_else(Arrival::Failed, Arrival::Answered),
            Err(unsent) => match self.again(&lease, unsent) {
                Ok(request) => Arrival::Again(request, self),
                Err(error) => Arrival::Failed(self.failed(error)),
            },
        }
    }

    /// Where its request stands.
    pub(crate) fn standing(&self) -> Rc<Standing> {
        Rc::clone(&self.exchange.flight.standing)
    }

    /// Tries upstreams until one answers, one may have begun to work on the request, or none is left.
    ///
    /// # Errors
    /// When no upstream answered.
    pub(crate) async fn go_on(
        mut self: Box<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Body>, Box<Failed>> {
        let standing = self.standing();
        if std::mem::take(&mut self.waits_for_body) {
            match unless_cut(&standing, request.body_mut().begins()).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(self.failed(Error::BodyBroken)),
                None => return Err(self.failed(Error::Drained)),
            }
        }
        while self.attempts < MOST_ATTEMPTS {
            self.attempts += 1;
            self.exchange.flight.goes_to(&self.pool, self.dispatch.upload.as_ref());
            let Some(checked_out) = unless_cut(&standing, self.checkout(request.headers())).await else {
                return Err(self.failed(Error::Drained));
            };
            let mut lease = match checked_out {
                Ok(lease) => lease,
                Err(error) => match self.candidates.next() {
                    Some(other) if error.never_left() => {
                        self.pool = other;
                        self.last = error;
                        continue;
                    }
                    _ => return Err(self.failed(error)),
                },
            };
            self.address(&mut request);
            // Of this attempt and no other.
            let keeps_copy = self.pool.http2() && request.body().is_end_stream();
            self.copy = keeps_copy.then(|| Box::new(copy(&request)));
            self.dispatch.now();
            let Some(sent) = unless_cut(&standing, lease.send(request, &self.dispatch)).await else {
                return Err(self.failed(Error::Drained));
            };
            match sent {
                Ok(response) => return self.arrived(response, lease),
                Err(unsent) => match self.again(&lease, unsent) {
                    Ok(again) => request = again,
                    Err(error) => return Err(self.failed(error)),
                },
            }
        }
        let last = std::mem::replace(&mut self.last, Error::NoConnection);
        Err(self.failed(last))
    }

    async fn checkout(&mut self, headers: &HeaderMap) -> Result<Lease, Error> {
        if let Some(lease) = self.lease.take() {
            return Ok(lease);
        }
        let exchange = &self.exchange;
        let client = || exchange.queues_as(headers);
        let (worker, limits) = (&exchange.flight.worker, &exchange.generation.snapshot.limits);
        let order = Order { worker, limits, reuse: self.reuse, client: &client };
        let checked_out = self.pool.checkout(&order).await.inspect(|_| self.holds_connection());
        checked_out.inspect_err(|error| {
            if error.is_failure() {
                self.pool.failed(error);
            }
        })
    }

    /// Notes that it holds a connection.
    fn holds_connection(&self) {
        self.exchange.flight.standing.holds(Some(self.pool.meter.id));
    }

    /// Decides whether a request that got no response is sent again, and where.
    fn again(&mut self, lease: &Lease, unsent: Unsent) -> Result<Request<RequestBody>, Error> {
        let Unsent { error, request } = unsent;
        self.reuse = Reuse::Fresh;
        match request {
            // It closed the connection while it was idle, before anything left: that is no failure of the upstream.
            Some(back) if lease.reused || self.pool.http2() => {
                self.last = error;
                Ok(back)
            }
            // It accepted a connection and took nothing on it.
            Some(back) => {
                self.blame_upstream(&error);
                match self.candidates.next() {
                    Some(other) => self.pool = other,
                    None => return Err(error),
                }
                self.last = error;
                Ok(back)
            }
            None if self.goes_again(&error) => match self.copy.take().map(|copy| *copy).or_else(|| lease.sent_head()) {
                Some(copy) => {
                    self.last = error;
                    Ok(copy)
                }
                None => Err(self.given_up(error)),
            },
            None => Err(self.given_up(error)),
        }
    }

    /// Whether a request that has left may be sent again. An HTTP/2 upstream says so; another has closed a connection
    /// that it had kept open before, and did not let the request's time run out.
    fn goes_again(&self, error: &Error) -> bool {
        if self.pool.http2() { error.unprocessed() } else { !matches!(error, Error::FirstByte) }
    }

    fn given_up(&self, error: Error) -> Error {
        // A body that the client broke off is not the upstream's failure.
        let state = self.dispatch.upload.as_ref().map(|upload| upload.state.get());
        if matches!(state, None | Some(Upload::Complete | Upload::Open)) {
            self.blame_upstream(&error);
        }
        error
    }

    fn blame_upstream(&self, error: &Error) {
        self.pool.cell().failures.increment();
        self.pool.failed(error);
    }

    /// Gives the request the form that this upstream's protocol wants.
    fn address(&self, request: &mut Request<RequestBody>) {
        let own = (!self.keep_host || self.host.is_empty()).then(|| authority_of(self.pool.upstream()));
        let host = own.as_ref().unwrap_or(&self.host);
        if self.pool.http2() {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = absolute(self.pool.upstream(), host, request.uri());
            request.headers_mut().remove(HOST);
            headers::ask_http2(request.headers_mut(), &self.wishes);
            return;
        }
        *request.version_mut() = Version::HTTP_11;
        if request.uri().authority().is_some() {
            *request.uri_mut() = target(request.uri()).into();
        }
        let unsized_body = request.body().size_hint().exact().is_none();
        let method_has_body = !matches!(*request.method(), Method::GET | Method::HEAD);
        let headers = request.headers_mut();
        if headers.get(HOST) != Some(host) {
            headers.insert(HOST, host.clone());
        }
        if unsized_body && !method_has_body {
            // Without it hyper sends these methods without their body.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        headers::ask(headers, &self.wishes);
    }

    /// Brings a response into the form that the client's connection wants.
    fn arrived(
        self: Box<Self>,
        mut response: Response<Incoming>,
        mut lease: Lease,
    ) -> Result<Response<Body>, Box<Failed>> {
        let fields = Fields::of(response.headers());
        if let Some(upload) = &self.dispatch.upload {
            upload.answered.set(true);
        }
        self.pool.succeeded();
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let checked = match switched && self.wishes.upgrade.is_none() {
            true => Err(Error::BadResponse("the upstream switched protocols unasked")),
            false => check::response(&response, fields),
        };
        if let Err(error) = checked {
            return Err(Box::new(Failed { error, exchange: self.exchange, unread: None }));
        }
        let Exchange { mut flight, generation, asked, pass, route, cookie, .. } = self.exchange;
        let now = Instant::now();
        flight.answered(response.status(), now);
        self.pool.answered_after(|| now.saturating_duration_since(self.dispatch.at));
        let protocol = switched.then(|| response.headers().get(UPGRADE).cloned()).flatten();
        clean(&mut response, fields, self.wishes.trailers);
        let route = &generation.snapshot.routes[route];
        if pass != Pass::Open || route.notice.is_some() {
            respond::tell(response.headers_mut(), route, pass, cookie.map(|cookie| *cookie));
        }
        if !fields.has(Field::RequestId) {
            response.headers_mut().insert(X_REQUEST_ID, asked.id);
        }
        if switched {
            let protocol = protocol.or(self.wishes.upgrade).unwrap_or(WEBSOCKET);
            headers::set_upgrade(response.headers_mut(), protocol.clone());
            if let Some(upstream) = lease.tunnel() {
                let connection = Rc::clone(&flight.connection);
                let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
                connection.open_tunnel(Tunnel { upstream, flight, lease, websocket });
            }
            return Ok(response.map(|_| Body::Empty));
        }
        if !fields.has(Field::ContentLength) {
            flight.standing.goes_on(kind(response.headers()));
        }
        let patience = generation.snapshot.limits.upstream_read;
        Ok(response.map(|incoming| {
            let source = lease.read(incoming);
            Body::Upstream(Box::new(UpstreamBody::new(source, lease, flight, patience, now)))
        }))
    }

    /// A request that failed because its own body did is the client's fault.
    fn failed(self: Box<Self>, error: Error) -> Box<Failed> {
        let evicted = matches!(error, Error::Drained) && self.exchange.flight.standing.fate() == Fate::Evict;
        let error = if evicted { Error::Evicted } else { error };
        let error = match self.dispatch.upload.as_ref().map(|upload| upload.state.get()) {
            Some(Upload::TooLarge) => Error::BodyTooLarge,
            Some(Upload::TimedOut) => Error::BodyTimeout,
            Some(Upload::Broken) => Error::BodyBroken,
            Some(Upload::Open | Upload::Complete) | None => error,
        };
        Box::new(Failed { error, exchange: self.exchange, unread: None })
    }
}

/// Removes from a response what belongs to the upstream's connection.
fn clean(response: &mut Response<Incoming>, fields: Fields, trailers: bool) {
    // An HTTP/1.0 upstream must not make the client's connection one.
    *response.version_mut() = Version::HTTP_11;
    headers::strip_response(response.headers_mut(), fields, trailers);
    if fields.has(Field::ContentLength)
        && matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    headers::say_length_once(response.headers_mut(), fields);
    let extensions = response.extensions_mut();
    if !extensions.is_empty() {
        // Its own words for the status, if they are not the usual ones; hyper has none for statuses it does not know.
        let reason = extensions.remove::<ReasonPhrase>();
        extensions.clear();
        if let Some(reason) = reason {
            extensions.insert(reason);
        }
    }
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

/// What an upstream is called in its own words.
fn authority_of(upstream: &Upstream) -> HeaderValue {
    let text = match &upstream.address {
        UpstreamAddress::Unix(_) => "localhost".to_owned(),
        UpstreamAddress::Host(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        UpstreamAddress::Host(host, port) => format!("{host}:{port}"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("localhost"))
}

/// The path and query.
fn target(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

fn absolute(upstream: &Upstream, host: &HeaderValue, uri: &Uri) -> Uri {
    let scheme = if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = Authority::try_from(host.as_bytes()).unwrap_or(Authority::from_static("localhost"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(target(uri));
    Uri::from_parts(parts).unwrap_or_default()
}

/// How often one request is tried, counting connections that turned out to be closed.
const MOST_ATTEMPTS: usize = 5;

/// Fields that are added to a request.
const MOST_ADDED: usize = 8;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
