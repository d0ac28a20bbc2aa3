//! Form of ntfy: plain text, and fields for title, priority, tags and link.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};

use super::super::fit::{self, Room};
use super::{Body, Notice};
use crate::plan::notify::Tone;

/// Returns a notice in the form of ntfy.
pub fn ntfy(notice: &Notice) -> Body {
    let title = field_text(&Room::line(MOST_TITLE).bytes().plain(&notice.title));
    let (priority, tags) = match notice.tone {
        Tone::Trouble => ("4", "rotating_light"),
        Tone::Work => ("3", "construction"),
        Tone::Good => ("3", "white_check_mark"),
    };
    let fixed = HeaderValue::from_static;
    let mut fields = vec![
        (http::header::CONTENT_TYPE, fixed("text/plain; charset=utf-8")),
        (HeaderName::from_static("priority"), fixed(priority)),
        (HeaderName::from_static("tags"), fixed(tags)),
    ];
    if let Ok(title) = HeaderValue::try_from(title) {
        fields.push((HeaderName::from_static("title"), title));
    }
    let url = notice.link.as_ref().and_then(|(_, url)| fit::url(url, MOST_URL));
    if let Some(url) = url.and_then(|url| HeaderValue::try_from(url).ok()) {
        fields.push((HeaderName::from_static("click"), url));
    }
    Body { fields, bytes: text(notice).into() }
}

fn text(notice: &Notice) -> String {
    let facts = notice.fields.iter().map(|field| format!("{}: {}", field.label, field.words()));
    let facts = facts.collect::<Vec<_>>().join("\n");
    let texts: Vec<&str> = notice.paragraphs.iter().map(String::as_str).chain([facts.as_str()]).collect();
    let foot = notice.foot.as_ref().and_then(|(words, url)| Some((words, fit::url(url, MOST_URL)?)));
    let foot = foot.map(|(words, url)| format!("\n\n{}: {url}", Room::line(MOST_TITLE).bytes().plain(words)));
    let foot = foot.unwrap_or_default();
    let text = Room::lines(MOST_TEXT - foot.len()).bytes().plain(texts.join("\n\n").trim());
    let text = format!("{text}{foot}").trim_start().to_owned();
    // A message without a text is shown as "triggered".
    if text.is_empty() { Room::line(MOST_TITLE).plain(&notice.title) } else { text }
}

/// Writes a text for a field: as it is if it is ASCII, else as encoded words (RFC 2047), which ntfy reads.
fn field_text(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words: Vec<String> = vec![String::new()];
    for character in text.chars() {
        if let Some(last) = words.last_mut().filter(|last| last.len() + character.len_utf8() <= MOST_WORD) {
            last.push(character);
        } else {
            words.push(character.to_string());
        }
    }
    let encoded = words.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join(" ")
}

const MOST_TITLE: usize = 200;
/// More than 4096 bytes become an attachment.
const MOST_TEXT: usize = 4000;
const MOST_URL: usize = 1000;
/// Bytes of an encoded word before it is encoded; the word itself has at most 75.
const MOST_WORD: usize = 45;
