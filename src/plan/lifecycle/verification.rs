//! Judgement on the checks of a route: it opens once a quorum of its upstreams has passed.

use jiff::Timestamp;

use super::super::config::{Check, Policy, Upstream};
use super::Reason;

/// Results of a route's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The [`super::RouteState::began`] that they were started for. Older results decide about no opening.
    pub began: Timestamp,
    /// Results for each upstream, in the order of the config.
    pub upstreams: Vec<UpstreamChecks>,
}

/// Results of the checks of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamChecks {
    /// The upstream.
    pub upstream: Upstream,
    /// One result for each check, by its index.
    pub checks: Vec<CheckResult>,
}

/// Result of one check of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// Successes in a row.
    pub passed: u32,
    /// Instant at which the last success was due. The due time, unlike the actual one, is the same in every replica.
    pub at: Option<Timestamp>,
    /// Failure of the last attempt.
    pub failure: Option<String>,
}

/// Judgement on the checks of a route.
pub(super) enum Verdict {
    /// Enough upstreams had passed every check by then.
    Passed(Timestamp),
    /// So many upstreams fail now that the others are not enough.
    Failed(Reason),
    /// Enough upstreams may still pass.
    Pending(Reason),
}

impl UpstreamChecks {
    /// Returns the results of an upstream that has not been asked yet.
    pub fn unasked(upstream: Upstream, checks: &[Check]) -> Self {
        Self { upstream, checks: vec![CheckResult::default(); checks.len()] }
    }

    /// Returns the instant since which every check has passed often enough. `None` if one has not.
    pub fn passed(&self, checks: &[Check]) -> Option<Timestamp> {
        if self.checks.len() != checks.len() {
            return None;
        }
        let mut results = checks.iter().zip(&self.checks);
        results.try_fold(Timestamp::MIN, |latest, (check, result)| {
            result.has_passed(check).then(|| result.at.map_or(latest, |at| at.max(latest)))
        })
    }

    /// Returns the failure of the first check that fails, by the index of the check.
    pub fn failure(&self) -> Option<(usize, &str)> {
        let mut results = self.checks.iter().enumerate();
        results.find_map(|(index, result)| Some((index, result.failure.as_deref()?)))
    }
}

impl CheckResult {
    fn has_passed(&self, check: &Check) -> bool {
        self.passed >= check.times
    }
}

/// Judges the results of checks that began at an instant. `checks` are those of the policy, with the successes that are
/// needed here.
pub(super) fn verdict(policy: &Policy, checks: &[Check], results: &[UpstreamChecks], began: Timestamp) -> Verdict {
    let mut passed: Vec<Timestamp> = results.iter().filter_map(|upstream| upstream.passed(checks)).collect();
    passed.sort_unstable();
    let needed = policy.quorum.of(results.len());
    // Before the first results there are no upstreams, and a quorum is at least one.
    if let Some(at) = passed.get(needed - 1) {
        return Verdict::Passed((*at).max(began));
    }
    let failed = results.iter().find_map(UpstreamChecks::failure);
    let reason = match failed {
        Some((check, failure)) => {
            let regions = checks.get(check).map(|check| check.regions.join(", "));
            let region = regions.filter(|regions| !regions.is_empty());
            Reason::CheckFailed { region, failure: failure.to_owned() }
        }
        None => {
            let reached =
                |index: &usize| enough(policy, results, *index) >= checks.get(*index).map_or(0, |check| check.times);
            Reason::ChecksPending { passed: (0..checks.len()).filter(reached).count(), total: checks.len() }
        }
    };
    if is_out_of_reach(policy, results) { Verdict::Failed(reason) } else { Verdict::Pending(reason) }
}

/// Returns the successes in a row of a check that a quorum of the upstreams has at least.
pub(crate) fn enough(policy: &Policy, results: &[UpstreamChecks], check: usize) -> u32 {
    let of_check = |upstream: &UpstreamChecks| upstream.checks.get(check).map_or(0, |result| result.passed);
    let mut passed: Vec<u32> = results.iter().map(of_check).collect();
    passed.sort_unstable_by(|one, other| other.cmp(one));
    passed.get(policy.quorum.of(results.len()) - 1).copied().unwrap_or(0)
}

/// Returns true if so many upstreams fail that the others are no quorum.
pub(crate) fn is_out_of_reach(policy: &Policy, results: &[UpstreamChecks]) -> bool {
    let failing = results.iter().filter(|upstream| upstream.failure().is_some()).count();
    failing > results.len().saturating_sub(policy.quorum.of(results.len()))
}

/// Returns the upstreams that are left out while the others serve: those that have not passed. Without a quorum of the
/// others, for example after an opening by force, nobody is left out.
pub(crate) fn left_out<'r>(policy: &Policy, results: &'r [UpstreamChecks]) -> Vec<&'r UpstreamChecks> {
    let (passed, out): (Vec<_>, Vec<_>) =
        results.iter().partition(|upstream| upstream.passed(&policy.verify).is_some());
    if passed.len() >= policy.quorum.of(results.len()) { out } else { Vec::new() }
}
