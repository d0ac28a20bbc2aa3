//! Choice of an answer for a request: dialect, language and coding.

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::super::accept::{self, Coding};
use super::super::config::RouteConfig;
use super::super::dialect::{Dialect, Sign};
use super::Variant;
use super::renderer::Renderer;

impl Renderer {
    /// Chooses the answer of a page for a request. `fixed` is the operator's form, which replaces a choice by `Accept`.
    pub fn choose(&self, fixed: Option<Dialect>, method: &Method, query: Option<&str>, headers: &HeaderMap) -> Variant {
        let (dialect, _) = self.choose_dialect(fixed, method, query, headers);
        self.variant(dialect, headers)
    }

    /// Chooses the answer of a route's page, with the sign that decided the dialect.
    pub(crate) fn choose_for(
        &self,
        route: &RouteConfig,
        method: &Method,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> (Variant, Sign) {
        let (dialect, sign) = match (self.choose_dialect(route.dialect, method, query, headers), &route.template) {
            ((_, Sign::Nothing), Some(template)) => (template.format.dialect(), Sign::Template),
            (chosen, _) => chosen,
        };
        (self.variant(dialect, headers), sign)
    }

    fn choose_dialect(
        &self,
        fixed: Option<Dialect>,
        method: &Method,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> (Dialect, Sign) {
        let (mut dialect, sign) = Dialect::choose(method, query, headers);
        if dialect == Dialect::Events && !self.config.event_stream {
            dialect = Dialect::Problem;
        }
        match fixed {
            Some(fixed) if !sign.is_of_a_protocol() && dialect != Dialect::Events => (fixed, Sign::Route),
            Some(_) | None => (dialect, sign),
        }
    }

    /// Chooses the language and the coding for a dialect.
    fn variant(&self, dialect: Dialect, headers: &HeaderMap) -> Variant {
        let fields = |name: HeaderName| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        if !dialect.is_for_reading() {
            return Variant { dialect, language: 0, coding: Coding::Identity };
        }
        Variant { dialect, language: self.language(headers), coding: accept::coding(fields(ACCEPT_ENCODING)) }
    }

    /// Chooses the language for a request; 0 is the default one.
    pub fn language(&self, headers: &HeaderMap) -> usize {
        let fields = headers.get_all(ACCEPT_LANGUAGE).into_iter().map(HeaderValue::as_bytes);
        accept::language(fields, &self.tags).unwrap_or(0)
    }
}
