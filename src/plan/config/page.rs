//! `[page]`: brand, languages, reserved paths, and the origins that may read the page. Pages of single routes have their
//! own file.

use std::path::PathBuf;

use toml::de::DeValue;

use super::super::color::Color;
use super::super::keys;
use super::super::path::Prefix;
use super::super::problem::quoted;
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text};
use super::super::text::{MOST_LANGUAGES, is_language};

/// Settings of `pages` and `[page]`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PageConfig {
    /// Route whose page it is, the first by name of those that share it; `None` is the page of all others.
    pub route: Option<String>,
    /// Directories of the operator's templates and messages. Each file replaces that of its name in the directories behind,
    /// and the built-in one.
    pub dirs: Vec<PathBuf>,
    /// Name above the page.
    pub brand: Option<String>,
    /// File of a picture beside the name. The picture becomes part of the page.
    pub logo: Option<PathBuf>,
    /// Colour of emphasis; adjusted where it could not be read.
    pub accent: Color,
    /// Language for clients that ask for none, or for none that is offered.
    pub language: String,
    /// Every language that is offered, each once. [`PageConfig::language`] comes first.
    pub languages: Vec<String>,
    /// Links on the page.
    pub links: Links,
    /// URL or path of the proxy's own status site, without a slash at its end. An app has none.
    pub site: Option<String>,
    /// Names of the templates that routes have for programs, sorted. An app has none.
    pub programs: Vec<String>,
    /// Prefix of the paths that the proxy answers itself and never forwards.
    pub prefix: Prefix,
    /// Origins whose scripts may read the answers of closed routes, and whose preflights are allowed. `None`: any may
    /// read, and no preflight is allowed.
    pub cors: Option<Origins>,
    /// Answer `Accept: text/event-stream` with 200, so that an `EventSource` reconnects by itself.
    pub event_stream: bool,
    /// Pages that may show this one in a frame.
    pub framing: Framing,
    /// Answer the proxy's own 502, 503 and 504 with pages.
    pub errors: bool,
}

/// Pages that may show a page in a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No page.
    None,
    /// Pages of the same origin.
    #[default]
    SameOrigin,
    /// Every page.
    Any,
    /// Pages of the same origin and of these, in lowercase: `https://app.example.com`, `https://*.example.com`.
    Origins(Vec<String>),
}

/// Links on the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// First item of the breadcrumb.
    pub home: Option<String>,
    /// Second item: the status page. Also sent as the `Link` field with `rel="status"` (RFC 8631).
    pub status: Option<String>,
    /// Live feed; by default that of the status site.
    pub feed: Option<String>,
    /// Page to subscribe to updates; by default that of the status site.
    pub subscribe: Option<String>,
    /// Page for help and contact.
    pub help: Option<String>,
    /// Channels of the updates: email, webhook, slack.
    pub channels: Vec<String>,
}

/// Origins (RFC 6454) whose scripts may read the answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// `"*"`: any origin, without credentials.
    pub any: bool,
    /// Exact origins in lowercase: `https://app.example.com`.
    pub exact: Vec<String>,
    /// Patterns such as `https://*.example.com`, as the parts before and after the `*`.
    pub below: Vec<(String, String)>,
}

impl Origins {
    /// Returns true if no origin is allowed.
    pub fn is_empty(&self) -> bool {
        !self.any && self.exact.is_empty() && self.below.is_empty()
    }

    /// Returns true if an origin is in the list by itself or by a pattern; `"*"` does not count.
    pub fn names(&self, origin: &[u8]) -> bool {
        self.exact.iter().any(|exact| exact.as_bytes() == origin)
            || self.below.iter().any(|(before, behind)| {
                let host = origin.strip_prefix(before.as_bytes()).and_then(|rest| rest.strip_suffix(behind.as_bytes()));
                host.is_some_and(|host| !host.is_empty() && host.iter().all(|&byte| belongs_in_host(byte)))
            })
    }
}

impl Default for PageConfig {
    fn default() -> Self {
        Self {
            route: None,
            dirs: Vec::new(),
            brand: None,
            logo: None,
            accent: Color::DEFAULT,
            language: LANGUAGES[0].to_owned(),
            languages: LANGUAGES.map(str::to_owned).into(),
            links: Links::default(),
            site: None,
            programs: Vec::new(),
            prefix: Prefix::new(DEFAULT_PREFIX).expect("it has a normal form"),
            cors: None,
            event_stream: true,
            framing: Framing::default(),
            errors: true,
        }
    }
}

/// Reads `pages` and `[page]`.
pub(super) fn page(top: &mut Section<'_>, report: &mut Report<'_>) -> PageConfig {
    let dir = top.take("pages").and_then(|value| value.path("pages", report));
    let section = top.take("page");
    let config = section.map(|value| section_of(&value, report)).unwrap_or_default();
    PageConfig { dirs: dir.into_iter().collect(), ..config }
}

fn section_of(value: &Value<'_>, report: &mut Report<'_>) -> PageConfig {
    let defaults = PageConfig::default();
    let Some(table) = value.table("[page]", report) else { return defaults };
    let mut section = Section::new(&keys::PAGE, "`[page]`", value.span.clone(), table);
    let brand = section.take("brand").and_then(|value| value.words(LONGEST_LINE, Lines::One, report));
    let logo = section.take("logo").and_then(|value| value.path("logo.svg", report));
    let accent = section.take("accent").and_then(|value| accent(&value, report));
    let (language, languages) = languages(&mut section, report, defaults.languages);
    let links = section.take("links").map(|value| links(&value, report)).unwrap_or_default();
    let prefix = section.take("prefix").and_then(|value| prefix(&value, report));
    let cors = section.take("cors").map(|value| origins(&value, report));
    let event_stream = section.take("event_stream").and_then(|value| value.boolean(report));
    let framing = section.take("framing").and_then(|value| framing(&value, report));
    let errors = section.take("errors").and_then(|value| value.boolean(report));
    section.finish(report, hint);
    PageConfig {
        route: None,
        dirs: Vec::new(),
        brand,
        logo,
        accent: accent.unwrap_or(defaults.accent),
        language,
        languages,
        links,
        site: None,
        programs: Vec::new(),
        prefix: prefix.unwrap_or(defaults.prefix),
        cors,
        event_stream: event_stream.unwrap_or(true),
        framing: framing.unwrap_or_default(),
        errors: errors.unwrap_or(true),
    }
}

pub(super) fn hint(key: &str, _: &DeValue<'_>) -> Option<String> {
    match key {
        "name" | "title" | "company" => Some(did_you_mean_text("brand")),
        "color" | "colour" => Some(did_you_mean_text("accent")),
        "lang" | "locale" => Some(did_you_mean_text("language")),
        "origins" | "allow_origin" => Some(did_you_mean_text("cors")),
        "frame_ancestors" | "frame-ancestors" | "x_frame_options" | "frames" => Some(did_you_mean_text("framing")),
        "home" | "status" | "feed" | "subscribe" | "help" | "contact" => {
            Some(format!("write it inside of `links`: `links = {{ {key} = \"https://…\" }}`"))
        }
        "pages" | "dir" | "templates" => Some("write `pages = \"DIR\"` above the first `[…]` line".to_owned()),
        "message" | "summary" => Some(format!("`{key}` belongs in the flag file")),
        _ => None,
    }
}

pub(super) fn accent(value: &Value<'_>, report: &mut Report<'_>) -> Option<Color> {
    let text = value.string("#0b6b53", report)?;
    let color = Color::parse(text);
    if color.is_none() {
        report.wrong(value.span.clone(), format!("{} is not a colour", quoted(text)), "write one like `#0b6b53`");
    }
    color
}

/// Reads the default language and all that are offered.
pub(super) fn languages(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
    defaults: Vec<String>,
) -> (String, Vec<String>) {
    let first = section.take("language").and_then(|value| language(&value, report));
    let mut all = match section.take("languages") {
        None => defaults,
        Some(value) => {
            let items = value.one_or_more(report);
            report.at_most(MOST_LANGUAGES, items.len(), "languages", value.key_span.clone());
            items.iter().take(MOST_LANGUAGES).filter_map(|item| language(item, report)).collect()
        }
    };
    let first = first.or_else(|| all.first().cloned()).unwrap_or_else(|| LANGUAGES[0].to_owned());
    all.insert(0, first.clone());
    let mut seen = Vec::new();
    all.retain(|tag| {
        !seen.contains(tag) && {
            seen.push(tag.clone());
            true
        }
    });
    (first, all)
}

/// Reads a language tag.
pub(super) fn language(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("de", report)?;
    if is_language(text) {
        return Some(text.to_owned());
    }
    report.wrong(value.span.clone(), format!("{} is not a language", quoted(text)), "write a tag like `de` or `pt-BR`");
    None
}

pub(super) fn links(value: &Value<'_>, report: &mut Report<'_>) -> Links {
    let Some(table) = value.table("links = { status = \"https://status.example.com\" }", report) else {
        return Links::default();
    };
    let mut section = Section::new(&keys::LINKS, "`links`", value.span.clone(), table);
    let mut link = |key, report: &mut Report<'_>| section.take(key).and_then(|value| url(&value, report));
    let (home, status, feed) = (link("home", report), link("status", report), link("feed", report));
    let (subscribe, help) = (link("subscribe", report), link("help", report));
    let channels = section.take("channels").map(|value| {
        let items = value.any_number();
        report.at_most(MOST_CHANNELS, items.len(), "channels", value.key_span.clone());
        let items = items.iter().take(MOST_CHANNELS);
        items.filter_map(|item| item.words(LONGEST_LINE, Lines::One, report)).collect()
    });
    section.finish(report, |key, _| (key == "contact").then(|| did_you_mean_text("help")));
    Links { home, status, feed, subscribe, help, channels: channels.unwrap_or_default() }
}

/// Reads the target of a link. Schemes that a browser would run are refused.
fn url(value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.words(LONGEST_URL, Lines::One, report)?;
    let lower = text.to_ascii_lowercase();
    let known = ["https://", "http://", "mailto:", "tel:"].iter().any(|scheme| lower.starts_with(scheme));
    let local = text.starts_with('/') && !text.starts_with("//");
    if (known || local) && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>')) {
        return Some(text);
    }
    let help = "write it whole, like `https://status.example.com`, `mailto:help@example.com` or `/help`";
    report.wrong(value.span.clone(), format!("{} is not a link", quoted(&text)), help);
    None
}

/// Reads a prefix of the proxy's own.
pub(super) fn prefix(value: &Value<'_>, report: &mut Report<'_>) -> Option<Prefix> {
    let text = value.string(DEFAULT_PREFIX, report)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~');
    let prefix = Prefix::new(text).ok().filter(|_| text.bytes().all(plain));
    match prefix {
        Some(prefix) if prefix.as_str() != "/" => Some(prefix),
        Some(_) => {
            let help = "name a path of its own: what is below it is never forwarded";
            report.wrong(value.span.clone(), "`prefix` cannot be every path", help);
            None
        }
        None => {
            let help = format!("write one like `{DEFAULT_PREFIX}`");
            report.wrong(value.span.clone(), format!("{} is not a path", quoted(text)), help);
            None
        }
    }
}

fn origins(value: &Value<'_>, report: &mut Report<'_>) -> Origins {
    let mut origins = Origins::default();
    let items = value.any_number();
    report.at_most(MOST_ORIGINS, items.len(), "origins", value.key_span.clone());
    for item in items.iter().take(MOST_ORIGINS) {
        let Some(text) = item.string("https://app.example.com", report) else { continue };
        let lower = text.to_ascii_lowercase();
        match (text, origin(&lower)) {
            ("*", _) => origins.any = true,
            (_, Some((scheme, host))) => match host.strip_prefix("*.") {
                Some(behind) => origins.below.push((format!("{scheme}://"), format!(".{behind}"))),
                None => origins.exact.push(lower),
            },
            (_, None) => {
                let help = "write scheme and host, and the port if it is another one: `https://app.example.com`, \
                     `https://*.example.com`, or `*` for any";
                report.wrong(item.span.clone(), format!("{} is not an origin", quoted(text)), help);
            }
        }
    }
    origins
}

/// Reads who may show the page in a frame: a word, or origins.
pub(super) fn framing(value: &Value<'_>, report: &mut Report<'_>) -> Option<Framing> {
    if let DeValue::String(text) = value.inner
        && let Some((_, framing)) = FRAMING.iter().find(|(word, _)| word == text)
    {
        return Some(framing.clone());
    }
    let items = value.one_or_more(report);
    report.at_most(MOST_FRAMERS, items.len(), "origins", value.key_span.clone());
    let mut origins = Vec::new();
    for item in items.iter().take(MOST_FRAMERS) {
        let text = item.string("https://app.example.com", report)?;
        let lower = text.to_ascii_lowercase();
        if origin(&lower).is_none() {
            let help = "write `\"none\"`, `\"same-origin\"`, `\"any\"`, or the origins whose pages may show it: \
                        `[\"https://app.example.com\"]`";
            report.wrong(item.span.clone(), format!("{} is not an origin", quoted(text)), help);
            return None;
        }
        origins.push(lower);
    }
    Some(Framing::Origins(origins))
}

/// Returns scheme and host of an origin. The host may begin with `*.`.
fn origin(text: &str) -> Option<(&str, &str)> {
    let (scheme, host) = text.split_once("://")?;
    let name = host.strip_prefix("*.").unwrap_or(host);
    let name_only = name.rsplit_once(':').map_or(name, |(name, _)| name);
    let port = name.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok());
    let valid = !name_only.is_empty() && name_only.bytes().all(belongs_in_host) && port;
    (matches!(scheme, "http" | "https") && valid).then_some((scheme, host))
}

fn belongs_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']')
}

/// Languages of the built-in messages; the first is the default.
pub const LANGUAGES: [&str; 12] = ["en", "de", "fr", "es", "ja", "ar", "pt-BR", "zh-Hans", "it", "nl", "pl", "ko"];

const DEFAULT_PREFIX: &str = "/.backsoon";
pub(super) const LONGEST_LINE: usize = 256;
const LONGEST_URL: usize = 2048;
const MOST_CHANNELS: usize = 16;
const MOST_ORIGINS: usize = 256;
/// Each of them is a part of every page's head.
const MOST_FRAMERS: usize = 32;
const FRAMING: [(&str, Framing); 3] =
    [("none", Framing::None), ("same-origin", Framing::SameOrigin), ("any", Framing::Any)];
