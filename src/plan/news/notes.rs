//! Answers to visits of forms, rendered when they are needed. Never by a worker: it would keep others waiting.

use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::super::page::{Renderer, SITE_HTML, SITE_TEXT};
use super::Words;
use super::document::{Document, Filter};
use super::forms::view::{ChoiceTags, FormView, NoteLink, NoteView};
use super::forms::{Choices, Form, Malformed, Mistake, Place, Reading, Reply, Visit, Wanted, Way};
use super::pages::View;

/// Place where answers are written.
#[derive(Clone, Copy)]
pub struct Office<'o> {
    /// Name of the site.
    pub title: &'o str,
    /// Renderer.
    pub renderer: &'o Renderer,
    /// Choices, without a look at who asks.
    pub choices: &'o Choices,
}

/// Answer to a visit.
#[derive(Clone, Debug)]
pub enum Note {
    /// The body is not what its type says.
    Malformed(Malformed),
    /// Something of the form is wrong.
    Mistake(Box<Form>, Mistake),
    /// The address will be asked, whatever is known of it.
    Sent(Way),
    /// Too many came from the client's network. There is room after so many seconds.
    Later(u64),
    /// The outbox cannot take it now.
    Busy,
    /// Asks for the press of the button that confirms.
    AskConfirm,
    /// The subscription is confirmed. The token is that of its preferences.
    Confirmed(String),
    /// The link serves no more, or never did.
    Gone,
    /// Preferences.
    Preferences(Box<Preferences>),
    /// All data is deleted.
    Erased,
    /// Asks for the press of the button that ends the subscription.
    AskEnd,
    /// The subscription has ended.
    Ended,
}

/// Preferences of a subscription.
#[derive(Clone, Debug)]
pub struct Preferences {
    /// Wishes.
    pub wanted: Wanted,
    /// Instant of the confirmation.
    pub since: Timestamp,
    /// Result of a change that was just sent.
    pub change: Change,
}

/// Result of a change of preferences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing was sent.
    None,
    /// Saved.
    Saved,
    /// Something that was sent is wrong.
    Refused(Mistake),
}

impl Note {
    /// Returns the status of the answer.
    pub fn status(&self, reading: Reading) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Mistake(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Sent(_) if reading == Reading::Json => StatusCode::ACCEPTED,
            Self::Later(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Gone => StatusCode::GONE,
            Self::Preferences(preferences) if matches!(preferences.change, Change::Refused(_)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Sent(_)
            | Self::AskConfirm
            | Self::Confirmed(_)
            | Self::Preferences(_)
            | Self::Erased
            | Self::AskEnd
            | Self::Ended => StatusCode::OK,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Later(seconds) => Some(*seconds),
            Self::Busy => Some(BUSY_SECONDS),
            Self::Malformed(_)
            | Self::Mistake(..)
            | Self::Sent(_)
            | Self::AskConfirm
            | Self::Confirmed(_)
            | Self::Gone
            | Self::Preferences(_)
            | Self::Erased
            | Self::AskEnd
            | Self::Ended => None,
        }
    }

    /// Returns the heading and the lines that say it.
    fn words(&self, words: Words<'_>, site: &str) -> (String, Vec<String>) {
        let pair = |title: &str, text: &str| (words.own(title), vec![words.with(text, &[("site", site.to_owned())])]);
        match self {
            Self::Malformed(Malformed(found)) => (words.own("form-check"), vec![found.clone()]),
            Self::Mistake(..) => (words.own("site-stay"), vec![words.own("form-check")]),
            Self::Sent(Way::Mail) => pair("form-sent-title", "form-sent-mail"),
            Self::Sent(Way::Webhook) => pair("form-sent-title", "form-sent-webhook"),
            Self::Sent(Way::Slack | Way::Discord | Way::Teams | Way::Ntfy) => pair("form-sent-title", "form-sent-chat"),
            Self::Sent(Way::Push) => pair("form-done-title", "form-sent-push"),
            Self::Later(_) => pair("form-limit-title", "form-limit-text"),
            Self::Busy => pair("form-busy-title", "form-busy-text"),
            Self::AskConfirm => pair("mail-confirm-button", "form-confirm-text"),
            Self::Confirmed(_) => pair("form-done-title", "form-done-text"),
            Self::Gone => pair("form-gone-title", "form-gone-text"),
            Self::Preferences(preferences) => (words.own("form-manage-title"), preferences.lines(words)),
            Self::Erased | Self::Ended => pair("form-erased-title", "form-erased-text"),
            Self::AskEnd => pair("form-end-title", "form-end-text"),
        }
    }
}

impl Preferences {
    fn lines(&self, words: Words<'_>) -> Vec<String> {
        let about = [("address", masked(self.wanted.way, &self.wanted.address)), ("date", words.date(self.since))];
        let change = match &self.change {
            Change::None => None,
            Change::Saved => Some(words.own("form-saved")),
            Change::Refused(_) => Some(words.own("form-check")),
        };
        change.into_iter().chain([words.with("form-manage-text", &about)]).collect()
    }

    /// Returns the form that shows the wishes.
    fn form(&self) -> Form {
        let Wanted { services, regions, kinds, language, .. } = self.wanted.clone();
        let groups = super::forms::Kinds::ALL.into_iter();
        let chosen = groups.filter(|group| group.words().iter().any(|word| kinds.contains(*word)));
        let kinds = chosen.map(|group| group.as_str().to_owned()).collect();
        let pace = self.wanted.pace.as_str().to_owned();
        Form { services, regions, kinds, language, pace, ..Form::default() }
    }
}

impl Office<'_> {
    /// Writes an answer.
    pub fn reply(self, note: &Note, visit: &Visit) -> Reply {
        let all = || Words::all(self.renderer);
        let words = all().find(|words| words.tag() == visit.language).or_else(|| all().next());
        let Some(words) = words else {
            return Reply { status: StatusCode::SERVICE_UNAVAILABLE, fields: HeaderMap::new(), body: "".into() };
        };
        let (content_type, body, policy) = match visit.reading {
            Reading::Json => ("application/json", self.json(note, words), None),
            Reading::Text => {
                let (text, _) = self.page(SITE_TEXT, note, visit, words);
                ("text/plain; charset=utf-8", text, None)
            }
            Reading::Html => {
                let (text, policy) = self.page(SITE_HTML, note, visit, words);
                ("text/html; charset=utf-8", text, policy)
            }
        };
        let mut fields = fields(content_type);
        if let Ok(tag) = HeaderValue::from_str(words.tag()) {
            fields.insert(CONTENT_LANGUAGE, tag);
        }
        fields.extend(policy.map(|policy| (CONTENT_SECURITY_POLICY, policy)));
        fields.extend(note.retry_after().map(|seconds| (RETRY_AFTER, seconds.into())));
        // A link in a mail is for one person, and the page behind it tells nobody where it was.
        if visit.place.has_token() {
            fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        Reply { status: note.status(visit.reading), fields, body: body.into() }
    }

    fn page(self, template: &str, note: &Note, visit: &Visit, words: Words<'_>) -> (String, Option<HeaderValue>) {
        let mut tags = Vec::new();
        let places = ChoiceTags::add(&mut tags, self.choices);
        let view = self.view(note, visit, places, words);
        let (text, policy) = self.renderer.site_page(template, (words.tag(), self.title), &view);
        let document = Document::marked("text/html", Timestamp::UNIX_EPOCH, &text, &tags);
        let routes = visit.routes.as_ref().map(|routes| routes.iter().map(String::as_str).collect());
        let selected = document.select(&Filter { routes, ..Filter::default() });
        (String::from_utf8_lossy(&selected.bytes).into_owned(), policy)
    }

    fn view(self, note: &Note, visit: &Visit, tags: ChoiceTags, words: Words<'_>) -> View {
        let (title, lines) = note.words(words, self.title);
        let view = match (note, &visit.place) {
            (Note::Mistake(..), _) => "subscribe",
            (Note::Preferences(_), _) => "manage",
            (_, Place::Subscribe | Place::Browser) => "answer",
            (_, Place::Confirm(_) | Place::Manage(_) | Place::End(_)) => "note",
        };
        let mut said = NoteView::new(lines);
        (said.button, said.link) = offers(note, words);
        let form = |way: Way, sent: Option<(&Form, Option<&Mistake>)>| {
            let language = sent.map_or(words.tag(), |(form, _)| form.language.as_str());
            let form = FormView::new(way, self.choices, tags, words, sent);
            form.with_languages(Words::all(self.renderer), language)
        };
        let mut forms = Vec::new();
        match note {
            Note::Mistake(sent, mistake) => {
                said.state = Some("alert");
                let own = |way: &Way| (way.as_str() == sent.way).then_some((&**sent, Some(mistake)));
                forms.extend(self.choices.ways.iter().map(|way| form(*way, own(way))));
            }
            Note::Preferences(preferences) => {
                let mistake = match &preferences.change {
                    Change::None => None,
                    Change::Saved => {
                        said.state = Some("status");
                        None
                    }
                    Change::Refused(mistake) => {
                        said.state = Some("alert");
                        Some(mistake)
                    }
                };
                forms.push(form(preferences.wanted.way, Some((&preferences.form(), mistake))));
            }
            Note::Malformed(_)
            | Note::Sent(_)
            | Note::Later(_)
            | Note::Busy
            | Note::AskConfirm
            | Note::Confirmed(_)
            | Note::Gone
            | Note::Erased
            | Note::AskEnd
            | Note::Ended => {}
        }
        View::new(view, title, words).answering(said, forms)
    }

    /// Writes an answer for programs. It has the same words as the page.
    fn json(self, note: &Note, words: Words<'_>) -> String {
        let (title, lines) = note.words(words, self.title);
        let status = note.status(Reading::Json).as_u16();
        let mut body = json!({ "status": status, "title": title, "detail": lines.join(" ") });
        if let Note::Mistake(_, mistake) = note {
            let detail = words.own(mistake.wrong.message());
            body["errors"] = json!([{ "field": mistake.field, "found": mistake.found, "detail": detail }]);
        }
        format!("{body}\n")
    }
}

/// Returns the button and the link that a note offers.
fn offers(note: &Note, words: Words<'_>) -> (Option<String>, Option<NoteLink>) {
    let link = |href: String, key: &str| Some(NoteLink { href, words: words.own(key) });
    match note {
        Note::AskConfirm => (Some(words.own("mail-confirm-button")), None),
        Note::AskEnd => (Some(words.own("mail-unsubscribe")), None),
        Note::Confirmed(token) => (None, link(format!("../manage/{token}"), "mail-manage")),
        Note::Gone => (None, link("../subscribe".to_owned(), "subscribe")),
        Note::Malformed(_)
        | Note::Mistake(..)
        | Note::Sent(_)
        | Note::Later(_)
        | Note::Busy
        | Note::Preferences(_)
        | Note::Erased
        | Note::Ended => (None, None),
    }
}

/// Returns the fields of every answer: nobody keeps it, and nobody finds it.
fn fields(content_type: &'static str) -> HeaderMap {
    let all = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (VARY, "accept, accept-language"),
        (X_ROBOTS_TAG, "noindex"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    all.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// Returns an address as the page of its preferences shows it: a link may have been passed on.
fn masked(way: Way, address: &str) -> String {
    let head = |text: &str| text.chars().take(1).collect::<String>();
    match way {
        Way::Mail => match address.rsplit_once('@') {
            Some((local, domain)) => format!("{}…@{domain}", head(local)),
            None => "…".to_owned(),
        },
        Way::Webhook | Way::Slack | Way::Discord | Way::Teams | Way::Ntfy | Way::Push => {
            let end = address.match_indices('/').nth(2).map_or(address.len(), |(at, _)| at);
            format!("{}/…", &address[..end])
        }
    }
}

const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
const BUSY_SECONDS: u64 = 60;
