//! Keys of `[log]`.

use super::super::key::pattern::FILE;
use super::super::key::{Absent, Form, Key, Table};

/// `[log]`.
pub static LOG: Table = Table {
    header: "[log]",
    about: "Log on standard error, and access log.",
    keys: &[
        Key::new(
            "level",
            Form::Choice(&["error", "warn", "info", "debug"]),
            Absent::Is("\"info\""),
            "Least severe level that is logged.",
        ),
        Key::new(
            "access",
            Form::Either(&[Form::Choice(&["off", "full"]), Form::Share]),
            Absent::Is("\"off\""),
            "Requests in the access log: none, all, or a share chosen at random, such as `0.01`.",
        ),
        Key::new(
            "access_file",
            Form::Text(&FILE),
            Absent::Means("standard output"),
            "File of the access log, while `access` is on. SIGHUP opens it anew.",
        ),
        Key::new(
            "format",
            Form::Choice(&["json", "combined", "logfmt"]),
            Absent::Is("\"json\""),
            "Form of a line of the access log: a JSON object, the form that Apache and nginx name `combined`, or \
             `name=value` pairs.",
        ),
        Key::new(
            "fields",
            Form::OneOrArray(&Form::Choice(&FIELDS), 1..=64),
            Absent::Means("all but `query`"),
            "Fields of a line, in this order. `query` is left out unless it is named, since queries carry secrets; without \
             it `referer` has no query either. In the combined form the places are fixed, and a dash stands for what is \
             not named.",
        ),
    ],
    rules: &[],
};

static FIELDS: [&str; 23] = [
    "time",
    "client",
    "port",
    "method",
    "host",
    "path",
    "query",
    "version",
    "route",
    "verdict",
    "generation",
    "status",
    "bytes",
    "request_bytes",
    "micros",
    "upstream",
    "tls",
    "sni",
    "user_agent",
    "referer",
    "id",
    "trace",
    "error",
];

#[cfg(test)]
mod tests {
    use super::super::super::config::LogField;
    use super::*;

    #[test]
    fn every_field_of_the_access_log_is_described() {
        assert_eq!(LogField::ALL.map(LogField::as_str), FIELDS);
    }
}
