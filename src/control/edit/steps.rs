//! Moves of a step of a window's timeline.

use jiff::Timestamp;

use crate::plan::flags::{Flags, StepState};

use super::failure::EditFailure;
use super::text::{self as edit, EditError, TableRef};
use super::{windows, words};

/// Move of a step, with what belongs to it.
pub(crate) struct StepMove<'a> {
    /// The window, by its id.
    pub(crate) id: &'a str,
    /// Index of the step, counted from 0.
    pub(crate) index: usize,
    changes: Vec<StepChange>,
    at: Option<(Timestamp, bool)>,
}

impl<'a> StepMove<'a> {
    /// Finds the step that is meant, and what its move takes with it.
    ///
    /// # Errors
    /// If there is no such step, or it moves by itself.
    pub(crate) fn new(
        flags: &Flags,
        (id, step): (&'a str, &str),
        what: &[StepChange],
        now: Timestamp,
    ) -> Result<Self, EditFailure> {
        let index = index_of(flags, id, step)?;
        let changes = with_full_progress(what, flags, id, index);
        Ok(Self { id, index, changes, at: instant_for(flags, id, index, now) })
    }

    /// Writes it into a text.
    ///
    /// # Errors
    /// If the step is not there, or its form cannot be edited.
    pub(crate) fn apply(&self, text: &str) -> Result<String, EditError> {
        let moved = apply(text, self.id, self.index, &self.changes)?;
        let at = self.at.filter(|(_, is_due)| *is_due || moved != text).map(|(at, _)| at);
        with_instant(&moved, self.id, self.index, at)
    }
}

/// Change to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepChange {
    State(StepState),
    /// The word `progress`, before the numbers.
    ProgressWord,
    /// Done and total.
    Progress(u64, u64),
}

/// Parses a state or a progress: `running`, `progress`, `3/7`.
///
/// # Errors
/// A message with the right form.
pub(crate) fn parse_change(word: &str) -> Result<StepChange, String> {
    use StepState::{Done, Failed, Pending, Running};
    if let Some(state) = [Pending, Running, Done, Failed].into_iter().find(|state| state.as_str() == word) {
        return Ok(StepChange::State(state));
    }
    if word == "progress" {
        return Ok(StepChange::ProgressWord);
    }
    let numbers = word.split_once('/').and_then(|(done, total)| Some((done.parse().ok()?, total.parse().ok()?)));
    match numbers {
        Some((_, 0)) => Err("nothing is a part of 0".to_owned()),
        Some((done, total)) if done > total => Err(format!("{done} is more than {total}")),
        Some((done, total)) => Ok(StepChange::Progress(done, total)),
        None => Err("write pending, running, done or failed, or how far it is: `progress 3/7`".to_owned()),
    }
}

/// Returns the instant to write with a step of a recurring window, whose states belong to one occurrence each. The flag
/// is true if the step needs the instant although its state stays the same.
fn instant_for(flags: &Flags, id: &str, index: usize, now: Timestamp) -> Option<(Timestamp, bool)> {
    let window = flags.window(id).filter(|window| window.recurs())?;
    let (starts, _) = window.span_of(now)?;
    let is_own = window.steps.get(index)?.at.is_some_and(|at| at >= starts);
    Some((words::whole_seconds(now), !is_own))
}

/// Sets a step's progress to its total if the step becomes done and no other progress is given. The progress of an earlier
/// occurrence begins anew.
fn with_full_progress(changes: &[StepChange], flags: &Flags, id: &str, index: usize) -> Vec<StepChange> {
    let mut changes = changes.to_vec();
    let window = flags.window(id);
    let progress = window.and_then(|window| window.steps.get(index)).and_then(|step| step.progress.as_ref());
    let is_earlier = instant_for(flags, id, index, Timestamp::now()).is_some_and(|(_, is_due)| is_due);
    match (changes.as_slice(), progress) {
        ([StepChange::State(StepState::Done)], Some(progress)) => {
            changes.push(StepChange::Progress(progress.total, progress.total));
        }
        ([StepChange::State(_)], Some(progress)) if is_earlier => {
            changes.push(StepChange::Progress(0, progress.total));
        }
        _ => {}
    }
    changes
}

/// Finds a step by its number or title, and returns its index, counted from 0.
///
/// # Errors
/// If it is not there, or moves by itself.
fn index_of(flags: &Flags, id: &str, step: &str) -> Result<usize, EditFailure> {
    let window = windows::window(flags, id)?;
    let has_title = |title: &str| {
        window
            .steps
            .iter()
            .position(|step| step.title.plain == title || step.title.languages.iter().any(|(_, text)| text == title))
    };
    let number = step.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let index = number.filter(|index| *index < window.steps.len()).or_else(|| has_title(step));
    let index = index.ok_or_else(|| EditFailure::NoStep {
        id: id.to_owned(),
        step: step.to_owned(),
        known: window.steps.iter().map(|step| step.title.plain.clone()).collect(),
    })?;
    match window.steps[index].auto {
        Some(auto) => Err(EditFailure::MovesByItself { step: index + 1, auto: auto.as_str() }),
        None => Ok(index),
    }
}

/// Moves a step.
///
/// # Errors
/// If the step is not there, or its form cannot be edited.
fn apply(text: &str, id: &str, index: usize, changes: &[StepChange]) -> Result<String, EditError> {
    let mut text = text.to_owned();
    let says_state = changes.iter().any(|change| matches!(change, StepChange::State(_)));
    for change in changes {
        text = match change {
            StepChange::ProgressWord => text,
            StepChange::State(state) => with_state(&text, id, index, *state)?,
            StepChange::Progress(done, total) => {
                let moved = with_progress(&text, id, index, *done, *total)?;
                if says_state { moved } else { with_state(&moved, id, index, StepState::Running)? }
            }
        };
    }
    Ok(text)
}

fn with_state(text: &str, id: &str, index: usize, state: StepState) -> Result<String, EditError> {
    edit::set(text, TableRef::Step(id, index), &[("state", Some(format!("\"{}\"", state.as_str())))])
}

/// Writes when a step was moved.
///
/// # Errors
/// As [`apply`].
fn with_instant(text: &str, id: &str, index: usize, at: Option<Timestamp>) -> Result<String, EditError> {
    match at {
        Some(at) => edit::set(text, TableRef::Step(id, index), &[("at", Some(at.to_string()))]),
        None => Ok(text.to_owned()),
    }
}

/// Sets a step's progress. An existing unit stays.
fn with_progress(text: &str, id: &str, index: usize, done: u64, total: u64) -> Result<String, EditError> {
    if edit::has_progress(text, id, index)? {
        let keys = [("done", Some(done.to_string())), ("total", Some(total.to_string()))];
        return edit::set(text, TableRef::Progress(id, index), &keys);
    }
    let value = format!("{{ done = {done}, total = {total} }}");
    edit::set(text, TableRef::Step(id, index), &[("progress", Some(value))])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[[windows]]
id = \"M-1\"   # the one
starts = 2026-05-19T14:00:00Z
ends = 2026-05-19T15:00:00Z
steps = [{ title = \"Inline\" }]

[[windows]]
id = \"M-2\"
starts = 2026-05-19T14:00:00Z
ends = 2026-05-19T15:00:00Z
[[windows.steps]]
  title = \"Snapshot\"
  state = \"running\" # since 14:00
[[windows.steps]]
title = \"Migrate\"
progress = { done = 1, total = 7, unit = \"schema changes\" }
";

    #[test]
    fn a_step_is_moved_in_place_and_all_else_stays() {
        let moved = apply(FILE, "M-2", 0, &[StepChange::State(StepState::Done)]).unwrap();
        assert_eq!(moved, FILE.replace("\"running\" # since", "\"done\" # since"));
    }

    #[test]
    fn a_step_that_is_done_has_all_of_its_progress() {
        let flags = crate::plan::flags::parse("maintenance.toml", FILE).0.unwrap().flags;
        let done = with_full_progress(&[StepChange::State(StepState::Done)], &flags, "M-2", 1);
        assert_eq!(done, [StepChange::State(StepState::Done), StepChange::Progress(7, 7)]);
        let expected = FILE.replace("{ done = 1, total = 7", "{ done = 7, total = 7");
        let expected = expected.replace("changes\" }\n", "changes\" }\nstate = \"done\"\n");
        assert_eq!(apply(FILE, "M-2", 1, &done).unwrap(), expected);
        assert_eq!(with_full_progress(&[StepChange::State(StepState::Failed)], &flags, "M-2", 1).len(), 1);
    }

    #[test]
    fn progress_keeps_its_unit_and_means_that_the_step_is_running() {
        let moved = apply(FILE, "M-2", 1, &[StepChange::ProgressWord, StepChange::Progress(3, 7)]).unwrap();
        let expected = FILE.replace(
            "progress = { done = 1, total = 7, unit = \"schema changes\" }\n",
            "progress = { done = 3, total = 7, unit = \"schema changes\" }\nstate = \"running\"\n",
        );
        assert_eq!(moved, expected);
    }

    #[test]
    fn a_step_of_an_inline_list_can_be_moved_too() {
        let moved = apply(FILE, "M-1", 0, &[StepChange::State(StepState::Done), StepChange::Progress(2, 2)]).unwrap();
        let inline = "{ title = \"Inline\", state = \"done\", progress = { done = 2, total = 2 } }";
        assert_eq!(moved, FILE.replace("{ title = \"Inline\" }", inline));
    }

    #[test]
    fn a_step_of_a_recurring_window_gets_the_instant_and_leaves_the_last_occurrence_behind() {
        let now: Timestamp = "2026-05-24T02:30:00.5Z".parse().unwrap();
        let file = |at: &str| {
            let step = format!("{{ title = \"Vacuum\", state = \"done\", progress = {{ done = 7, total = 7 }}{at} }}");
            format!("[[windows]]\nid = \"W\"\nevery = \"Sun 02:00-04:00 UTC\"\nsteps = [{step}]\n")
        };
        let due = |at: &str| {
            let flags = crate::plan::flags::parse("maintenance.toml", &file(at)).0.unwrap().flags;
            instant_for(&flags, "W", 0, now).map(|(at, is_due)| (at.to_string(), is_due))
        };
        let told = Some("2026-05-24T02:30:00Z".to_owned());
        assert_eq!(due("").unzip(), (told.clone(), Some(true)));
        assert_eq!(due(", at = 2026-05-17T02:30:00Z").unzip(), (told.clone(), Some(true)));
        assert_eq!(due(", at = 2026-05-24T02:10:00Z").unzip(), (told, Some(false)));
        let flags = crate::plan::flags::parse("maintenance.toml", FILE).0.unwrap().flags;
        assert_eq!(instant_for(&flags, "M-2", 0, now), None);
        let flags = crate::plan::flags::parse("maintenance.toml", &file("")).0.unwrap().flags;
        let running = with_full_progress(&[StepChange::State(StepState::Running)], &flags, "W", 0);
        assert_eq!(running, [StepChange::State(StepState::Running), StepChange::Progress(0, 7)]);
        let moved = with_instant(&file(""), "W", 0, Some(words::whole_seconds(now))).unwrap();
        assert_eq!(moved, file(", at = 2026-05-24T02:30:00Z"));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let error = |id, index| apply(FILE, id, index, &[StepChange::State(StepState::Done)]).unwrap_err().to_string();
        assert_eq!(error("M-3", 0), "it has no window `M-3`");
        assert_eq!(error("M-2", 4), "window `M-2` has no step 5, its steps are 1 to 2");
        assert!(parse_change("8/7").is_err() && parse_change("0/0").is_err() && parse_change("finished").is_err());
    }

    #[test]
    fn a_table_that_is_missing_is_made_and_one_that_is_there_is_used() {
        let forced = |text: &str| {
            edit::set(text, TableRef::TopLevel("forced"), &[("web", Some("2026-05-19T14:00:00Z".to_owned()))])
        };
        let once = forced("[routes]\napi = \"offline\"\n").unwrap();
        assert_eq!(once, "[routes]\napi = \"offline\"\n\n[forced]\nweb = 2026-05-19T14:00:00Z\n");
        assert_eq!(forced(&once).unwrap(), once);
        assert_eq!(forced("").unwrap(), "[forced]\nweb = 2026-05-19T14:00:00Z\n");
        assert_eq!(forced("[forced]\n# none yet\n").unwrap(), "[forced]\nweb = 2026-05-19T14:00:00Z\n# none yet\n");
        assert_eq!(
            forced("forced = { api = 2026-01-01T00:00:00Z }\n").unwrap(),
            "forced = { api = 2026-01-01T00:00:00Z, web = 2026-05-19T14:00:00Z }\n"
        );
    }
}
