//! Redirects: of a route, and of a listener to https.

use http::Request;
use hyper::body::Incoming;

use crate::plan::config::{Lasts, Redirect, ToHttps};
use crate::plan::snapshot::Route;

use super::exchange::{Exchange, Progress};
use super::{prepare, respond};

impl Exchange {
    /// Sends a client to the URL that its route redirects to.
    pub(super) fn redirect<S>(self, route: &Route, redirect: &Redirect, request: Request<Incoming>) -> Progress<S> {
        let location = redirect.location(prepare::target(request.uri()).as_str());
        self.lead(Some(route), &location, redirect.lasts, request)
    }

    /// Sends a client to https.
    pub(super) fn secure<S>(self, route: Option<&Route>, to: ToHttps, request: Request<Incoming>) -> Progress<S> {
        let host = prepare::host(&request);
        let target = prepare::target(request.uri());
        let location = to.location(host.to_str().unwrap_or_default(), target.as_str());
        self.lead(route, &location, to.lasts, request)
    }

    fn lead<S>(self, route: Option<&Route>, location: &str, lasts: Lasts, request: Request<Incoming>) -> Progress<S> {
        let answer = respond::redirect(location, lasts, &self.context);
        let meter = route.map(|route| std::sync::Arc::clone(&self.generation.routes[route.index]));
        self.answer(request, move |exchange| exchange.record.redirected(meter.as_ref(), answer))
    }
}
