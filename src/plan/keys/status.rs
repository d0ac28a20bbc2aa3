//! Keys of the status site.

use std::time::Duration;

use super::super::key::pattern::{ADDRESS, DATABASE, FILE, HOST, NETWORK, OWN_PREFIX, SITE, TIME_OF_DAY};
use super::super::key::{Absent, Form, Key, Rule, Table};
use super::listen::{GROUP_KEY, MODE_KEY, OWNER_KEY};
use super::tls::TLS_FORM;

/// `[status]`.
pub static STATUS: Table = Table {
    header: "[status]",
    about: "Status site: what is on, what is planned, and what was. Without `host`, `prefix` and `listen` it is below the proxy's \
            own paths of each route, at `/.backsoon/news/`.",
    keys: &[
        Key::new("host", Form::Text(&HOST), Absent::Means("none"), "Host that is the status site and nothing else."),
        Key::new(
            "prefix",
            Form::Text(&OWN_PREFIX),
            Absent::Means("none"),
            "Prefix of the status site on every host, which is never forwarded.",
        ),
        Key::new(
            "listen",
            Form::Text(&ADDRESS),
            Absent::Means("none"),
            "Address at which the status site is alone, whatever the host. A change takes effect with a restart.",
        ),
        Key::new(
            "tls",
            TLS_FORM,
            Absent::Means("clear text"),
            "TLS of the site's listener, as for `[[listen]]`. Needs `listen`.",
        ),
        MODE_KEY,
        OWNER_KEY,
        GROUP_KEY,
        Key::new(
            "url",
            Form::Text(&SITE),
            Absent::Means("`https://` and the host"),
            "Public URL of the site. Feeds and mails link there, and so does the page.",
        ),
        Key::new("title", Form::Words(256), Absent::Means("the brand of `[page]`"), "Name of the site."),
        Key::new(
            "keep",
            Form::Time(DAY, Duration::from_secs(3650 * 86_400)),
            Absent::Is("\"2160h\""),
            "Time for which an incident is kept after it is over: 90 days by default.",
        ),
        Key::new(
            "send",
            Form::Bool,
            Absent::Is("false"),
            "Tells subscribers, and offers forms to subscribe. Of several proxies that share a flag file, one may, unless \
             they share a `store`, or `nats` of `[fleet]`: there, one of them tells at a time.",
        ),
        Key::new(
            "store",
            Form::Text(&DATABASE),
            Absent::Means("a file in `state_dir`"),
            "PostgreSQL database of subscribers and messages, which all replicas share. Encrypted unless it is on this \
             machine or `sslmode=disable`; `sslrootcert` names an authority of your own.",
        ),
        Key::new(
            "store_password_file",
            Form::Text(&FILE),
            Absent::Means("no password"),
            "File of the password for `store`. Its last line break does not count.",
        ),
        Key::new(
            "digest_at",
            Form::Text(&TIME_OF_DAY),
            Absent::Is("\"08:00\""),
            "Time at which readers of the digest get the news of the last day in one mail: in UTC, or in the time zone that \
             is named behind it.",
        ),
        Key::new(
            "allow_private",
            Form::OneOrArray(&Form::Text(&NETWORK), 0..=256),
            Absent::Is("[]"),
            "Networks in which subscribers' endpoints may be, at any port and by `http://`. Others must be public.",
        ),
        Key::new(
            "services",
            Form::OneOrArray(&Form::Table(&STATUS_SERVICE), 0..=256),
            Absent::Means("the routes by their names"),
            "Services as people know them, in the order of the site.",
        ),
    ],
    rules: &[
        Rule::Needs("store_password_file", "store"),
        Rule::Needs("tls", "listen"),
        Rule::Needs("mode", "listen"),
        Rule::Needs("owner", "listen"),
        Rule::Needs("group", "listen"),
    ],
};

/// An item of `services` of `[status]`.
pub static STATUS_SERVICE: Table = Table {
    header: "services of [status]",
    about: "Service of the status site.",
    keys: &[
        Key::new("name", Form::Words(256), Absent::Required, "Name. The service is known by it in feeds and APIs."),
        Key::new("detail", Form::Words(256), Absent::Means("none"), "Second line."),
        Key::new(
            "routes",
            Form::OneOrArray(&Form::Words(64), 0..=usize::MAX),
            Absent::Is("[]"),
            "Routes that the service consists of. A window concerns it by one of them, or by the service's name.",
        ),
        Key::new("regions", Form::OneOrArray(&Form::Words(256), 0..=usize::MAX), Absent::Is("[]"), "Regions."),
    ],
    rules: &[],
};

const DAY: Duration = Duration::from_secs(86_400);
