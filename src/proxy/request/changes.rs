//! Changes to the fields of requests and answers, as the operator wants them.
//!
//! Values with variables are made from a request's head before that is changed or gone. They are checked as fields
//! again, and a host that could mean something else than a host is left out, so that no client can inject anything.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HOST};
use http::{HeaderMap, HeaderValue, Request};

use crate::plan::client::Client;
use crate::plan::config::{FieldAction, FieldChanges, FieldText, Piece, Reach, Variable};
use crate::plan::pass::Transport;

/// Changes to the fields of one message, with the values that depend on the request.
pub(crate) struct Changes {
    changes: Arc<FieldChanges>,
    /// The values with variables, in the order of the changes; `None` for one that cannot be a value.
    values: Vec<Option<HeaderValue>>,
    transport: Transport,
}

/// Facts of a request that values may name.
pub(super) struct Facts<'r> {
    pub client: Client<'r>,
    /// The host, as [`host`] returns it.
    pub host: &'r [u8],
    pub transport: Transport,
    pub id: &'r HeaderValue,
    /// The id of the trace; empty without one.
    pub trace: &'r str,
    pub route: &'r str,
    /// The name of the listener; empty without one.
    pub listener: &'r str,
}

impl Changes {
    /// Prepares changes, with what they need of the request.
    pub(super) fn new(changes: &Arc<FieldChanges>, facts: &Facts<'_>) -> Self {
        let pieces = changes.changes.iter().filter_map(|change| match &change.action {
            FieldAction::Set(FieldText::Pieces(pieces)) | FieldAction::Add(FieldText::Pieces(pieces)) => Some(pieces),
            FieldAction::Set(FieldText::Fixed(_)) | FieldAction::Add(FieldText::Fixed(_)) | FieldAction::Remove => None,
        });
        let values = pieces.map(|pieces| facts.value(pieces)).collect();
        Self { changes: Arc::clone(changes), values, transport: facts.transport }
    }

    /// Changes the fields of a request for an upstream.
    pub(super) fn apply_to_request(&self, headers: &mut HeaderMap) {
        self.apply(headers, |_, _| true);
    }

    /// Changes the fields of an upstream's answer.
    pub(super) fn apply_to_answer(&self, headers: &mut HeaderMap) {
        self.apply(headers, |_, reach| reach != Reach::Https || self.transport == Transport::Https);
    }

    /// Adds fields to an answer of the proxy's own. Those that it has stay as they are: they are right for what it says.
    pub(super) fn apply_to_own(&self, headers: &mut HeaderMap) {
        let says_origins = headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
        let mut values = self.values.iter();
        for change in &self.changes.changes {
            let reaches = match change.reach {
                Reach::All => true,
                Reach::Https => self.transport == Transport::Https,
                Reach::Cors => !says_origins,
                Reach::Forwarded => false,
            };
            let value = match &change.action {
                FieldAction::Set(text) | FieldAction::Add(text) => value(text, &mut values),
                FieldAction::Remove => None,
            };
            if let Some(value) = value.filter(|_| reaches) {
                headers.entry(&change.name).or_insert(value);
            }
        }
    }

    fn apply(&self, headers: &mut HeaderMap, reaches: impl Fn(&mut HeaderMap, Reach) -> bool) {
        let mut values = self.values.iter();
        for change in &self.changes.changes {
            let reaches = reaches(headers, change.reach);
            match &change.action {
                FieldAction::Set(text) => {
                    if let Some(value) = value(text, &mut values).filter(|_| reaches) {
                        headers.insert(&change.name, value);
                    }
                }
                FieldAction::Add(text) => {
                    if let Some(value) = value(text, &mut values).filter(|_| reaches) {
                        headers.append(&change.name, value);
                    }
                }
                FieldAction::Remove => drop(headers.remove(&change.name)),
            }
        }
    }
}

/// Returns the value of a text: a fixed one, or the next of those that were made.
fn value<'v>(text: &FieldText, made: &mut impl Iterator<Item = &'v Option<HeaderValue>>) -> Option<HeaderValue> {
    match text {
        FieldText::Fixed(value) => Some(value.clone()),
        FieldText::Pieces(_) => made.next().cloned().flatten(),
    }
}

impl Facts<'_> {
    /// Puts a value together.
    fn value(&self, pieces: &[Piece]) -> Option<HeaderValue> {
        let mut value = Vec::with_capacity(pieces.iter().map(|piece| self.length(piece)).sum());
        for piece in pieces {
            match piece {
                Piece::Text(text) => value.extend_from_slice(text.as_bytes()),
                Piece::Variable(Variable::ClientIp) => drop(write!(value, "{}", self.client)),
                Piece::Variable(Variable::Host) => value.extend(self.host.iter().map(u8::to_ascii_lowercase)),
                Piece::Variable(Variable::Scheme) => value.extend_from_slice(self.scheme().as_bytes()),
                Piece::Variable(Variable::RequestId) => value.extend_from_slice(self.id.as_bytes()),
                Piece::Variable(Variable::TraceId) => value.extend_from_slice(self.trace.as_bytes()),
                Piece::Variable(Variable::Route) => value.extend_from_slice(self.route.as_bytes()),
                Piece::Variable(Variable::Listener) => value.extend_from_slice(self.listener.as_bytes()),
            }
        }
        HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
    }

    /// Returns how long a piece is at most.
    fn length(&self, piece: &Piece) -> usize {
        match piece {
            Piece::Text(text) => text.len(),
            Piece::Variable(Variable::ClientIp) => LONGEST_ADDRESS,
            Piece::Variable(Variable::Host) => self.host.len(),
            Piece::Variable(Variable::Scheme) => self.scheme().len(),
            Piece::Variable(Variable::RequestId) => self.id.len(),
            Piece::Variable(Variable::TraceId) => self.trace.len(),
            Piece::Variable(Variable::Route) => self.route.len(),
            Piece::Variable(Variable::Listener) => self.listener.len(),
        }
    }

    fn scheme(&self) -> &'static str {
        match self.transport {
            Transport::Http => "http",
            Transport::Https => "https",
        }
    }
}

/// Returns the host that a request asks for, if it is a plain one. The request need not have been checked.
pub(super) fn host<B>(request: &Request<B>) -> &[u8] {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let authority = authority.or_else(|| Some(request.headers().get(HOST)?.as_bytes()));
    plain_host(authority.unwrap_or_default())
}

/// Returns the host of an authority without its port. It is empty if it has bytes that no name on the Internet has:
/// some of them separate things in the values of fields.
fn plain_host(authority: &[u8]) -> &[u8] {
    let (host, is_plain): (_, fn(&u8) -> bool) = if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority).map_or(0, |end| end + 1);
        (&authority[..end], |byte| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b']' | b':' | b'.'))
    } else {
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        (&authority[..end], |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
    };
    if host.len() <= LONGEST_HOST && host.iter().all(is_plain) { host } else { b"" }
}

/// Bytes of an IPv6 address.
const LONGEST_ADDRESS: usize = 45;
/// Bytes of a name.
const LONGEST_HOST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderName;
    use proptest::prelude::*;

    use crate::plan::config::FieldChange;

    fn changes(changes: Vec<(&'static str, FieldAction, Reach)>) -> Arc<FieldChanges> {
        let change = |(name, action, reach)| FieldChange { name: HeaderName::from_static(name), action, reach };
        Arc::new(FieldChanges { changes: changes.into_iter().map(change).collect(), host: None })
    }

    fn fixed(text: &'static str) -> FieldText {
        FieldText::Fixed(HeaderValue::from_static(text))
    }

    fn facts<'r>(host: &'r [u8], id: &'r HeaderValue) -> Facts<'r> {
        let client = Client::Address("2001:db8::1".parse().unwrap());
        let (transport, trace, route, listener) = (Transport::Http, "t-1", "web", "internal");
        Facts { client, host: plain_host(host), transport, id, trace, route, listener }
    }

    #[test]
    fn values_are_put_together_from_pieces() {
        let all = Variable::ALL.into_iter().flat_map(|variable| [Piece::Text("<".into()), Piece::Variable(variable)]);
        let changes = changes(vec![
            ("x-all", FieldAction::Set(FieldText::Pieces(all.collect())), Reach::All),
            ("x-fixed", FieldAction::Add(fixed("2")), Reach::All),
            ("x-old", FieldAction::Remove, Reach::All),
        ]);
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-all", "forged"), ("x-fixed", "1"), ("x-old", "1"), ("x-other", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let id = HeaderValue::from_static("id-1");
        Changes::new(&changes, &facts(b"WWW.example.com:8443", &id)).apply_to_request(&mut headers);
        let text = format!("{headers:?}");
        let all = r#""x-all": "<2001:db8::1<www.example.com<http<id-1<t-1<web<internal""#;
        assert!(text.contains(all) && headers.get_all("x-fixed").iter().count() == 2, "{text}");
        assert!(!headers.contains_key("x-old") && headers.contains_key("x-other"), "{text}");
    }

    #[test]
    fn own_answers_keep_what_they_say() {
        let set = |text| FieldAction::Set(fixed(text));
        let changes = changes(vec![
            ("content-security-policy", set("app"), Reach::All),
            ("server", FieldAction::Add(fixed("x")), Reach::All),
            ("cache-control", set("public"), Reach::Forwarded),
            ("strict-transport-security", set("max-age=1"), Reach::Https),
            ("access-control-allow-credentials", set("true"), Reach::Cors),
            ("proxy-status", FieldAction::Remove, Reach::All),
        ]);
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("content-security-policy", "page"), ("proxy-status", "x"), ("access-control-allow-origin", "*")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        let id = HeaderValue::from_static("id-1");
        Changes::new(&changes, &facts(b"a", &id)).apply_to_own(&mut headers);
        let expected = [
            ("content-security-policy", "page"),
            ("proxy-status", "x"),
            ("access-control-allow-origin", "*"),
            ("server", "x"),
        ];
        let expected = expected.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(headers, HeaderMap::from_iter(expected));
    }

    #[test]
    fn a_host_is_one_or_nothing() {
        for (host, plain) in [
            ("a.example", "a.example"),
            ("a_b-c.example.:80", "a_b-c.example."),
            ("[::1]:80", "[::1]"),
            ("[::1", ""),
            ("a;script-src *", ""),
            ("a'b", ""),
            ("a=b", ""),
            ("", ""),
        ] {
            assert_eq!(plain_host(host.as_bytes()), plain.as_bytes(), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_host_injects_anything(host in proptest::collection::vec(any::<u8>(), 0..40)) {
            let id = HeaderValue::from_static("id");
            let value = facts(&host, &id).value(&[Piece::Text("a ".into()), Piece::Variable(Variable::Host)]).unwrap();
            let host = value.to_str().unwrap().strip_prefix("a ").unwrap();
            prop_assert!(host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte)));
        }
    }
}
