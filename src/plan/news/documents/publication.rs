//! Calendar of one window, as a mail brings it: the same event as in the calendar of the site, with the same id and the same
//! number, so that each replaces the other.
//!
//! The method is PUBLISH (RFC 5546 section 3.2.1), also for what is called off: REQUEST would ask every reader whether they
//! come, and send the answers to the operator.

use super::super::{Incident, Kind, News, Update, UpdateKind, Words};
use super::{Desk, Stories, calendar};

/// Writes the calendar; `None` for an update that changes nothing in it.
pub(in super::super) fn publication(
    news: &News<'_>,
    words: Words<'_>,
    incident: &Incident,
    update: &Update,
) -> Option<String> {
    let reference = incident.facts.reference.as_ref().filter(|_| incident.facts.kind == Kind::Planned)?;
    if !is_of_calendar(&update.kind) {
        return None;
    }
    let windows: Vec<_> = news.windows.iter().filter(|window| window.id == *reference).cloned().collect();
    let news = News { incidents: std::slice::from_ref(incident), windows: &windows, ..news.clone() };
    let document = calendar::calendar(&Desk::new(&news, words, &Stories::default()));
    Some(published(std::str::from_utf8(&document.whole).ok()?))
}

/// Returns true if an update changes when a window is.
fn is_of_calendar(kind: &UpdateKind) -> bool {
    match kind {
        UpdateKind::Announced { .. }
        | UpdateKind::Moved { .. }
        | UpdateKind::Extended { .. }
        | UpdateKind::Expected { .. }
        | UpdateKind::Cancelled => true,
        UpdateKind::Reworded
        | UpdateKind::Began
        | UpdateKind::StepDone { .. }
        | UpdateKind::Overrun
        | UpdateKind::Checking
        | UpdateKind::Returning
        | UpdateKind::ClosedAgain { .. }
        | UpdateKind::Over => false,
    }
}

/// Adds the method, and leaves out what makes a program open it as a whole calendar that it follows.
fn published(calendar: &str) -> String {
    let mut text = String::new();
    let mut is_kept = true;
    for line in calendar.split_inclusive('\n') {
        // A line that begins with a space goes on with the one before (RFC 5545 section 3.1).
        if !line.starts_with(' ') {
            is_kept = !OF_FEEDS.iter().any(|name| line.starts_with(name));
        }
        if is_kept {
            text.push_str(line);
        }
        if line.starts_with("VERSION:") {
            text.push_str("METHOD:PUBLISH\r\n");
        }
    }
    text
}

/// Beginnings of lines that only a calendar to follow has.
const OF_FEEDS: [&str; 4] = ["NAME:", "X-WR-CALNAME:", "REFRESH-INTERVAL", "X-PUBLISHED-TTL"];
