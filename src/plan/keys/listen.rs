//! Keys of `[[listen]]`.

use super::super::key::pattern::{ACCOUNT, ADDRESS, HTTPS, LISTENER_NAME, MODE};
use super::super::key::{Absent, Form, Key, Table};
use super::redirect::LISTEN_REDIRECT;
use super::tls::TLS_FORM;

/// `[[listen]]`.
pub static LISTEN: Table = Table {
    header: "[[listen]]",
    about: "Listener for clients, with HTTP/1.1 and HTTP/2.",
    keys: &[
        Key::new(
            "address",
            Form::Text(&ADDRESS),
            Absent::Required,
            "IP address and port (`0.0.0.0:8080`, `[::]:8080`), or `unix:` and the absolute path of a socket.",
        ),
        Key::new(
            "name",
            Form::Text(&LISTENER_NAME),
            Absent::Means("none"),
            "Name by which routes choose the listener.",
        ),
        Key::new(
            "tls",
            TLS_FORM,
            Absent::Means("clear text"),
            "TLS: a certificate with its key, or a list of them, chosen by the name that the client asks for. See [TLS](tls.md).",
        ),
        Key::new(
            "redirect",
            Form::Either(&[Form::Text(&HTTPS), Form::Table(&LISTEN_REDIRECT)]),
            Absent::Means("served here"),
            "Redirects every request to https, but for challenges of ACME and the paths of `always_open`. \
             `https:8443` names another port than 443.",
        ),
        Key::new(
            "proxy_protocol",
            Form::Either(&[Form::Bool, Form::Choice(&["optional", "required"])]),
            Absent::Is("false"),
            "PROXY headers (version 1 or 2) that `trusted_proxies` send before each connection, or (`\"optional\"`) before \
             some. `true` is `\"required\"`.",
        ),
        MODE_KEY,
        OWNER_KEY,
        GROUP_KEY,
    ],
    rules: &[],
};

/// `mode` of every table with a listener.
pub(super) const MODE_KEY: Key = Key::new(
    "mode",
    Form::Text(&MODE),
    Absent::Means("by the process's umask"),
    "Mode of a unix socket's file, as for `chmod`: `\"0660\"` lets its owner and group connect.",
);
/// `owner` of every table with a listener.
pub(super) const OWNER_KEY: Key = Key::new(
    "owner",
    Form::Text(&ACCOUNT),
    Absent::Means("that of the process"),
    "User that owns a unix socket's file.",
);
/// `group` of every table with a listener.
pub(super) const GROUP_KEY: Key =
    Key::new("group", Form::Text(&ACCOUNT), Absent::Means("that of the process"), "Group of a unix socket's file.");
