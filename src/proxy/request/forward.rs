//! Sends a request to an upstream of its route, and returns the response.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::header::{HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::plan::limits::Limits;
use crate::plan::snapshot::Route;
use crate::plan::verdict::Pass;
use crate::proxy::error::Error;
use crate::proxy::http::check;
use crate::proxy::http::fields::{Field, Fields};
use crate::proxy::http::headers::{self, HopByHop, X_MAINTENANCE, X_REQUEST_ID};
use crate::proxy::in_flight::{InFlight, Interruption, Kind};
use crate::proxy::io::request_body::RequestBody;
use crate::proxy::io::upload::Upload;
use crate::proxy::relief;
use crate::proxy::upstream::checkout::Checkout;
use crate::proxy::upstream::idle::Reuse;
use crate::proxy::upstream::lease::{Lease, Received, SendOptions, Unsent};
use crate::proxy::upstream::pool::Pool;

use super::arrival::{clean, kind};
use super::balance::Candidates;
use super::body::{Body, UpstreamBody};
use super::exchange::Exchange;
use super::rewrite::{Rewritten, rewritten};
use super::tunnel::Tunnel;
use super::{prepare, replace, respond};

/// Result of starting a request.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Started<S> {
    /// The request was sent over an idle connection: only its outcome is still awaited.
    Sent(S, Box<UpstreamRequest>),
    /// The request waits for a connection.
    Waiting(Request<RequestBody>, Box<UpstreamRequest>),
    /// The request was not started.
    Failed(Box<Failed>),
}

/// Outcome of a request that was sent.
pub(crate) enum Outcome {
    Answered(Response<Body>),
    /// No response came, and the request may be sent again.
    Again(Request<RequestBody>, Box<UpstreamRequest>),
    Failed(Box<Failed>),
}

/// Request that got no response.
pub(crate) struct Failed {
    pub error: Error,
    pub exchange: Exchange,
    /// The request, if its body was not touched.
    pub unread: Option<Request<Incoming>>,
}

/// Request whose verdict is to forward it.
pub(crate) struct Forwarded {
    pub exchange: Exchange,
    /// The index of the route in the generation's snapshot.
    pub route: usize,
    /// The reason for forwarding.
    pub pass: Pass,
    /// The cookie that keeps the client's turn. Boxed, because most requests have none.
    pub cookie: Option<Box<HeaderValue>>,
}

impl Forwarded {
    /// Fails a request before anything was sent.
    fn unsent<S>(self, error: Error, request: Request<Incoming>) -> Started<S> {
        Started::Failed(Box::new(Failed { error, exchange: self.exchange, unread: Some(request) }))
    }

    fn route(&self) -> &Route {
        &self.exchange.generation.snapshot.routes[self.route]
    }

    fn limits(&self) -> &Arc<Limits> {
        self.route().config.limits.as_ref().unwrap_or(&self.exchange.generation.snapshot.limits)
    }
}

/// Request on its way to an upstream. Boxed: it is passed on more than once.
pub(crate) struct UpstreamRequest {
    forwarded: Forwarded,
    hop: HopByHop,
    /// The host that the client asked for, or that the operator sets.
    host: HeaderValue,
    keep_host: bool,
    /// The target, if the route rewrites it.
    rewritten: Option<Box<Rewritten>>,
    /// The upstream of the current attempt.
    pool: Rc<Pool>,
    candidates: Candidates,
    lease: Option<Lease>,
    /// The PROXY header for a new connection, if the upstreams want one.
    introduction: Option<Box<[u8]>>,
    options: SendOptions,
    reuse: Reuse,
    attempts: usize,
    /// A copy for one more attempt at an HTTP/2 upstream.
    copy: Option<Box<Request<RequestBody>>>,
    /// True if the request is sent only after the first bytes of its body have come.
    waits_for_body: bool,
    /// The error of the previous attempt.
    last: Error,
}

/// Sends a request to an upstream, if that can be done without waiting.
pub(crate) fn start(
    mut forwarded: Forwarded,
    request: Request<Incoming>,
) -> Started<impl Future<Output = Received> + use<>> {
    let exchange = &forwarded.exchange;
    if prepare::is_too_large(forwarded.limits(), &request) {
        return forwarded.unsent(Error::BodyTooLarge, request);
    }
    let mut candidates = Candidates::new(exchange, forwarded.route(), request.headers());
    let Some(pool) = candidates.next() else {
        return forwarded.unsent(Error::NoUpstream, request);
    };
    let host = prepare::host(&request);
    let rewritten = match rewritten(&forwarded.route().config, request.uri(), &host) {
        Ok(rewritten) => rewritten,
        Err(error) => return forwarded.unsent(error, request),
    };
    let introduction = pool.upstream().proxy_protocol.map(|version| exchange.introduction(version, request.headers()));
    let (sent_host, keep_host) = prepare::sent_host(&forwarded.route().config, &host);
    let (mut request, hop, options) =
        prepare::request(exchange, (forwarded.route(), forwarded.limits()), &host, request);
    if let Some(rewritten) = &rewritten {
        rewritten.tell(request.headers_mut());
    }
    if forwarded.pass == Pass::Bypassed {
        request.headers_mut().insert(X_MAINTENANCE, respond::BYPASS);
    }
    let reuse = if options.repeatable { Reuse::Any } else { Reuse::Recent };
    forwarded.exchange.record.set_upstream(&pool, options.upload.as_ref());
    let early = may_send_now(&forwarded.exchange, &mut request, &pool);
    let lease = if early && !pool.http2() && pool.waiting() == 0 { pool.take_idle(reuse) } else { None };
    let mut outgoing = Box::new(UpstreamRequest {
        forwarded,
        hop,
        host: sent_host,
        keep_host,
        rewritten,
        pool,
        candidates,
        lease: None,
        introduction,
        options,
        reuse,
        attempts: 0,
        copy: None,
        waits_for_body: !early,
        last: Error::NoConnection,
    });
    let Some(mut lease) = lease else {
        return Started::Waiting(request, outgoing);
    };
    outgoing.address(&mut request);
    outgoing.holds_connection();
    let started = lease.start(request, &outgoing.options);
    outgoing.lease = Some(lease);
    match started {
        Ok(sent) => {
            outgoing.attempts = 1;
            Started::Sent(sent, outgoing)
        }
        Err(request) => Started::Waiting(request, outgoing),
    }
}

/// Returns true if a request may be sent now: it has no body, or may be sent before its body.
///
/// A request that is sent before its body holds an upstream connection for as long as its client likes. So an HTTP/2
/// connection may have one such request, and an upstream a few. An HTTP/2 upstream serves many on one connection.
fn may_send_now(exchange: &Exchange, request: &mut Request<RequestBody>, pool: &Rc<Pool>) -> bool {
    let RequestBody::Client(body) = request.body_mut() else { return true };
    if pool.http2() {
        return true;
    }
    let connection = &exchange.record.connection;
    if exchange.version == Version::HTTP_2 && connection.activity.request.is_ahead() {
        return false;
    }
    let ahead = pool.allow_ahead(&connection.activity);
    let goes = ahead.is_some();
    body.go_ahead(ahead);
    goes
}

/// Waits for a future, or returns `None` if the request is cut meanwhile.
pub(crate) async fn unless_cut<F: Future>(in_flight: &InFlight, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if in_flight.is_cut() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl UpstreamRequest {
    /// Evaluates what an upstream returned. `None` means that the request was cut: its upstream connection ends.
    pub(crate) fn received(mut self: Box<Self>, received: Option<Received>) -> Outcome {
        let Some(received) = received else {
            self.lease = None;
            return Outcome::Failed(self.failed(Error::Drained));
        };
        let Some(lease) = self.lease.take() else {
            return Outcome::Failed(self.failed(Error::NoConnection));
        };
        match lease.received(received) {
            Ok(response) => self.arrived(response, lease).map_or_else(Outcome::Failed, Outcome::Answered),
            Err(unsent) => match self.again(&lease, unsent) {
                Ok(request) => Outcome::Again(request, self),
                Err(error) => Outcome::Failed(self.failed(error)),
            },
        }
    }

    /// Returns the state of the request in flight.
    pub(crate) fn in_flight(&self) -> Rc<InFlight> {
        Rc::clone(&self.forwarded.exchange.record.in_flight)
    }

    /// Tries upstreams until one answers, one may have begun to work on the request, or none is left.
    ///
    /// # Errors
    /// Returns an error if no upstream answered.
    pub(crate) async fn send(
        mut self: Box<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Body>, Box<Failed>> {
        let in_flight = self.in_flight();
        if std::mem::take(&mut self.waits_for_body) {
            match unless_cut(&in_flight, request.body_mut().begins()).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(self.failed(Error::BodyBroken)),
                None => return Err(self.failed(Error::Drained)),
            }
        }
        while self.attempts < MOST_ATTEMPTS {
            self.attempts += 1;
            self.forwarded.exchange.record.set_upstream(&self.pool, self.options.upload.as_ref());
            let Some(checked_out) = unless_cut(&in_flight, self.checkout(request.headers())).await else {
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
            // A copy belongs to this attempt only.
            let keeps_copy = self.pool.http2() && request.body().is_end_stream();
            self.copy = keeps_copy.then(|| Box::new(prepare::copy(&request)));
            self.options.now();
            let Some(sent) = unless_cut(&in_flight, lease.send(request, &self.options)).await else {
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
        let exchange = &self.forwarded.exchange;
        let flow = || exchange.flow(headers);
        let relieve = || relief::start(&exchange.record.worker, &self.pool);
        let limits = self.forwarded.limits();
        let checkout = Checkout {
            limits,
            reuse: self.reuse,
            introduction: self.introduction.as_deref(),
            flow: &flow,
            relieve: &relieve,
        };
        let checked_out = self.pool.checkout(&checkout).await.inspect(|_| self.holds_connection());
        checked_out.inspect_err(|error| {
            if error.is_failure() {
                self.pool.failed(error);
            }
        })
    }

    /// Notes that the request holds an upstream connection.
    fn holds_connection(&self) {
        self.forwarded.exchange.record.in_flight.set_upstream(Some(self.pool.meter.id));
    }

    /// Decides whether a request that got no response is sent again, and where.
    fn again(&mut self, lease: &Lease, unsent: Unsent) -> Result<Request<RequestBody>, Error> {
        let Unsent { error, request } = unsent;
        self.reuse = Reuse::Fresh;
        let too_narrow =
            matches!(error, Error::AnswerHeadFields) && self.pool.answer_fields.exceeded(self.forwarded.limits());
        match request {
            // The upstream closed an idle connection before anything was sent: that is no failure.
            Some(back) if lease.reused || self.pool.http2() => {
                self.last = error;
                Ok(back)
            }
            // The upstream accepted a connection and took nothing on it.
            Some(back) => {
                self.blame_upstream(&error);
                match self.candidates.next() {
                    Some(other) => self.pool = other,
                    None => return Err(error),
                }
                self.last = error;
                Ok(back)
            }
            None if too_narrow || self.is_repeatable(lease, &error) => {
                match self.copy.take().map(|copy| *copy).or_else(|| lease.sent_head()) {
                    Some(copy) => {
                        self.last = error;
                        Ok(copy)
                    }
                    None => Err(self.given_up(error)),
                }
            }
            None => Err(self.given_up(error)),
        }
    }

    /// Returns true if a request that was sent may be sent again. An HTTP/2 upstream says so itself. Any other must
    /// have closed a connection that it had kept open before, without letting the request time out.
    fn is_repeatable(&self, lease: &Lease, error: &Error) -> bool {
        if self.pool.http2() { error.unprocessed() } else { lease.reused && !matches!(error, Error::FirstByte) }
    }

    fn given_up(&self, error: Error) -> Error {
        // If the client cut its body short, the upstream is not to blame.
        let state = self.options.upload.as_ref().map(|upload| upload.state.get());
        if matches!(state, None | Some(Upload::Complete | Upload::Open)) {
            self.blame_upstream(&error);
        }
        error
    }

    fn blame_upstream(&self, error: &Error) {
        self.pool.cell().failures.increment();
        if error.is_failure() {
            self.pool.failed(error);
        }
    }

    /// Gives the request the form that this upstream's protocol needs.
    fn address(&self, request: &mut Request<RequestBody>) {
        let own = (!self.keep_host || self.host.is_empty()).then(|| prepare::authority_of(self.pool.upstream()));
        let host = own.as_ref().unwrap_or(&self.host);
        if let Some(rewritten) = &self.rewritten {
            *request.uri_mut() = rewritten.target(self.pool.upstream()).into();
        }
        if self.pool.http2() {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = prepare::absolute(self.pool.upstream(), host, request.uri());
            request.headers_mut().remove(HOST);
            headers::set_hop_by_hop_http2(request.headers_mut(), &self.hop);
            return;
        }
        *request.version_mut() = Version::HTTP_11;
        if request.uri().authority().is_some() {
            *request.uri_mut() = prepare::target(request.uri()).into();
        }
        let unsized_body = request.body().size_hint().exact().is_none();
        let method_has_body = !matches!(*request.method(), Method::GET | Method::HEAD);
        let headers = request.headers_mut();
        if headers.get(HOST) != Some(host) {
            headers.insert(HOST, host.clone());
        }
        if unsized_body && !method_has_body {
            // Without this field, hyper sends these methods without their body.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        headers::set_hop_by_hop(headers, &self.hop);
    }

    /// Gives a response the form that the client's connection needs.
    fn arrived(
        self: Box<Self>,
        mut response: Response<Incoming>,
        mut lease: Lease,
    ) -> Result<Response<Body>, Box<Failed>> {
        let fields = Fields::of(response.headers());
        if let Some(upload) = &self.options.upload {
            upload.answered.set(true);
        }
        self.pool.succeeded();
        self.pool.answer_fields.note(response.headers().len());
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let checked = if switched && self.hop.upgrade.is_none() {
            Err(Error::BadResponse("the upstream switched protocols unasked"))
        } else {
            check::response(&response, fields)
        };
        if let Err(error) = checked {
            return Err(Box::new(Failed { error, exchange: self.forwarded.exchange, unread: None }));
        }
        let limits = Arc::clone(self.forwarded.limits());
        let Forwarded { exchange, route, pass, cookie } = self.forwarded;
        let Exchange { mut record, generation, context, .. } = exchange;
        let now = Instant::now();
        record.answered(response.status(), now);
        if context.is_grpc() {
            record.call_answered(response.status(), response.headers());
        }
        self.pool.answered_after(|| now.saturating_duration_since(self.options.at));
        let protocol = switched.then(|| response.headers().get(UPGRADE).cloned()).flatten();
        clean(&mut response, fields, self.hop.trailers);
        if let Some(rewritten) = &self.rewritten {
            rewritten.answer(response.headers_mut(), self.pool.upstream(), &self.host);
        }
        // Before the proxy adds its own fields, which stay as they are.
        if let Some(changes) = record.changes.take() {
            changes.apply_to_answer(response.headers_mut());
        }
        let route = &generation.snapshot.routes[route];
        let page = replace::page(response.status(), route, pass, &context);
        let head_only = context.head_only();
        if pass != Pass::Open || route.notice.is_some() {
            respond::add_notice(response.headers_mut(), route, pass, cookie.map(|cookie| *cookie));
        }
        if !fields.has(Field::RequestId) {
            response.headers_mut().insert(X_REQUEST_ID, context.id);
        }
        if page.is_none() {
            self.candidates.mark(response.headers_mut());
        }
        if switched {
            let protocol = protocol.or(self.hop.upgrade).unwrap_or(WEBSOCKET);
            headers::set_upgrade(response.headers_mut(), protocol.clone());
            if let Some(upstream) = lease.tunnel() {
                lease.set_long_lived();
                let connection = Rc::clone(&record.connection);
                let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
                connection.take_over(Box::new(Tunnel { upstream, record, lease, websocket, limits }));
            }
            return Ok(response.map(|_| Body::Empty));
        }
        if let Some(page) = page {
            return Ok(replace::with(page, response, head_only, (lease, record)));
        }
        let kind = if fields.has(Field::ContentLength) { Kind::Plain } else { kind(response.headers()) };
        record.in_flight.set_kind(kind);
        let is_long_lived = kind.is_long_lived();
        Ok(response.map(|incoming| {
            if is_long_lived {
                lease.set_long_lived();
            }
            let source = lease.read(incoming);
            Body::Upstream(Box::new(UpstreamBody::new(source, lease, record, limits.upstream_read, now)))
        }))
    }

    /// Returns the request as failed, and blames the client if the request's own body failed.
    fn failed(self: Box<Self>, error: Error) -> Box<Failed> {
        let evicted = matches!(error, Error::Drained)
            && self.forwarded.exchange.record.in_flight.interruption() == Interruption::Evict;
        let error = if evicted { Error::Evicted } else { error };
        let error = match self.options.upload.as_ref().map(|upload| upload.state.get()) {
            Some(Upload::TooLarge) => Error::BodyTooLarge,
            Some(Upload::TimedOut) => Error::BodyTimeout,
            Some(Upload::Broken) => Error::BodyBroken,
            Some(Upload::Open | Upload::Complete) | None => error,
        };
        Box::new(Failed { error, exchange: self.forwarded.exchange, unread: None })
    }
}

/// Attempts at one request, including those on connections that turned out to be closed.
const MOST_ATTEMPTS: usize = 5;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
