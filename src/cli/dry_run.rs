//! Dry run of an edit: the difference that it would make to the flag file, and to the routes.

use std::io::Write as _;

use jiff::Timestamp;
use similar::TextDiff;

use crate::files::write::Emptied;
use crate::plan::encoding;
use crate::plan::snapshot::Phase;
use crate::status::RouteStatus;

use super::edit::EditError;
use super::exit;
use super::failure::Failure;
use super::flag_file::{self, Edited};
use super::place::Place;
use super::remains;
use super::site::Site;
use super::streams::{DIM, ERROR, GOOD, Streams, styled};
use super::words;

/// Shows what an edit would change, and writes nothing.
///
/// # Errors
/// As the edit itself.
pub(super) fn show<T>(
    site: &Site,
    emptied: Emptied,
    edit: impl FnMut(&str) -> Result<(String, T), EditError>,
    streams: &mut Streams,
) -> Result<u8, Failure> {
    site.check_unseen(emptied)?;
    let before = text_of(&site.place())?;
    let edited = flag_file::edit_text(&site.file, &before, edit)?;
    if !edited.changed {
        writeln!(streams.out, "nothing would change")?;
        return Ok(exit::OK);
    }
    let file = site.file.display().to_string();
    let diff = TextDiff::from_lines(&before, &edited.text).unified_diff().header(&file, &file).to_string();
    diff.lines().try_for_each(|line| writeln!(streams.out, "{}", coloured(line)))?;
    if before.trim().is_empty() {
        let unseen = "the file has no content now; flags that a proxy has in force from an earlier one would be lifted";
        writeln!(streams.out, "{unseen}")?;
    }
    effects(site, &before, &edited).iter().try_for_each(|line| writeln!(streams.out, "{line}"))?;
    Ok(exit::OK)
}

/// Reads the text of a place. A missing one is empty.
fn text_of(place: &Place) -> Result<String, Failure> {
    let Some(content) = place.content()? else { return Ok(String::new()) };
    let text = encoding::decode(&place.path, &content.bytes);
    text.map(str::to_owned).map_err(|problem| Failure::Problems(vec![problem]))
}

fn coloured(line: &str) -> String {
    match line.bytes().next() {
        Some(b'+') => styled(GOOD, line),
        Some(b'-') => styled(ERROR, line),
        Some(b'@') => styled(DIM, line),
        Some(_) | None => line.to_owned(),
    }
}

/// Returns a line for each route that would change. Without a config nothing is known of routes.
fn effects<T>(site: &Site, before: &str, edited: &Edited<T>) -> Vec<String> {
    let now = Timestamp::now();
    let flags = site.parse(before).unwrap_or_default();
    let Some(old) = site.snapshot(&flags, now, None) else { return Vec::new() };
    let Some(new) = site.snapshot(&edited.flags, now, Some(&old)) else { return Vec::new() };
    let pairs = old.routes.iter().zip(&new.routes).map(|(old, new)| (remains::compiled(old), remains::compiled(new)));
    pairs.filter(|(old, new)| key(old) != key(new)).map(|(_, new)| effect(&new, now)).collect()
}

/// Returns the state of a route, as far as an operator would see a change in it.
fn key(route: &RouteStatus) -> (bool, Option<&str>, Option<Timestamp>) {
    let down = route.is(Phase::Closed) || route.is(Phase::Draining);
    (down, route.mode.as_deref().filter(|_| !route.is(Phase::Open)), route.until)
}

fn effect(route: &RouteStatus, now: Timestamp) -> String {
    let name = &route.name;
    if route.is(Phase::Open) {
        return format!("{name} would be open");
    }
    match route.mode.as_deref().and_then(remains::mode) {
        Some(mode) if route.is(Phase::Closed) || route.is(Phase::Draining) => {
            format!("{name} would be {}{}", words::being(mode), remains::until(route.until, now))
        }
        Some(_) | None => format!("{name} would come back: {}", route.phase),
    }
}
