//! The forms of a request's target (RFC 9112 section 3.2): each belongs to certain methods, and hyper takes any for any.

use http::{Method, Uri};

/// Checks that a target has the form of its method: what the next party might read as something else than what is matched
/// is not passed on.
///
/// # Errors
/// Why it has not.
pub fn check(method: &Method, uri: &Uri) -> Result<(), &'static str> {
    if *method == Method::CONNECT {
        // Refused whatever it asks for.
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
