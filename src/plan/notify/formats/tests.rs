//! Forms of notices: what receivers get, and what hostile words come to.

use jiff::Timestamp;

use super::super::super::news::Key;
use super::super::super::news::mail::{Envelope, Links, Mail, Thread};
use super::super::{Field, Piece, Tone};
use super::*;

type Form = fn(&Notice) -> Body;

const FORMS: [(&str, Form); 4] = [("slack", slack), ("discord", discord), ("teams", teams), ("ntfy", ntfy)];

fn notice(title: &str, paragraphs: &[&str]) -> Notice {
    let at = Timestamp::from_second(1_779_200_040).unwrap();
    let instant = |seconds: i64| {
        let at = Timestamp::from_second(1_779_200_040 + seconds).unwrap();
        Piece::Instant(at, at.strftime("%d %B %Y, %H:%M UTC").to_string())
    };
    Notice {
        title: title.to_owned(),
        paragraphs: paragraphs.iter().map(|text| (*text).to_owned()).collect(),
        fields: vec![
            Field {
                label: "Window".to_owned(), value: vec![instant(0), Piece::Text(" – ".to_owned()), instant(3600)]
            },
            Field { label: "Services".to_owned(), value: vec![Piece::Text("Shop & Cart".to_owned())] },
        ],
        link: Some(("Status".to_owned(), "https://status.example.com/incidents/a?b=c&d=e".to_owned())),
        foot: None,
        at,
        tone: Tone::Work,
    }
}

fn shown(body: &Body) -> String {
    let fields: String =
        body.fields.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    let text = String::from_utf8(body.bytes.to_vec()).unwrap();
    let text = serde_json::from_str::<Value>(&text).map_or(text, |value| format!("{value:#}"));
    format!("{fields}\n{text}")
}

fn check(name: &str, notice: &Notice) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (form, format) in FORMS {
            insta::assert_snapshot!(format!("{name}.{form}"), shown(&format(notice)));
        }
    });
}

#[test]
fn a_notice_has_the_form_of_its_receiver() {
    let text = ["The maintenance has begun.", "Reading works as usual.\nOrders wait."];
    check("begun", &notice("Database upgrade: In progress", &text));
}

#[test]
fn a_mail_for_an_operator_is_short_and_of_one_line_where_it_must_be() {
    let letter = mail(&notice("shop is closed\r\nBcc: a@b.example", &["5 % of 200 requests failed."]), "proxy\n1");
    let (incident, update) = (Key::of(&["incident"]), Key::of(&["update"]));
    let thread = Thread { incident: Some(&incident), update: &update, subscription: None };
    let at = Timestamp::from_second(1_779_200_040).unwrap();
    let links = Links::default();
    let mail = Mail::new(&letter, &Envelope { host: "example.com", thread: Some(thread), links, at });
    assert_eq!(mail.subject, "[backsoon] shop is closed Bcc: a@b.example");
    let names: Vec<&str> = mail.fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["Date", "Auto-Submitted", "Message-ID", "In-Reply-To", "References"], "no list");
    assert!(mail.fields.iter().any(|(_, value)| *value == format!("<{update}@example.com>")), "{:?}", mail.fields);
    for text in [&mail.text, &mail.html] {
        assert!(text.contains("5 % of 200 requests failed.") && text.contains("Shop &"), "{text}");
        assert!(text.contains("names this mailbox.") && !text.contains("unsubscribe"), "{text}");
    }
}

#[test]
fn a_link_below_all_else_is_in_every_form_of_a_chat() {
    let foot = Some(("Leave [now]".to_owned(), "https://status.example.com/manage/a-b_c".to_owned()));
    let long = "x".repeat(20_000);
    let notice = Notice { foot, ..notice("Begun", &[&long]) };
    for (form, format) in FORMS {
        let text = shown(&format(&notice));
        assert_eq!(text.matches("https://status.example.com/manage/a-b_c").count(), 1, "{form}: {text}");
        assert!(text.contains("Leave ") && text.len() < 25_000, "{form}: {text}");
    }
}

#[test]
fn hostile_words_are_shown_as_they_are_written() {
    let text = [
        "<!channel> <@U012> @everyone @here <https://evil.example|click> &lt; [click](https://evil.example)",
        "*bold* _it_ `code` ~~x~~ ||spoiler|| # head > quote {{DATE(2026-05-19T14:00:00Z)}} ${x} <at>all</at>",
        "bell\u{7} escape\u{1b}[31m nul\u{0} reversed\u{202e} line\r\nX-Injected: yes",
    ];
    let mut hostile = notice("<!channel> @everyone\r\nX-Injected: yes ü =?UTF-8?B?eA==?=", &text);
    hostile.link = Some(("a|b>".to_owned(), "https://evil.example/\"><|x y".to_owned()));
    check("hostile", &hostile);
}

/// Returns every string of a JSON value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(map) => map.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[test]
fn the_largest_notice_keeps_within_the_limits() {
    for long in ["<&>_*".repeat(20_000), "😀{$".repeat(20_000), "\u{1b}\u{202e}é".repeat(20_000)] {
        let paragraphs = vec![long.as_str(); 100];
        let mut huge = notice(&long, &paragraphs);
        let field = Field { label: long.clone(), value: vec![Piece::Text(long.clone())] };
        huge.fields = vec![field; 100];
        huge.link = Some((long.clone(), format!("https://status.example.com/{long}")));
        let json = |form: Form| serde_json::from_slice::<Value>(&form(&huge).bytes).unwrap();
        let units = |text: &str| text.encode_utf16().count();

        let slack = json(slack);
        let blocks = slack["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50, "{}", blocks.len());
        let sizes: Vec<usize> = strings(&slack).iter().map(|text| units(text)).collect();
        assert!(sizes.iter().all(|size| *size <= 3000) && sizes.iter().sum::<usize>() <= 13_200, "{sizes:?}");
        assert!(units(blocks[0]["text"]["text"].as_str().unwrap()) <= 150);
        let fields = blocks.iter().filter_map(|block| block["fields"].as_array()).flatten();
        assert!(fields.clone().count() <= 10 && fields.flat_map(strings).all(|text| units(text) <= 2000));

        let discord = json(discord);
        let embed = &discord["embeds"][0];
        assert!(units(embed["title"].as_str().unwrap()) <= 256);
        assert!(units(embed["description"].as_str().unwrap()) <= 4096);
        let fields = embed["fields"].as_array().unwrap();
        assert!(fields.len() <= 25);
        assert!(fields.iter().all(|field| units(field["name"].as_str().unwrap()) <= 256));
        assert!(fields.iter().all(|field| units(field["value"].as_str().unwrap()) <= 1024));
        assert!(strings(embed).iter().map(|text| units(text)).sum::<usize>() <= 6000);

        assert!(teams(&huge).bytes.len() <= 28_000, "{}", teams(&huge).bytes.len());
        let ntfy = ntfy(&huge);
        assert!(ntfy.bytes.len() <= 4096);
        assert!(ntfy.fields.iter().all(|(_, value)| value.len() < 1000));
    }
}

#[test]
fn a_notice_without_anything_but_a_title_is_a_message() {
    let bare = Notice { paragraphs: vec![String::new()], fields: Vec::new(), link: None, ..notice("Test", &[]) };
    assert_eq!(ntfy(&bare).bytes, "Test");
    let slack: Value = serde_json::from_slice(&slack(&bare).bytes).unwrap();
    assert_eq!(slack["blocks"].as_array().unwrap().len(), 1, "no block may be empty");
    let teams: Value = serde_json::from_slice(&teams(&bare).bytes).unwrap();
    assert_eq!(teams["attachments"][0]["content"]["actions"], serde_json::json!([]));
}
