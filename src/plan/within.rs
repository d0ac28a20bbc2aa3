//! The gate in an app: what becomes of a request where the app is the only route and no proxy stands before it.

use http::{Method, Uri};

use super::snapshot::{Closure, Route, Snapshot};
use super::target;
use super::verdict::{Head, Refusal, Resource, Verdict, decide};

/// What to do with a request in an app.
#[derive(Clone, Copy, Debug)]
pub enum Within<'s> {
    /// The app answers it.
    Pass(&'s Route),
    /// Answer it with the page.
    Show(&'s Route, &'s Closure),
    /// Let it wait for the app.
    Hold(&'s Route, &'s Closure),
    /// Answer it with the app's status, for which its page asks now and then.
    Status(&'s Route),
}

/// Decides by the proxy's own verdict: nothing reaches a closed app that the proxy would not forward to it. Whatever else
/// the proxy would refuse, or answer by itself, gets the page.
///
/// An open app answers all of that: what it makes of an odd path or method is its own business.
pub fn decide_within<'s>(snapshot: &'s Snapshot, route: &'s Route, uri: &Uri, head: Head<'_>) -> Within<'s> {
    let verdict = match target::check(head.method, uri) {
        Ok(()) => decide(snapshot, head),
        Err(_) => Verdict::Refuse(Refusal::BadPath),
    };
    let is_read = matches!(*head.method, Method::GET | Method::HEAD);
    match verdict {
        Verdict::Forward(route, _) => Within::Pass(route),
        Verdict::Show(route, closure) => Within::Show(route, closure),
        Verdict::Hold(route, closure) => Within::Hold(route, closure),
        Verdict::Own(Resource::Status, route) if is_read => Within::Status(route),
        // There is one route whatever follows, and the page of a path without a normal form asks as well.
        Verdict::Refuse(Refusal::BadPath) if is_read && is_status(snapshot, head.path) => Within::Status(route),
        Verdict::Answer(..) | Verdict::Own(..) | Verdict::Refuse(_) => match &route.closure {
            Some(closure) => Within::Show(route, closure),
            None => Within::Pass(route),
        },
    }
}

/// Whether a path is that of the status, as a page asks for it.
fn is_status(snapshot: &Snapshot, path: &str) -> bool {
    let below = snapshot.reserved.below(path).and_then(|below| below.strip_prefix("/status"));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
