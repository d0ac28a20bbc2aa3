//! Brand of the operator, as templates see it: name, logo, links and colour.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

use super::super::color::Color;
use super::super::config::{Links, PageConfig};
use super::super::problem::Problem;

/// Operator's brand, as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct Brand {
    /// Name above the page.
    pub name: Option<String>,
    /// Picture as a data URL.
    logo: Option<String>,
    links: LinksView,
    channels: Vec<String>,
    #[serde(skip)]
    /// Accent colour on light and on dark ground.
    pub accent: [String; 2],
}

#[derive(Debug, Serialize)]
struct LinksView {
    home: Option<String>,
    status: Option<String>,
    feed: Option<String>,
    subscribe: Option<String>,
    help: Option<String>,
}

impl Brand {
    /// Takes the brand from the settings of a page.
    pub(super) fn new(config: &PageConfig, logo: Option<String>) -> Self {
        let Links { home, status, feed, subscribe, help, channels } = config.links.clone();
        let site = |path: &str| config.site.as_ref().map(|site| format!("{site}{path}"));
        let (feed, subscribe) = (feed.or_else(|| site("/")), subscribe.or_else(|| site("/subscribe")));
        Self {
            name: config.brand.clone(),
            logo,
            links: LinksView { home, status, feed, subscribe, help },
            channels,
            accent: Color::GROUNDS.map(|ground| config.accent.readable_on(ground).to_string()),
        }
    }
}

/// Returns the field `Link` of pages: the status site (RFC 8631), and its feeds.
pub(super) fn link(config: &PageConfig) -> Option<HeaderValue> {
    let own = config.site.as_ref().map(|site| format!("{site}/"));
    let status = config.links.status.clone().or(own).map(|url| format!("<{url}>; rel=\"status\""));
    let feeds = config.site.iter().flat_map(|site| {
        [("history.atom", "application/atom+xml"), ("maintenance.ics", "text/calendar")]
            .map(|(file, kind)| format!("<{site}/{file}>; rel=\"alternate\"; type=\"{kind}\""))
    });
    let links: Vec<String> = status.into_iter().chain(feeds).collect();
    if links.is_empty() { None } else { links.join(", ").parse().ok() }
}

/// Turns a picture into a data URL.
pub(super) fn data_url(path: &str, bytes: &Bytes, problems: &mut Vec<Problem>) -> Option<String> {
    let extension = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let Some((_, kind)) = PICTURES.iter().find(|(known, _)| *known == extension) else {
        let help = "a logo is an svg, png, jpg, webp, avif or gif file";
        problems.push(Problem::error(path, "the logo is no picture that browsers show").help(help));
        return None;
    };
    if bytes.len() > LARGEST_LOGO {
        let message = format!("the logo has {} bytes, and at most {LARGEST_LOGO} are allowed", bytes.len());
        problems.push(Problem::error(path, message).help("it is a part of every page: make it smaller"));
        return None;
    }
    if bytes.len() > LARGE_LOGO {
        let message = format!("the logo has {} bytes, which is more than the page itself", bytes.len());
        problems.push(Problem::warning(path, message).help("it is a part of every page: a small SVG is best"));
    }
    Some(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
}

/// Media types of the pictures that browsers show, by extension.
const PICTURES: [(&str, &str); 7] = [
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("gif", "image/gif"),
];

/// Most bytes of a logo; a page should stay below 14 kB.
const LARGEST_LOGO: usize = 64 * 1024;
const LARGE_LOGO: usize = 6 * 1024;
