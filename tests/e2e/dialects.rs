//! Dialects: the answer of a closed route to each kind of client, read as that client reads it.

pub mod calls;
mod cors;
mod finished;
mod forms;
mod gate;
mod hostile;
mod own;
mod pages;
mod programs;

mod reserved;

use std::io::Read;
use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Backsoon, Client, Response, request};

/// Flag file that closes everything.
const CLOSED: &str = "[routes]\nweb = \"offline\"\n";

/// Fields that a browser sends when it navigates to a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

/// Returns a closed route whose upstream cannot be reached.
fn closed(more: &str) -> Backsoon {
    let backsoon = Backsoon::before("http://127.0.0.1:1", more);
    backsoon.flag(CLOSED);
    backsoon
}

/// Asks on a new connection: `line` is `GET /path`, each of `fields` is `name: value`.
fn ask(address: SocketAddr, line: &str, fields: &[&str]) -> Response {
    request(address, &head(line, fields))
}

/// Like [`ask`], for a body that is not text.
fn ask_bytes(address: SocketAddr, line: &str, fields: &[&str]) -> (Response, Vec<u8>) {
    let mut client = Client::connect(address);
    client.send(head(line, fields));
    let head = client.head();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = Vec::new();
    client.stream.read_to_end(&mut body).unwrap();
    (Response { status, head, body: String::new() }, body)
}

fn head(line: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{fields}\r\n")
}

/// Returns a body without the seconds that JSON and XML give for another try. They are spread, as those of the field are.
fn untimed(body: impl AsRef<[u8]>) -> String {
    let mut body = String::from_utf8_lossy(body.as_ref()).into_owned();
    for member in ["\"retry_after\":", "<retry_after>"] {
        if let Some((before, rest)) = body.split_once(member) {
            body = before.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    body
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns an instant relative to now, in whole seconds.
fn in_seconds(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now + SignedDuration::from_secs(seconds)
}
