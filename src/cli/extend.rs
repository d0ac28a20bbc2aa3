//! `backsoon extend`: moves the end of a window.

use std::io::Write as _;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::control::edit::windows;
use crate::files::write::Emptied;

use super::edit::{self, TableRef};
use super::failure::{EditFailure, Failure};
use super::planning;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, calendar, dry_run, words};

/// The arguments of `extend`.
#[derive(Args, Debug)]
pub(super) struct ExtendArgs {
    /// The window, by its id
    #[arg(value_name = "WINDOW")]
    window: String,
    /// Time by which it becomes longer: 30m, 1h
    #[arg(value_name = "TIME", value_parser = words::parse_span)]
    by: SignedDuration,
    /// Write the new end as JSON to standard output
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The end moves by the time given. For a window that overruns, the time counts from now. A window that comes again is \
extended while it is on, and only this once: `ended` gets the new end, and the rule stays.

Examples:
  backsoon extend MNT-2026-0519-a 30m --wait

Exit codes:
  0   the end is moved (with --wait: that is in force)
  64  the arguments, the config or the flag file are wrong, or the window is over; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Moves the end.
pub(super) fn run(args: &ExtendArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::to_edit(&args.site, &args.wait, streams)?;
    let now = words::whole_seconds(Timestamp::now());
    let flags = site.flags()?;
    let window = windows::window(&flags, &args.window)?;
    let new = windows::new_end(window, args.by, now).map_err(EditFailure::Refused)?;
    let keys = [(new.key, Some(new.to.to_string()))];
    let edit = |text: &str| edit::set(text, TableRef::Window(&args.window), &keys).map(|text| (text, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let zone = windows::zone(window);
    let edited = site.edit(Emptied::Refused, edit)?;
    if args.json {
        let id = &args.window;
        let json = |in_force| json!({ "id": id, "from": new.from, "ends": new.to, "in_force": in_force });
        return planning::finish(&site, edited.text, &args.wait, Some(json), streams);
    }
    let (from, to) = (calendar::moment(new.from, &zone), calendar::moment(new.to, &zone));
    let once = if window.recurs() { "this occurrence of " } else { "" };
    writeln!(streams.out, "{once}window {} ends {to}, in {}; before: {from}", args.window, words::span(now, new.to))?;
    planning::finish(&site, edited.text, &args.wait, planning::WORDS, streams)
}
