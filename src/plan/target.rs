//! Forms of a request's target (RFC 9112 section 3.2). Each belongs to certain methods, but hyper accepts any with any.

use http::{Method, Uri};

/// Checks that a target has the form of its method. Otherwise an upstream might read it differently than the route
/// table did.
///
/// # Errors
/// Returns the reason.
pub(crate) fn check(method: &Method, uri: &Uri) -> Result<(), &'static str> {
    if *method == Method::CONNECT {
        // The method is refused later, whatever its target.
        return Ok(());
    }
    match uri.scheme_str() {
        None if uri.authority().is_some() => return Err("an authority where a path belongs"),
        None | Some("http" | "https") => {}
        Some(_) => return Err("a scheme other than http"),
    }
    if uri.path() == "*" && *method != Method::OPTIONS {
        return Err("the target * is for OPTIONS alone");
    }
    Ok(())
}
