//! Lookout: tries the checks of open routes before all depends on them, and now, if an operator asks.
//!
//! It tries them once soon after the start, and every ten minutes in the week before a window. It decides nothing.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::live::{Generation, Reader};
use crate::plan::config::Check;
use crate::plan::snapshot::{Phase, Route, Snapshot};
use crate::status::verified::{OutlookStatus, Verified, VerifiedRoute};

use super::checker::{Permits, Subject, round};

/// Last outcomes, and limits of the rounds.
pub(super) struct Lookout {
    permits: Permits,
    /// One permit: one round at a time.
    turn: Semaphore,
    outlooks: RefCell<HashMap<String, Outlook>>,
}

/// Last outcome of an open route's checks.
struct Outlook {
    at: Timestamp,
    /// The checks that were tried. Those of another config have no outlook yet.
    checks: Vec<Check>,
    route: VerifiedRoute,
}

/// Routes that a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    /// The process has started: every open route with checks.
    Start,
    /// Routes that a window will close within [`AHEAD`].
    Ahead,
}

impl Default for Lookout {
    fn default() -> Self {
        Self { permits: Permits::default(), turn: Semaphore::new(1), outlooks: RefCell::default() }
    }
}

impl Lookout {
    /// Makes a round for the routes of these names, and keeps the outcomes of those that are open. `None` if another
    /// round takes too long.
    pub(super) async fn round(&self, live: &Generation, names: &HashSet<&str>) -> Option<Verified> {
        let _turn = timeout(LONGEST_WAIT, self.turn.acquire()).await.ok()?;
        let routes = || live.snapshot.routes.iter().filter(|route| names.contains(route.config.name.as_str()));
        let subjects = routes().map(|route| Subject::live(route, live)).collect();
        let verified = round(subjects, &self.permits).await;
        let at = verified.at.unwrap_or(Timestamp::MIN);
        for (route, outcome) in routes().zip(&verified.routes).filter(|(route, _)| route.phase() == Phase::Open) {
            let checks = route.config.policy.verify.clone();
            self.keep(&route.config.name, Outlook { at, checks, route: outcome.clone() });
        }
        Some(verified)
    }

    /// Keeps an outcome. Logs it if the route would open, or would not, in contrast to before.
    fn keep(&self, name: &str, outlook: Outlook) {
        let opens = outlook.route.opens();
        let failures = outlook.route.failures().join("; ");
        let before = self.outlooks.borrow_mut().insert(name.to_owned(), outlook);
        match before.is_none_or(|before| before.route.opens()) {
            true if !opens => tracing::warn!(route = name, failures, "the checks of an open route would fail now"),
            false if opens => tracing::info!(route = name, "the checks of an open route would pass now"),
            true | false => {}
        }
    }

    /// Returns the outlook of a route; `None` if it is not open, or was not tried lately.
    pub(super) fn outlook(&self, route: &Route, live: &Snapshot) -> Option<OutlookStatus> {
        let outlooks = self.outlooks.borrow();
        let outlook = outlooks.get(&route.config.name).filter(|_| route.phase() == Phase::Open)?;
        (outlook.checks == route.config.policy.verify).then(|| OutlookStatus {
            at: Some(outlook.at),
            opens: outlook.route.opens(),
            failures: outlook.route.failures(),
            closes: live.closes(&route.config.name),
        })
    }

    /// Forgets outcomes that are old.
    fn forget(&self, now: Timestamp) {
        self.outlooks.borrow_mut().retain(|_, outlook| now.duration_since(outlook.at) < KEPT);
    }
}

/// Tries checks until the process ends. Calls `note` when outcomes may have changed.
pub(super) async fn watch(lookout: &Lookout, reader: &Reader, note: impl Fn()) {
    sleep(FIRST.mul_f64(1.0 + 2.0 * fastrand::f64())).await;
    let mut occasion = Occasion::Start;
    loop {
        let (live, now) = (reader.current(), Timestamp::now());
        let names = due(&live.snapshot, occasion, now);
        if names.is_empty() || lookout.round(&live, &names).await.is_some() {
            occasion = Occasion::Ahead;
        }
        lookout.forget(now);
        note();
        sleep(EVERY.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
    }
}

/// Returns the names of the open routes whose checks are to be tried.
fn due(live: &Snapshot, occasion: Occasion, now: Timestamp) -> HashSet<&str> {
    let is_near = |name: &str| live.closes(name).is_some_and(|starts| starts.duration_since(now) <= AHEAD);
    let checked =
        live.routes.iter().filter(|route| route.phase() == Phase::Open && !route.config.policy.verify.is_empty());
    let names = checked.map(|route| route.config.name.as_str());
    match occasion {
        Occasion::Start => names.take(MOST_ROUTES).collect(),
        Occasion::Ahead => names.filter(|name| is_near(name)).take(MOST_ROUTES).collect(),
    }
}

/// Least time from the start to the first round. It takes up to three times as long.
const FIRST: Duration = Duration::from_secs(5);
/// Time between two rounds, give or take a tenth.
const EVERY: Duration = Duration::from_secs(600);
/// Time before a window in which the checks of its routes are tried.
const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Time for which an outcome is told.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Longest wait for the end of another round.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Routes of one round.
const MOST_ROUTES: usize = 256;

#[cfg(test)]
mod tests {
    use crate::control::tests::Routes;

    use super::*;

    #[test]
    fn routes_are_tried_at_the_start_and_in_the_week_before_a_window_closes_them() {
        let route = |name: &str, more: &str| {
            format!("[routes.{name}]\nhost = \"{name}.example\"\nupstream = \"http://127.0.0.1:1\"\n{more}\n")
        };
        let check = "verify = { tcp = true }";
        let config = route("web", check) + &route("api", check) + &route("plain", "") + &route("down", check);
        let mut routes = Routes::new(&config);
        let window = |days: i64, route: &str| {
            let starts = Timestamp::from_second(1_779_199_200).unwrap() + SignedDuration::from_hours(24 * days);
            let ends = starts + SignedDuration::from_hours(1);
            format!(
                "[[windows]]\nid = \"{route}\"\nstarts = {starts}\nends = {ends}\nroutes = {{ {route} = \"offline\" }}\n"
            )
        };
        let flags =
            format!("[routes]\ndown = \"offline\"\n{}{}{}", window(3, "web"), window(9, "api"), window(3, "plain"));
        routes.compile(&flags, Duration::ZERO);
        let due = |occasion| {
            let live = &routes.live.snapshot;
            let mut names: Vec<_> = due(live, occasion, live.compiled).into_iter().collect();
            names.sort_unstable();
            names
        };
        assert_eq!(due(Occasion::Start), ["api", "web"]);
        assert_eq!(due(Occasion::Ahead), ["web"]);
    }
}
