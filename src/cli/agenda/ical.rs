//! Agenda as iCalendar (RFC 5545). Each occurrence is an event in UTC, so that no calendar has to know the rules.

use jiff::Timestamp;

use crate::cli::{calendar, words};
use crate::plan::agenda::{Agenda, Occurrence};
use crate::plan::ical::{escaped, instant, push};

/// Writes the calendar.
pub(super) fn calendar(agenda: &Agenda, now: Timestamp) -> String {
    let mut text = String::new();
    for line in ["BEGIN:VCALENDAR", "VERSION:2.0", PRODUCT, "CALSCALE:GREGORIAN", "METHOD:PUBLISH"] {
        push(&mut text, line);
    }
    agenda.occurrences.iter().for_each(|one| event(&mut text, one, now));
    push(&mut text, "END:VCALENDAR");
    text
}

fn event(text: &mut String, one: &Occurrence, now: Timestamp) {
    let routes: Vec<String> = one
        .routes
        .iter()
        .map(|(target, mode)| format!("{} {}", calendar::target(target), words::being(*mode)))
        .collect();
    let routes = routes.join(", ");
    let summary = one.title.as_ref().map_or_else(|| one.window.clone(), |title| format!("{title} ({})", one.window));
    let every = one.every.as_ref().map(|every| format!("\nevery {every}")).unwrap_or_default();
    let odd = one.odd.as_ref().map(|odd| format!("\nit {}", calendar::odd(odd, one.starts, one.ends, &one.zone)));
    push(text, "BEGIN:VEVENT");
    push(text, &format!("UID:{}-{}@backsoon", escaped(&one.window), instant(one.starts)));
    push(text, &format!("DTSTAMP:{}", instant(now)));
    push(text, &format!("DTSTART:{}", instant(one.starts)));
    push(text, &format!("DTEND:{}", instant(one.ends)));
    push(text, &format!("SUMMARY:{}", escaped(&summary)));
    push(text, &format!("DESCRIPTION:{}", escaped(&format!("{routes}{every}{}", odd.unwrap_or_default()))));
    push(text, "CATEGORIES:MAINTENANCE");
    push(text, "STATUS:CONFIRMED");
    push(text, "TRANSP:TRANSPARENT");
    push(text, "END:VEVENT");
}

const PRODUCT: &str = concat!("PRODID:-//backsoon//backsoon ", env!("CARGO_PKG_VERSION"), "//EN");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_escaped_and_folded_as_the_standard_says() {
        let title = "Disk; CPU, \\\"RAM\\\" \\\\ and more: ".repeat(3) + &"größer ".repeat(9);
        let file = format!(
            "[[windows]]\nid = \"W,1\"\ntitle = \"{title}\"\nstarts = 2026-12-06T01:00:00Z\nends = 2026-12-06T02:00:00Z\n\
             routes = {{ web = \"offline\", \"*\" = \"hold\" }}\n"
        );
        let flags = crate::plan::flags::parse("maintenance.toml", &file).0.unwrap().flags;
        let now = "2026-12-01T00:00:00Z".parse().unwrap();
        let text = calendar(&Agenda::new(&flags, now, Timestamp::MAX), now);
        assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        let unfolded = text.replace("\r\n ", "");
        let lines: Vec<&str> = unfolded.lines().collect();
        assert!(lines.contains(&"UID:W\\,1-20261206T010000Z@backsoon"), "{unfolded}");
        assert!(lines.contains(&"DTSTART:20261206T010000Z") && lines.contains(&"DTEND:20261206T020000Z"));
        assert!(lines.contains(&"DESCRIPTION:web offline\\, every route on hold"), "{unfolded}");
        let summary = lines.iter().find(|line| line.starts_with("SUMMARY:")).unwrap();
        assert!(summary.starts_with("SUMMARY:Disk\\; CPU\\, \"RAM\" \\\\ and more: Disk"), "{summary}");
        assert!(summary.ends_with("größer  (W\\,1)"), "{summary}");
    }
}
