//! Code that the commands for windows share: they ask the proxies about an edit.

use std::io::Write as _;

use serde_json::Value;

use super::confirm::{Goal, Wish};
use super::failure::Failure;
use super::remains::Asked;
use super::site::Site;
use super::streams::Streams;
use super::{WaitFor, exit};

/// Absence of JSON: the words are written already.
pub(super) const WORDS: Option<fn(bool) -> Value> = None;

/// Asks the proxies about an edit of windows, and tells what they say in words or as JSON. The function for JSON is told
/// if the edit is in force everywhere.
///
/// # Errors
/// With `--wait`, if the edit is not in force in time.
pub(super) fn finish(
    site: &Site,
    text: String,
    wait: &WaitFor,
    json: Option<impl FnOnce(bool) -> Value>,
    streams: &mut Streams,
) -> Result<u8, Failure> {
    let mut confirmation = site.confirmation(text, Asked(Vec::new()), Wish::Taken)?;
    confirmation.ask();
    let Some(json) = json else { return wait.conclude(confirmation, Goal::InForce, streams) };
    if wait.wait {
        confirmation.wait(wait.timeout.unsigned_abs(), streams)?;
    }
    let in_force = confirmation.is_in_force();
    writeln!(streams.data(), "{:#}", json(in_force))?;
    if in_force || !wait.wait {
        return Ok(exit::OK);
    }
    wait.conclude(confirmation, Goal::InForce, streams)
}
