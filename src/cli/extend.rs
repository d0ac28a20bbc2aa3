//! `backsoon extend`: moves the end of a window.

use std::io::Write as _;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::files::write::Emptied;
use crate::plan::flags::{When, Window};

use super::edit::{self, TableRef};
use super::failure::Failure;
use super::planning;
use super::refusal::Refusal;
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
    let window = planning::window(&flags, &args.window)?;
    let new = new_end(window, args.by, now).map_err(Failure::Refused)?;
    let keys = [(new.key, Some(new.to.to_string()))];
    let edit = |text: &str| edit::set(text, TableRef::Window(&args.window), &keys).map(|text| (text, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let zone = planning::zone(window);
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

/// Move of an end.
struct Move {
    /// Key that holds the new end.
    key: &'static str,
    from: Timestamp,
    to: Timestamp,
}

/// Returns the new end of a window, and the key for it.
fn new_end(window: &Window, by: SignedDuration, now: Timestamp) -> Result<Move, Refusal> {
    let on = window.in_force(now);
    let moved = |from: Timestamp, key| {
        let to = from.checked_add(by).unwrap_or(words::last_instant());
        if to > now { Ok(Move { key, from, to }) } else { Err(Refusal::PastEnd(to, TimeZone::UTC)) }
    };
    match &window.when {
        When::Once { starts, ends } => {
            if let Some(at) = planning::over(window, now) {
                return Err(Refusal::Over(window.id.clone(), at));
            }
            let own = window.ended.filter(|ended| ended >= starts);
            match (on.map(|span| span.until), own) {
                // The window overruns, and nobody means an end that has passed.
                (Some(None), _) => Ok(Move { from: *ends, ..moved(now, "ends")? }),
                (_, Some(ended)) => moved(ended, "ended"),
                (_, None) => moved(*ends, "ends"),
            }
        }
        When::Every(every) => {
            let zone = every.zone().clone();
            let next = every.after(now).map(|(starts, _)| starts);
            let Some(span) = on else { return Err(Refusal::NotBegun(window.id.clone(), next, zone)) };
            let new = Move { from: span.ends, ..moved(span.until.unwrap_or(now), "ended")? };
            match next.filter(|next| *next < new.to) {
                Some(next) => Err(Refusal::Meets(window.id.clone(), next, zone)),
                None => Ok(Move { from: span.until.unwrap_or(span.ends), ..new }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extended(when: &str, now: &str) -> Result<(&'static str, String), Refusal> {
        let text = format!("[[windows]]\nid = \"W\"\nroutes = {{ web = \"offline\" }}\n{when}\n");
        let flags = crate::plan::flags::parse("maintenance.toml", &text).0.unwrap().flags;
        let new = new_end(&flags.windows[0], SignedDuration::from_mins(30), now.parse().unwrap());
        new.map(|new| (new.key, new.to.to_string()))
    }

    #[test]
    fn the_end_moves_from_where_it_is() {
        let once = "starts = 2026-05-19T14:00:00Z\nends = 2026-05-19T15:00:00Z";
        let to = |key, time: &str| Ok((key, format!("2026-05-19T{time}:00Z")));
        assert_eq!(extended(once, "2026-05-19T12:00:00Z"), to("ends", "15:30"));
        assert_eq!(extended(once, "2026-05-19T14:50:00Z"), to("ends", "15:30"));
        assert!(matches!(extended(once, "2026-05-19T15:00:00Z"), Err(Refusal::Over(..))));
        let ended = format!("{once}\nended = 2026-05-19T14:30:00Z");
        assert_eq!(extended(&ended, "2026-05-19T14:20:00Z"), to("ended", "15:00"));
        assert!(matches!(extended(&ended, "2026-05-19T14:40:00Z"), Err(Refusal::Over(..))));
        let stay = format!("{once}\non_overrun = \"stay\"");
        assert_eq!(extended(&stay, "2026-05-19T15:45:00Z"), to("ends", "16:15"));
    }

    #[test]
    fn an_occurrence_is_extended_alone_and_while_it_is_on() {
        let weekly = "every = \"Tue 14:00-15:00 UTC\"";
        let new = extended(weekly, "2026-05-19T14:50:00Z");
        assert_eq!(new, Ok(("ended", "2026-05-19T15:30:00Z".to_owned())));
        assert!(matches!(extended(weekly, "2026-05-19T12:00:00Z"), Err(Refusal::NotBegun(_, Some(_), _))));
        let hourly = "every = \"daily 14:00-13:50 UTC\"";
        assert!(matches!(extended(hourly, "2026-05-19T13:00:00Z"), Err(Refusal::Meets(..))));
        let again = format!("{weekly}\nended = 2026-05-19T15:30:00Z");
        let new = extended(&again, "2026-05-19T15:10:00Z");
        assert_eq!(new, Ok(("ended", "2026-05-19T16:00:00Z".to_owned())));
    }
}
