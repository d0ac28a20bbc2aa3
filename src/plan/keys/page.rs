//! Keys of `[page]`.

use super::super::key::pattern::{COLOR, FILE, FRAMER, LANGUAGE, ORIGIN, OWN_PREFIX};
use super::super::key::{Absent, Form, Key, Table};
use super::route_page::LINKS;

/// `[page]`.
pub static PAGE: Table = Table {
    header: "[page]",
    about: "Look and content of the page.",
    keys: &[
        Key::new("brand", Form::Words(256), Absent::Means("none"), "Name above the page."),
        Key::new(
            "logo",
            Form::Text(&FILE),
            Absent::Means("none"),
            "Picture beside the name (svg, png, jpg, webp, avif or gif). The page contains it as a `data:` URL.",
        ),
        Key::new(
            "accent",
            Form::Text(&COLOR),
            Absent::Is("\"#0b6b53\""),
            "Accent colour, `#rgb` or `#rrggbb`. The page changes it as far as needed to be readable.",
        ),
        Key::new(
            "language",
            Form::Text(&LANGUAGE),
            Absent::Means("the first of `languages`"),
            "Language for clients that ask for none of those offered.",
        ),
        Key::new(
            "languages",
            Form::OneOrArray(&Form::Text(&LANGUAGE), 1..=64),
            Absent::Is(
                "[\"en\", \"de\", \"fr\", \"es\", \"ja\", \"ar\", \"pt-BR\", \"zh-Hans\", \"it\", \"nl\", \"pl\", \"ko\"]",
            ),
            "Languages that are offered. One that is not built in needs a message file in `pages`.",
        ),
        Key::new("links", Form::Table(&LINKS), Absent::Is("{}"), "Links of the page."),
        Key::new(
            "prefix",
            Form::Text(&OWN_PREFIX),
            Absent::Is("\"/.backsoon\""),
            "Prefix of the proxy's own paths, which are never forwarded.",
        ),
        Key::new(
            "cors",
            Form::OneOrArray(&Form::Text(&ORIGIN), 0..=256),
            Absent::Means("any may read, and no preflight is allowed"),
            "Origins whose scripts may read the answers of closed routes, and whose preflights are allowed: \
             `https://app.example.com`, `https://*.example.com`, or `*` for any. `[]` lets nobody read.",
        ),
        Key::new(
            "event_stream",
            Form::Bool,
            Absent::Is("true"),
            "Answers an `EventSource` with status 200 and one event, so that it reconnects. `false` sends 503.",
        ),
        Key::new(
            "framing",
            Form::Either(&[
                Form::Choice(&["none", "same-origin", "any"]),
                Form::OneOrArray(&Form::Text(&FRAMER), 1..=32),
            ]),
            Absent::Is("\"same-origin\""),
            "Pages that may show this one in a frame, as the app's own that embeds a route: none, those of the same \
             origin, any, or those of the same origin and of some others, such as `https://app.example.com` and \
             `https://*.example.com`.",
        ),
        Key::new(
            "errors",
            Form::Bool,
            Absent::Is("true"),
            "Answers with a page, in every form, where no upstream has answered: 502, 503 and 504. `false` sends one line \
             of text.",
        ),
    ],
    rules: &[],
};
