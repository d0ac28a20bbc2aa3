//! One request before its verdict: its head as it was read, and the snapshot that decides it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::live::Generation;
use crate::net::proxy_protocol::{self, Introduction};
use crate::plan::client;
use crate::plan::config::{ErrorStatus, FieldChanges, ProxyVersion, Serves, Trace};
use crate::plan::page::Stored;
use crate::plan::pass::Transport;
use crate::plan::redirect::decide_before_https;
use crate::plan::snapshot::Route;
use crate::plan::verdict::{Head, Verdict, decide, decide_at_site};
use crate::proxy::connection::ClientConnection;
use crate::proxy::error::{Error, Side};
use crate::proxy::http::check;
use crate::proxy::http::fields::{Field, Fields};
use crate::proxy::http::headers::{Peer, X_FORWARDED_PROTO, X_REQUEST_ID};
use crate::proxy::http::trace::Traced;
use crate::proxy::in_flight::Subject;
use crate::proxy::queue::Flow;
use crate::proxy::worker::{Live, Worker};

use super::body::Body;
use super::changes::{self, Changes, Facts};
use super::record::RequestRecord;
use super::respond;
use super::response_context::ResponseContext;

/// State of one request from its head to its answer.
pub(crate) struct Exchange {
    pub record: RequestRecord,
    /// The source of the verdict, route, page, limits and log line.
    pub generation: Live,
    pub context: ResponseContext,
    /// The client's version of HTTP.
    pub version: Version,
    /// True if the peer is trusted to report the addresses of others.
    pub trusted: bool,
    /// True if the request was held: its credentials were checked before that.
    pub waited: bool,
    /// The fields that the request's head has.
    pub fields: Fields,
    /// The trace that the request belongs to.
    pub trace: Option<Traced>,
}

/// Progress of a request that was decided.
pub(crate) enum Progress<S> {
    Answered(Response<Body>),
    /// The request was sent over an idle connection. Only its outcome is still awaited.
    Sent(S),
    /// The answer takes longer. Boxed, because most requests do not wait.
    Waiting(Pin<Box<dyn Future<Output = Response<Body>>>>),
}

impl Exchange {
    /// Creates an exchange with the live generation.
    pub(crate) fn new(worker: &Rc<Worker>, connection: &Rc<ClientConnection>, request: &Request<Incoming>) -> Self {
        // The live generation is read only here: route, verdict, page and log line all come from it.
        let generation = worker.generation();
        let (fields, values) = Fields::with_values(request.headers());
        let trusted = connection.peer.is_trusted(&generation.snapshot.trusted_proxies);
        let id = request_id(worker, request, fields, trusted);
        let trace = generation.snapshot.trace;
        let traced = fields.has(Field::Trace) || trace != Trace::Pass;
        let trace = if traced { Traced::of(request.headers(), trace, trusted) } else { None };
        let mut record = RequestRecord::new(worker, connection, &generation, request, &id);
        if let Some(trace) = &trace {
            record.set_trace(trace.id());
        }
        let context = ResponseContext::new(request, fields, &values, id);
        Self { record, generation, context, version: request.version(), trusted, waited: false, fields, trace }
    }

    /// Returns the address of the client, if it is known.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        client::of(self.record.connection.peer.origin(), headers, &self.generation.snapshot.trusted_proxies).address()
    }

    /// Returns the PROXY header that names the client to an upstream.
    #[cold]
    pub(crate) fn introduction(&self, version: ProxyVersion, headers: &HeaderMap) -> Box<[u8]> {
        let peer = &self.record.connection.peer;
        let introduction = self.client(headers).map_or(Introduction::Hidden, |client| {
            // Only the port of the peer itself is known.
            let port = peer.source_port.filter(|_| peer.address == Some(client)).unwrap_or(0);
            let source = SocketAddr::new(client, port);
            let unspecified =
                if client.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            Introduction::Client { source, destination: peer.local.unwrap_or(SocketAddr::new(unspecified, 0)) }
        });
        proxy_protocol::written(version, introduction).into()
    }

    /// Returns the flow under which the request waits in a fair queue.
    pub(crate) fn flow(&self, headers: &HeaderMap) -> Flow {
        let connection = (!self.trusted).then(|| self.record.connection.id.get());
        Flow { network: self.client(headers).map(client::network), connection }
    }

    /// Returns the client to count for the guard of the route, if the route has a guard.
    pub(crate) fn subject(&self, route: &Route, headers: &HeaderMap) -> Option<Subject> {
        let guard = route.guard()?;
        let before = route.state.baseline().and_then(|baseline| baseline.p99);
        let slow = guard.p99.and_then(|p99| p99.bound(before)).unwrap_or(Duration::MAX);
        let statuses = guard.statuses.filter_map(|_, _| Some(()));
        Some(Subject { client: self.client(headers).map(client::network), slow, statuses })
    }

    /// Returns the request's head as the decision saw it, but without the host.
    pub(crate) fn head<'r>(&'r self, request: &'r Request<Incoming>) -> Head<'r> {
        head(&self.generation, request, &self.record)
    }

    /// Returns the client's transport, as far as it is known.
    pub(crate) fn transport(&self, headers: &HeaderMap) -> Transport {
        transport(&self.record.connection.peer, self.trusted, headers)
    }

    /// Counts a wrong credential. Returns true if the client has recently shown many.
    pub(crate) fn has_guessed(&self, route: &Route, headers: &HeaderMap) -> bool {
        self.generation.routes[route.index].workers[self.record.worker.id].bypass_refused.increment();
        self.record.worker.throttle.count(self.client(headers), self.record.started)
    }

    /// Prepares changes of fields, with what they need of the request. `None` if there are none.
    #[inline]
    pub(super) fn changes(
        &self,
        changes: Option<&Arc<FieldChanges>>,
        route: Option<&Route>,
        request: &Request<Incoming>,
    ) -> Option<Box<Changes>> {
        changes.map(|changes| self.prepared(changes, route, request))
    }

    #[cold]
    fn prepared(
        &self,
        changes: &Arc<FieldChanges>,
        route: Option<&Route>,
        request: &Request<Incoming>,
    ) -> Box<Changes> {
        let (peer, trusted) = (&self.record.connection.peer, &self.generation.snapshot.trusted_proxies);
        let facts = Facts {
            client: client::of(peer.origin(), request.headers(), trusted),
            host: changes::host(request),
            transport: self.transport(request.headers()),
            id: &self.context.id,
            trace: self.trace.as_ref().map_or("", Traced::id),
            route: route.map_or("", |route| route.config.name.as_str()),
            listener: self.record.connection.listen.name.as_deref().unwrap_or_default(),
        };
        Box::new(Changes::new(changes, &facts))
    }

    /// Answers without an upstream, once the unread rest of the request has been dealt with.
    pub(crate) fn answer<S>(
        self,
        request: Request<Incoming>,
        answer: impl FnOnce(Self) -> Response<Body> + 'static,
    ) -> Progress<S> {
        if request.body().is_end_stream() {
            return Progress::Answered(answer(self));
        }
        Progress::Waiting(Box::pin(async move {
            self.settle(request).await;
            answer(self)
        }))
    }

    /// Answers a request that was cut, with the current page of its route.
    pub(crate) fn answer_drained(self) -> Response<Body> {
        let live = self.record.worker.generation();
        let name = self.record.route_name().unwrap_or_default();
        let route = live.snapshot.route(name);
        let closure = route.and_then(|route| route.closure.as_ref());
        let answer = match closure {
            Some(closure) => respond::drained_page(closure, &live, &self.context),
            None => respond::error(&Error::Drained, None, &self.context),
        };
        self.record.failed(&Error::Drained, answer)
    }

    /// Returns the page for an error that no upstream answered.
    fn error_page(&self, error: &Error) -> Option<&Stored> {
        let status = ErrorStatus::of(error.status()).filter(|_| error.side() == Side::Upstream)?;
        let snapshot = &self.generation.snapshot;
        let route = self.record.route_name().and_then(|name| snapshot.route(name));
        let fixed = route.and_then(|route| route.config.dialect);
        let renderer = route.map_or(&snapshot.renderer, |route| &route.renderer);
        renderer.error(status, self.context.fate(error), self.context.variant(renderer, fixed))
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: &Error) -> Response<Body> {
        let answer = respond::error(error, self.error_page(error), &self.context);
        self.record.failed(error, answer)
    }
}

/// Checks a request and decides it.
///
/// # Errors
/// Returns a client's [`Error`]; the connection must not be used further.
pub(crate) fn verdict<'g>(
    generation: &'g Generation,
    request: &Request<Incoming>,
    fields: Fields,
    record: &RequestRecord,
) -> Result<Verdict<'g>, Error> {
    let host = check::request(request, fields, generation.snapshot.limits.head_fields)?;
    let head = Head { host, ..head(generation, request, record) };
    let (snapshot, listen) = (&generation.snapshot, &record.connection.listen);
    Ok(match (listen.serves, listen.redirect) {
        (Serves::Routes, None) => decide(snapshot, head),
        (Serves::Routes, Some(to)) if is_in_clear(generation, request, record) => {
            decide_before_https(snapshot, head, to)
        }
        (Serves::Routes, Some(_)) => decide(snapshot, head),
        (Serves::Site, _) => decide_at_site(head),
    })
}

/// Returns true unless the client uses https, perhaps towards a trusted proxy that speaks plain HTTP to this one.
fn is_in_clear(generation: &Generation, request: &Request<Incoming>, record: &RequestRecord) -> bool {
    let peer = &record.connection.peer;
    let trusted = peer.is_trusted(&generation.snapshot.trusted_proxies);
    transport(peer, trusted, request.headers()) == Transport::Http
}

/// Returns the client's transport, as its connection or a `trusted` peer tells it.
fn transport(peer: &Peer, trusted: bool, headers: &HeaderMap) -> Transport {
    let said = headers.get(X_FORWARDED_PROTO).filter(|_| trusted).map(HeaderValue::as_bytes);
    let is_https = match said.and_then(|said| said.split(|&byte| byte == b',').next()) {
        Some(first) => first.trim_ascii().eq_ignore_ascii_case(b"https"),
        None => peer.scheme == "https",
    };
    if is_https { Transport::Https } else { Transport::Http }
}

fn head<'r>(generation: &Generation, request: &'r Request<Incoming>, record: &'r RequestRecord) -> Head<'r> {
    let (uri, headers) = (request.uri(), request.headers());
    let (method, path, query) = (request.method(), uri.path(), uri.query());
    let peer = record.connection.peer.origin();
    let elapsed = record.released.into_std().saturating_duration_since(generation.published);
    let listener = record.connection.listen.name.as_deref();
    Head { method, host: "", listener, path, query, headers, peer, elapsed }
}

/// Returns the id that a trusted proxy gave the request, or else a new one.
fn request_id(worker: &Worker, request: &Request<Incoming>, fields: Fields, trusted: bool) -> HeaderValue {
    let believed = trusted && fields.has(Field::RequestId);
    let given = believed.then(|| request.headers().get(&X_REQUEST_ID)).flatten();
    let given = given.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    let mut id = given.cloned().unwrap_or_else(|| worker.request_id());
    // HPACK would keep every id in its table, in the place of fields that come again, and compare each new id with all of
    // them. It keeps no value that is sensitive.
    id.set_sensitive(true);
    id
}

/// Bytes of the longest id that is accepted from another proxy.
const LONGEST_ID: usize = 128;
