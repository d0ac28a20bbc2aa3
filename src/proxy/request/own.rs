//! The proxy's own paths: status, events, badge and bypass links.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::plan::banner::Banner;
use crate::plan::config::Cookies;
use crate::plan::pass::{self, InvalidToken, OpenedLink, Transport, Turn};
use crate::plan::snapshot::Route;
use crate::plan::verdict::Resource;
use crate::proxy::error::Error;
use crate::telemetry::Limit;

use super::body::Body;
use super::events::{self, EventStream, Subject, Watch};
use super::exchange::{Exchange, Progress};
use super::{respond, site};

impl Exchange {
    /// Answers on one of the proxy's own paths.
    pub(crate) fn own<S>(mut self, resource: Resource, route: &Route, request: Request<Incoming>) -> Progress<S> {
        if resource == Resource::Bypass {
            self.record.hide_query();
        }
        if *request.method() == Method::OPTIONS && resource != Resource::Bypass {
            let answer = respond::own_preflight(&self.context);
            return self.answer(request, move |exchange| exchange.record.answered_here("own", answer));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.answer(request, |exchange| exchange.refuse(&Error::ReadOnlyResource));
        }
        let answer = match resource {
            Resource::Events if *request.method() == Method::GET => {
                let turn = self.turn(route, &request);
                let meter = Arc::clone(&self.generation.routes[route.index]);
                return self.events(Subject::Route(meter, turn), &request);
            }
            Resource::Events => respond::events(Body::Empty, &self.context),
            Resource::Status => {
                let closure = route.closure.as_ref();
                let admitted = closure.zip(self.turn(route, &request));
                // Who is admitted to a milder mode is under maintenance all the same.
                let admitted = admitted.filter(|(closure, _)| closure.eases.is_none());
                let admitted = admitted.is_some_and(|(closure, turn)| pass::is_admitted(route, closure, turn));
                respond::status(route, admitted, &request, &self.context)
            }
            Resource::Badge => respond::badge(route, &self.context),
            Resource::BannerScript | Resource::BannerData => {
                let Some(banner) = &route.banner else {
                    return self.answer(request, |exchange| exchange.refuse(&Error::NoBanner));
                };
                self.banner(banner, resource, request.headers())
            }
            Resource::Bypass => self.redeem(route, &request),
        };
        self.answer(request, move |exchange| exchange.record.answered_here("own", answer))
    }

    /// Returns a form of a banner in the client's language, or the fact that the client has it.
    fn banner(&self, banner: &Banner, resource: Resource, headers: &HeaderMap) -> Response<Body> {
        let language = self.generation.snapshot.renderer.language(headers);
        let is_script = resource == Resource::BannerScript;
        let form = if is_script { banner.script(language) } else { banner.data(language) };
        respond::banner(form, site::fresh(headers, &form.etag, None), &self.context)
    }

    /// Returns the client's turn, if the route may ramp.
    fn turn(&self, route: &Route, request: &Request<Incoming>) -> Option<Turn> {
        let ramps = route.config.policy.admits_shares();
        ramps.then(|| pass::turn(&self.generation.snapshot, route, &self.head(request)).0)
    }

    /// Streams events. Over HTTP/1 the stream takes over the socket and saves the memory of hyper, which never answers
    /// this request.
    pub(super) fn events<S>(mut self, subject: Subject, request: &Request<Incoming>) -> Progress<S> {
        self.record.set_watching();
        let connection = Rc::clone(&self.record.connection);
        let over_socket = self.version != Version::HTTP_2 && request.body().is_end_stream();
        if !over_socket {
            // On HTTP/1, the bytes that follow belong to a body that nobody reads.
            connection.close_after_answer();
        }
        let crowded = events::once(&self.record.worker, &self.generation, &subject);
        match Watch::begin(self.record, subject, self.generation.snapshot.limits.watchers) {
            Ok(watch) if over_socket => {
                connection.take_over(Box::new(EventStream::new(watch, &self.context.id, &self.generation)));
                Progress::Waiting(Box::pin(std::future::pending()))
            }
            Ok(watch) => {
                let answer = respond::events(Body::Watch(Box::new(watch)), &self.context);
                Progress::Answered(answer)
            }
            Err(record) => {
                record.worker.cell().reached(Limit::Watchers);
                Progress::Answered(record.answered_here("own", respond::events(Body::Full(crowded), &self.context)))
            }
        }
    }

    /// Answers a bypass link.
    fn redeem(&self, route: &Route, request: &Request<Incoming>) -> Response<Body> {
        let (snapshot, head) = (&self.generation.snapshot, self.head(request));
        let target = pass::destination(&snapshot.reserved, head.path, head.query);
        let Some(closure) = &route.closure else {
            return respond::see_other(&target, None, &self.context);
        };
        let maintenance = closure.maintenance(pass::instant(snapshot, &head));
        // A proxy in front may use TLS without saying so. Where plain HTTP is not allowed, the cookie is made for TLS.
        let transport = match route.config.policy.cookies {
            Cookies::Https => Transport::Https,
            Cookies::AlsoHttp => self.transport(request.headers()),
        };
        let token = pass::token(head.query).as_bytes();
        let link = OpenedLink { route: &route.config.name, transport, token };
        let admission = route.admission.as_deref().ok_or(InvalidToken::Forged);
        match admission.and_then(|admission| admission.redeem(link, maintenance)) {
            Ok(redeemed) => {
                if let Some(link) = redeemed.link {
                    let cell = &self.generation.routes[route.index].workers[self.record.worker.id];
                    cell.links.record(&link.name, pass::millis(link.issued), maintenance.now);
                }
                respond::see_other(&target, HeaderValue::try_from(redeemed.cookie).ok(), &self.context)
            }
            Err(invalid) => {
                let throttled = invalid.is_guess() && self.has_guessed(route, request.headers());
                respond::forbidden(Some(invalid).filter(|_| !throttled), &self.context)
            }
        }
    }
}
