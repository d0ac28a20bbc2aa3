//! Fields that the operator sets, adds or removes: in requests for upstreams, and in answers for clients.
//!
//! Names and values are checked here, and values with variables are taken apart. Nothing is parsed while a request
//! waits.

mod read;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

pub(super) use read::{Direction, fields};

/// Changes to the fields of a message: at most one for each field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// Changes.
    pub changes: Vec<FieldChange>,
    /// `Host` that upstreams get.
    pub host: Option<HeaderValue>,
}

/// Change to one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Name of the field.
    pub name: HeaderName,
    /// Change.
    pub action: FieldAction,
    /// Answers that it is for.
    pub reach: Reach,
}

/// Change of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldAction {
    /// Gives it this value, and no other.
    Set(FieldText),
    /// Gives it one more line, with this value.
    Add(FieldText),
    /// Removes it.
    Remove,
}

/// Value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldText {
    /// Value without variables.
    Fixed(HeaderValue),
    /// Value with variables, in pieces.
    Pieces(Vec<Piece>),
}

/// Piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stays as it is.
    Text(String),
    /// Text that depends on the request.
    Variable(Variable),
}

/// Variable in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// Address of the client, as the access log has it.
    ClientIp,
    /// Host that the client asks for, in lower case and without a port.
    Host,
    /// `http` or `https`.
    Scheme,
    /// Id of the request.
    RequestId,
    /// Id of the trace that the request belongs to.
    TraceId,
    /// Name of the route.
    Route,
    /// Name of the listener.
    Listener,
}

impl Variable {
    /// All variables, in the order in which they are listed.
    pub const ALL: [Self; 7] =
        [Self::ClientIp, Self::Host, Self::Scheme, Self::RequestId, Self::TraceId, Self::Route, Self::Listener];

    /// Returns the variable as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientIp => "{client_ip}",
            Self::Host => "{host}",
            Self::Scheme => "{scheme}",
            Self::RequestId => "{request_id}",
            Self::TraceId => "{trace_id}",
            Self::Route => "{route}",
            Self::Listener => "{listener}",
        }
    }
}

/// Answers that a change of a response's field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Answers of upstreams, and those of the proxy that lack the field.
    All,
    /// The same, but over HTTPS alone (RFC 6797 section 7.2).
    Https,
    /// The same, but no answer of the proxy that says itself which origins may read it.
    Cors,
    /// Answers of upstreams: what such a field says of the app's content is wrong of the proxy's.
    Forwarded,
}

impl Reach {
    /// Returns the reach of a field.
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            "strict-transport-security" => Self::Https,
            "content-security-policy" | "content-security-policy-report-only" => Self::All,
            name if name.starts_with("access-control-") => Self::Cors,
            name if name.starts_with("content-") || OF_CONTENT.contains(&name) => Self::Forwarded,
            _ => Self::All,
        }
    }
}

impl FieldChanges {
    /// Returns the changes of a route: its own, and the general ones of fields that it does not name itself.
    fn over(mut self, general: &Self) -> Self {
        let own = |name: &HeaderName| self.changes.iter().any(|change| change.name == *name);
        let inherited: Vec<_> = general.changes.iter().filter(|change| !own(&change.name)).cloned().collect();
        self.changes.extend(inherited);
        self.host = self.host.or_else(|| general.host.clone());
        self
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.host.is_none()
    }
}

/// Returns the same changes without the `Host`.
pub(super) fn hostless(changes: &Arc<FieldChanges>) -> Arc<FieldChanges> {
    if changes.host.is_none() {
        return Arc::clone(changes);
    }
    Arc::new(FieldChanges { host: None, ..FieldChanges::clone(changes) })
}

/// Joins the changes of a route with the general ones, which routes without their own share.
pub(super) fn joined(own: Option<FieldChanges>, general: Option<&Arc<FieldChanges>>) -> Option<Arc<FieldChanges>> {
    match (own.filter(|own| !own.is_empty()), general) {
        (None, general) => general.cloned(),
        (Some(own), None) => Some(Arc::new(own)),
        (Some(own), Some(general)) => Some(Arc::new(own.over(general))),
    }
}

/// Fields that speak of an answer's content or of its caching, besides those that begin with `content-`.
const OF_CONTENT: [&str; 21] = [
    "accept-ranges",
    "age",
    "cache-control",
    "cdn-cache-control",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "pragma",
    "refresh",
    "repr-digest",
    "retry-after",
    "set-cookie",
    "signature",
    "signature-input",
    "sourcemap",
    "speculation-rules",
    "surrogate-control",
    "vary",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(names: &[(&'static str, &'static str)]) -> FieldChanges {
        let change = |(name, value): &(&'static str, &'static str)| FieldChange {
            name: HeaderName::from_static(name),
            action: FieldAction::Set(FieldText::Fixed(HeaderValue::from_static(value))),
            reach: Reach::All,
        };
        FieldChanges { changes: names.iter().map(change).collect(), host: None }
    }

    #[test]
    fn a_route_has_the_last_word_on_the_fields_that_it_names() {
        let general = Arc::new(changes(&[("x-a", "general"), ("x-b", "general")]));
        let joined = |own: &[(&'static str, &'static str)]| joined(Some(changes(own)), Some(&general)).unwrap();
        assert_eq!(
            *joined(&[("x-b", "own"), ("x-c", "own")]),
            changes(&[("x-b", "own"), ("x-c", "own"), ("x-a", "general")])
        );
        assert!(Arc::ptr_eq(&joined(&[]), &general));
    }

    #[test]
    fn what_is_said_of_the_apps_content_is_not_said_of_the_page() {
        let reach = |name| Reach::of(&HeaderName::from_static(name));
        for name in ["content-disposition", "content-type", "cache-control", "etag", "retry-after", "set-cookie"] {
            assert_eq!(reach(name), Reach::Forwarded, "{name}");
        }
        for name in ["content-security-policy", "x-frame-options", "server", "permissions-policy"] {
            assert_eq!(reach(name), Reach::All, "{name}");
        }
        assert_eq!(reach("strict-transport-security"), Reach::Https);
        assert_eq!(reach("access-control-allow-origin"), Reach::Cors);
    }
}
