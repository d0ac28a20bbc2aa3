//! Pages for errors: what clients are told if no upstream answers, in each dialect, language and coding.
//!
//! They depend on the renderer alone, and are made together with it. Like the page of a closed route, they first exist in
//! the default language, uncompressed, and are finished behind the publication. They never speak of a maintenance.

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::super::config::ErrorStatus;
use super::super::dialect::Dialect;
use super::language::Language;
use super::programs;
use super::rendered::{GRPC_MESSAGE, GRPC_STATUS, Rendered, Stored};
use super::{LocalizedPage, Model, Variant};

/// Fate of what a client sent with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing was sent but a question, which can be asked again.
    Nothing,
    /// No upstream has got it.
    Unsent,
    /// Perhaps an upstream has got it.
    Unknown,
}

impl Fate {
    /// Returns the word for templates and programs.
    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Unsent => "unsent",
            Self::Unknown => "unknown",
        }
    }
}

/// Case that has a page of its own.
pub(super) type Case = (ErrorStatus, Fate);

/// Returns every case. A request that waits for a connection in vain has never left.
pub(super) fn cases() -> impl Iterator<Item = Case> {
    let fates = [Fate::Nothing, Fate::Unsent, Fate::Unknown];
    let every = ErrorStatus::ALL.into_iter().flat_map(move |error| fates.map(|fate| (error, fate)));
    every.filter(|case| *case != (ErrorStatus::Unavailable, Fate::Unknown))
}

/// Pages of one renderer.
#[derive(Debug)]
pub(super) struct ErrorPages(Vec<ErrorPage>);

/// Page for one case.
#[derive(Debug)]
struct ErrorPage {
    case: Case,
    /// The default language, uncompressed.
    first: LocalizedPage,
    /// All languages in the renderer's order, with the compressed forms. Filled in once, after the publication.
    rest: OnceLock<Box<[LocalizedPage]>>,
}

impl ErrorPages {
    /// Makes the pages of the default language, which `localize` renders.
    pub(super) fn new(localize: impl Fn(Case) -> LocalizedPage) -> Self {
        Self(cases().map(|case| ErrorPage { case, first: localize(case), rest: OnceLock::new() }).collect())
    }

    /// Makes the rest. `localize` renders a page in one of the other languages; it may take from the default one what is
    /// the same.
    pub(super) fn finish(
        &self,
        others: &[Language],
        localize: impl Fn(Case, &Language, &LocalizedPage) -> LocalizedPage,
    ) {
        for page in self.0.iter().filter(|page| page.rest.get().is_none()) {
            let compressed = page.first.compressed(None);
            let model = Some(Model { plain: &page.first, compressed: &compressed });
            let others = others.iter().map(|language| localize(page.case, language, &page.first).compressed(model));
            let others: Vec<LocalizedPage> = others.collect();
            // Another thread may have finished first, with the same result.
            let _ = page.rest.set([compressed].into_iter().chain(others).collect());
        }
    }

    /// Returns true if all languages and compressed forms are made.
    pub(super) fn is_finished(&self) -> bool {
        self.0.iter().all(|page| page.rest.get().is_some())
    }

    /// Returns the chosen answer, or the nearest one as long as the pages are not finished; `None` if that is no case.
    pub(super) fn rendered(&self, case: Case, variant: Variant) -> Option<&Stored> {
        let page = self.0.iter().find(|page| page.case == case)?;
        let localized = page.rest.get().and_then(|rest| rest.get(variant.language)).unwrap_or(&page.first);
        localized.encodings.get(variant.dialect as usize).map(|encodings| encodings.coded(variant.coding))
    }
}

/// Words of a page in one language, as templates see them.
#[derive(Debug, Serialize)]
pub(super) struct ErrorView {
    r#type: &'static str,
    status: u16,
    title: String,
    /// Paragraphs.
    message: Vec<String>,
    /// Fate of what the client sent.
    sent: &'static str,
    #[serde(skip)]
    error: ErrorStatus,
}

impl ErrorView {
    pub(super) fn new((error, fate): Case, language: &Language) -> Self {
        let words = |key: &str| language.own(key, &[]);
        let status = error.as_str();
        let then = match fate {
            Fate::Nothing => "error-again",
            Fate::Unsent => "error-unsent",
            Fate::Unknown => "error-unknown",
        };
        Self {
            r#type: kind(error),
            status: error.status().as_u16(),
            title: words(&format!("error-{status}-title")),
            message: vec![words(&format!("error-{status}-message")), words(then)],
            sent: fate.as_str(),
            error,
        }
    }

    /// Returns one line, for answers that no person reads.
    pub(super) fn line(&self) -> String {
        format!("{} {}\n", self.status, self.title)
    }

    /// Returns the problem document (RFC 9457), with a newline at its end.
    pub(super) fn problem(&self) -> String {
        let Self { r#type, status, title, message, sent, .. } = self;
        let processed = (*sent == Fate::Unsent.as_str()).then_some(false);
        let problem = Problem { r#type, title, status: *status, detail: message.join(" "), sent, processed };
        // Serializing numbers and texts cannot fail.
        let mut json = serde_json::to_string(&problem).unwrap_or_default();
        json.push('\n');
        json
    }

    /// Returns the problem document as the detail of a fault of SOAP.
    pub(super) fn detail(&self) -> String {
        let (r#type, status, title) = (self.r#type, self.status, programs::escaped(&self.title));
        format!(
            "<problem xmlns=\"urn:ietf:rfc:7807\"><type>{type}</type><title>{title}</title><status>{status}</status></problem>"
        )
    }

    /// Builds the answer to a remote call. gRPC has its status in fields, and no body.
    pub(super) fn call(&self, dialect: Dialect) -> Rendered {
        let reason = self.error.status().canonical_reason().unwrap_or("Error");
        let message = format!("{} {reason}: {}", self.status, self.title);
        let grpc = match dialect {
            Dialect::Grpc => "application/grpc",
            Dialect::GrpcWeb => "application/grpc-web+proto",
            Dialect::GrpcWebText => "application/grpc-web-text+proto",
            Dialect::Connect
            | Dialect::ConnectStreamJson
            | Dialect::ConnectStreamProto
            | Dialect::Html
            | Dialect::Text
            | Dialect::Markdown
            | Dialect::Problem
            | Dialect::Json
            | Dialect::Xml
            | Dialect::Soap
            | Dialect::Soap12
            | Dialect::Short
            | Dialect::Events
            | Dialect::Preflight => {
                let json = serde_json::json!({ "code": "unavailable", "message": message });
                return Rendered::new(HeaderValue::from_static("application/json"), json.to_string().into());
            }
        };
        let mut rendered = Rendered::new(HeaderValue::from_static(grpc), Bytes::new());
        rendered.status = StatusCode::OK;
        rendered.head.remove(CONTENT_LENGTH);
        rendered.head.insert(GRPC_STATUS, programs::UNAVAILABLE.into());
        if let Ok(message) = HeaderValue::try_from(programs::percent_encoded(&message)) {
            rendered.head.insert(GRPC_MESSAGE, message);
        }
        rendered
    }
}

/// Problem document.
#[derive(Debug, Serialize)]
struct Problem<'v> {
    r#type: &'static str,
    title: &'v str,
    status: u16,
    detail: String,
    sent: &'static str,
    /// False if no upstream has got the request; absent if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    processed: Option<bool>,
}

/// Returns the type of a problem, which programs may compare. `docs/responses.md` lists them.
fn kind(error: ErrorStatus) -> &'static str {
    match error {
        ErrorStatus::BadGateway => "urn:backsoon:upstream-failed",
        ErrorStatus::Unavailable => "urn:backsoon:upstream-unavailable",
        ErrorStatus::Timeout => "urn:backsoon:upstream-timeout",
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::accept::Coding;
    use super::super::super::config::{Framing, PageConfig};
    use super::super::markup::Markup;
    use super::super::policy;
    use super::super::renderer::Renderer;
    use super::super::sources::{Source, Sources};
    use super::super::templates::ERROR_HTML;
    use super::*;

    fn finished() -> Renderer {
        let renderer = Renderer::built_in();
        assert!(!renderer.is_finished());
        renderer.finish();
        assert!(renderer.is_finished());
        renderer
    }

    fn text_of(rendered: &Stored) -> &str {
        std::str::from_utf8(&rendered.body).unwrap()
    }

    #[test]
    fn each_dialect_says_what_it_said_when_it_was_last_looked_at() {
        let renderer = finished();
        let mut told = String::new();
        for (error, fate, dialects) in [
            (ErrorStatus::BadGateway, Fate::Nothing, &Dialect::ALL[..]),
            (ErrorStatus::Unavailable, Fate::Unsent, &[Dialect::Text, Dialect::Problem]),
            (ErrorStatus::Timeout, Fate::Unknown, &[Dialect::Text, Dialect::Problem]),
        ] {
            for &dialect in dialects {
                let variant = Variant { dialect, language: 0, coding: Coding::Identity };
                let rendered = renderer.error(error, fate, variant).unwrap();
                let head = rendered.rendered().head;
                let kind = head["content-type"].to_str().unwrap();
                let fields = head.iter().filter(|(name, _)| name.as_str().starts_with("grpc-"));
                let fields: String =
                    fields.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
                let body = text_of(rendered);
                let body = if dialect == Dialect::Html { body.split("<style>").next().unwrap() } else { body };
                told += &format!(
                    "## {} {} {}\n{} {kind}\n{fields}\n{body}\n",
                    error.as_str(),
                    fate.as_str(),
                    dialect.as_str(),
                    rendered.status
                );
            }
        }
        insta::assert_snapshot!(told);
    }

    #[test]
    fn it_is_small_and_says_nothing_of_a_maintenance() {
        let renderer = finished();
        for (error, fate) in cases() {
            for (language, tag) in renderer.tags.iter().enumerate() {
                let coded =
                    |coding| renderer.error(error, fate, Variant { dialect: Dialect::Html, language, coding }).unwrap();
                let [plain, gzip, brotli] =
                    [Coding::Identity, Coding::Gzip, Coding::Brotli].map(|coding| coded(coding).body.len());
                println!("{tag} {error:?} {fate:?}: {plain} bytes, {gzip} as gzip, {brotli} as br");
                assert!(
                    brotli <= 4096 && brotli < gzip,
                    "{tag} {error:?} {fate:?}: {plain} bytes, {gzip} as gzip, {brotli} as br"
                );
                let html = text_of(coded(Coding::Identity)).to_lowercase();
                let words = ["maintenance", "wartung", "mantenimiento", "メンテナンス", "صيانة"];
                assert!(!words.iter().any(|word| html.contains(word)), "{html}");
                assert_eq!(html.contains("http-equiv=\"refresh\""), fate == Fate::Nothing);
                assert_eq!(html.contains("data-again="), fate == Fate::Nothing);
            }
        }
    }

    #[test]
    fn the_policy_names_the_inline_parts_alone_and_text_keeps_to_80_columns() {
        let renderer = finished();
        for (error, fate) in cases() {
            for (language, _) in renderer.tags.iter().enumerate() {
                let of = |dialect| {
                    renderer.error(error, fate, Variant { dialect, language, coding: Coding::Identity }).unwrap()
                };
                let html = of(Dialect::Html);
                let markup = Markup::of(text_of(html));
                assert_eq!((markup.styles.len(), markup.scripts.len(), markup.refused.as_slice()), (1, 1, &[][..]));
                assert_eq!(
                    html.rendered().head["content-security-policy"],
                    policy::of_parts(&markup, &Framing::default())
                );
                let widest = text_of(of(Dialect::Text)).lines().map(unicode_width::UnicodeWidthStr::width).max();
                assert!(widest.is_some_and(|widest| widest <= 80));
            }
        }
    }

    #[test]
    fn until_they_are_finished_the_default_language_is_there_uncompressed() {
        let renderer = Renderer::built_in();
        let variant = Variant { dialect: Dialect::Html, language: 1, coding: Coding::Brotli };
        let fields = |rendered: &Stored| {
            ["content-encoding", "content-language"].map(|name| rendered.rendered().head.get(name).cloned())
        };
        let shown = |renderer: &Renderer| fields(renderer.error(ErrorStatus::Timeout, Fate::Nothing, variant).unwrap());
        assert_eq!(shown(&renderer), [None, "en".parse().ok()]);
        renderer.finish();
        assert_eq!(shown(&renderer), [Some("br"), Some("de")].map(|value| value?.parse().ok()));
    }

    #[test]
    fn an_own_template_is_tried_and_can_be_switched_off() {
        let own = |text: &str| {
            let source =
                Source { name: ERROR_HTML.to_owned(), path: format!("pages/{ERROR_HTML}"), text: text.to_owned() };
            Renderer::new(&PageConfig::default(), &Sources { files: vec![source], logo: None }, "backsoon.toml")
        };
        let (renderer, problems) = own("<title>{{ title }}</title>\n{{ reason }}");
        assert!(renderer.is_none());
        let place = problems[0].place.as_ref().map(|place| place.line);
        assert_eq!((problems[0].file.as_str(), place), ("pages/error.html", Some(2)), "{problems:#?}");
        let (renderer, problems) = own("<title>{{ title }}</title>Our {{ status }}");
        let variant = Variant { dialect: Dialect::Html, language: 0, coding: Coding::Identity };
        let shown = renderer.unwrap_or_else(|| panic!("{problems:#?}"));
        let shown = shown.error(ErrorStatus::Unavailable, Fate::Nothing, variant).map(text_of).map(str::to_owned);
        assert_eq!(shown.as_deref(), Some("<title>The service is not available right now</title>Our 503\n"));
        let config = PageConfig { errors: false, ..PageConfig::default() };
        let (renderer, _) = Renderer::new(&config, &Sources::default(), "backsoon.toml");
        assert!(renderer.unwrap().error(ErrorStatus::Unavailable, Fate::Nothing, variant).is_none());
    }
}
