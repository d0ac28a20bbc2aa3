//! Mail for an operator.

use super::super::super::news::mail::{Direction, Letter};
use super::super::super::words::harmless;
use super::Notice;

/// Words the mail. Its subject is the headline, because a phone shows nothing else at night.
pub fn mail(notice: &Notice, replica: &str) -> Letter {
    let replica = harmless(replica);
    let facts = notice.fields.iter().map(|field| (field.label.clone(), harmless(&field.words())));
    Letter {
        language: "en".to_owned(),
        direction: Direction::Ltr,
        site: format!("backsoon on {replica}"),
        subject: format!("[backsoon] {}", notice.title),
        stage: None,
        heading: notice.title.clone(),
        paragraphs: notice.paragraphs.clone(),
        facts: facts.collect(),
        action: None,
        calendar: None,
        daily: None,
        reason: format!("A [[notify]] in the config of backsoon on {replica} names this mailbox."),
        // Operators have the config instead.
        manage: String::new(),
        unsubscribe: String::new(),
    }
}
