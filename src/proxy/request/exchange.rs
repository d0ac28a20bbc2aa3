//! One request: checked, decided, forwarded or answered.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::live::Generation;
use crate::plan::client;
use crate::plan::config::RouteConfig;
use crate::plan::pass::{self, InvalidToken};
use crate::plan::snapshot::Route;
use crate::plan::verdict::{Head, Pass, Refusal, Resource, Verdict, decide, spared};
use crate::proxy::client::http1::LINGER_QUIET;
use crate::proxy::connection::Connection;
use crate::proxy::error::Error;
use crate::proxy::http::check;
use crate::proxy::http::fields::{Field, Fields};
use crate::proxy::http::headers::{X_FORWARDED_PROTO, X_REQUEST_ID};
use crate::proxy::in_flight::Asker;
use crate::proxy::io::upload::RequestBody;
use crate::proxy::queue::Client;
use crate::proxy::upstream::lease::Received;
use crate::proxy::worker::{Live, Worker};
use crate::telemetry::Limit;

use super::body::Body;
use super::events::{self, Stream, Watch};
use super::forward::{Arrival, Departure, Failed, Journey, depart, unless_cut};
use super::hold;
use super::record::Flight;
use super::respond::{self, Asked};

/// What belongs to one request from its head to its answer.
pub(crate) struct Exchange {
    pub flight: Flight,
    /// What its verdict came from: route, page, limits and log line do, too.
    pub generation: Live,
    pub asked: Asked,
    /// The client's version of HTTP.
    pub version: Version,
    /// Whether the peer's word on others is believed.
    pub trusted: bool,
    /// Whether it has waited for its route: what it shows was looked at before that.
    pub waited: bool,
    /// What its head has.
    pub fields: Fields,
    /// Why it is forwarded.
    pub pass: Pass,
    /// On which route, by its index in the generation's snapshot.
    pub route: usize,
    /// The cookie that keeps its client's cohort. Boxed: most requests need no room for it.
    pub cookie: Option<Box<HeaderValue>>,
}

/// A request that was decided.
pub(crate) enum Begun<S> {
    Answered(Response<Body>),
    /// It was forwarded, over a connection that was at hand: only what comes of it is to be waited for.
    Sent(S, Box<Journey>),
    /// There is more to wait for. Boxed: most requests need no room for it.
    Waiting(Pin<Box<dyn Future<Output = Response<Body>>>>),
}

/// Answers one request. It never fails: whatever goes wrong has a status.
///
/// What needs no waiting is done at once, outside the future, which hyper moves about and keeps for as long as the
/// connection lives.
pub(crate) fn serve(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let (worker, connection, version) = (Rc::clone(worker), Rc::clone(connection), request.version());
    let begun = begin(&worker, &connection, request);
    async move {
        let mut response = match begun {
            Begun::Answered(response) => response,
            Begun::Waiting(waiting) => waiting.await,
            Begun::Sent(sent, journey) => {
                let standing = journey.standing();
                let received = unless_cut(&standing, sent).await;
                match journey.received(received) {
                    Arrival::Answered(response) => response,
                    Arrival::Failed(failed) => Box::pin(give_up(failed)).await,
                    Arrival::Again(request, journey) => Box::pin(go_on(request, journey)).await,
                }
            }
        };
        if version == Version::HTTP_2 {
            connection.stream_waits();
        } else if (connection.ends_with_answer() || worker.draining().is_some())
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            respond::close(&mut response);
        }
        Ok(response)
    }
}

/// Decides a request, and does what can be done about it without waiting.
fn begin(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Begun<impl Future<Output = Received> + use<>> {
    // The one look at what is live: route, verdict, page and log line come from this.
    let generation = worker.generation();
    let fields = Fields::of(request.headers());
    let trusted = connection.peer.is_trusted(&generation.snapshot.trusted_proxies);
    let id = request_id(worker, &request, fields, trusted);
    let flight = Flight::new(worker, connection, &generation, &request, &id);
    let asked = Asked::new(request.method(), request.headers(), fields, id);
    let version = request.version();
    let (live, waited, pass, route, cookie) = (Rc::clone(&generation), false, Pass::Open, 0, None);
    let exchange = Exchange { flight, generation: live, asked, version, trusted, waited, fields, pass, route, cookie };
    let decided = verdict(&generation, &request, fields, &exchange.flight);
    exchange.act(decided, &generation, request)
}

impl Exchange {
    /// Does what was decided, as far as it can be done without waiting. `generation` is the exchange's own.
    #[inline]
    pub(crate) fn act(
        mut self,
        decided: Result<Verdict<'_>, Error>,
        generation: &Generation,
        request: Request<Incoming>,
    ) -> Begun<impl Future<Output = Received> + use<>> {
        match decided {
            Ok(Verdict::Forward(route, pass)) => {
                if pass == Pass::Admitted {
                    self.looks_at(route, &request);
                }
                self.forward(route.index, pass, request)
            }
            Ok(Verdict::Show(route, closure)) => {
                self.looks_at(route, &request);
                let mut answer = respond::page(closure, &route.config, generation, &request, &self.asked);
                if let Some(cookie) = self.cookie.take() {
                    answer.headers_mut().insert(SET_COOKIE, *cookie);
                }
                let route = Arc::clone(&generation.routes[route.index]);
                self.answer(request, move |exchange| exchange.flight.shown("show", &route, answer))
            }
            Ok(Verdict::Hold(route, closure)) => {
                self.looks_at(route, &request);
                hold::begin(self, route, closure, request)
            }
            Ok(Verdict::Answer(_, fixed)) => {
                let answer = respond::fixed(fixed, &self.asked);
                self.answer(request, move |exchange| exchange.flight.answered_here("answer", answer))
            }
            Ok(Verdict::Own(resource, route)) => self.own(resource, route, request),
            Ok(Verdict::Refuse(refusal)) => {
                if *request.method() == Method::CONNECT {
                    // A client that counts on its tunnel may have sent into it already, and what it carries is not
                    // this client's word: none of it is a request.
                    self.flight.connection.end_with_answer();
                }
                self.answer(request, move |exchange| exchange.refuse(&refused(refusal)))
            }
            Err(error) => {
                // What could be read in two ways ends the connection: nothing after it can be trusted to be a request.
                self.flight.connection.end_with_answer();
                Begun::Answered(self.refuse(&error))
            }
        }
    }

    fn forward(
        mut self,
        route: usize,
        pass: Pass,
        request: Request<Incoming>,
    ) -> Begun<impl Future<Output = Received> + use<>> {
        (self.pass, self.route) = (pass, route);
        let generation = &self.generation;
        let spared = spared(&generation.snapshot.routes[route].config, request.method(), request.uri().path());
        self.flight.depart(&generation.routes[route], generation.snapshot.generation, spared);
        self.flight.standing.is_of(self.asker(request.headers()));
        if pass == Pass::Bypassed {
            self.flight.bypasses();
        }
        match depart(self, route, request) {
            Departure::Sent(sent, journey) => Begun::Sent(sent, journey),
            Departure::Waiting(request, journey) => Begun::Waiting(Box::pin(go_on(request, journey))),
            Departure::Failed(failed) => Begun::Waiting(Box::pin(give_up(failed))),
        }
    }

    /// Answers on a path of the proxy's own.
    fn own<S>(self, resource: Resource, route: &Route, request: Request<Incoming>) -> Begun<S> {
        if *request.method() == Method::OPTIONS && resource != Resource::Bypass {
            let answer = respond::own_preflight(&self.asked);
            return self.answer(request, move |exchange| exchange.flight.answered_here("own", answer));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.answer(request, |exchange| exchange.refuse(&Error::NotToRead));
        }
        let answer = match resource {
            Resource::Events if *request.method() == Method::GET => {
                let cohort = self.cohort(route, &request);
                return self.events(&route.config, cohort, &request);
            }
            Resource::Events => respond::events(Body::Empty, &self.asked),
            Resource::Status => {
                let closure = route.closure.as_ref();
                let admits = closure.map_or(0, |closure| closure.admits);
                let admitted = self.cohort(route, &request).is_some_and(|cohort| cohort < admits);
                respond::status(route, admitted, &self.generation, &request, &self.asked)
            }
            Resource::Badge => respond::badge(route, &self.generation, &self.asked),
            Resource::Bypass => self.redeem(route, &request),
        };
        self.answer(request, move |exchange| exchange.flight.answered_here("own", answer))
    }

    /// The client's cohort, on a route that may ramp.
    fn cohort(&self, route: &Route, request: &Request<Incoming>) -> Option<u32> {
        let admission = route.admission.as_deref().filter(|_| route.config.policy.ramp.is_some())?;
        Some(pass::cohort(admission, &self.generation.snapshot, route, &self.head(request)).0)
    }

    /// Streams events. Over HTTP/1 they need nothing of hyper: the connection is taken apart to the socket, and this request
    /// is never answered through it.
    fn events<S>(mut self, route: &Arc<RouteConfig>, cohort: Option<u32>, request: &Request<Incoming>) -> Begun<S> {
        self.flight.watches();
        let connection = Rc::clone(&self.flight.connection);
        let bare = self.version != Version::HTTP_2 && request.body().is_end_stream();
        if !bare {
            // What follows on an HTTP/1 connection are bytes of a body that nobody reads.
            connection.end_with_answer();
        }
        match Watch::begin(self.flight, route, cohort, self.generation.snapshot.limits.watchers) {
            Ok(watch) if bare => {
                connection.give_to(Stream::new(watch, &self.asked.id, &self.generation));
                Begun::Waiting(Box::pin(std::future::pending()))
            }
            Ok(watch) => {
                let answer = respond::events(Body::Watch(Box::new(watch)), &self.asked);
                Begun::Answered(answer)
            }
            Err(flight) => {
                flight.worker.cell().reached(Limit::Watchers);
                let event = events::once(&self.generation, &route.name);
                Begun::Answered(flight.answered_here("own", respond::events(Body::Full(event), &self.asked)))
            }
        }
    }

    /// Answers without an upstream, once what was not read of the request is out of the way.
    pub(crate) fn answer<S>(
        self,
        request: Request<Incoming>,
        answer: impl FnOnce(Self) -> Response<Body> + 'static,
    ) -> Begun<S> {
        if request.body().is_end_stream() {
            return Begun::Answered(answer(self));
        }
        Begun::Waiting(Box::pin(async move {
            self.settle(request).await;
            answer(self)
        }))
    }

    /// Answers a request that was cut with the page of its route, as that is now.
    fn part(self) -> Response<Body> {
        let live = self.flight.worker.generation();
        let name = self.flight.route_name().unwrap_or_default();
        let route = live.snapshot.route(name);
        let closure = route.and_then(|route| route.closure.as_ref());
        let answer = match closure {
            Some(closure) => respond::parted(closure, &live, &self.asked),
            None => respond::error(&Error::Drained, &self.asked),
        };
        self.flight.failed(&Error::Drained, answer)
    }

    fn refuse(self, error: &Error) -> Response<Body> {
        let answer = respond::error(error, &self.asked);
        self.flight.failed(error, answer)
    }
}

/// Waits for the answer to a request that was begun later than usual: what [`serve`] does, for who has no need to save room.
pub(crate) async fn conclude(begun: Begun<impl Future<Output = Received>>) -> Response<Body> {
    match begun {
        Begun::Answered(response) => response,
        Begun::Waiting(waiting) => waiting.await,
        Begun::Sent(sent, journey) => {
            let standing = journey.standing();
            let received = unless_cut(&standing, sent).await;
            match journey.received(received) {
                Arrival::Answered(response) => response,
                Arrival::Failed(failed) => give_up(failed).await,
                Arrival::Again(request, journey) => go_on(request, journey).await,
            }
        }
    }
}

/// Goes on with a request that could not be sent at once, or is sent again.
async fn go_on(request: Request<RequestBody>, journey: Box<Journey>) -> Response<Body> {
    match journey.go_on(request).await {
        Ok(response) => response,
        Err(failed) => give_up(failed).await,
    }
}

/// Answers a request that no upstream answered.
async fn give_up(failed: Box<Failed>) -> Response<Body> {
    let Failed { error, exchange, unread } = *failed;
    if let Some(request) = unread {
        exchange.settle(request).await;
    }
    match error {
        Error::Drained => exchange.part(),
        error => exchange.refuse(&error),
    }
}

/// Checks the request and decides.
pub(crate) fn verdict<'g>(
    generation: &'g Generation,
    request: &Request<Incoming>,
    fields: Fields,
    flight: &Flight,
) -> Result<Verdict<'g>, Error> {
    let host = check::request(request, fields, generation.snapshot.limits.head_fields)?;
    Ok(decide(&generation.snapshot, Head { host, ..head(generation, request, flight) }))
}

/// What the decision looks at, but for the host.
fn head<'r>(generation: &Generation, request: &'r Request<Incoming>, flight: &Flight) -> Head<'r> {
    let (uri, headers) = (request.uri(), request.headers());
    let (method, path, query) = (request.method(), uri.path(), uri.query());
    let peer = flight.connection.peer.address;
    let elapsed = flight.set_out.into_std().saturating_duration_since(generation.published);
    Head { method, host: "", path, query, headers, peer, elapsed }
}

/// What comes of who asks.
impl Exchange {
    /// What the decision looked at, but for the host.
    fn head<'r>(&self, request: &'r Request<Incoming>) -> Head<'r> {
        head(&self.generation, request, &self.flight)
    }

    /// Returns its address, if that is known. An unknown client guesses for itself, and shuts nobody else out.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        client::of(self.flight.connection.peer.address, headers, &self.generation.snapshot.trusted_proxies).address()
    }

    /// Returns whose request it is, for the turns in a queue.
    pub(crate) fn queues_as(&self, headers: &HeaderMap) -> Client {
        let connection = (!self.trusted).then(|| self.flight.connection.id.get());
        Client { network: self.client(headers).map(client::network), connection }
    }

    /// Whose request it is, if a guard watches its route.
    fn asker(&self, headers: &HeaderMap) -> Option<Asker> {
        let guard = self.route().guard()?;
        Some(Asker { client: self.client(headers).map(client::network), slow: guard.p99.unwrap_or(Duration::MAX) })
    }

    /// The route that it is forwarded on.
    pub(crate) fn route(&self) -> &Route {
        &self.generation.snapshot.routes[self.route]
    }

    /// Looks at a client that shows nothing that lets it pass: is it guessing, and is its cohort to be kept?
    fn looks_at(&mut self, route: &Route, request: &Request<Incoming>) {
        let (Some(closure), Some(_)) = (&route.closure, &route.admission) else { return };
        let (snapshot, head) = (&self.generation.snapshot, self.head(request));
        let throttle =
            pass::shown(snapshot, route, closure, &head).is_err_and(|void| void.is_some_and(InvalidToken::is_guess));
        let cookie = pass::keep_cohort(snapshot, route, closure, &head).filter(|_| self.is_https(request.headers()));
        if throttle && !self.waited {
            self.has_guessed(route, request.headers());
        }
        self.cookie = cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()).map(Box::new);
    }

    /// True if its client has guessed often lately.
    fn has_guessed(&self, route: &Route, headers: &HeaderMap) -> bool {
        self.generation.routes[route.index].workers[self.flight.worker.id].bypass_refused.increment();
        self.flight.worker.throttle.count(self.client(headers), self.flight.started)
    }

    /// Whether the client asks over TLS, as far as that is known: it keeps our cookies only then.
    fn is_https(&self, headers: &HeaderMap) -> bool {
        let said = headers.get(X_FORWARDED_PROTO).filter(|_| self.trusted).map(HeaderValue::as_bytes);
        match said.and_then(|said| said.split(|&byte| byte == b',').next()) {
            Some(first) => first.trim_ascii().eq_ignore_ascii_case(b"https"),
            None => self.flight.connection.peer.scheme == "https",
        }
    }

    /// Answers a link.
    fn redeem(&self, route: &Route, request: &Request<Incoming>) -> Response<Body> {
        let (snapshot, head) = (&self.generation.snapshot, self.head(request));
        let target = pass::destination(&snapshot.reserved, head.path, head.query);
        let Some(closure) = &route.closure else {
            return respond::see_other(&target, None, &self.asked);
        };
        let now = snapshot.compiled.checked_add(head.elapsed).unwrap_or(snapshot.compiled);
        let token = pass::token(head.query).as_bytes();
        let admission = route.admission.as_deref().ok_or(InvalidToken::Forged);
        let cookie = admission.and_then(|admission| admission.redeem(&route.config.name, closure, token, now));
        match cookie.map(|cookie| HeaderValue::try_from(cookie).ok()) {
            Ok(cookie) => respond::see_other(&target, cookie, &self.asked),
            Err(void) => {
                let often = void.is_guess() && self.has_guessed(route, request.headers());
                respond::forbidden(Some(void).filter(|_| !often), &self.asked)
            }
        }
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NoRoute => Error::NoRoute,
        Refusal::BadPath => Error::BadRequest("a path without a normal form"),
        Refusal::Method => Error::Method,
    }
}

/// The request's id: what a trusted proxy called it, else a new one.
fn request_id(worker: &Worker, request: &Request<Incoming>, fields: Fields, trusted: bool) -> HeaderValue {
    let believed = trusted && fields.has(Field::RequestId);
    let given = believed.then(|| request.headers().get(&X_REQUEST_ID)).flatten();
    let given = given.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    given.cloned().unwrap_or_else(|| worker.request_id())
}

impl Exchange {
    /// Before an answer of our own to a request whose body was not read: what follows on an HTTP/1 connection are bytes
    /// of that body, and must never be taken for a request. A body that has arrived already is thrown away; else the
    /// connection ends with the answer. HTTP/2 has frames for this: the stream alone is reset, behind the answer.
    pub(crate) async fn settle(&self, request: Request<Incoming>) {
        if request.body().is_end_stream() {
            return;
        }
        if request.version() == Version::HTTP_2 {
            let limits = &self.generation.snapshot.limits;
            let (worker, linger, size) = (Rc::clone(&self.flight.worker), limits.linger, limits.linger_size);
            let body = request.into_body();
            tokio::task::spawn_local(async move {
                if !throw_away(body, linger, size).await {
                    worker.cell().reached(Limit::Linger);
                }
            });
            return;
        }
        // To ask for the body would be to send `100 Continue`.
        let arrived = !check::expects_continue(self.fields) && has_arrived(request.into_body()).await;
        if !arrived {
            self.flight.connection.end_with_answer();
        }
    }
}

/// Reads a body and throws it away, within bounds; false if they were reached. Dropping it resets the stream, which
/// the client is to take for no error, as the whole answer has come before (RFC 9113 section 8.1). Yet curl before
/// version 8 and httpx lose the answer then.
async fn throw_away(mut body: Incoming, linger: Duration, mut left: u64) -> bool {
    let deadline = Instant::now() + linger;
    loop {
        let patience = deadline.min(Instant::now() + LINGER_QUIET);
        match timeout_at(patience, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            Ok(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                match left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            // The client has sent all, or has given up.
            Ok(Some(Err(_)) | None) => return true,
            Err(_) => return false,
        }
    }
}

/// Throws away what is there of a body, without waiting; true if that was all of it.
async fn has_arrived(mut body: Incoming) -> bool {
    let mut left = SMALL_BODY;
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(frame))) => {
                    left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
                    if left == 0 {
                        return Poll::Ready(false);
                    }
                }
                Poll::Ready(Some(Err(_))) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Longer ids than this are not ids.
const LONGEST_ID: usize = 128;

/// Bytes of a body that are thrown away for the sake of keeping the connection.
const SMALL_BODY: usize = 64 * 1024;
