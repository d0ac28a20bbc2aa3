//! Serves one request: decides it, then forwards, holds or answers it.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use http::header::SET_COOKIE;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::live::Generation;
use crate::plan::pass::{self, InvalidToken};
use crate::plan::snapshot::{Closure, Route};
use crate::plan::verdict::{Pass, Refusal, Verdict, exemption};
use crate::proxy::connection::ClientConnection;
use crate::proxy::error::Error;
use crate::proxy::io::request_body::RequestBody;
use crate::proxy::upstream::lease::Received;
use crate::proxy::worker::Worker;

use super::body::Body;
use super::exchange::{Exchange, Progress, verdict};
use super::forward::{Failed, Forwarded, Outcome, Started, UpstreamRequest, start, unless_cut};
use super::hold::{self, Waited};
use super::respond;

/// Answers one request. Never fails: every error has a status.
///
/// Work that needs no waiting is done at once, outside the future. That keeps the future small: hyper moves it, and
/// keeps it for as long as the connection lives.
pub(crate) fn serve(
    worker: &Rc<Worker>,
    connection: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let (worker, connection, version) = (Rc::clone(worker), Rc::clone(connection), request.version());
    let progress = begin(&worker, &connection, request);
    async move {
        let mut response = match progress {
            Progress::Answered(response) => response,
            Progress::Waiting(waiting) => waiting.await,
            Progress::Sent((sent, outgoing)) => {
                let in_flight = outgoing.in_flight();
                let received = unless_cut(&in_flight, sent).await;
                match outgoing.received(received) {
                    Outcome::Answered(response) => response,
                    Outcome::Failed(failed) => Box::pin(give_up(failed)).await,
                    Outcome::Again(request, outgoing) => Box::pin(retry(request, outgoing)).await,
                }
            }
        };
        if response.body().is_gathered() {
            response = Box::pin(begun(response)).await;
        }
        if version == Version::HTTP_2 {
            connection.offer_to_stream();
            response.body_mut().slice();
        } else if (connection.closes_after_answer() || worker.draining().is_some())
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            respond::close(&mut response);
        }
        Ok(response)
    }
}

/// Decides a request, and does as much as possible without waiting.
fn begin(
    worker: &Rc<Worker>,
    connection: &Rc<ClientConnection>,
    request: Request<Incoming>,
) -> Progress<(impl Future<Output = Received> + use<>, Box<UpstreamRequest>)> {
    let exchange = Exchange::new(worker, connection, &request);
    let generation = Rc::clone(&exchange.generation);
    let decided = verdict(&generation, &request, exchange.fields, &exchange.record);
    exchange.act(decided, &generation, request)
}

impl Exchange {
    /// Carries out a verdict, as far as possible without waiting. `generation` is the exchange's own.
    #[inline]
    fn act(
        mut self,
        decided: Result<Verdict<'_>, Error>,
        generation: &Generation,
        request: Request<Incoming>,
    ) -> Progress<(impl Future<Output = Received> + use<>, Box<UpstreamRequest>)> {
        let about = decided.as_ref().ok().and_then(Verdict::route);
        let changes = about.map_or(&generation.snapshot.response, |route| &route.config.response);
        self.record.changes = self.changes(changes.as_ref(), about, &request);
        match decided {
            Ok(Verdict::Forward(route, pass)) => {
                let cookie = if pass == Pass::Admitted { self.inspect(route, &request) } else { None };
                self.forward(route, pass, cookie, request)
            }
            Ok(Verdict::Show(route, closure)) => {
                let cookie = self.inspect(route, &request);
                let mut answer = respond::page(closure, &route.config, generation, &request, &self.context);
                if let Some(cookie) = cookie {
                    answer.headers_mut().insert(SET_COOKIE, cookie);
                }
                let route = Arc::clone(&generation.routes[route.index]);
                self.answer(request, move |exchange| exchange.record.shown("show", &route, answer))
            }
            Ok(Verdict::Hold(route, closure)) => {
                self.inspect(route, &request);
                self.hold(route, closure, request)
            }
            Ok(Verdict::Answer(_, fixed)) => {
                let answer = respond::fixed(fixed, &self.context);
                self.answer(request, move |exchange| exchange.record.answered_here("answer", answer))
            }
            Ok(Verdict::Own(resource, route)) => self.own(resource, route, request),
            Ok(Verdict::Site(mount)) => self.site(mount, request),
            Ok(Verdict::Redirect(route, redirect)) => self.redirect(route, redirect, request),
            Ok(Verdict::Secure(route, to)) => self.secure(route, to, request),
            Ok(Verdict::Refuse(refusal)) => {
                if *request.method() == Method::CONNECT {
                    // A client may send into its tunnel before the answer, and others may have written the bytes that
                    // it carries. None of those bytes may be taken for a request.
                    self.record.connection.close_after_answer();
                }
                self.answer(request, move |exchange| exchange.refuse(&refused(refusal)))
            }
            Err(error) => {
                // An ambiguous request ends the connection: the bytes after it cannot be trusted to be a request.
                self.record.connection.close_after_answer();
                Progress::Answered(self.refuse(&error))
            }
        }
    }

    /// Forwards a request, at once if a connection is idle.
    fn forward(
        mut self,
        route: &Route,
        pass: Pass,
        cookie: Option<HeaderValue>,
        request: Request<Incoming>,
    ) -> Progress<(impl Future<Output = Received> + use<>, Box<UpstreamRequest>)> {
        let generation = &self.generation;
        let exemption = exemption(&route.config, request.method(), request.uri().path());
        self.record.start(&generation.routes[route.index], generation.snapshot.generation, exemption);
        if let Some(limits) = &route.config.limits {
            self.record.in_flight.set_write(limits.write);
        }
        if route.config.policy.ignores(request.uri().path()) {
            self.record.in_flight.ignore();
        } else {
            self.record.in_flight.observe(self.subject(route, request.headers()));
        }
        if pass == Pass::Bypassed {
            self.record.set_bypassed();
        }
        match start(Forwarded { exchange: self, route: route.index, pass, cookie: cookie.map(Box::new) }, request) {
            Started::Sent(sent, outgoing) => Progress::Sent((sent, outgoing)),
            Started::Waiting(request, outgoing) => Progress::Waiting(Box::pin(retry(request, outgoing))),
            Started::Failed(failed) => Progress::Waiting(Box::pin(give_up(failed))),
        }
    }

    /// Holds a request, and decides it again when its wait is over.
    fn hold<S>(self, route: &Route, closure: &Closure, request: Request<Incoming>) -> Progress<S> {
        let held = match hold::begin(self, route, closure, request) {
            Ok(held) => held,
            Err(progress) => return progress,
        };
        Progress::Waiting(Box::pin(async move {
            match held.wait().await {
                Waited::Answered(response) => response,
                Waited::Released(exchange, request) => {
                    let generation = Rc::clone(&exchange.generation);
                    let decided = verdict(&generation, &request, exchange.fields, &exchange.record);
                    let progress = exchange.act(decided, &generation, request);
                    drop(generation);
                    conclude(progress).await
                }
            }
        }))
    }

    /// Inspects a client without valid credentials. Counts a wrong guess. Returns the cookie that keeps the client's
    /// turn, if one is needed.
    fn inspect(&self, route: &Route, request: &Request<Incoming>) -> Option<HeaderValue> {
        let (Some(closure), Some(_)) = (&route.closure, &route.admission) else { return None };
        let (snapshot, head) = (&self.generation.snapshot, self.head(request));
        let guesses = pass::check_credential(snapshot, route, closure, &head)
            .is_err_and(|void| void.is_some_and(InvalidToken::is_guess));
        let cookie = pass::keep_turn(snapshot, route, closure, &head, self.transport(request.headers()));
        if guesses && !self.waited {
            self.has_guessed(route, request.headers());
        }
        cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok())
    }
}

/// Waits for the answer to a request that was held, as [`serve`] does. Here, the size of the future does not matter.
async fn conclude(progress: Progress<(impl Future<Output = Received>, Box<UpstreamRequest>)>) -> Response<Body> {
    match progress {
        Progress::Answered(response) => response,
        Progress::Waiting(waiting) => waiting.await,
        Progress::Sent((sent, outgoing)) => {
            let in_flight = outgoing.in_flight();
            let received = unless_cut(&in_flight, sent).await;
            match outgoing.received(received) {
                Outcome::Answered(response) => response,
                Outcome::Failed(failed) => give_up(failed).await,
                Outcome::Again(request, outgoing) => retry(request, outgoing).await,
            }
        }
    }
}

/// Waits for the beginning of a body, so that it is sent together with the head.
async fn begun(response: Response<Body>) -> Response<Body> {
    response.body().begins().await;
    response
}

/// Sends a request that could not be sent at once, or is sent again.
async fn retry(request: Request<RequestBody>, outgoing: Box<UpstreamRequest>) -> Response<Body> {
    match outgoing.send(request).await {
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
    if matches!(error, Error::Drained) { exchange.answer_drained() } else { exchange.refuse(&error) }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NoRoute => Error::NoRoute,
        Refusal::BadPath => Error::BadRequest("a path without a normal form"),
        Refusal::Method => Error::Method,
        Refusal::NoHost => Error::BadRequest("no host to redirect to: name one in `Host`"),
    }
}
