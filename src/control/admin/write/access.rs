//! Admission to the write API: who asks, through which name, and how often somebody may be wrong.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, StatusCode, Uri};

use crate::plan::problem::quoted;

use super::refusal::Refusal;

/// Other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::control) enum Caller {
    /// Address of a TCP connection.
    Tcp(IpAddr),
    /// User at the other end of a unix socket, if the system tells.
    Unix(Option<u32>),
}

/// Grant to change flags.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// Name that edits are signed with.
    pub(super) user: String,
    /// Lists of routes, each of which must have a route that is changed; `None` has all.
    pub(super) lists: [Option<Vec<String>>; 2],
}

impl Grant {
    /// Refuses a route that may not be changed. `*` may be changed by those who may change all.
    ///
    /// # Errors
    /// If it may not.
    pub(super) fn check(&self, route: &str) -> Result<(), Refusal> {
        let may = self.lists.iter().all(|list| list.as_ref().is_none_or(|list| list.iter().any(|name| name == route)));
        if may {
            return Ok(());
        }
        let what = if route == "*" { "every route".to_owned() } else { format!("the route {}", quoted(route)) };
        let detail = format!("{} may not change {what}", self.user);
        let help = "its token, or `allow` of `[admin]`, names the routes that may be changed";
        Err(Refusal::new(StatusCode::FORBIDDEN, detail).help(help))
    }
}

/// Count of wrong tokens by caller, so that nobody tries many.
#[derive(Default)]
pub(super) struct Door(HashMap<Caller, Failed>);

/// Failures of a caller: a bucket that empties with time.
struct Failed {
    count: f64,
    at: Instant,
}

impl Failed {
    fn left(&self, now: Instant) -> f64 {
        let ago = now.saturating_duration_since(self.at).as_secs_f64();
        (self.count - ago / FORGOTTEN.as_secs_f64()).max(0.0)
    }
}

impl Door {
    /// Refuses a caller who was wrong too often.
    ///
    /// # Errors
    /// If so.
    pub(super) fn check(&self, caller: Caller, now: Instant) -> Result<(), Refusal> {
        if self.0.get(&caller).is_none_or(|failed| failed.left(now) < MOST_FAILURES) {
            return Ok(());
        }
        let detail =
            format!("too many wrong tokens came from here; one more may be tried in {} s", FORGOTTEN.as_secs());
        let after = http::HeaderValue::from(FORGOTTEN.as_secs());
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, detail).with(http::header::RETRY_AFTER, after))
    }

    /// Notes that a caller was wrong.
    pub(super) fn failed(&mut self, caller: Caller, now: Instant) {
        if self.0.len() >= MOST_CALLERS {
            self.0.retain(|_, failed| failed.left(now) > 0.0);
        }
        if self.0.len() >= MOST_CALLERS {
            // So many at once are no typing errors. All of them may try again.
            self.0.clear();
        }
        let failed = self.0.entry(caller).or_insert(Failed { count: 0.0, at: now });
        *failed = Failed { count: failed.left(now) + 1.0, at: now };
    }
}

/// Refuses a request that another site may have made a browser send. A name of another site that leads to this address
/// is told by `Host`, a page of another site by `Origin` and `Sec-Fetch-Site`.
///
/// # Errors
/// If it is one.
pub(super) fn check_site(uri: &Uri, headers: &HeaderMap, caller: Caller, hosts: &[String]) -> Result<(), Refusal> {
    let written = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(http::uri::Authority::as_str).or(written).unwrap_or_default();
    if matches!(caller, Caller::Tcp(_)) && !is_own(host, hosts) {
        let detail = format!("this listener is not known as {}", quoted(host));
        let help = "use its address, or name the host in `hosts` of `write` under `[admin]`";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, detail).help(help));
    }
    let foreign = || Err(Refusal::new(StatusCode::FORBIDDEN, "a page of another site has sent this request"));
    if headers.get(&SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") {
        return foreign();
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let at = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if at.is_some_and(|at| !at.is_empty() && at.eq_ignore_ascii_case(host)) { Ok(()) } else { foreign() }
}

/// Returns true for a host that no other site can have: an address, this machine, or a name of the config.
fn is_own(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || hosts.contains(&name)
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Wrong tokens that a caller may send at once.
const MOST_FAILURES: f64 = 10.0;
/// Time after which one of them is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(6);
/// Callers whose failures are counted.
const MOST_CALLERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller = Caller::Tcp(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn site(fields: &[(&'static str, &str)], caller: Caller) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let hosts = ["edge-1.internal".to_owned()];
        let refusal = check_site(&Uri::from_static("/routes/web/flag"), &headers, caller, &hosts).err()?;
        Some(refusal.response().status().as_u16())
    }

    #[test]
    fn only_names_that_no_other_site_can_have_are_answered() {
        for host in ["127.0.0.1:9901", "[::1]:9901", "10.1.2.3", "localhost:9901", "LOCALHOST", "edge-1.internal:9901"]
        {
            assert_eq!(site(&[("host", host)], CALLER), None, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:9901", "localhost.evil.example", "", "[::1", "edge-1"] {
            assert_eq!(site(&[("host", host)], CALLER), Some(421), "{host}");
        }
        assert_eq!(site(&[], CALLER), Some(421));
        assert_eq!(site(&[("host", "anything")], Caller::Unix(Some(0))), None);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let with = |name, value: &str| site(&[("host", "127.0.0.1:9901"), (name, value)], CALLER);
        assert_eq!(with("origin", "http://127.0.0.1:9901"), None);
        assert_eq!(with("origin", "https://127.0.0.1:9901"), None);
        for origin in ["http://evil.example", "http://127.0.0.1:9902", "null", "http://", "127.0.0.1:9901"] {
            assert_eq!(with("origin", origin), Some(403), "{origin}");
        }
        assert_eq!((with("sec-fetch-site", "same-origin"), with("sec-fetch-site", "none")), (None, None));
        assert_eq!((with("sec-fetch-site", "cross-site"), with("sec-fetch-site", "same-site")), (Some(403), Some(403)));
    }

    #[test]
    fn who_is_wrong_too_often_waits_and_others_do_not() {
        let (mut door, now) = (Door::default(), Instant::now());
        for _ in 0..10 {
            assert!(door.check(CALLER, now).is_ok());
            door.failed(CALLER, now);
        }
        assert_eq!(door.check(CALLER, now).unwrap_err().response().status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(door.check(Caller::Unix(Some(7)), now).is_ok());
        assert!(door.check(CALLER, now + FORGOTTEN).is_ok());
        for uid in 0..2000 {
            door.failed(Caller::Unix(Some(uid)), now);
        }
        assert!(door.0.len() <= MOST_CALLERS);
    }

    #[test]
    fn a_grant_is_for_the_routes_of_every_list() {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let may = |lists, route: &str| Grant { user: "token ci".to_owned(), lists }.check(route).is_ok();
        assert!(may([None, None], "web") && may([None, None], "*"));
        assert!(may([list(&["web", "api"]), list(&["web"])], "web"));
        assert!(!may([list(&["web", "api"]), list(&["web"])], "api"));
        assert!(!may([list(&["web"]), None], "*"));
    }
}
