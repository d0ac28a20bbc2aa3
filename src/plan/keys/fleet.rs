//! Keys of `[fleet]`.

use std::time::Duration;

use super::super::key::pattern::{CONFIG_MAP_KEY, FILE, KUBERNETES_NAME, NATS, NATS_BUCKET, NATS_KEY, REPLICA, URL};
use super::super::key::{Absent, Form, Key, Rule, Table};

/// `[fleet]`.
pub static FLEET: Table = Table {
    header: "[fleet]",
    about: "Source of the flag file that [several proxies share](fleet.md), in the place of a file.",
    keys: &[
        Key::new(
            "nats",
            Form::OneOrArray(&Form::Text(&NATS), 1..=16),
            Absent::Means("one of `nats`, `kubernetes` and `url` is required"),
            "NATS server with JetStream, or several of one cluster. The flag file is a key of a KV bucket.",
        ),
        Key::new("bucket", Form::Text(&NATS_BUCKET), Absent::Is("\"backsoon\""), "Name of the bucket. It must exist."),
        Key::new("key", Form::Text(&NATS_KEY), Absent::Is("\"flags\""), "Name of the key."),
        Key::new(
            "credentials",
            Form::Text(&FILE),
            Absent::Means("no login"),
            "File of the login at NATS: a credentials file (`.creds`), the seed of an nkey, or `user:password`.",
        ),
        Key::new(
            "name",
            Form::Text(&REPLICA),
            Absent::Means("the name of the host, `:` and the port of the admin listener"),
            "Name by which `backsoon status` and the other replicas know this one. No two should share one: \
             `\"${HOSTNAME}\"`.",
        ),
        Key::new(
            "kubernetes",
            Form::Table(&FLEET_KUBERNETES),
            Absent::Means("one of `nats`, `kubernetes` and `url` is required"),
            "ConfigMap that holds the flag file. It is watched, and needs no mount.",
        ),
        Key::new(
            "url",
            Form::Text(&URL),
            Absent::Means("one of `nats`, `kubernetes` and `url` is required"),
            "URL of a document that is the flag file, on any web server. It is asked again and again, with its `ETag`.",
        ),
        Key::new(
            "every",
            Form::Time(SECOND, Duration::from_secs(3600)),
            Absent::Means("`\"5s\"`"),
            "Time between two requests for `url`.",
        ),
        Key::new(
            "wait",
            Form::Time(SECOND, Duration::from_secs(300)),
            Absent::Means("no long poll"),
            "Time for which the server may keep a request until the document changes: `Prefer: wait`, and `wait` and \
             `index` of Consul.",
        ),
        Key::new(
            "token_file",
            Form::Text(&FILE),
            Absent::Means("no token"),
            "File of the token that requests for `url` carry (`Authorization: Bearer`). It is read for each request.",
        ),
        Key::new(
            "edits",
            Form::Bool,
            Absent::Means("`false`"),
            "Lets commands write the document, by `PUT` with `If-Match`. Only for servers that honour `If-Match`.",
        ),
        Key::new(
            "ca",
            Form::Text(&FILE),
            Absent::Means("the system's roots"),
            "PEM file with the roots that the certificate is checked against, instead of the system's.",
        ),
    ],
    rules: &[
        Rule::Needs("bucket", "nats"),
        Rule::Needs("key", "nats"),
        Rule::Needs("credentials", "nats"),
        Rule::Needs("name", "nats"),
        Rule::Needs("every", "url"),
        Rule::Needs("wait", "url"),
        Rule::Needs("token_file", "url"),
        Rule::Needs("edits", "url"),
        Rule::OneOf(&["nats", "kubernetes", "url"]),
    ],
};

/// `kubernetes` of `[fleet]`.
pub static FLEET_KUBERNETES: Table = Table {
    header: "kubernetes",
    about: "ConfigMap that holds the flag file.",
    keys: &[
        Key::new("namespace", Form::Text(&KUBERNETES_NAME), Absent::Required, "Namespace of the ConfigMap."),
        Key::new(
            "configmap",
            Form::Text(&KUBERNETES_NAME),
            Absent::Is("\"backsoon\""),
            "Name of the ConfigMap. A command makes it if it does not exist.",
        ),
        Key::new(
            "key",
            Form::Text(&CONFIG_MAP_KEY),
            Absent::Is("\"maintenance.toml\""),
            "Key of the ConfigMap whose value is the flag file.",
        ),
        Key::new(
            "server",
            Form::Text(&URL),
            Absent::Means("that of the cluster that we run in"),
            "URL of the API server, for commands outside of the cluster: `http://127.0.0.1:8001` is `kubectl proxy`.",
        ),
        Key::new(
            "token_file",
            Form::Text(&FILE),
            Absent::Means("that of the pod's service account; none with `server`"),
            "File of the token. It is read for each request, since it is replaced.",
        ),
    ],
    rules: &[],
};

const SECOND: Duration = Duration::from_secs(1);
