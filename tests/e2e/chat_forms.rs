//! Chats that strangers subscribe: asked by one message, confirmed by POST, told, and ended by a link.

use std::fs;

use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, wait};

/// Chats with the answer of their services.
const CHATS: [(&str, &str, &str); 4] = [
    ("slack", "200 OK", "ok"),
    ("discord", "204 No Content", ""),
    ("teams", "202 Accepted", ""),
    ("ntfy", "200 OK", "{}"),
];

pub fn start(more: &str) -> (Backsoon, Upstream) {
    let (app, folder) = (Upstream::ok(), tempfile::tempdir().unwrap());
    let url = app.url();
    let config =
        format!("{LISTEN}[routes.web]\nupstream = \"{url}\"\n[status]\nhost = \"status.test\"\nsend = true\n{more}");
    fs::write(folder.path().join("backsoon.toml"), &config).unwrap();
    (Backsoon::start_in(folder, &config), app)
}

fn ask(proxy: &Backsoon, line: &str, body: &str) -> Response {
    let mut client = Client::connect(proxy.address());
    let form = "Accept: text/html\r\nContent-Type: application/x-www-form-urlencoded";
    let length = body.len();
    client.send(format!("{line} HTTP/1.1\r\nHost: status.test\r\n{form}\r\nContent-Length: {length}\r\n\r\n{body}"));
    client.response()
}

pub fn list(proxy: &Backsoon) -> String {
    crate::command::run(proxy.dir.path(), &["subscribers", "list", "--json"]).exits(0).out
}

/// Returns the path of the last link to a page of the site that a sink has got.
fn link(sink: &Upstream, page: &str) -> Option<String> {
    let seen = sink.seen();
    let rest = seen.rsplit_once(&format!("https://status.test/{page}/"))?.1;
    let is_letter = |one: &char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    Some(format!("/{page}/{}", rest.chars().take_while(is_letter).collect::<String>()))
}

#[test]
fn a_chat_is_asked_confirms_is_told_and_leaves() {
    let (proxy, _app) = start("allow_private = \"127.0.0.0/8\"\n");
    let page = ask(&proxy, "GET /subscribe", "").body;
    let sinks = CHATS.map(|(chat, status, body)| {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        (chat, Upstream::answering(&answer))
    });
    let mut answers = Vec::new();
    for (chat, sink) in &sinks {
        assert!(page.contains(&format!("id=\"{chat}-a\"")), "{chat}: {page}");
        let address = sink.url().replace(':', "%3A").replace('/', "%2F");
        answers.push(ask(&proxy, "POST /subscribe", &format!("channel={chat}&address={address}%2Ftopic&language=en")));
    }
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{}", answers[0].body);
    assert!(answers[0].body.contains("on its way to the channel"), "{}", answers[0].body);
    // The same place again: the visitor learns nothing, and the channel is not asked twice.
    let again = format!("channel=ntfy&address={}%2Ftopic%3Fx=1&language=en", sinks[3].1.url().replace("//", "%2F%2F"));
    assert_eq!(ask(&proxy, "POST /subscribe", &again).body, answers[0].body);
    for (chat, sink) in &sinks {
        wait(chat, || link(sink, "confirm").is_some());
        assert!(sink.seen().contains("this channel be told"), "{}", sink.seen());
        let confirm = link(sink, "confirm").unwrap();
        // A preview follows the link, and nothing happens.
        assert!(ask(&proxy, &format!("GET {confirm}"), "").body.contains("<form method=\"post\"><button"));
        assert!(!list(&proxy).contains("\"active\"") || *chat != "slack", "{}", list(&proxy));
        assert_eq!(ask(&proxy, &format!("POST {confirm}"), "").status, 200);
        assert_eq!(ask(&proxy, &format!("POST {confirm}"), "").status, 410);
    }
    assert_eq!(list(&proxy).matches("\"active\"").count(), 4, "{}", list(&proxy));
    proxy.flag("[routes]\nweb = \"offline\"\n");
    for (chat, sink) in &sinks {
        wait(chat, || link(sink, "manage").is_some());
        let manage = link(sink, "manage").unwrap();
        let shown = ask(&proxy, &format!("GET {manage}"), "").body;
        assert!(shown.contains("127.0.0.1:") && !shown.contains("topic"), "{shown}");
        assert_eq!(ask(&proxy, &format!("POST {manage}"), "act=erase").status, 200);
    }
    assert!(!list(&proxy).contains("127.0.0.1"), "{}", list(&proxy));
    assert_eq!(sinks[3].1.seen().matches("/confirm/").count(), 1, "{}", sinks[3].1.seen());
}

#[test]
fn a_place_that_is_none_of_the_chat_is_refused() {
    let (proxy, _app) = start("");
    for (chat, url) in [
        ("slack", "https://hooks.slack.com.evil.test/services/T/B/x"),
        ("slack", "https://example.com/hook"),
        ("discord", "https://discord.com/login"),
        ("teams", "http://x.logic.azure.com/x"),
        ("ntfy", "https://ntfy.sh/a/b"),
        ("ntfy", "https://127.0.0.1/topic"),
        ("ntfy", "https://printer.local/topic"),
        ("slack", "nonsense"),
    ] {
        let url = url.replace(':', "%3A").replace('/', "%2F");
        let answer = ask(&proxy, "POST /subscribe", &format!("channel={chat}&address={url}"));
        assert!(answer.status == 422 && answer.body.contains(&format!("id=\"{chat}-e\"")), "{url} {}", answer.body);
    }
}
