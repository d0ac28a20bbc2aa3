//! Time zones of the calendar (RFC 5545 section 3.6.5), with the changes of the clock that the rules of the program have.

use jiff::tz::{Dst, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::super::super::super::ical::push;

/// Change of the clock, as a calendar tells it: all changes of one kind stand together.
#[derive(PartialEq)]
struct Kind {
    from: Offset,
    to: Offset,
    name: String,
    is_summer: bool,
}

/// Appends a zone that is right from an instant until some years after the last change of the news.
pub(super) fn push_zone(text: &mut String, (name, zone): (&str, &TimeZone), from: Timestamp, changed: Timestamp) {
    let from = from.checked_sub(A_DAY).unwrap_or(from);
    let until = changed.checked_add(KNOWN).unwrap_or(Timestamp::MAX);
    push(text, "BEGIN:VTIMEZONE");
    push(text, &format!("TZID:{name}"));
    let first = zone.to_offset_info(from);
    let own = |offset, abbreviation: &str, dst| (offset, abbreviation.to_owned(), dst == Dst::Yes);
    let (mut before, abbreviation, is_summer) = own(first.offset(), first.abbreviation(), first.dst());
    let begins = Kind { from: before, to: before, name: abbreviation, is_summer };
    push_kind(text, &begins, &["19700101T000000".to_owned()]);
    let mut kinds: Vec<(Kind, Vec<String>)> = Vec::new();
    for change in zone.following(from).take(MOST_CHANGES).take_while(|change| change.timestamp() <= until) {
        let (to, name, is_summer) = own(change.offset(), change.abbreviation(), change.dst());
        let local = before.to_datetime(change.timestamp()).strftime("%Y%m%dT%H%M%S").to_string();
        let kind = Kind { from: before, to, name, is_summer };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, times)) => times.push(local),
            None => kinds.push((kind, vec![local])),
        }
        before = to;
    }
    kinds.iter().for_each(|(kind, times)| push_kind(text, kind, times));
    push(text, "END:VTIMEZONE");
}

fn push_kind(text: &mut String, kind: &Kind, times: &[String]) {
    let component = if kind.is_summer { "DAYLIGHT" } else { "STANDARD" };
    push(text, &format!("BEGIN:{component}"));
    if let Some((first, more)) = times.split_first() {
        push(text, &format!("DTSTART:{first}"));
        if !more.is_empty() {
            push(text, &format!("RDATE:{}", more.join(",")));
        }
    }
    push(text, &format!("TZOFFSETFROM:{}", offset(kind.from)));
    push(text, &format!("TZOFFSETTO:{}", offset(kind.to)));
    push(text, &format!("TZNAME:{}", kind.name));
    push(text, &format!("END:{component}"));
}

/// Formats an offset: `+0200`, `-0330`, with seconds if it has any.
fn offset(offset: Offset) -> String {
    let (sign, seconds) = (if offset.is_negative() { '-' } else { '+' }, offset.seconds().unsigned_abs());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if seconds == 0 {
        format!("{sign}{hours:02}{minutes:02}")
    } else {
        format!("{sign}{hours:02}{minutes:02}{seconds:02}")
    }
}

const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// Time after the last change of the news for which changes of the clock are told.
const KNOWN: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);
/// Most changes of the clock that are told. No zone has more than four a year.
const MOST_CHANGES: usize = 64;
