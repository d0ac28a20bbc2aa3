//! Edits of `[lifted]`: the instants at which operators lifted routes, and the removal of old ones.

use jiff::{SignedDuration, Timestamp};
use toml_edit::{Document, Item};

use super::{Change, EditError, TableRef, apply_repeatedly, set, splice};
use crate::plan::flags::{Lift, Pace};

/// Notes in a text that routes are lifted.
///
/// # Errors
/// If `text` is not TOML, or has `[lifted]` in a form that cannot be edited.
pub(crate) fn note_lifted(text: &str, routes: &[String], lift: Lift) -> Result<String, EditError> {
    let at = shown(lift.at);
    let value = match lift.pace {
        Pace::Ramp => at,
        Pace::AtOnce => format!("{{ at = {at}, ramp = false }}"),
    };
    let keys: Vec<_> = routes.iter().map(|route| (route.as_str(), Some(value.clone()))).collect();
    set(&forget_lifted(text, &[], lift.at)?, TableRef::TopLevel("lifted"), &keys)
}

/// Removes the entries of routes that are flagged now, and those that are too old to matter.
///
/// # Errors
/// As [`note_lifted`].
pub(crate) fn forget_lifted(text: &str, flagged: &[String], now: Timestamp) -> Result<String, EditError> {
    let doc = super::parse(text)?;
    let Some(table) = doc.get("lifted").and_then(Item::as_table_like) else { return Ok(text.to_owned()) };
    let is_over = |item: &Item| at(item).is_some_and(|at| now.duration_since(at) > KEPT);
    let over = table.iter().filter(|(route, item)| flagged.iter().any(|flagged| flagged == route) || is_over(item));
    let keys: Vec<_> = over.map(|(route, _)| (route, None)).collect();
    if keys.is_empty() {
        return Ok(text.to_owned());
    }
    let text = set(text, TableRef::TopLevel("lifted"), &keys)?;
    apply_repeatedly(text, "lifted", |text, doc| Ok(empty_section(text, doc)))
}

/// Returns the removal of a header that has no keys any more.
fn empty_section(text: &str, doc: &Document<&str>) -> Option<Change> {
    let table = doc.get("lifted")?.as_table().filter(|table| table.is_empty())?;
    let header = table.span()?;
    Some((splice::lines_and_gap(text, header.start, header.end), String::new()))
}

/// Returns the instant of an entry, as an instant or in a table.
fn at(item: &Item) -> Option<Timestamp> {
    let inner = item.as_table_like().and_then(|table| table.get("at"));
    inner.unwrap_or(item).as_datetime()?.to_string().parse().ok()
}

/// Formats an instant in milliseconds. More digits tell nobody more.
fn shown(at: Timestamp) -> String {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_string()
}

/// Age up to which an entry is kept: a ramp that is skipped may come after checks that take hours.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-19T14:30:00.123456Z";

    #[test]
    fn a_lifting_is_noted_and_forgotten_without_a_trace() {
        let now: Timestamp = NOW.parse().unwrap();
        let web = ["web".to_owned()];
        for (before, noted) in [
            ("[routes]\n", "[routes]\n\n[lifted]\nweb = 2026-05-19T14:30:00.123Z\n"),
            ("[routes]\r\n", "[routes]\r\n\r\n[lifted]\r\nweb = 2026-05-19T14:30:00.123Z\r\n"),
            (
                "[lifted]\napi = 2026-05-19T10:00:00Z\n",
                "[lifted]\napi = 2026-05-19T10:00:00Z\nweb = 2026-05-19T14:30:00.123Z\n",
            ),
        ] {
            let after = note_lifted(before, &web, Lift { at: now, pace: Pace::Ramp }).unwrap();
            assert_eq!(after, noted);
            assert_eq!(forget_lifted(&after, &web, now).unwrap(), before, "{after}");
        }
        let at_once = Lift { at: now, pace: Pace::AtOnce };
        let told = note_lifted(
            "[lifted]\nweb = 2026-05-18T10:00:00Z # old\napi = { at = 2026-05-18T10:00:00Z }\n",
            &web,
            at_once,
        );
        assert_eq!(told.unwrap(), "[lifted]\nweb = { at = 2026-05-19T14:30:00.123Z, ramp = false }\n");
        let kept = "# nothing\n[routes]\nweb = \"hold\"\n";
        assert_eq!(forget_lifted(kept, &web, now).unwrap(), kept);
    }
}
