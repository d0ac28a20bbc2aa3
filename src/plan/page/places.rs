//! Places in a page's head for the fields that each request gets. So a head is complete with one copy of the map, whose
//! room is exact: to add a field would copy it again.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Adds the fields of every answer of a page: the marker, and that a request with any method may be sent again. Also adds
/// places for the id of the request and for the time to come back.
pub(super) fn add(head: &mut HeaderMap, status: StatusCode) {
    let place = HeaderValue::from_static("0");
    head.insert(X_REQUEST_ID, place.clone());
    head.insert(PROXY_STATUS, MAINTENANCE);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        head.insert(RETRY_AFTER, place);
        head.insert(SHOULD_RETRY, TRUE);
    }
}

/// Removes what [`add`] added, from behind: so the other fields keep their order.
pub(super) fn remove(head: &mut HeaderMap) {
    for name in [SHOULD_RETRY, RETRY_AFTER, PROXY_STATUS, X_REQUEST_ID] {
        head.remove(name);
    }
}

/// Field with the id of a request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Field `Proxy-Status` (RFC 9209).
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Field by which generated clients of APIs send any request again: the proxy promises that no upstream has got it. It
/// overrides their rules for methods.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Value for an intended answer that needs no upstream (RFC 9209 section 2.3.27). The detail distinguishes a planned
/// pause from every other 503.
const MAINTENANCE: HeaderValue =
    HeaderValue::from_static("backsoon; error=proxy_internal_response; details=\"maintenance\"");
