use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::super::config::{LANGUAGES, PageConfig};
use super::super::super::flags::Mode;
use super::super::super::page::{Renderer, Sources};
use super::super::documents;
use super::super::{Facts, Key, Kind, PublicKeys, Stage, Trouble, UpdateKind};
use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-05-19T{text}Z").parse().unwrap()
}

fn renderer() -> Renderer {
    Renderer::new(&PageConfig::default(), &Sources::default(), "backsoon.toml").0.unwrap()
}

fn update(sequence: u32, kind: UpdateKind, stage: Stage) -> Update {
    let key = Key::of(&["update", &sequence.to_string()]);
    let message = Some("Orders wait.\nNothing is lost.".into());
    Update { key, sequence, at: at("14:00:00"), kind, stage, message }
}

fn incident(title: &str) -> Incident {
    let facts = Facts {
        kind: Kind::Planned,
        reference: Some("MNT-2026-0519-a".to_owned()),
        title: Some(title.into()),
        summary: None,
        message: None,
        impact: None,
        mode: Mode::Offline,
        routes: BTreeSet::from(["secret-route".to_owned()]),
        services: vec!["Shop & Cart".into(), "API".into()],
        regions: BTreeSet::from(["eu-west".to_owned()]),
        starts: at("14:00:00"),
        ends: Some(at("15:00:00")),
        steps: Vec::new(),
        stage: Stage::InProgress,
        trouble: Trouble::None,
    };
    let updates = vec![update(1, UpdateKind::Began, Stage::InProgress)];
    Incident { key: Key::of(&["incident"]), facts, updates }
}

fn news(title: &str) -> News<'static> {
    News {
        ways: Vec::new(),
        title: title.to_owned(),
        url: "https://status.example.com".to_owned(),
        services: Vec::new(),
        routes: BTreeSet::new(),
        incidents: &[],
        windows: &[],
        changed: at("14:00:00"),
        since: at("00:00:00"),
        keys: PublicKeys::default(),
    }
}

fn letter(language: &str, incident: &Incident, update: &Update) -> Letter {
    let renderer = renderer();
    let words = Words::all(&renderer).find(|words| words.tag() == language).unwrap();
    Letter::of_update(words, &news("Example status"), incident, update)
}

fn links() -> Links {
    Links {
        manage: Some("https://status.example.com/manage/TOKEN".to_owned()),
        unsubscribe: Some("https://status.example.com/u/TOKEN".to_owned()),
        mailto: Some("mailto:unsubscribe@example.com?subject=u-TOKEN".to_owned()),
    }
}

fn mail(letter: &Letter, incident: &Incident, update: &Update) -> Mail {
    let thread = Thread { incident: Some(&incident.key), update: &update.key, subscription: Some(7) };
    let envelope = Envelope { host: "status.example.com", thread: Some(thread), links: links(), at: at("14:00:05") };
    Mail::new(letter, &envelope)
}

fn shown(mail: &Mail) -> String {
    let fields: String = mail.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("Subject: {}\n{fields}\n{}\n{}", mail.subject, mail.text, mail.html)
}

fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn field<'m>(mail: &'m Mail, name: &str) -> Option<&'m str> {
    let mut found = mail.fields.iter().filter(|(own, _)| *own == name).map(|(_, value)| value.as_str());
    let value = found.next();
    assert_eq!(found.next(), None, "{name} stands there once");
    value
}

#[test]
fn a_mail_says_what_has_happened_in_the_language_of_its_reader() {
    let incident = incident("Database upgrade");
    for language in ["en", "ar"] {
        let mail = mail(&letter(language, &incident, &incident.updates[0]), &incident, &incident.updates[0]);
        check(&format!("began.{language}"), &shown(&mail));
    }
}

#[test]
fn every_language_has_all_words() {
    let renderer = renderer();
    let incident = incident("Database upgrade");
    let mut languages = 0;
    for words in Words::all(&renderer) {
        languages += 1;
        let update = Letter::of_update(words, &news("Status"), &incident, &incident.updates[0]);
        let confirmation = Letter::of_confirmation(words, "Status", "https://status.example.com/confirm/T".to_owned());
        let daily = update.daily.clone().unwrap();
        for text in [&daily.heading, &daily.when, &daily.more] {
            assert!(!text.is_empty() && !text.contains(['{', '}']), "{}: {text:?}", words.tag());
        }
        for letter in [update, confirmation] {
            let action = &letter.action.as_ref().unwrap().label;
            for text in [&letter.subject, &letter.heading, &letter.reason, &letter.manage, &letter.unsubscribe, action]
            {
                assert!(!text.is_empty() && !text.contains(['{', '}']), "{}: {text:?}", words.tag());
            }
            assert!(letter.facts.iter().all(|(label, value)| !label.is_empty() && !value.is_empty()), "{letter:?}");
            assert!(letter.paragraphs.iter().all(|text| !text.is_empty() && !text.contains('{')), "{letter:?}");
        }
    }
    assert_eq!(languages, LANGUAGES.len());
}

#[test]
fn a_mail_that_says_when_a_window_is_brings_the_event_of_the_feed() {
    let renderer = renderer();
    let words = Words::all(&renderer).next().unwrap();
    let (starts, ends) = (at("14:00:00"), Some(at("16:00:00")));
    for (kind, stage, is_there) in [
        (UpdateKind::Announced { starts, ends }, Stage::Scheduled, true),
        (UpdateKind::Moved { starts, ends }, Stage::Scheduled, true),
        (UpdateKind::Extended { ends }, Stage::InProgress, true),
        (UpdateKind::Cancelled, Stage::Cancelled, true),
        (UpdateKind::Began, Stage::InProgress, false),
        (UpdateKind::Over, Stage::Over, false),
    ] {
        let mut incident = incident("Database upgrade");
        incident.facts.stage = stage;
        incident.updates.push(update(7, kind, stage));
        let incidents = [incident.clone()];
        let news = News { incidents: &incidents, ..news("Example status") };
        let letter = Letter::of_update(words, &news, &incident, &incident.updates[1]);
        let calendar = mail(&letter, &incident, &incident.updates[1]).calendar;
        assert_eq!(calendar.is_some(), is_there, "{stage:?}");
        let Some(calendar) = calendar else { continue };
        let (all, _) = documents::all(&news, words, &documents::Stories::default());
        let (_, feed) = all.iter().find(|(path, _)| *path == "/maintenance.ics").unwrap();
        let feed = std::str::from_utf8(&feed.whole).unwrap();
        let event = |text: &str| text.split_once("BEGIN:VEVENT").unwrap().1.to_owned();
        assert_eq!(event(&calendar), event(feed));
        assert!(calendar.contains("\r\nSEQUENCE:7\r\n"), "{calendar}");
        assert_eq!(calendar.contains("STATUS:CANCELLED"), stage == Stage::Cancelled);
        assert_eq!(calendar.matches("METHOD:PUBLISH\r\n").count(), 1, "{calendar}");
        assert!(
            !calendar.contains("CALNAME") && !calendar.contains("\r\nNAME") && !feed.contains("METHOD"),
            "{calendar}"
        );
    }
}

#[test]
fn all_mails_about_an_incident_are_one_thread() {
    let mut incident = incident("Database upgrade");
    let began = mail(&letter("en", &incident, &incident.updates[0]), &incident, &incident.updates[0]);
    incident.facts.stage = Stage::Over;
    let end = update(2, UpdateKind::Over, Stage::Over);
    let over = mail(&letter("en", &incident, &end), &incident, &end);
    assert_eq!(began.subject, over.subject);
    assert_ne!(field(&began, "Message-ID"), field(&over, "Message-ID"));
    assert_eq!(field(&began, "References"), field(&over, "References"));
    assert_eq!(field(&over, "References"), field(&over, "In-Reply-To"));
    assert!(over.text.contains("The service is back.") && !over.text.contains("Expected end"), "{}", over.text);
    let again = mail(&letter("en", &incident, &end), &incident, &end);
    assert_eq!(again, over, "an attempt is like the one before it");
}

#[test]
fn a_site_without_a_url_is_not_linked() {
    let (renderer, incident) = (renderer(), incident("x"));
    let words = Words::all(&renderer).next().unwrap();
    let own = News { url: "/.backsoon/news".to_owned(), ..news("Status") };
    let letter = Letter::of_update(words, &own, &incident, &incident.updates[0]);
    let mail = mail(&letter, &incident, &incident.updates[0]);
    assert!(!shown(&mail).contains(".backsoon") && !shown(&mail).contains("incidents"), "{}", mail.text);
}

#[test]
fn only_a_url_with_tls_is_offered_for_one_click() {
    let at = at("14:00:00");
    let fields = |unsubscribe: Option<&str>, mailto: Option<&str>| {
        let links =
            Links { manage: None, unsubscribe: unsubscribe.map(str::to_owned), mailto: mailto.map(str::to_owned) };
        let letter = Letter { facts: Vec::new(), ..letter("en", &incident("x"), &incident("x").updates[0]) };
        let mail = Mail::new(&letter, &Envelope { host: "status.example.com", thread: None, links, at });
        let post = field(&mail, "List-Unsubscribe-Post").map(str::to_owned);
        (field(&mail, "List-Unsubscribe").map(str::to_owned), post)
    };
    let post = Some("List-Unsubscribe=One-Click".to_owned());
    assert_eq!(fields(Some("https://a/u/T"), None), (Some("<https://a/u/T>".to_owned()), post.clone()));
    assert_eq!(
        fields(Some("https://a/u/T"), Some("mailto:u@a")),
        (Some("<https://a/u/T>, <mailto:u@a>".to_owned()), post)
    );
    assert_eq!(fields(Some("http://a/u/T"), Some("mailto:u@a")), (Some("<mailto:u@a>".to_owned()), None));
    assert_eq!(fields(None, None), (None, None));
}

#[test]
fn hostile_words_are_nothing_but_words() {
    let title = "Up\r\nBcc: all@example.com\u{2028}\u{202e}grade <script>alert(1)</script> \" onload='x'";
    let mut incident = incident(title);
    incident.facts.reference = Some("MNT\r\n\r\n<b>1</b>".to_owned());
    incident.facts.regions = BTreeSet::from(["eu\r\nX: y".to_owned(), "<img src=x>".to_owned()]);
    incident.updates[0].message = Some("<a href=javascript:x>a</a>\n\u{1b}[31mred\u{0}\n.\nend".into());
    let mail = mail(&letter("en", &incident, &incident.updates[0]), &incident, &incident.updates[0]);
    check("hostile.en", &shown(&mail));
    let lines = mail.fields.iter().map(|(_, value)| value).chain([&mail.subject]);
    assert!(lines.clone().all(|line| !line.chars().any(is_unseen)), "{:?}", mail.fields);
    assert!(!mail.html.contains("<script") && !mail.html.contains("<img") && !mail.html.contains("<a href=java"));
    assert!(!mail.text.contains('\u{1b}') && !mail.html.contains('\u{1b}'));
    assert!(!shown(&mail).contains("secret-route"));
}

#[test]
fn a_mail_is_smaller_than_what_mail_programs_cut_at() {
    let mut incident = incident(&"\"ä<".repeat(100_000));
    incident.facts.reference = Some("&".repeat(100_000));
    incident.facts.regions = (0..10_000).map(|number| format!("<region> {number}")).collect();
    incident.facts.services = (0..10_000).map(|_| "\"'<>&".into()).collect();
    incident.updates[0].message = Some("&<>\"'".repeat(100_000).as_str().into());
    let mut letter = letter("en", &incident, &incident.updates[0]);
    letter.paragraphs = vec!["\"".repeat(100_000); 1000];
    letter.site = "\"".repeat(100_000);
    letter.facts = vec![("'".repeat(100_000), "\"".repeat(100_000)); 1000];
    let mail = mail(&letter, &incident, &incident.updates[0]);
    assert!(mail.html.len() < 100_000 && mail.text.len() < 30_000, "{} {}", mail.html.len(), mail.text.len());
    assert!(mail.subject.len() < 500);
}

/// Returns the updates of a day: of an incident with several, and of one that came in between.
fn day(language: &str) -> Vec<(Incident, Update, Letter)> {
    let (upgrade, network) = (incident("Database upgrade"), Incident { key: Key::of(&["n"]), ..incident("Network") });
    let all = [
        (&upgrade, 1, UpdateKind::Began, Stage::InProgress, "14:00:00"),
        (&network, 1, UpdateKind::Began, Stage::InProgress, "14:20:00"),
        (&upgrade, 2, UpdateKind::Checking, Stage::Checking, "14:40:00"),
        (&upgrade, 3, UpdateKind::Over, Stage::Over, "15:10:00"),
    ];
    let told = |(incident, sequence, kind, stage, time): (&Incident, u32, UpdateKind, Stage, &str)| {
        let key = Key::of(&[incident.key.as_str(), &sequence.to_string()]);
        let update = Update { key, at: at(time), ..update(sequence, kind, stage) };
        let mut incident = incident.clone();
        incident.facts.stage = stage;
        let letter = letter(language, &incident, &update);
        (incident, update, letter)
    };
    all.into_iter().map(told).collect()
}

fn digest(day: &[(Incident, Update, Letter)]) -> (Digest, Mail) {
    let entry = |(incident, update, letter): &'_ (Incident, Update, Letter)| {
        (incident.key.clone(), update.clone(), letter.clone())
    };
    let all: Vec<_> = day.iter().map(entry).collect();
    let entries = all.iter().map(|(incident, update, letter)| Entry {
        incident,
        update: &update.key,
        sequence: update.sequence,
        at: update.at,
        letter,
    });
    let digest = Digest::new(entries.collect()).unwrap();
    let thread = Thread { incident: None, update: &digest.key, subscription: Some(7) };
    let envelope = Envelope { host: "status.example.com", thread: Some(thread), links: links(), at: at("20:00:05") };
    let mail = Mail::of_digest(&digest, &envelope);
    (digest, mail)
}

#[test]
fn a_digest_has_the_newest_state_of_each_incident_and_its_updates_below() {
    for language in ["en", "ar"] {
        check(&format!("digest.{language}"), &shown(&digest(&day(language)).1));
    }
    let mut later = day("en");
    let (_, first) = digest(&later);
    assert!(["In-Reply-To", "References"].into_iter().all(|name| field(&first, name).is_none()));
    let reply = |name| field(&first, name).map(str::to_owned);
    assert!(
        reply("List-Unsubscribe").is_some() && reply("List-Unsubscribe-Post").is_some() && reply("List-Id").is_some()
    );
    later.reverse();
    assert_eq!(digest(&later).1, first, "an attempt is like the one before it, in whatever order the store tells");
    later.pop();
    assert_ne!(field(&digest(&later).1, "Message-ID"), field(&first, "Message-ID"));
    // What an older backsoon recorded has no words for digests.
    later.iter_mut().for_each(|(_, _, letter)| letter.daily = None);
    let old = digest(&later).1;
    assert!(old.subject == "[Example status] Example status" && old.text.contains("The service is back."), "{old:?}");
}

#[test]
fn a_digest_is_smaller_than_what_mail_programs_cut_at_and_says_what_is_missing() {
    let mut all = Vec::new();
    for number in 0..60_u32 {
        for (incident, update, mut letter) in day("en") {
            let key = Key::of(&[&number.to_string(), incident.key.as_str()]);
            letter.paragraphs = vec!["\"".repeat(5000); 3];
            letter.facts = vec![("'".repeat(1000), "\"".repeat(1000)); 20];
            all.push((Incident { key, ..incident }, update, letter));
        }
    }
    let (_, mail) = digest(&all);
    assert!(mail.html.len() < 100_000 && mail.text.len() < 60_000, "{} {}", mail.html.len(), mail.text.len());
    assert!(mail.html.contains("There is more on the status page.") && mail.text.contains("There is more on"));
    assert!(!digest(&day("en")).1.text.contains("There is more on"));
}
