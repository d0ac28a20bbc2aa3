//! Form of Slack's incoming webhooks: Block Kit, and a text for notifications and screen readers.

use serde_json::{Value, json};

use super::super::fit::{self, Room};
use super::{Body, Notice};
use crate::plan::notify::{Field, Piece};

/// Returns a notice in the form of Slack.
pub fn slack(notice: &Notice) -> Body {
    let mut blocks = vec![json!({ "type": "header", "text": plain(Room::line(MOST_HEADER), &notice.title) })];
    // The whole message has a limit that nobody documents.
    let paragraphs = fit::all(Room::lines(MOST_TEXT), &notice.paragraphs, MOST_PARAGRAPHS, |room, text| {
        Room { most: room.most.min(MOST_SECTION), ..room }.escaped(text, escape)
    });
    blocks.extend(paragraphs.iter().map(|text| json!({ "type": "section", "text": markup(text) })));
    let fields: Vec<Value> = notice.fields.iter().take(MOST_FIELDS).map(|one| markup(&field(one))).collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let links = [&notice.link, &notice.foot].into_iter().flatten().filter_map(link);
    let links: Vec<Value> = links.map(|link| markup(&link)).collect();
    if !links.is_empty() {
        blocks.push(json!({ "type": "context", "elements": links }));
    }
    Body::json(&json!({ "text": fallback(notice), "blocks": blocks, "unfurl_links": false }))
}

/// Returns the text for notifications. Bare words such as `@channel` must not be taken for mentions.
fn fallback(notice: &Notice) -> String {
    let first = notice.paragraphs.first().map(|text| format!(": {text}")).unwrap_or_default();
    let broken = |out: &mut String, character: char| {
        escape(out, character);
        if character == '@' {
            out.push(ZERO_WIDTH);
        }
    };
    Room::line(MOST_FALLBACK).escaped(&format!("{}{first}", notice.title), broken)
}

fn field(field: &Field) -> String {
    let label = Room::line(MOST_LABEL).escaped(&field.label, escape);
    let value = |piece: &Piece| match piece {
        Piece::Text(text) => Room::line(MOST_VALUE).escaped(text, escape),
        Piece::Instant(at, words) => {
            let words = Room::line(MOST_LABEL).escaped(words, escape);
            format!("<!date^{}^{{date_short_pretty}} {{time}}|{words}>", at.as_second())
        }
    };
    let value: String = field.value.iter().map(value).collect();
    format!("*{label}*\n{value}")
}

fn pushed(mut out: String, character: char) -> String {
    escape(&mut out, character);
    out
}

fn link((words, url): &(String, String)) -> Option<String> {
    let url = fit::url(url, MOST_URL)?.chars().fold(String::new(), pushed);
    Some(format!("<{url}|{}>", Room::line(MOST_LABEL).escaped(words, escape)))
}

/// Escapes the three characters that Slack knows, and no other.
fn escape(out: &mut String, character: char) {
    match character {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        other => out.push(other),
    }
}

fn plain(room: Room, text: &str) -> Value {
    json!({ "type": "plain_text", "text": room.escaped(text, escape), "emoji": false })
}

/// Returns text with Slack's markup. `verbatim` keeps it from finding names and channels in the words.
fn markup(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

const MOST_HEADER: usize = 150;
const MOST_SECTION: usize = 3000;
const MOST_TEXT: usize = 7000;
/// A message has at most 50 blocks.
const MOST_PARAGRAPHS: usize = 40;
const MOST_FIELDS: usize = 10;
const MOST_LABEL: usize = 100;
/// A field has at most 2000 characters, with its label.
const MOST_VALUE: usize = 300;
const MOST_FALLBACK: usize = 1000;
const MOST_URL: usize = 1000;
const ZERO_WIDTH: char = '\u{200b}';
