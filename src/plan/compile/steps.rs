//! Automatic steps of a window. Their state follows the state of the window's routes.

use jiff::Timestamp;

use super::super::config::Check;
use super::super::flags::{Auto, Progress, Step, StepState, Window};
use super::super::lifecycle::{Phase, UpstreamChecks, enough, is_out_of_reach};
use super::super::text::Text;
use super::Inputs;
use super::pages::RouteDraft;

/// Returns the steps of the occurrence of a window that begins at an instant, in their actual state.
pub(super) fn steps(window: &Window, starts: Timestamp, inputs: &Inputs<'_>, drafts: &[RouteDraft<'_>]) -> Vec<Step> {
    let of_window = |draft: &&RouteDraft<'_>| window.routes.iter().any(|(target, _)| target.is(draft.name));
    let drafts: Vec<&RouteDraft<'_>> = drafts.iter().filter(of_window).collect();
    window
        .steps
        .iter()
        .map(|step| match step.auto {
            None => window.step_in(step, starts),
            Some(auto) => {
                let (state, progress) = combined_state(auto, &drafts, inputs);
                Step { state, progress, ..step.clone() }
            }
        })
        .collect()
}

/// Returns the common state of all routes of a window.
fn combined_state(auto: Auto, drafts: &[&RouteDraft<'_>], inputs: &Inputs<'_>) -> (StepState, Option<Progress>) {
    let states: Vec<StepState> = drafts.iter().map(|draft| state(auto, draft, inputs)).collect();
    let is = |state| states.contains(&state);
    let state = if is(StepState::Failed) {
        StepState::Failed
    } else if is(StepState::Running) || is(StepState::Done) && is(StepState::Pending) {
        StepState::Running
    } else if is(StepState::Pending) || drafts.is_empty() {
        StepState::Pending
    } else {
        StepState::Done
    };
    (state, (state == StepState::Running).then(|| progress(auto, drafts, &states, inputs)).flatten())
}

/// Returns the state of one route's step.
fn state(auto: Auto, draft: &RouteDraft<'_>, inputs: &Inputs<'_>) -> StepState {
    let (own, policy) = (position(auto), draft.policy);
    if draft.state.breach().is_some() && auto == Auto::Watch {
        return StepState::Failed;
    }
    let skipped = match auto {
        Auto::Drain => false,
        Auto::Verify => policy.verify.is_empty(),
        Auto::Ramp => policy.ramp.is_none(),
        Auto::Watch => policy.guard.is_none(),
    };
    let now = match draft.state.phase() {
        Phase::Draining => 0,
        Phase::Closed => 1,
        Phase::Verifying => 2,
        Phase::Ramping => 3,
        Phase::Open if draft.state.is_watched() => 4,
        Phase::Open => 5,
    };
    match own.cmp(&now) {
        std::cmp::Ordering::Less => StepState::Done,
        // What the route does not do happens at no moment, and is past with the next phase.
        std::cmp::Ordering::Equal if skipped => StepState::Pending,
        std::cmp::Ordering::Equal if auto == Auto::Verify && has_failed_check(draft, inputs) => StepState::Failed,
        std::cmp::Ordering::Equal => StepState::Running,
        std::cmp::Ordering::Greater => StepState::Pending,
    }
}

/// Returns the position of a step in the order of the phases.
fn position(auto: Auto) -> u8 {
    match auto {
        Auto::Drain => 0,
        Auto::Verify => 2,
        Auto::Ramp => 3,
        Auto::Watch => 4,
    }
}

fn progress(auto: Auto, drafts: &[&RouteDraft<'_>], states: &[StepState], inputs: &Inputs<'_>) -> Option<Progress> {
    let done = states.iter().filter(|state| **state == StepState::Done).count();
    match auto {
        Auto::Drain => {
            (drafts.len() > 1).then_some(Progress { done: done as u64, total: drafts.len() as u64, unit: None })
        }
        Auto::Verify => {
            let checks = drafts.iter().flat_map(|draft| passed(draft, inputs));
            let (done, total) = checks.fold((0, 0), |(done, total), (passed, times)| (done + passed, total + times));
            (total > 0).then_some(Progress { done, total, unit: None })
        }
        Auto::Ramp => {
            let shares = drafts.iter().filter_map(|draft| draft.state.share());
            let least = shares.fold(1.0, f64::min);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
            let percent = (least * 100.0).floor() as u64;
            // Each other number is a new page for everybody who watches: few, but never 0 while somebody is let in.
            let done = match percent {
                0..5 => percent.min(1),
                5..10 => 5,
                percent => percent / 10 * 10,
            };
            Some(Progress { done, total: 100, unit: Some(Text::from("%")) })
        }
        Auto::Watch => None,
    }
}

/// Returns true if so many upstreams fail that the route cannot open.
fn has_failed_check(draft: &RouteDraft<'_>, inputs: &Inputs<'_>) -> bool {
    is_out_of_reach(draft.policy, check_results(draft, inputs))
}

/// Returns, for each check of a route, the successes that a quorum of its upstreams has, and how many are needed.
fn passed(draft: &RouteDraft<'_>, inputs: &Inputs<'_>) -> Vec<(u64, u64)> {
    let results = check_results(draft, inputs);
    let check = |(index, check): (usize, &Check)| {
        let passed = match draft.state.phase() {
            Phase::Verifying => enough(draft.policy, results, index),
            Phase::Open | Phase::Ramping => check.times,
            Phase::Draining | Phase::Closed => 0,
        };
        (u64::from(passed.min(check.times)), u64::from(check.times))
    };
    draft.policy.verify.iter().enumerate().map(check).collect()
}

/// Returns the results of a route's checks so far, for each upstream.
fn check_results<'i>(draft: &RouteDraft<'_>, inputs: &Inputs<'i>) -> &'i [UpstreamChecks] {
    let observed = inputs.known.observed.get(draft.name);
    observed.map(|observed| observed.checked(draft.state.began())).unwrap_or_default()
}
