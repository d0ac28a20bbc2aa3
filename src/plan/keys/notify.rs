//! Keys of `[[notify]]`.

use std::time::Duration;

use super::super::key::pattern::{DESTINATION, FILE, LANGUAGE, ROUTE_NAME};
use super::super::key::{Absent, Form, Key, Rule, Table};

/// `[[notify]]`.
pub static NOTIFY: Table = Table {
    header: "[[notify]]",
    about: "Place where operators are told of events: a chat, a webhook, a mailbox, or a program.",
    keys: &[
        Key::new(
            "to",
            Form::Text(&DESTINATION),
            Absent::Means("what `to_file` names"),
            "Place: `slack:`, `discord:`, `teams:`, `ntfy:` or `webhook:` and a URL, `mail:` and an address, or `exec:` and \
             the absolute path of a program. Exactly one of `to` and `to_file` is needed.",
        ),
        Key::new(
            "to_file",
            Form::Text(&FILE),
            Absent::Means("what `to` says"),
            "File with the same text, because the URL is a secret. The file is watched.",
        ),
        Key::new(
            "on",
            Form::OneOrArray(&Form::Choice(&EVENTS), 1..=64),
            Absent::Is(
                "[\"breach\", \"long\", \"overrun\", \"refused-edit\", \"undone\", \"unsaved\", \"unwell\", \
                 \"verify-failed\"]",
            ),
            "Events that are told. By default, those that a person should act on.",
        ),
        Key::new(
            "routes",
            Form::OneOrArray(&Form::Text(&ROUTE_NAME), 1..=256),
            Absent::Means("every route"),
            "Routes whose events are told. Events of the whole proxy are always told.",
        ),
        Key::new(
            "language",
            Form::Text(&LANGUAGE),
            Absent::Means("the first one written"),
            "Language of your own words, such as the title of a window.",
        ),
        Key::new(
            "timeout",
            Form::Time(Duration::from_secs(1), Duration::from_secs(3600)),
            Absent::Is("\"30s\""),
            "Time that an attempt may take. A program is killed then, with all that it started in its process group.",
        ),
        Key::new(
            "retries",
            Form::Count(0, 10),
            Absent::Means("4, and 0 for a program"),
            "Further attempts after one that failed: after 1 s, 5 s, 30 s, and then each 2 minutes.",
        ),
    ],
    rules: &[Rule::OneOf(&["to", "to_file"])],
};

/// Words for `on`. A test holds them against `EventKind::ALL`.
static EVENTS: [&str; 19] = [
    "announced",
    "moved",
    "cancelled",
    "closed",
    "drained",
    "step-done",
    "undone",
    "overrun",
    "long",
    "verifying",
    "verify-failed",
    "ramping",
    "opened",
    "breach",
    "breach-over",
    "unwell",
    "well",
    "refused-edit",
    "unsaved",
];

#[cfg(test)]
mod tests {
    use super::super::super::config::EventKind;
    use super::*;

    #[test]
    fn the_words_are_those_of_the_kinds() {
        assert_eq!(EventKind::ALL.map(EventKind::as_str), EVENTS);
    }
}
