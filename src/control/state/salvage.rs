//! Salvage of a damaged state file: each part that can be read is kept, and what is dropped is told.

use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::plan::lifecycle::RouteState;

/// Part of the saved state that was unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Name of the route.
    pub(crate) route: String,
    /// Key; `None` for everything about the route.
    pub(crate) key: Option<&'static str>,
    /// Consequence of the loss.
    pub(crate) follows: &'static str,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "`{key}` of {}: {}", self.route, self.follows),
            None => write!(f, "everything about {}: {}", self.route, self.follows),
        }
    }
}

/// Reads the states of routes one by one, and of each what can be read.
pub(super) fn routes(values: HashMap<String, Value>, now: Timestamp) -> (HashMap<String, RouteState>, Vec<Dropped>) {
    let mut dropped = Vec::new();
    let states = values.into_iter().map(|(name, value)| {
        let state = route(&name, value, &mut dropped).unwrap_or_else(|| {
            dropped.push(Dropped { route: name.clone(), key: None, follows: LOST });
            RouteState::unproven(now).0
        });
        (name, state)
    });
    let states = states.collect();
    dropped.sort_unstable_by(|a, b| (&a.route, a.key).cmp(&(&b.route, b.key)));
    (states, dropped)
}

/// Reads the state of a route; `None` if nobody can tell what it was.
fn route(name: &str, value: Value, dropped: &mut Vec<Dropped>) -> Option<RouteState> {
    if let Ok(state) = serde_json::from_value(value.clone()) {
        return Some(state);
    }
    let Value::Object(mut parts) = value else { return None };
    let mut lost = Vec::new();
    for part in &PARTS {
        let is_whole = parts.get(part.key).map_or(!part.needed, |value| fits(part.key, value));
        if !is_whole {
            lost.push(Dropped { route: name.to_owned(), key: Some(part.key), follows: part.follows });
            parts.remove(part.key);
        }
    }
    for part in &PARTS {
        if lost.iter().any(|lost| lost.key == Some(part.key))
            && let Some(value) = (part.instead)(&parts)
        {
            parts.insert(part.key.to_owned(), value);
        }
    }
    let state = serde_json::from_value(Value::Object(parts)).ok()?;
    dropped.extend(lost);
    Some(state)
}

/// Returns true if a value is right for its key, whatever the others are.
fn fits(key: &str, value: &Value) -> bool {
    let epoch = Timestamp::UNIX_EPOCH;
    let mut sound =
        json!({ "phase": "closed", "since": epoch, "why": "", "closure": null, "began": epoch, "seen": epoch });
    sound[key] = value.clone();
    serde_json::from_value::<RouteState>(sound).is_ok()
}

/// Part of a route's state.
struct Part {
    key: &'static str,
    /// True if every state has it.
    needed: bool,
    follows: &'static str,
    /// Makes the value that takes its place, from the parts that are whole.
    instead: fn(&Map<String, Value>) -> Option<Value>,
}

impl Part {
    /// Creates a part whose absence means something.
    const fn optional(key: &'static str, follows: &'static str) -> Self {
        Self { key, needed: false, follows, instead: |_| None }
    }
}

/// Returns an instant of the state that is whole, the earliest first.
fn instant(parts: &Map<String, Value>) -> Option<Value> {
    ["since", "began", "seen"].iter().find_map(|key| parts.get(*key)).cloned()
}

/// All parts but the phase, without which a state means nothing.
const PARTS: [Part; 15] = [
    Part { key: "since", needed: true, follows: "the start of its phase is another instant", instead: instant },
    Part { key: "began", needed: true, follows: "the time of its phase counts from another instant", instead: instant },
    Part { key: "seen", needed: true, follows: "what it missed is judged from another instant", instead: instant },
    Part { key: "why", needed: true, follows: "the reason for its phase is not told", instead: |_| Some(json!("")) },
    Part::optional("closure", "the maintenance that took it down is not known, and its ramp follows the config"),
    Part::optional("share", "its ramp begins anew"),
    Part::optional("watched", "its guard does not watch it any more"),
    Part::optional("baseline", "its guard has nothing to compare with, and judges fixed bounds alone"),
    Part {
        key: "breach",
        needed: false,
        follows: "what its guard has found is not told, and the finding stands",
        instead: |parts| Some(json!({ "at": instant(parts)?, "what": "the saved finding cannot be read" })),
    },
    Part::optional("suspicion", "its guard counts anew"),
    Part::optional("trial", "a trial by a few clients is not continued"),
    Part::optional("interrupted", "the return that was interrupted begins anew"),
    Part::optional("eased", "its guard watches no milder mode"),
    Part::optional("late", "the time that its checks took does not count"),
    Part::optional("open_before", "links of testers from before the maintenance may be taken"),
];

/// Consequence if nothing is known of a route.
const LOST: &str = "its checks have to pass before it opens";
