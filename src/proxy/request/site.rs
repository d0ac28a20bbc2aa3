//! The status site: finished documents and pages, which a request only chooses from.

use std::borrow::Cow;
use std::collections::BTreeSet;

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use percent_encoding::percent_decode_str;

use crate::plan::dialect::Dialect;
use crate::plan::news::document::{Document, Filter};
use crate::plan::news::forms::Place;
use crate::plan::news::{Site, SiteResource};
use crate::plan::page::Variant;
use crate::plan::path;
use crate::plan::snapshot::Snapshot;
use crate::plan::verdict::{Mount, normal_host, site_path};
use crate::proxy::cuts::Edition;
use crate::proxy::error::Error;

use super::body::Body;
use super::events::Subject;
use super::exchange::{Exchange, Progress};
use super::prepare;
use super::respond::{self, Fresh};

impl Exchange {
    /// Answers a request for the status site.
    pub(crate) fn site<S>(mut self, mount: Mount, request: Request<Incoming>) -> Progress<S> {
        let normal = path::normalize(request.uri().path()).unwrap_or_default();
        let host = prepare::host(&request);
        let host = host.to_str().unwrap_or_default();
        let listener = self.record.connection.listen.name.clone();
        let below = site_path(&self.generation.snapshot, host, &normal, mount).to_owned();
        // Also where nothing takes it: another replica does.
        if let Some(head) = Place::before_token(&below) {
            self.record.hide_token(&normal[..normal.len() - below.len() + head.len()]);
        }
        if *request.method() == Method::OPTIONS {
            let answer = respond::own_preflight(&self.context);
            return self.answer(request, move |exchange| exchange.record.answered_here("site", answer));
        }
        let place = Place::find(&below).filter(|place| place.is_visit(request.method()));
        if let Some(place) = place.filter(|_| self.record.worker.site().has_forms) {
            let routes = told_of(&self.generation.snapshot, (listener.as_deref(), host), mount);
            return self.visit(place, routes, host, request);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.answer(request, |exchange| exchange.refuse(&Error::ReadOnlyResource));
        }
        if below == "/events" && *request.method() == Method::GET {
            let routes = told_of(&self.generation.snapshot, (listener.as_deref(), host), mount);
            return self.events(Subject::Site(routes), &request);
        }
        let answer = match below.as_str() {
            "" => Some(respond::see_site(&normal, request.uri().query(), &self.context)),
            "/events" => Some(respond::events(Body::Empty, &self.context)),
            below => self.resource(below, (mount, host), &request),
        };
        match answer {
            Some(answer) => self.answer(request, move |exchange| exchange.record.answered_here("site", answer)),
            None => self.answer(request, |exchange| exchange.refuse(&Error::NoRoute)),
        }
    }

    /// Returns a document or a page; `None` if there is none at this path.
    fn resource(
        &self,
        below: &str,
        (mount, host): (Mount, &str),
        request: &Request<Incoming>,
    ) -> Option<Response<Body>> {
        let (snapshot, site) = (&self.generation.snapshot, self.record.worker.site());
        let asked = asked(request.uri().query())?;
        let listener = self.record.connection.listen.name.as_deref();
        let audience = audience(snapshot, (listener, host), mount);
        let filter = || Filter { routes: audience.as_deref().map(|routes| names(snapshot, routes)), ..asked.clone() };
        let mut variant = None;
        let document = match site.find(below)? {
            SiteResource::Document(document) => document,
            SiteResource::Page(page) if page.about.as_ref().is_some_and(|about| !filter().has(&about.tags)) => {
                return None;
            }
            SiteResource::Page(page) => {
                let query = request.uri().query();
                let chosen = snapshot.renderer.choose(None, request.method(), query, request.headers());
                variant = Some(chosen);
                summary(&site, chosen).or_else(|| page.choose(chosen.dialect, chosen.language))?
            }
        };
        let cut = || document.select(&filter());
        let edition = Edition { site: site.version, generation: snapshot.generation };
        let selected = match &audience {
            Some(routes) if asked == Filter::default() => self.record.worker.cuts().get(edition, routes, document, cut),
            Some(_) | None => cut(),
        };
        let fresh = fresh(request.headers(), &selected.etag, selected.modified.as_ref());
        Some(respond::document(document, selected, variant, fresh, &self.context))
    }
}

/// Returns the names of the routes that a client may learn of; `None` for all.
fn told_of(snapshot: &Snapshot, (listener, host): (Option<&str>, &str), mount: Mount) -> Option<BTreeSet<String>> {
    let routes = audience(snapshot, (listener, host), mount)?;
    Some(names(snapshot, &routes).into_iter().map(str::to_owned).collect())
}

/// Returns the API's summary for a program that asks for a page in JSON.
fn summary(site: &Site, variant: Variant) -> Option<&Document> {
    matches!(variant.dialect, Dialect::Json | Dialect::Problem).then(|| site.summary()).flatten()
}

/// Reads what a request asks for; `None` if it is longer than any name.
fn asked(query: Option<&str>) -> Option<Filter<'_>> {
    let mut filter = Filter::default();
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    for (key, value) in pairs.take(MOST_PAIRS) {
        let wanted = match key {
            "service" => &mut filter.service,
            "region" => &mut filter.region,
            "window" => &mut filter.window,
            _ => continue,
        };
        if value.len() > LONGEST_VALUE {
            return None;
        }
        *wanted = Some(decoded(value));
    }
    Some(filter)
}

/// Returns the indexes of the routes that a client may learn of, in order; `None` for all. Below the reserved prefix, only
/// those of the request's host are told of, also where all routes have this host: the past and the flag file may know
/// routes of others.
fn audience(snapshot: &Snapshot, (listener, host): (Option<&str>, &str), mount: Mount) -> Option<Vec<usize>> {
    (mount == Mount::Reserved).then(|| {
        let mut indexes = snapshot.table.routes_of(listener, &normal_host(host));
        indexes.sort_unstable();
        indexes.dedup();
        indexes
    })
}

fn names<'s>(snapshot: &'s Snapshot, routes: &[usize]) -> BTreeSet<&'s str> {
    routes.iter().filter_map(|index| snapshot.routes.get(*index)).map(|route| route.config.name.as_str()).collect()
}

/// Decodes a value of a query.
fn decoded(value: &str) -> Cow<'_, str> {
    match percent_decode_str(value).decode_utf8_lossy() {
        Cow::Borrowed(plain) if plain.contains('+') => Cow::Owned(plain.replace('+', " ")),
        Cow::Borrowed(plain) => Cow::Borrowed(plain),
        Cow::Owned(_) => Cow::Owned(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()),
    }
}

/// Returns whether the client has a document already, by its tag and its instant (RFC 9110 section 13.2.2).
pub(super) fn fresh(headers: &HeaderMap, etag: &HeaderValue, modified: Option<&HeaderValue>) -> Fresh {
    if is_fresh(headers, etag, modified) { Fresh::Yes } else { Fresh::No }
}

fn is_fresh(headers: &HeaderMap, etag: &HeaderValue, modified: Option<&HeaderValue>) -> bool {
    let mut tags = headers.get_all(IF_NONE_MATCH).into_iter().peekable();
    if tags.peek().is_some() {
        return tags.any(|line| {
            let mut tags = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            // The comparison is weak (section 13.1.2).
            tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
        });
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(http_date);
    since.zip(modified.and_then(http_date)).is_some_and(|(since, modified)| modified <= since)
}

/// Reads a date of an HTTP field.
fn http_date(field: &HeaderValue) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(field.to_str().ok()?).ok()
}

/// Pairs of a query that are looked at.
const MOST_PAIRS: usize = 16;
/// Bytes of a value. The longest name has 256, each of which may be written as three.
const LONGEST_VALUE: usize = 768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_the_document_is_told_so() {
        let (etag, modified) = ("\"abc\"".parse().unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT".parse().unwrap());
        let fresh = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            is_fresh(&headers, &etag, Some(&modified))
        };
        let (tag, since) = ("if-none-match", "if-modified-since");
        for value in ["\"abc\"", "W/\"abc\"", "*", "\"x\", \"abc\"", "\"x\",W/\"abc\""] {
            assert!(fresh(&[(tag, value)]), "{value}");
        }
        assert!(fresh(&[(tag, "\"x\""), (tag, "\"abc\"")]));
        assert!(!fresh(&[]) && !fresh(&[(tag, "\"x\"")]) && !fresh(&[(tag, "abc")]) && !fresh(&[(tag, "")]));
        assert!(fresh(&[(since, "Thu, 01 Jan 1970 00:00:00 GMT")]));
        assert!(!fresh(&[(since, "Thu, 01 Jan 1970 00:00:00 GMT"), (tag, "\"x\"")]), "the tag has the last word");
        assert!(fresh(&[(since, "Fri, 02 Jan 1970 00:00:00 GMT")]));
        assert!(!fresh(&[(since, "Wed, 31 Dec 1969 23:59:59 GMT")]) && !fresh(&[(since, "yesterday")]));
    }

    #[test]
    fn a_value_of_a_query_is_decoded() {
        for (written, meant) in
            [("eu-west", "eu-west"), ("a+b", "a b"), ("a%2Bb+c%20d", "a+b c d"), ("%ff", "\u{fffd}")]
        {
            assert_eq!(decoded(written), meant);
        }
    }
}
