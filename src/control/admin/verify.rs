//! `POST /verify`: tries the checks of routes now, and answers with the outcome. It changes nothing.

use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{Shared, json, text};

/// Answers a request for the routes that its query names, as in `?route=web&route=api`: all that have checks by default.
pub(super) async fn answer(shared: &Rc<Shared>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if *request.method() != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only POST: each request asks the upstreams\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let live = shared.reader.current();
    let query = request.uri().query().unwrap_or_default().to_owned();
    // The name of a route needs no encoding.
    let asked: HashSet<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("route=")).collect();
    let unknown = asked.iter().any(|name| live.snapshot.route(name).is_none());
    if unknown {
        return text(StatusCode::NOT_FOUND, "a route of this name is not configured\n");
    }
    let checked = live.snapshot.routes.iter().filter(|route| !route.config.policy.verify.is_empty());
    let checked = checked.map(|route| route.config.name.as_str());
    let names = checked.filter(|name| asked.is_empty() || asked.contains(name)).collect();
    let verified = shared.lookout.round(&live, &names).await;
    shared.followers.note();
    match verified {
        Some(verified) => json(StatusCode::OK, &verified),
        None => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "other checks are being tried\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            response
        }
    }
}
