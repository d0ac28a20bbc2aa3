//! `backsoon skip`: leaves one occurrence of a recurring window out.

use std::io::Write as _;

use clap::Args;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::control::edit::windows;
use crate::files::write::Emptied;
use crate::plan::flags::{Every, When, Window};

use super::failure::{EditFailure, Failure};
use super::planning;
use super::refusal::{Refusal, shell};
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
The day is added to `except` of the window in the flag file; comments and layout stay. All other occurrences come as before. \
`next` is the next one by the rule: if it is left out already, nothing is changed, however often the command is run.

Examples:
  backsoon skip SUNDAYS 2026-12-27
  backsoon skip SUNDAYS next --dry-run

Exit codes:
  0   the occurrence is left out (with --wait: that is in force)
  64  the arguments, the config or the flag file are wrong, or no occurrence to come begins that day; nothing was written
  65  with --wait: the proxy refuses the flag file; the file is written
  69  the engine of `[fleet]`, or as many proxies as --replicas, cannot be asked; nothing was written.
      With --wait also: an admin listener cannot be asked; the file is written
  74  the flag file cannot be read or written; nothing was written
  75  with --wait: not in force in time; the file is written.
      Or others edit the text of `[fleet]` all the time; nothing was written";

/// Leaves the occurrence out.
pub(super) fn run(args: &SkipArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::to_edit(&args.site, &args.wait, streams)?;
    let flags = site.flags()?;
    let window = windows::window(&flags, &args.window)?;
    let now = Timestamp::now();
    let (every, found) = occurrence(window, args.day, now).map_err(EditFailure::Refused)?;
    let zone = every.zone();
    let edit = |text: &str| match found {
        Found::ToCome((starts, _)) => {
            edit::leave_out(text, &args.window, zone.to_datetime(starts).date()).map(|text| (text, ()))
        }
        Found::LeftOut(_) => Ok((text.to_owned(), ())),
    };
    if args.wait.dry_run {
        return dry_run::show(&site, Emptied::Refused, edit, streams);
    }
    let edited = site.edit(Emptied::Refused, edit)?;
    let next = windows::window(&edited.flags, &args.window)?.next_start(now);
    if args.json {
        let (id, (starts, ends), changed) = (&args.window, found.span(), edited.changed);
        let json = |in_force| json!({ "id": id, "left_out": { "starts": starts, "ends": ends }, "next": next, "changed": changed, "in_force": in_force });
        return planning::finish(&site, edited.text, &args.wait, Some(json), streams);
    }
    write!(streams.out, "{}", told(&args.window, found, next, zone))?;
    planning::finish(&site, edited.text, &args.wait, planning::WORDS, streams)
}

/// Describes what is left out, and what comes next. `next` means one occurrence, however often it is asked for, so a
/// further one has to be named by its day.
fn told(id: &str, found: Found, next: Option<Timestamp>, zone: &TimeZone) -> String {
    let (starts, ends) = found.span();
    let span = calendar::span(starts, ends, zone);
    let next_told = next.map(|next| calendar::moment(next, zone));
    match (found, next.zip(next_told)) {
        (Found::ToCome(_), Some((_, next))) => format!("window {id} leaves out {span}\nit comes next {next}\n"),
        (Found::ToCome(_), None) => format!("window {id} leaves out {span}\nit does not come again\n"),
        (Found::LeftOut(_), Some((at, next))) => {
            let (id, day) = (shell(id), zone.to_datetime(at).date());
            let other = format!("`backsoon skip {id} {day}` leaves that out as well");
            format!("window {id} leaves out {span} already; nothing is changed\nit comes next {next}; {other}\n")
        }
        (Found::LeftOut(_), None) => {
            format!("window {id} leaves out {span} already; nothing is changed\nit does not come again\n")
        }
    }
}

/// Span of an occurrence.
type Span = (Timestamp, Timestamp);

/// Occurrence that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Occurrence to come, unless it is left out.
    ToCome(Span),
    /// Occurrence that was left out before.
    LeftOut(Span),
}

impl Found {
    fn span(self) -> Span {
        match self {
            Self::ToCome(span) | Self::LeftOut(span) => span,
        }
    }
}

/// Finds the occurrence to leave out.
fn occurrence(window: &Window, day: DayWord, now: Timestamp) -> Result<(&Every, Found), Refusal> {
    let every: &Every = match &window.when {
        When::Once { .. } => return Err(Refusal::ComesOnce(window.id.clone())),
        When::Every(every) => every,
    };
    let planned = every.without_exceptions();
    let found = match day {
        DayWord::Next => planned.after(now).ok_or_else(|| Refusal::NeverComes(every.to_string()))?,
        DayWord::Day(day) => {
            let eve = eve(every, day);
            let begins = |span: &Span| every.zone().to_datetime(span.0).date() == day;
            // An occurrence that runs comes before another of that day that does not.
            let span = every.after(eve).filter(begins).or_else(|| planned.after(eve).filter(begins));
            span.ok_or_else(|| no_occurrence(window, every, day, now))?
        }
    };
    if found.0 > now {
        let runs = every.before(found.0).is_some_and(|(starts, _)| starts == found.0);
        return Ok((every, if runs { Found::ToCome(found) } else { Found::LeftOut(found) }));
    }
    match window.in_force(now) {
        Some(on) if on.starts == found.0 => Err(Refusal::On(window.id.clone())),
        _ => Err(Refusal::PastOccurrence(window.id.clone(), every.zone().to_datetime(found.0).date())),
    }
}

/// Returns the last instant before a day.
fn eve(every: &Every, day: Date) -> Timestamp {
    let midnight = every.zone().to_ambiguous_timestamp(day.to_datetime(Time::midnight())).compatible();
    midnight.unwrap_or(Timestamp::MAX) - SignedDuration::from_nanos(1)
}

/// Tells that no occurrence begins on a day, and the nearest days on which one does.
fn no_occurrence(window: &Window, every: &Every, day: Date, now: Timestamp) -> Refusal {
    let eve = eve(every, day);
    let near = [every.before(eve).filter(|(starts, _)| *starts > now), every.after(eve.max(now))];
    let near = near.into_iter().flatten().map(|(starts, _)| every.zone().to_datetime(starts).date().to_string());
    Refusal::NoOccurrence(window.id.clone(), day, near.collect())
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
            found.map(|(_, found)| found.span().0.to_string())
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
        let text = text.replace("routes", "except = [2026-12-06, 2026-12-13]\nroutes");
        let flags = crate::plan::flags::parse("maintenance.toml", &text).0.unwrap().flags;
        let now: Timestamp = "2026-11-30T07:00:00Z".parse().unwrap();
        for (day, starts, is_out) in [
            ("next", "2026-12-07T04:00:00Z", true),
            ("2026-12-13", "2026-12-14T04:00:00Z", true),
            ("2026-12-20", "2026-12-21T04:00:00Z", false),
        ] {
            let (every, found) = occurrence(&flags.windows[0], parse_day(day).unwrap(), now).unwrap();
            let (span, zone) = (found.span(), every.zone());
            assert_eq!((span.0.to_string().as_str(), found == Found::LeftOut(span)), (starts, is_out), "{day}");
            let told = told("W", found, every.after(now).map(|(starts, _)| starts), zone);
            assert_eq!(told.contains("`backsoon skip W 2026-12-20` leaves that out as well"), is_out, "{told}");
        }
        assert!(parse_day("tomorrow").is_err() && parse_day("2026-11-29T04:00:00Z").is_err());
    }
}
