//! `backsoon cancel`: removes a window that has not begun.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::control::edit::windows;
use crate::files::write::Emptied;

use super::failure::{EditFailure, Failure};
use super::planning;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, calendar, dry_run, edit};

/// The arguments of `cancel`.
#[derive(Args, Debug)]
pub(super) struct CancelArgs {
    /// The window, by its id
    #[arg(value_name = "WINDOW")]
    window: String,
    /// Cancel a window that comes again, with all its occurrences
    #[arg(long)]
    series: bool,
    /// Write what was cancelled as JSON to standard output
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The window is removed from the flag file, with its services and steps; comments above it stay. A window that is on is ended \
with `backsoon off --window`, and one occurrence of many is left out with `backsoon skip`.

Examples:
  backsoon cancel MNT-2026-1206-a
  backsoon cancel SUNDAYS --series --dry-run

Exit codes:
  0   the window is removed (with --wait: that is in force)
  64  the arguments, the config or the flag file are wrong, or the window has begun; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Removes the window.
pub(super) fn run(args: &CancelArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::to_edit(&args.site, &args.wait, streams)?;
    let flags = site.flags()?;
    let window = windows::window(&flags, &args.window)?;
    let now = Timestamp::now();
    windows::kept(window, args.series, now)
        .map_or(Ok(()), |refusal| Err(Failure::Edit(EditFailure::Refused(refusal))))?;
    let edit = |text: &str| edit::remove(text, &args.window).map(|text| (text, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let edited = site.edit(Emptied::Refused, edit)?;
    let next = window.occurrences(now, Timestamp::MAX).next();
    if args.json {
        let (id, next) = (&args.window, next.map(|next| json!({ "starts": next.starts, "ends": next.ends })));
        let json = |in_force| json!({ "id": id, "cancelled": next, "in_force": in_force });
        return planning::finish(&site, edited.text, &args.wait, Some(json), streams);
    }
    let next = next.map(|next| format!(": {}", calendar::span(next.starts, next.ends, &next.zone)));
    let all = if window.recurs() { " and all that would follow" } else { "" };
    writeln!(streams.out, "window {} is cancelled{}{all}", args.window, next.unwrap_or_default())?;
    planning::finish(&site, edited.text, &args.wait, planning::WORDS, streams)
}
