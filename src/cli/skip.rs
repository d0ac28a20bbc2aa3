//! `backsoon skip`: leaves one occurrence of a recurring window out.

use std::io::Write as _;

use clap::Args;
use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::files::write::Emptied;
use crate::plan::flags::{Every, When, Window};

use super::failure::Failure;
use super::planning;
use super::refusal::Refusal;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, calendar, dry_run, edit};

/// The arguments of `skip`.
#[derive(Args, Debug)]
pub(super) struct SkipArgs {
    /// The window, by its id
    #[arg(value_name = "WINDOW")]
    window: String,
    /// Day on which the occurrence begins, in the window's own time zone: 2026-12-27; or `next`
    #[arg(value_name = "DATE", value_parser = parse_day)]
    day: DayWord,
    /// Write the occurrence as JSON to standard output
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    #[command(flatten)]
    wait: WaitFor,
    #[command(flatten)]
    site: SiteArgs,
}

/// Day as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DayWord {
    Day(Date),
    Next,
}

fn parse_day(text: &str) -> Result<DayWord, String> {
    if text.eq_ignore_ascii_case("next") {
        return Ok(DayWord::Next);
    }
    let is_day = text.len() == "2026-12-27".len();
    let day = if is_day { text.parse::<Date>().ok() } else { None };
    day.map(DayWord::Day).ok_or_else(|| "write a day, like `2026-12-27`, or `next`".to_owned())
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The day is added to `except` of the window in the flag file; comments and layout stay. All other occurrences come as before.

Examples:
  backsoon skip SUNDAYS 2026-12-27
  backsoon skip SUNDAYS next --dry-run

Exit codes:
  0   the occurrence is left out (with --wait: that is in force)
  64  the arguments, the config or the flag file are wrong, or no occurrence to come begins that day; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  with --wait: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written";

/// Leaves the occurrence out.
pub(super) fn run(args: &SkipArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::find(&args.site)?;
    site.note(streams)?;
    site.check_wait(&args.wait)?;
    let flags = site.flags()?;
    let window = planning::window(&flags, &args.window)?;
    let now = Timestamp::now();
    let (every, (starts, ends)) = occurrence(window, args.day, now).map_err(Failure::Refused)?;
    let zone = every.zone();
    let day = zone.to_datetime(starts).date();
    let edit = |text: &str| edit::leave_out(text, &args.window, day).map(|text| (text, ()));
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let edited = site.edit(Emptied::Refused, edit)?;
    let next = planning::window(&edited.flags, &args.window)?.next_start(now);
    if args.json {
        let id = &args.window;
        let json = |in_force| json!({ "id": id, "left_out": { "starts": starts, "ends": ends }, "next": next, "in_force": in_force });
        return planning::finish(&site, edited.text, &args.wait, Some(json), streams);
    }
    writeln!(streams.out, "window {} leaves out {}", args.window, calendar::span(starts, ends, zone))?;
    match next {
        Some(next) => writeln!(streams.out, "it comes next {}", calendar::moment(next, zone))?,
        None => writeln!(streams.out, "it does not come again")?,
    }
    planning::finish(&site, edited.text, &args.wait, planning::WORDS, streams)
}

/// Span of an occurrence.
type Span = (Timestamp, Timestamp);

/// Finds the occurrence to leave out.
fn occurrence(window: &Window, day: DayWord, now: Timestamp) -> Result<(&Every, Span), Refusal> {
    let every: &Every = match &window.when {
        When::Once { .. } => return Err(Refusal::ComesOnce(window.id.clone())),
        When::Every(every) => every,
    };
    let day = match day {
        DayWord::Next => {
            let next = every.after(now).ok_or_else(|| Refusal::NeverComes(every.to_string()))?;
            return Ok((every, next));
        }
        DayWord::Day(day) => day,
    };
    let begins = |span: &Span| every.zone().to_datetime(span.0).date() == day;
    let midnight = every.zone().to_ambiguous_timestamp(day.to_datetime(Time::midnight())).compatible();
    let midnight = midnight.unwrap_or(Timestamp::MAX);
    let eve = midnight - SignedDuration::from_nanos(1);
    let Some(span) = every.after(eve).filter(begins) else {
        let near = [every.before(eve).filter(|(starts, _)| *starts > now), every.after(eve.max(now))];
        let near = near.into_iter().flatten().map(|(starts, _)| every.zone().to_datetime(starts).date().to_string());
        return Err(Refusal::NoOccurrence(window.id.clone(), day, near.collect()));
    };
    match window.in_force(now) {
        Some(on) if on.starts == span.0 => Err(Refusal::On(window.id.clone())),
        _ if span.0 <= now => Err(Refusal::PastOccurrence(window.id.clone(), day)),
        _ => Ok((every, span)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_occurrence_to_come_can_be_left_out() {
        let text =
            "[[windows]]\nid = \"W\"\nroutes = { web = \"offline\" }\nevery = \"Sun 23:00-01:00 America/New_York\"\n";
        let flags = crate::plan::flags::parse("maintenance.toml", text).0.unwrap().flags;
        let skip = |day: &str, now: &str| {
            let found = occurrence(&flags.windows[0], parse_day(day).unwrap(), now.parse().unwrap());
            found.map(|(_, (starts, _))| starts.to_string())
        };
        // The clock of the place counts: it is Monday in UTC already.
        assert_eq!(skip("2026-11-29", "2026-11-28T00:00:00Z").as_deref(), Ok("2026-11-30T04:00:00Z"));
        assert_eq!(skip("next", "2026-11-30T04:30:00Z").as_deref(), Ok("2026-12-07T04:00:00Z"));
        assert_eq!(skip("2026-11-29", "2026-11-30T04:30:00Z"), Err(Refusal::On("W".to_owned())));
        let day = Date::constant(2026, 11, 29);
        assert_eq!(skip("2026-11-29", "2026-11-30T07:00:00Z"), Err(Refusal::PastOccurrence("W".to_owned(), day)));
        let near = vec!["2026-11-29".to_owned(), "2026-12-06".to_owned()];
        let (id, day) = ("W".to_owned(), Date::constant(2026, 11, 30));
        assert_eq!(skip("2026-11-30", "2026-11-28T00:00:00Z"), Err(Refusal::NoOccurrence(id, day, near)));
        assert!(parse_day("tomorrow").is_err() && parse_day("2026-11-29T04:00:00Z").is_err());
    }
}
