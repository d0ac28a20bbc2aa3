//! Decision in an app: the app is the only route, and no proxy stands before it.

use http::{Method, Uri};

use super::snapshot::{Closure, Route, Snapshot};
use super::target;
use super::verdict::{Head, Refusal, Resource, Verdict, decide};

/// Decision on a request in an app.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AppVerdict<'s> {
    /// The app answers the request.
    Pass(&'s Route),
    /// The page answers the request.
    Show(&'s Route, &'s Closure),
    /// The request waits for the app.
    Hold(&'s Route, &'s Closure),
    /// The layer answers the request on one of its own paths.
    Own(AppResource, &'s Route),
}

/// Resource of the layer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppResource {
    /// The app's status, for which its page asks now and then.
    Status,
    /// The badge.
    Badge,
    /// The stream of events, which a layer may leave to its page.
    Events,
}

/// Decides by the proxy's own verdict: nothing reaches a closed app that the proxy would not forward. Requests that the
/// proxy would refuse or answer itself get the page.
///
/// An open app gets all of them, and deals with odd paths and methods itself.
pub(crate) fn decide_in_app<'s>(snapshot: &'s Snapshot, route: &'s Route, uri: &Uri, head: Head<'_>) -> AppVerdict<'s> {
    let verdict = match target::check(head.method, uri) {
        Ok(()) => decide(snapshot, head),
        Err(_) => Verdict::Refuse(Refusal::BadPath),
    };
    let is_read = matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    match verdict {
        Verdict::Forward(route, _) => AppVerdict::Pass(route),
        Verdict::Show(route, closure) => AppVerdict::Show(route, closure),
        Verdict::Hold(route, closure) => AppVerdict::Hold(route, closure),
        Verdict::Own(Resource::Status, route) if is_read => AppVerdict::Own(AppResource::Status, route),
        Verdict::Own(Resource::Events, route) if is_read => AppVerdict::Own(AppResource::Events, route),
        Verdict::Own(Resource::Badge, route) if is_read => AppVerdict::Own(AppResource::Badge, route),
        // The app is the only route, whatever the path. Pages below a path without a normal form ask for the status,
        // too.
        Verdict::Refuse(Refusal::BadPath) if is_read && is_status(snapshot, head.path) => {
            AppVerdict::Own(AppResource::Status, route)
        }
        Verdict::Answer(..)
        | Verdict::Own(..)
        | Verdict::Site(_)
        | Verdict::Redirect(..)
        | Verdict::Secure(..)
        | Verdict::Refuse(_) => match &route.closure {
            Some(closure) => AppVerdict::Show(route, closure),
            None => AppVerdict::Pass(route),
        },
    }
}

/// Returns true if a path is the status resource, as a page asks for it.
fn is_status(snapshot: &Snapshot, path: &str) -> bool {
    let below = snapshot.reserved.below(path).and_then(|below| below.strip_prefix("/status"));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
