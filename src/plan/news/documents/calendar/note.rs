//! Maintenance notes of network operators (MAINTNOTE), which their programs read. Ordinary calendars pass over them. Every
//! event has one: the programs refuse a calendar with an event that has none.

use super::super::super::super::flags::Mode;
use super::super::super::super::ical::escaped;
use super::super::super::Stage;
use super::Desk;

/// Note of a maintenance.
pub(super) struct Note<'e> {
    /// Id, the same for ever.
    pub(super) id: &'e str,
    pub(super) mode: Mode,
    pub(super) stage: Stage,
    /// Names of what is concerned.
    pub(super) objects: Vec<String>,
}

impl Note<'_> {
    /// Returns the properties.
    pub(super) fn lines(&self, desk: &Desk<'_>) -> Vec<String> {
        let impact = match self.mode {
            Mode::ReadOnly | Mode::Hold => "DEGRADED",
            Mode::Offline => "OUTAGE",
        };
        let status = match self.stage {
            Stage::Scheduled => "CONFIRMED",
            Stage::InProgress | Stage::Checking | Stage::Returning => "IN-PROCESS",
            Stage::Over => "COMPLETED",
            Stage::Cancelled => "CANCELLED",
        };
        // At least one object is required.
        let site = self.objects.is_empty().then_some(&desk.news.title);
        let objects = self.objects.iter().chain(site);
        let objects =
            objects.map(|name| format!("X-MAINTNOTE-OBJECT-ID;X-MAINTNOTE-OBJECT-IMPACT={impact}:{}", escaped(name)));
        let own = [
            format!("X-MAINTNOTE-PROVIDER:{}", escaped(&desk.host)),
            "X-MAINTNOTE-ACCOUNT:public".to_owned(),
            format!("X-MAINTNOTE-MAINTENANCE-ID:{}", escaped(self.id)),
            format!("X-MAINTNOTE-IMPACT:{impact}"),
            format!("X-MAINTNOTE-STATUS:{status}"),
        ];
        own.into_iter().chain(objects).collect()
    }
}

/// Returns the organizer, which the notes require: the site. No mail address of it is known.
pub(super) fn organizer(desk: &Desk<'_>) -> String {
    // A parameter in quotes has no quotes, and no control characters (RFC 5545 section 3.2).
    let name: String = desk.news.title.chars().filter(|c| *c != '"' && !c.is_control()).collect();
    let address = if desk.news.url.contains("://") { &desk.news.url } else { NOBODY };
    format!("ORGANIZER;CN=\"{name}\":{address}")
}

/// Address of nobody, as calendars write it.
const NOBODY: &str = "invalid:nomail";
