//! Keys of TLS.

use super::super::key::pattern::{DIRECTORY, FILE, HOST};
use super::super::key::{Absent, Form, Key, Rule, Table};

/// Form of `tls`: one table, or a list of certificates.
pub(super) const TLS_FORM: Form = Form::Either(&[Form::Table(&TLS), Form::Tables(&CERTIFICATE, 256)]);

/// `tls` of a listener.
pub static TLS: Table = Table {
    header: "tls",
    about: "TLS of a listener. All files are watched, and replaced while running.",
    keys: &[
        Key::new("cert", Form::Text(&FILE), Absent::Means("none"), "PEM file with the certificate chain, leaf first."),
        Key::new(
            "key",
            Form::Text(&FILE),
            Absent::Means("none"),
            "PEM file with the private key. May be the same file as `cert`.",
        ),
        Key::new(
            "certificates",
            Form::Tables(&CERTIFICATE, 256),
            Absent::Means("`cert` and `key`"),
            "Several certificates, instead of `cert` and `key`. `tls = [{ … }, { … }]` is the same without other keys.",
        ),
        Key::new(
            "dir",
            Form::Text(&DIRECTORY),
            Absent::Means("none"),
            "Directory of certificates, instead of `cert` and `key`: `NAME.pem` with chain and key, `NAME.crt` with \
             `NAME.key`, `NAME.pem` with `NAME-key.pem`, and `NAME/fullchain.pem` with `NAME/privkey.pem`. Files that come \
             and go are taken up. A bad one costs itself alone.",
        ),
        Key::new(
            "default",
            Form::Text(&HOST),
            Absent::Means("the first certificate, in a directory by name"),
            "Name whose certificate is served to clients that ask for no name, or for one that no certificate has.",
        ),
        Key::new(
            "client_ca",
            Form::Text(&FILE),
            Absent::Means("clients need no certificate"),
            "PEM file with the roots of clients' certificates. Clients without a valid one are refused in the handshake.",
        ),
        Key::new(
            "client_auth",
            Form::Choice(&["required", "optional"]),
            Absent::Means("`\"required\"`"),
            "`\"optional\"` lets clients without a certificate in. Needs `client_ca`.",
        ),
        Key::new(
            "min_version",
            Form::Choice(&["1.2", "1.3"]),
            Absent::Is("\"1.2\""),
            "Oldest version of TLS that is spoken.",
        ),
    ],
    rules: &[
        Rule::Needs("cert", "key"),
        Rule::Needs("key", "cert"),
        Rule::Needs("client_auth", "client_ca"),
        Rule::OneOf(&["dir", "certificates", "cert"]),
    ],
};

/// A certificate and its key.
pub static CERTIFICATE: Table = Table {
    header: "certificate",
    about: "Certificate and its key. Both files are watched.",
    keys: &[
        Key::new("cert", Form::Text(&FILE), Absent::Required, "PEM file with the certificate chain, leaf first."),
        Key::new("key", Form::Text(&FILE), Absent::Required, "PEM file with the private key. May be the same file."),
    ],
    rules: &[],
};
