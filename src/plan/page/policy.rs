//! Policy of a document (`Content-Security-Policy`): its own inline parts, and nothing from elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::super::config::Framing;
use super::markup::{Kind, Markup};

/// Policy of a document, with the parts that it allows. The same document in another language mostly has the same one.
#[derive(Debug)]
pub(super) struct Policy {
    styles: Vec<String>,
    scripts: Vec<String>,
    pub value: HeaderValue,
}

impl Policy {
    pub(super) fn new(markup: &Markup<'_>, framing: &Framing) -> Self {
        let owned = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect();
        let value = of_parts(markup, framing);
        Self { styles: owned(&markup.styles), scripts: owned(&markup.scripts), value }
    }

    /// Returns true if a document with these parts has the same policy.
    pub(super) fn is_of(&self, markup: &Markup<'_>) -> bool {
        self.styles == markup.styles && self.scripts == markup.scripts
    }
}

/// Returns the names of inline parts, as a policy states them.
fn hashes<T: AsRef<[u8]>>(parts: &[T]) -> Vec<String> {
    let hash = |part: &T| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(part)));
    let mut hashes: Vec<String> = parts.iter().map(hash).collect();
    hashes.dedup();
    hashes
}

/// Returns a policy that allows only the inline parts, by their hash, and the page's own events.
pub(super) fn of_parts(markup: &Markup<'_>, framing: &Framing) -> HeaderValue {
    let hashes = |parts: &[&str]| if parts.is_empty() { "'none'".to_owned() } else { hashes(parts).join(" ") };
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; connect-src 'self'; form-action 'self'; base-uri \
         'none'{}",
        hashes(&markup.styles),
        hashes(&markup.scripts),
        frame_ancestors(framing)
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Returns the policy of a page that is served as it stands. Nothing of a request or of the flag file is in it, so its own
/// attributes may style and act, and it may fetch pictures, fonts and styles from where it names. Scripts from elsewhere
/// are refused all the same: whoever has that host would have the page.
pub(super) fn of_finished(markup: &Markup<'_>, framing: &Framing) -> HeaderValue {
    let allowed = || markup.outside.iter().filter(|outside| outside.kind != Kind::Active);
    let mut origins: Vec<String> =
        allowed().map(|outside| outside.origin().unwrap_or_else(|| "'self'".to_owned())).collect();
    origins.sort_unstable();
    origins.dedup();
    origins.truncate(MOST_ORIGINS);
    let origins = origins.join(" ");
    // A style sheet names fonts of its own, mostly of another host.
    let fonts = if allowed().any(|outside| outside.kind == Kind::Style) { "https:" } else { "" };
    let styles = if markup.styled { "'unsafe-inline'".to_owned() } else { hashes(&markup.styles).join(" ") };
    let mut scripts = hashes(&markup.scripts);
    if !markup.handlers.is_empty() {
        scripts.push("'unsafe-hashes'".to_owned());
        scripts.extend(hashes(&markup.handlers).into_iter().take(MOST_HANDLERS));
    }
    let sources = |name: &str, sources: &[&str]| {
        let sources: Vec<&str> = sources.iter().copied().filter(|source| !source.is_empty()).collect();
        format!("; {name} {}", if sources.is_empty() { "'none'".to_owned() } else { sources.join(" ") })
    };
    let policy = [
        "default-src 'none'".to_owned(),
        sources("style-src", &[&styles, &origins]),
        sources("script-src", &[&scripts.join(" ")]),
        sources("img-src", &["data:", &origins]),
        sources("font-src", &["data:", &origins, fonts]),
        sources("media-src", &["data:", &origins]),
        "; connect-src 'self'; form-action 'self'; base-uri 'none'".to_owned(),
        frame_ancestors(framing),
    ];
    HeaderValue::try_from(policy.concat()).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Returns the directive that says who may show the page in a frame. Without one, everybody may.
fn frame_ancestors(framing: &Framing) -> String {
    match framing {
        Framing::Any => String::new(),
        Framing::None => "; frame-ancestors 'none'".to_owned(),
        Framing::SameOrigin => "; frame-ancestors 'self'".to_owned(),
        Framing::Origins(origins) => format!("; frame-ancestors 'self' {}", origins.join(" ")),
    }
}

/// Returns the policy of a page of the site. One with a script may start the site's own worker, which shows notifications.
/// None may be shown in a frame: a form that somebody else has laid under a click must not be sent.
pub(super) fn of_site(markup: &Markup<'_>) -> HeaderValue {
    let policy = of_parts(markup, &Framing::None);
    if markup.scripts.is_empty() {
        return policy;
    }
    let text = policy.to_str().unwrap_or_default();
    HeaderValue::try_from(format!("{text}; worker-src 'self'")).unwrap_or(policy)
}

/// Most hosts that a finished page is allowed to fetch from. Its policy is a part of every answer.
const MOST_ORIGINS: usize = 16;
/// Most attributes with scripts that a finished page is allowed.
const MOST_HANDLERS: usize = 32;
