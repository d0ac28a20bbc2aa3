//! `backsoon step`: moves a step of a window's timeline, so that a migration can report its progress.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;

use crate::control::edit::steps::{StepChange, StepMove, parse_change};
use crate::files::write::Emptied;
use crate::plan::flags::Flags;

use super::confirm::{Goal, Wish};
use super::failure::Failure;
use super::remains::Asked;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, dry_run};

/// The arguments of `step`.
#[derive(Args, Debug)]
pub(super) struct StepArgs {
    /// The window, by its id
    #[arg(value_name = "WINDOW")]
    window: String,
    /// Step of the window: its number, from 1, or its title
    #[arg(value_name = "STEP")]
    step: String,
    /// pending, running, done or failed; or `progress` and how far it is, 3/7
    #[arg(value_name = "WHAT", required = true, num_args = 1..=2, value_parser = parse_change)]
    what: Vec<StepChange>,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The flag file is edited in place; comments and layout stay. A step that follows the proxy's state (`auto`) cannot be moved.

Examples:
  backsoon step MNT-2026-0519-a 4 running
  backsoon step MNT-2026-0519-a 4 progress 3/7       a step that has progress is running
  backsoon step MNT-2026-0519-a \"Database migrations\" done

Exit codes:
  0   the step is moved (with --wait: that is in force)
  64  the arguments, the config or the flag file are wrong; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Moves the step.
pub(super) fn run(args: &StepArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::to_edit(&args.site, &args.wait, streams)?;
    let flags = site.flags()?;
    let step = StepMove::new(&flags, (&args.window, &args.step), &args.what, Timestamp::now())?;
    let edit = |text: &str| Ok((step.apply(text)?, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let edited = site.edit(Emptied::Refused, edit)?;
    let already = if edited.changed { "" } else { " already" };
    let what: Vec<String> = args.what.iter().filter_map(describe).collect();
    writeln!(streams.out, "step {} of {} is{already} {}", step.index + 1, args.window, what.join(", "))?;
    if let Some(turned) = turned(&flags, &edited.flags, &args.window, Timestamp::now()) {
        writeln!(streams.out, "{turned}")?;
    }
    let mut confirmation = site.confirmation(edited.text, Asked(Vec::new()), Wish::Taken)?;
    confirmation.ask();
    args.wait.conclude(confirmation, Goal::InForce, streams)
}

/// Tells that a window with `opens = "steps"` ended by the move of a step, or is on again.
fn turned(before: &Flags, after: &Flags, id: &str, now: Timestamp) -> Option<String> {
    let find = |flags: &Flags| flags.window(id).cloned();
    let (before, after) = (find(before)?, find(after)?);
    match (before.is_done_early(now), after.is_done_early(now)) {
        (false, true) => {
            let starts = after.next_start(now).map(|starts| format!(" at {starts}")).unwrap_or_default();
            return Some(format!("window {id} will not close its routes{starts}: all of its steps are done already"));
        }
        (true, false) => {
            return Some(format!("window {id} will close its routes again: not all of its steps are done"));
        }
        (true, true) | (false, false) => {}
    }
    match (before.in_force(now).is_some(), after.in_force(now).is_some()) {
        (false, true) => Some(format!("window {id} is on again, and closes its routes: not all of its steps are done")),
        (true, false) => Some(format!("window {id} is over, and its routes come back: all of its steps are done")),
        (true, true) | (false, false) => None,
    }
}

fn describe(change: &StepChange) -> Option<String> {
    match change {
        StepChange::State(state) => Some(state.as_str().to_owned()),
        StepChange::ProgressWord => None,
        StepChange::Progress(done, total) => Some(format!("at {done} of {total}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_ends_or_resumes_a_window_tells_so() {
        let file = |state: &str| {
            let text = format!(
                "[[windows]]\nid = \"S\"\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T15:00:00Z\nopens = \"steps\"\n\
                 routes.web = \"offline\"\nsteps = [{{ title = \"A\", state = \"{state}\" }}]\n"
            );
            crate::plan::flags::parse("maintenance.toml", &text).0.unwrap().flags
        };
        let now = "2026-05-19T15:30:00Z".parse().unwrap();
        let told = |before: &str, after: &str| turned(&file(before), &file(after), "S", now);
        assert!(told("done", "running").is_some_and(|told| told.starts_with("window S is on again")));
        assert!(told("running", "done").is_some_and(|told| told.starts_with("window S is over")));
        assert_eq!((told("running", "failed"), told("done", "done")), (None, None));
    }
}
