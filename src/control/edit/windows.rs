//! Windows that are planned, extended and cancelled: what is refused, and what is written.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::plan::flags::{self, Flags, When, Window};

use super::failure::EditFailure;
use super::moment::Moment;
use super::refusal::Refusal;
use super::text::{self as edit, NewSpan, NewWindow};
use super::words;

/// Finds a window by its id.
///
/// # Errors
/// [`EditFailure::NoWindow`].
pub(crate) fn window<'f>(flags: &'f Flags, id: &str) -> Result<&'f Window, EditFailure> {
    flags.window(id).ok_or_else(|| EditFailure::NoWindow { id: id.to_owned(), known: flags.ids() })
}

/// Returns the time zone of a window's rule; UTC if it comes once.
pub(crate) fn zone(window: &Window) -> TimeZone {
    match &window.when {
        When::Once { .. } => TimeZone::UTC,
        When::Every(every) => every.zone().clone(),
    }
}

/// Returns the instant at which a window that comes once was over.
pub(crate) fn over(window: &Window, now: Timestamp) -> Option<Timestamp> {
    match &window.when {
        When::Once { starts, ends } if *starts <= now && window.in_force(now).is_none() => {
            Some(window.ended.filter(|ended| ended >= starts).unwrap_or(*ends))
        }
        When::Once { .. } | When::Every(_) => None,
    }
}

/// Move of an end.
pub(crate) struct Move {
    /// Key that holds the new end.
    pub(crate) key: &'static str,
    /// End before.
    pub(crate) from: Timestamp,
    /// New end.
    pub(crate) to: Timestamp,
}

/// Returns the new end of a window, and the key for it.
///
/// # Errors
/// If the window is over, has not begun, or would meet its next occurrence.
pub(crate) fn new_end(window: &Window, by: SignedDuration, now: Timestamp) -> Result<Move, Refusal> {
    let on = window.in_force(now);
    let moved = |from: Timestamp, key| {
        let to = from.checked_add(by).unwrap_or(words::last_instant());
        if to > now { Ok(Move { key, from, to }) } else { Err(Refusal::PastEnd(to, TimeZone::UTC)) }
    };
    match &window.when {
        When::Once { starts, ends } => {
            if let Some(at) = over(window, now) {
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

/// Returns the reason why a window is not to be removed.
pub(crate) fn kept(window: &Window, series: bool, now: Timestamp) -> Option<Refusal> {
    let id = window.id.clone();
    if window.in_force(now).is_some() {
        return Some(Refusal::On(id));
    }
    match &window.when {
        When::Once { .. } => over(window, now).map(|at| Refusal::Over(id, at)),
        When::Every(every) => (!series).then(|| Refusal::ComesAgain(id, every.to_string())),
    }
}

/// Returns the span of a window that is wanted; `None` if nothing says when it comes.
pub(crate) fn span(at: Option<&Moment>, length: Option<SignedDuration>, every: Option<&str>) -> Option<NewSpan> {
    match (at, length, every) {
        (Some(at), Some(length), None) => {
            let ends = at.at.checked_add(length).unwrap_or(words::last_instant());
            Some(NewSpan::Once(at.at, ends))
        }
        (None, None, Some(rule)) => Some(NewSpan::Every(rule.trim().to_owned())),
        (_, _, _) => None,
    }
}

/// Checks that a window is still to come. Its id need not be final.
///
/// # Errors
/// If its start is in the past, or it never comes.
pub(crate) fn checked(window: NewWindow, at: Option<&Moment>, now: Timestamp) -> Result<NewWindow, EditFailure> {
    if let Some(at) = at.filter(|at| at.at <= now) {
        return Err(EditFailure::Refused(Refusal::PastStart(at.at, at.zone.clone())));
    }
    let scratch = edit::add("", &NewWindow { id: "scratch".to_owned(), ..window.clone() });
    let parsed = scratch.ok().and_then(|text| flags::parse_at("scratch", &text, now).0);
    let comes = parsed.is_none_or(|parsed| parsed.flags.windows.iter().any(|window| window.next_start(now).is_some()));
    if comes { Ok(window) } else { Err(EditFailure::Refused(never(&window))) }
}

/// Returns the refusal of a window that does not come.
pub(crate) fn never(window: &NewWindow) -> Refusal {
    match &window.when {
        NewSpan::Once(starts, _) => Refusal::PastStart(*starts, TimeZone::UTC),
        NewSpan::Every(rule) => Refusal::NeverComes(rule.clone()),
    }
}

/// Spells a length as the flag file does: `48h`, `90m`, `45s`.
pub(crate) fn spelled(span: SignedDuration) -> String {
    let seconds = span.as_secs();
    match (seconds % 3600, seconds % 60) {
        (0, _) => format!("{}h", seconds / 3600),
        (_, 0) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// Gives a window an id of its first day, unless it has one: `MNT-2026-1206-a`.
pub(crate) fn with_id(draft: &NewWindow, zone: &TimeZone, flags: &Flags) -> NewWindow {
    if !draft.id.is_empty() {
        return draft.clone();
    }
    let stem = match &draft.when {
        NewSpan::Once(starts, _) => zone.to_datetime(*starts).strftime("MNT-%Y-%m%d-").to_string(),
        NewSpan::Every(_) => "EVERY-".to_owned(),
    };
    let letters = ('a'..='z').map(String::from).chain((27..).map(|number: u32| number.to_string()));
    let mut ids = letters.map(|letter| format!("{stem}{letter}"));
    let id = ids.find(|id| flags.window(id).is_none()).unwrap_or(stem);
    NewWindow { id, ..draft.clone() }
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
