//! The page: what a closed route's clients are shown, finished, in each dialect.
//!
//! It is rendered when a snapshot is compiled and never while a request waits, and it needs nothing at view
//! time: no file, no upstream, no sub-resource.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::accept;

/// The finished page of one closure, in every dialect.
#[derive(Debug)]
pub struct Page {
    html: Rendered,
    json: Rendered,
    text: Rendered,
}

/// One finished answer.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The fields that go with it in every answer.
    pub head: HeaderMap,
    /// Its bytes, shared by every answer.
    pub body: Bytes,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A document for people.
    Html,
    /// `application/problem+json` (RFC 9457).
    Json,
    /// Plain text.
    Text,
}

impl Rendered {
    /// An answer of our own: it is for this client, and for now.
    pub fn new(content_type: HeaderValue, body: Bytes) -> Self {
        let mut head = HeaderMap::with_capacity(USUAL_FIELDS);
        head.insert(CONTENT_TYPE, content_type);
        head.insert(CONTENT_LENGTH, body.len().into());
        head.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        head.insert(VARY, HeaderValue::from_static("accept"));
        Self { head, body }
    }
}

impl Dialect {
    /// Chooses by the request's `Accept` fields (RFC 9110 section 12.5.1).
    ///
    /// A client that takes anything, or says nothing, gets text: that is a command line or a script. One that
    /// takes none of the dialects gets text too: a 503 in the wrong form is better than a 406 in none.
    pub fn choose<'a>(accept: impl Iterator<Item = &'a [u8]>) -> Self {
        let offers = [(Self::Html, "text", "html"), (Self::Json, "application", "json"), (Self::Text, "text", "plain")];
        accept::choose(accept, &offers).unwrap_or(Self::Text)
    }
}

/// What the page says. Everything that is not given is left out or has a calm default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Words<'w> {
    /// The heading.
    pub title: Option<&'w str>,
    /// One line under it.
    pub summary: Option<&'w str>,
    /// The paragraph.
    pub message: Option<&'w str>,
    /// The incident reference.
    pub id: Option<&'w str>,
    /// When it ends.
    pub until: Option<Timestamp>,
}

impl Page {
    /// Renders every dialect.
    pub fn render(words: &Words<'_>) -> Self {
        let environment = environment();
        let text = || template(&environment, "page.txt", words).unwrap_or_else(|_| bare_text(words));
        let html = template(&environment, "page.html", words);
        Self {
            html: html.map_or_else(|_| rendered(TEXT, text()), |html| rendered(HTML, html)),
            json: rendered(JSON, problem_json(words)),
            text: rendered(TEXT, text()),
        }
    }

    /// The page in one dialect.
    pub fn rendered(&self, dialect: Dialect) -> &Rendered {
        match dialect {
            Dialect::Html => &self.html,
            Dialect::Json => &self.json,
            Dialect::Text => &self.text,
        }
    }
}

/// The built-in templates, bounded in what they may do.
fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    // By name, and nothing but text is left as it is: the default leaves unknown names unescaped.
    environment.set_auto_escape_callback(|name| match name {
        "page.txt" => AutoEscape::None,
        _ => AutoEscape::Html,
    });
    for (name, source) in TEMPLATES {
        // A template that does not parse is found by this crate's tests; the page falls back to text.
        let _ = environment.add_template(name, source);
    }
    environment
}

fn template(environment: &Environment<'_>, name: &str, words: &Words<'_>) -> Result<String, minijinja::Error> {
    let rendered = environment.get_template(name)?.render(context! {
        title => title(words),
        summary => words.summary,
        message => message(words),
        id => words.id,
        until => words.until.map(|until| until.to_string()),
        until_words => words.until.map(in_words),
    })?;
    // The engine drops a template's last line end.
    Ok(rendered + "\n")
}

/// The text without a template.
fn bare_text(words: &Words<'_>) -> String {
    format!("{}\n\n{}\n", title(words), message(words))
}

/// The problem document (RFC 9457), with the end as an extension member.
fn problem_json(words: &Words<'_>) -> String {
    let mut problem = serde_json::json!({
        "type": "about:blank",
        "title": title(words),
        "status": 503,
        "detail": message(words),
    });
    if let Some(until) = words.until {
        problem["until"] = until.to_string().into();
    }
    if let Some(id) = words.id {
        problem["reference"] = id.into();
    }
    let mut json = problem.to_string();
    json.push('\n');
    json
}

fn title<'w>(words: &Words<'w>) -> &'w str {
    words.title.unwrap_or("We’ll be back soon")
}

fn message<'w>(words: &Words<'w>) -> &'w str {
    words.message.unwrap_or(
        "This service is paused for maintenance. Nothing is needed from you; please try again a little later.",
    )
}

/// `19 May 2026, 15:00 UTC`.
fn in_words(instant: Timestamp) -> String {
    instant.strftime("%-d %B %Y, %H:%M UTC").to_string()
}

fn rendered(content_type: &'static str, body: String) -> Rendered {
    Rendered::new(HeaderValue::from_static(content_type), body.into())
}

/// Room for the fields of an answer, those that each request adds among them.
const USUAL_FIELDS: usize = 8;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/problem+json";
const TEXT: &str = "text/plain; charset=utf-8";

const TEMPLATES: [(&str, &str); 2] =
    [("page.html", include_str!("../../pages/page.html")), ("page.txt", include_str!("../../pages/page.txt"))];

/// Instructions a template may run: the built-in page needs a few hundred.
const TEMPLATE_FUEL: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_escapes_what_the_operator_writes() {
        let words = Words {
            title: Some("<script>alert(1)</script>"),
            summary: None,
            message: Some("a & b"),
            id: Some("\"x\""),
            until: Some("2026-05-19T15:00:00Z".parse().unwrap()),
        };
        let page = Page::render(&words);
        let html = std::str::from_utf8(&page.html.body).unwrap();
        assert_eq!(page.html.head[CONTENT_TYPE], HTML, "the template renders");
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;") && html.contains("a &amp; b"));
        assert!(html.contains("19 May 2026, 15:00 UTC"));
        let json: serde_json::Value = serde_json::from_slice(&page.json.body).unwrap();
        assert_eq!(json["title"], "<script>alert(1)</script>");
        assert_eq!(json["until"], "2026-05-19T15:00:00Z");
        let text = std::str::from_utf8(&page.text.body).unwrap();
        assert_eq!(
            text,
            "<script>alert(1)</script>\n\na & b\n\nExpected back: 19 May 2026, 15:00 UTC\nReference: \"x\"\n"
        );
    }
}
