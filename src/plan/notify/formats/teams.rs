//! Form of workflows of Microsoft Teams: an Adaptive Card.
//!
//! Texts are runs of a `RichTextBlock`, in which nothing is taken for markup, unlike in a `TextBlock`.

use serde_json::{Value, json};

use super::super::fit::{self, Room};
use super::{Body, Notice};
use crate::plan::notify::Tone;

/// Returns a notice in the form of Teams.
pub fn teams(notice: &Notice) -> Body {
    let title = Room::line(MOST_TITLE).bytes().escaped(&notice.title, escape);
    let heading = json!({
        "type": "TextRun", "text": title, "size": "large", "weight": "bolder", "color": color(notice.tone),
    });
    let mut body = vec![block(vec![heading])];
    let paragraphs = fit::all(Room::lines(MOST_TEXT).bytes(), &notice.paragraphs, MOST_PARAGRAPHS, |room, text| {
        room.escaped(text, escape)
    });
    body.extend(paragraphs.iter().map(|text| block(vec![run(text)])));
    for field in notice.fields.iter().take(MOST_FIELDS) {
        let label = Room::line(MOST_LABEL).bytes().escaped(&field.label, escape);
        let value = Room::line(MOST_VALUE).bytes().escaped(&field.words(), escape);
        let label = json!({ "type": "TextRun", "text": format!("{label}: "), "isSubtle": true });
        body.push(block(vec![label, run(&value)]));
    }
    Body::json(&message(&body, &actions(notice)))
}

fn message(body: &[Value], actions: &[Value]) -> Value {
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
    });
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card,
    });
    json!({ "type": "message", "attachments": [attachment] })
}

fn actions(notice: &Notice) -> Vec<Value> {
    let links = [&notice.link, &notice.foot].into_iter().flatten();
    let links = links.filter_map(|(words, url)| Some((words, fit::url(url, MOST_URL)?)));
    let action = |(words, url): (&String, String)| {
        let title = Room::line(MOST_LABEL).bytes().escaped(words, escape);
        json!({ "type": "Action.OpenUrl", "title": title, "url": url })
    };
    links.map(action).collect()
}

fn block(inlines: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "inlines": Value::Array(inlines) })
}

fn run(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text })
}

/// Keeps `{{DATE(…)}}` and the card's own templates from being filled, and `<at>` from being a mention.
fn escape(out: &mut String, character: char) {
    out.push(character);
    if matches!(character, '{' | '$' | '<') {
        out.push(ZERO_WIDTH);
    }
}

fn color(tone: Tone) -> &'static str {
    match tone {
        Tone::Trouble => "attention",
        Tone::Work => "warning",
        Tone::Good => "good",
    }
}

const MOST_TITLE: usize = 500;
/// A message has at most 28 KB.
const MOST_TEXT: usize = 9000;
const MOST_PARAGRAPHS: usize = 20;
const MOST_FIELDS: usize = 10;
const MOST_LABEL: usize = 200;
const MOST_VALUE: usize = 500;
const MOST_URL: usize = 1000;
const ZERO_WIDTH: char = '\u{200b}';
