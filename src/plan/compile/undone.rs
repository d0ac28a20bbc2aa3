//! Warning before the end of a window whose steps are not done: it opens its routes by the clock, whatever the work says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::flags::{Span, StepState, Window};
use super::super::lifecycle::Phase;
use super::causes::Cause;
use super::pages::RouteDraft;

/// Steps of a closed route's window that nobody has finished, once its end is near.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// Titles of the steps; empty while the end is far.
    pub(super) titles: Vec<String>,
    /// Instant from which the steps are told, if it has not come yet.
    pub(super) told_from: Option<Timestamp>,
}

/// Returns the unfinished steps of the window that closes a route.
pub(super) fn undone(draft: &RouteDraft<'_>, now: Timestamp) -> Undone {
    let is_down = matches!(draft.state.phase(), Phase::Draining | Phase::Closed);
    let Some(Cause::Window(window, _, span)) = draft.cause.filter(|_| is_down) else { return Undone::default() };
    // A window that stays does not open by the clock.
    let Some(until) = span.until.filter(|_| !window.stays()) else { return Undone::default() };
    let titles = titles(window, span);
    let from = until.checked_sub(ahead(span)).unwrap_or(until).max(span.starts);
    match () {
        () if titles.is_empty() => Undone::default(),
        () if from > now => Undone { titles: Vec::new(), told_from: Some(from) },
        () => Undone { titles, told_from: None },
    }
}

/// Returns the titles of the steps that are moved by hand and not done in this occurrence.
fn titles(window: &Window, span: Span) -> Vec<String> {
    let steps = window.steps.iter().filter(|step| step.auto.is_none());
    let undone = steps.filter(|step| window.step_in(step, span.starts).state != StepState::Done);
    undone.map(|step| step.title.plain.clone()).collect()
}

/// Returns the time before the end from which the steps are told: a tenth of the length, and at least five minutes.
fn ahead(span: Span) -> SignedDuration {
    let tenth = span.ends.duration_since(span.starts) / 10;
    tenth.max(SignedDuration::try_from(LEAST_AHEAD).unwrap_or_default())
}

/// Least time before the end, so that there is time to move it.
const LEAST_AHEAD: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::super::super::config;
    use super::super::super::rehearsal::Rehearsal;
    use super::*;

    const CONFIG: &str = "[[listen]]\naddress = \"127.0.0.1:1\"\n[routes.web]\nupstream = \"http://127.0.0.1:2\"\n";

    #[test]
    fn steps_that_are_not_done_are_told_before_the_end() {
        let window = |more: &str, second: &str| {
            format!(
                "[[windows]]\nid = \"W\"\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T16:00:00Z\n{more}\
                 routes = {{ web = \"offline\" }}\nsteps = [{{ title = \"A\", state = \"done\" }}, \
                 {{ title = \"B\", state = \"{second}\" }}, {{ title = \"C\", auto = \"verify\" }}]\n"
            )
        };
        for (more, second, at, told) in [
            ("", "running", "15:47:59", false),
            ("", "running", "15:48:00", true),
            ("", "pending", "15:59:59", true),
            ("", "done", "15:59:59", false),
            ("opens = \"word\"\n", "running", "15:59:59", false),
            ("opens = \"steps\"\n", "running", "15:59:59", false),
            ("on_overrun = \"stay\"\n", "running", "15:59:59", false),
            ("", "running", "16:00:00", false),
        ] {
            let mut proxy = Rehearsal::new(config::parse("backsoon.toml", CONFIG).0.expect("a config"));
            proxy.flag(&window(more, second));
            proxy.compile("2026-05-19T14:30:00Z".parse().unwrap());
            let live = proxy.compile(format!("2026-05-19T{at}Z").parse().unwrap());
            let steps: &[&str] = if told { &["B"] } else { &[] };
            assert_eq!(live.routes[0].undone, steps, "{more} {second} {at}");
        }
    }

    #[test]
    fn the_instant_from_which_steps_are_told_is_a_change_of_its_own() {
        let mut proxy = Rehearsal::new(config::parse("backsoon.toml", CONFIG).0.expect("a config"));
        proxy.flag(
            "[[windows]]\nid = \"W\"\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T14:20:00Z\n\
             routes = { web = \"offline\" }\nsteps = [{ title = \"A\" }]\n",
        );
        let mut at: Timestamp = "2026-05-19T14:01:00Z".parse().unwrap();
        let told = loop {
            let live = proxy.compile(at);
            if !live.routes[0].undone.is_empty() {
                break at;
            }
            at = live.next_change.expect("the end at the latest");
        };
        assert_eq!(told.to_string(), "2026-05-19T14:15:00Z");
    }
}
