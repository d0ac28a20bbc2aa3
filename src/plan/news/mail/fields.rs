//! Header fields of a mail, except those of its addresses.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::super::Key;

/// Facts of a mail that are one subscriber's alone.
#[derive(Clone, Debug)]
pub struct Envelope<'e> {
    /// Host that names mails and the list: that of the site.
    pub host: &'e str,
    /// Thread that the mail is part of; `None` if it stands alone.
    pub thread: Option<Thread<'e>>,
    /// Links of the subscriber.
    pub links: Links,
    /// Instant of the attempt.
    pub at: Timestamp,
}

/// Place of a mail among those about its incident.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'e> {
    /// Key of the incident; `None` for a digest, which is no part of a thread.
    pub incident: Option<&'e Key>,
    /// Key of the update, or of the digest.
    pub update: &'e Key,
    /// Number of the subscription; `None` for operators, who are no list.
    pub subscription: Option<i64>,
}

/// Links by which a subscriber changes or ends the subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// URL of the preferences.
    pub manage: Option<String>,
    /// URL that ends the subscription by one POST (RFC 8058).
    pub unsubscribe: Option<String>,
    /// Address that a mail to ends the subscription, with its subject.
    pub mailto: Option<String>,
}

impl Links {
    /// Returns the way to end the subscription that a reader is shown.
    pub(super) fn end(&self) -> Option<&String> {
        self.unsubscribe.as_ref().or(self.mailto.as_ref())
    }
}

/// Returns the fields.
pub(super) fn fields(envelope: &Envelope<'_>) -> Vec<(&'static str, String)> {
    let host = envelope.host;
    // RFC 3834: no answering machine replies to it.
    let mut fields = vec![("Date", date(envelope.at)), ("Auto-Submitted", "auto-generated".to_owned())];
    if let Some(thread) = envelope.thread {
        let Thread { incident, update, subscription } = thread;
        // The root is never sent: a subscriber who comes later would miss it. Programs join mails that name the same root.
        let reader = subscription.map(|number| format!(".{number}")).unwrap_or_default();
        fields.push(("Message-ID", format!("<{update}{reader}@{host}>")));
        if let Some(incident) = incident {
            let root = format!("<{incident}{reader}@{host}>");
            fields.push(("In-Reply-To", root.clone()));
            fields.push(("References", root));
        }
        if subscription.is_some() {
            fields.push(("List-Id", format!("<{host}>")));
        }
    }
    let is_https = |url: &&String| url.starts_with("https://");
    let one_click = envelope.links.unsubscribe.as_ref().filter(is_https);
    let ways = [one_click, envelope.links.mailto.as_ref()];
    let ways: Vec<String> = ways.into_iter().flatten().map(|way| format!("<{way}>")).collect();
    if !ways.is_empty() {
        fields.push(("List-Unsubscribe", ways.join(", ")));
    }
    // RFC 8058 section 3.1: an HTTPS URI, and this very value.
    if one_click.is_some() {
        fields.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    // Each value becomes one line of a header, which nothing in it may end.
    fields.into_iter().map(|(name, value)| (name, value.chars().filter(|one| !one.is_control()).collect())).collect()
}

/// Formats an instant for a mail (RFC 5322).
fn date(at: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_string(&at).unwrap_or_default()
}
