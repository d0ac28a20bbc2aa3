//! Keys of mails.

use super::super::key::pattern::{DNS_NAME, FILE, MAIL_SERVER, MAILBOX, SELECTOR};
use super::super::key::{Absent, Form, Key, Rule, Table};

/// `[mail]`.
pub static MAIL: Table = Table {
    header: "[mail]",
    about: "Mail server by which subscribers and operators are told by e-mail.",
    keys: &[
        Key::new(
            "server",
            Form::Text(&MAIL_SERVER),
            Absent::Required,
            "Server that takes mails: `smtp://` (port 587, encrypted by STARTTLS) or `smtps://` (port 465).",
        ),
        Key::new(
            "tls",
            Form::Choice(&["on", "off"]),
            Absent::Means("`\"on\"`, and `\"off\"` for `smtp://` on loopback"),
            "Encryption. With `on`, a server that offers none gets no mail.",
        ),
        Key::new(
            "ca",
            Form::Text(&FILE),
            Absent::Means("the system's roots"),
            "PEM file with the roots that the server's certificate is checked against, instead of the system's.",
        ),
        Key::new("user", Form::Words(256), Absent::Means("no login"), "Name at the server. Needs `password_file`."),
        Key::new(
            "password_file",
            Form::Text(&FILE),
            Absent::Means("no login"),
            "File of the password. Its last line break does not count. Needs `user`.",
        ),
        Key::new(
            "from",
            Form::Text(&MAILBOX),
            Absent::Required,
            "Sender: an address, or a name and the address in angle brackets.",
        ),
        Key::new(
            "reply_to",
            Form::Text(&MAILBOX),
            Absent::Means("`from`"),
            "Mailbox that answers go to, and mails that ask to be unsubscribed.",
        ),
        Key::new("dkim", Form::Table(&DKIM), Absent::Means("the server signs, or nobody"), "Signature of mails."),
    ],
    rules: &[Rule::Needs("user", "password_file"), Rule::Needs("password_file", "user")],
};

/// `dkim` of `[mail]`.
pub static DKIM: Table = Table {
    header: "dkim",
    about: "Signature of mails (DKIM), if the mail server makes none.",
    keys: &[
        Key::new(
            "domain",
            Form::Text(&DNS_NAME),
            Absent::Required,
            "Domain that signs: the one of `from`, or above it.",
        ),
        Key::new(
            "selector",
            Form::Text(&SELECTOR),
            Absent::Required,
            "Name of the key below `_domainkey.` in the DNS.",
        ),
        Key::new("key_file", Form::Text(&FILE), Absent::Required, "Private key in PEM: RSA, or ed25519 as PKCS #8."),
    ],
    rules: &[],
};
