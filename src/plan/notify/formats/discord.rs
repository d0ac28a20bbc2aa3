//! Form of Discord's webhooks: one embed, in which nobody is mentioned.

use serde_json::{Value, json};

use super::super::fit::{self, Room};
use super::{Body, Notice};
use crate::plan::notify::{Field, Piece, Tone};

/// Returns a notice in the form of Discord.
pub fn discord(notice: &Notice) -> Body {
    let mut paragraphs =
        fit::all(Room::lines(MOST_TEXT), &notice.paragraphs, MOST_PARAGRAPHS, |room, text| room.escaped(text, escape));
    paragraphs.extend(notice.foot.as_ref().and_then(link));
    let fields: Vec<Value> = notice.fields.iter().take(MOST_FIELDS).map(field).collect();
    let mut embed = json!({
        "title": Room::line(MOST_TITLE).escaped(&notice.title, escape),
        "description": paragraphs.join("\n\n"),
        "color": color(notice.tone),
        // Whole seconds: parsers of dates often know no nanoseconds.
        "timestamp": notice.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "fields": fields,
    });
    if let Some(url) = notice.link.as_ref().and_then(|(_, url)| fit::url(url, MOST_URL)) {
        embed["url"] = json!(url);
    }
    Body::json(&json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } }))
}

fn link((words, url): &(String, String)) -> Option<String> {
    // A bracket would end the link.
    let url = fit::url(url, MOST_URL)?.replace(')', "%29");
    Some(format!("[{}]({url})", Room::line(MOST_LABEL).escaped(words, escape)))
}

fn field(field: &Field) -> Value {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => Room::line(MOST_VALUE).escaped(text, escape),
        // Shown in the reader's time zone.
        Piece::Instant(at, _) => format!("<t:{}:f>", at.as_second()),
    };
    let value: String = field.value.iter().map(piece).collect();
    json!({ "name": Room::line(MOST_LABEL).escaped(&field.label, escape), "value": value, "inline": true })
}

/// Escapes what Discord takes for markup.
fn escape(out: &mut String, character: char) {
    if matches!(
        character,
        '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '#' | '[' | ']' | '(' | ')' | '<' | '@' | '-' | ':'
    ) {
        out.push('\\');
    }
    out.push(character);
}

fn color(tone: Tone) -> u32 {
    match tone {
        Tone::Trouble => 0x00C6_2828,
        Tone::Work => 0x00B2_6A00,
        Tone::Good => 0x002E_7D32,
    }
}

const MOST_TITLE: usize = 256;
/// A description has at most 4096 characters, and an embed 6000 in all.
const MOST_TEXT: usize = 3000;
const MOST_PARAGRAPHS: usize = 40;
const MOST_FIELDS: usize = 6;
const MOST_LABEL: usize = 60;
const MOST_VALUE: usize = 300;
const MOST_URL: usize = 1000;
