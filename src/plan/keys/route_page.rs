//! Keys of the page of one route, and of the links of any page.

use super::super::key::pattern::{COLOR, DIRECTORY, FILE, FRAMER, LANGUAGE, LINK};
use super::super::key::{Absent, Form, Key, Table};
/// `page` of a route.
pub static ROUTE_PAGE: Table = Table {
    header: "[routes.NAME.page]",
    about: "Page of one route. A key that is not written has the value that it has in `[page]`.",
    keys: &[
        Key::new("brand", Form::Words(256), Absent::Means("that of `[page]`"), "Name above the page."),
        Key::new(
            "logo",
            Form::Either(&[Form::Text(&FILE), Form::Bool]),
            Absent::Means("that of `[page]`"),
            "Picture beside the name. `false` means none, `true` that of `[page]`.",
        ),
        Key::new("accent", Form::Text(&COLOR), Absent::Means("that of `[page]`"), "Accent colour."),
        Key::new(
            "language",
            Form::Text(&LANGUAGE),
            Absent::Means("the first of `languages`"),
            "Language for clients that ask for none of those offered.",
        ),
        Key::new(
            "languages",
            Form::OneOrArray(&Form::Text(&LANGUAGE), 1..=64),
            Absent::Means("those of `[page]`"),
            "Languages that are offered.",
        ),
        Key::new("links", Form::Table(&LINKS), Absent::Means("those of `[page]`"), "Links of the page, all of them."),
        Key::new(
            "framing",
            Form::Either(&[
                Form::Choice(&["none", "same-origin", "any"]),
                Form::OneOrArray(&Form::Text(&FRAMER), 1..=32),
            ]),
            Absent::Means("that of `[page]`"),
            "Pages that may show this one in a frame.",
        ),
        Key::new(
            "pages",
            Form::Text(&DIRECTORY),
            Absent::Means("`pages` above the tables alone"),
            "Directory with templates and messages. Each file replaces that of its name in `pages` above the tables, and the \
             built-in one.",
        ),
    ],
    rules: &[],
};

/// `links` of `[page]`.
pub static LINKS: Table = Table {
    header: "links",
    about: "Links of the page: `https:`, `http:`, `mailto:`, `tel:`, or a path.",
    keys: &[
        Key::new("home", Form::Text(&LINK), Absent::Means("none"), "First item of the breadcrumb."),
        Key::new(
            "status",
            Form::Text(&LINK),
            Absent::Means("none"),
            "Status page. Also sent as a `Link` field with `rel=\"status\"` (RFC 8631).",
        ),
        Key::new("feed", Form::Text(&LINK), Absent::Means("the status site"), "Live feed."),
        Key::new(
            "subscribe",
            Form::Text(&LINK),
            Absent::Means("that of the status site"),
            "Page where one subscribes to updates.",
        ),
        Key::new("help", Form::Text(&LINK), Absent::Means("none"), "Help and contact."),
        Key::new(
            "channels",
            Form::OneOrArray(&Form::Words(256), 0..=16),
            Absent::Is("[]"),
            "Names of the channels for updates, such as `email`.",
        ),
    ],
    rules: &[],
};
