//! Notices besides the page: announcements before a window, and the notice of a read-only route.
//!
//! The field `Maintenance` is structured (RFC 9651): a token with parameters.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use super::super::flags::{Flags, Mode, Target};
use super::super::snapshot::{Announced, Closure, Source};
use super::super::wave::Wave;

/// Windows that are announced now, by route.
pub(super) struct Announcements<'f> {
    every: Vec<Announced>,
    by_route: HashMap<&'f str, Vec<Announced>>,
}

impl<'f> Announcements<'f> {
    pub(super) fn new(flags: &'f Flags, now: Timestamp) -> Self {
        let mut all = Self { every: Vec::new(), by_route: HashMap::new() };
        for window in flags.acting(now) {
            let Some((starts, ends)) = window.announced(now) else { continue };
            for (target, mode) in &window.routes {
                let announced = Announced { id: window.id.clone(), mode: *mode, starts, ends };
                match target {
                    Target::Every => all.every.push(announced),
                    Target::Route(name) => all.by_route.entry(name).or_default().push(announced),
                }
            }
        }
        all
    }

    /// Returns the announcements for one route, soonest first.
    pub(super) fn of(&self, route: &str) -> Vec<Announced> {
        let own = self.by_route.get(route).map(Vec::as_slice).unwrap_or_default();
        let mut all: Vec<Announced> = own.iter().chain(&self.every).cloned().collect();
        all.sort_by(|a, b| a.starts.cmp(&b.starts).then(b.mode.cmp(&a.mode)));
        all.truncate(MOST_ANNOUNCED);
        all
    }
}

/// Returns the field `Maintenance` of forwarded responses, if the route is read-only or a window is announced.
pub(super) fn notice(closure: Option<&Closure>, announced: &[Announced]) -> Option<HeaderValue> {
    let mut text = String::new();
    match (closure, announced.first()) {
        (Some(closure), _) if closure.mode == Mode::ReadOnly => {
            text.push_str("read-only");
            if let Some(until) = closure.until {
                let _ = write!(text, ";until=@{}", until.as_second());
            }
            if let Source::Window(id) = &closure.source {
                let _ = write!(text, ";id={}", string(id));
            }
        }
        (None, Some(next)) => {
            let (starts, ends) = (next.starts.as_second(), next.ends.as_second());
            let (mode, id) = (next.mode.as_str(), string(&next.id));
            let _ = write!(text, "announced;mode={mode};starts=@{starts};ends=@{ends};id={id}");
        }
        (Some(_) | None, _) => return None,
    }
    HeaderValue::from_str(&text).ok()
}

/// Returns the body of the status resource of an open route. While a wave of watchers comes back, it tells pages that ask
/// for it how much time to take.
pub(super) fn open(announced: &[Announced], wave: Option<&Wave>) -> Bytes {
    if announced.is_empty() && wave.is_none() {
        return Bytes::from_static(OPEN);
    }
    let announced: Vec<serde_json::Value> = announced
        .iter()
        .map(|next| {
            serde_json::json!({
                "window": next.id, "mode": next.mode.as_str(), "starts": next.starts, "ends": next.ends,
            })
        })
        .collect();
    let mut open = serde_json::json!({ "phase": "open" });
    if !announced.is_empty() {
        open["announced"] = announced.into();
    }
    if let Some(wave) = wave {
        open["spread"] = wave.spread.into();
    }
    format!("{open}\n").into()
}

/// Writes a string of a structured field, without the characters that it cannot hold.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().filter(|c| (' '..='~').contains(c)) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

const OPEN: &[u8] = b"{\"phase\":\"open\"}\n";
/// Most windows that are announced for one route at a time.
const MOST_ANNOUNCED: usize = 8;
