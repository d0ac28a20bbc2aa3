//! Forms of the status site, as values: what visitors send, and what is wrong with it.
//!
//! Nothing here knows a subscriber. A visit says the same whatever address it names.

pub mod fields;
pub mod limits;
pub mod view;
mod wanted;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

pub use fields::{BrowserKeys, Form, Malformed};
pub use wanted::{Act, Choices, Kinds, Mistake, Pace, Wanted, Way, Wrong};

/// Place of a form on the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/subscribe`.
    Subscribe,
    /// `/subscribe/push`: a browser that is to be told itself.
    Browser,
    /// `/confirm/TOKEN`: the link of the first mail.
    Confirm(String),
    /// `/manage/TOKEN`: the preferences.
    Manage(String),
    /// `/u/TOKEN`: the end, by one click (RFC 8058).
    End(String),
}

/// Media type of a body that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/x-www-form-urlencoded`, from a page.
    Form,
    /// `application/json`, from a program.
    Json,
    /// `multipart/form-data`, as some mail providers send one click.
    Multipart,
}

/// Form in which an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Page.
    Html,
    /// Plain text.
    Text,
    /// JSON.
    Json,
}

/// Visit of a form, with all that its answer depends on.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Place.
    pub place: Place,
    /// Body and its type; `None` for a visitor who only looks.
    pub sent: Option<(Media, Bytes)>,
    /// Network of the client, if it is known.
    pub client: Option<IpAddr>,
    /// Routes that the client may learn of; `None` for all.
    pub routes: Option<BTreeSet<String>>,
    /// Tag of the language of the answer.
    pub language: String,
    /// Form of the answer.
    pub reading: Reading,
}

/// Answer to a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Fields, with the type of the body.
    pub fields: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Place {
    /// Finds a form by its path below the site. A token is only looked at as a word.
    pub fn find(below: &str) -> Option<Self> {
        if below == "/subscribe" {
            return Some(Self::Subscribe);
        }
        if below == "/subscribe/push" {
            return Some(Self::Browser);
        }
        let (head, token) = below.strip_prefix('/')?.split_once('/')?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(is_word) {
            return None;
        }
        let token = token.to_owned();
        match head {
            "confirm" => Some(Self::Confirm(token)),
            "manage" => Some(Self::Manage(token)),
            "u" => Some(Self::End(token)),
            _ => None,
        }
    }

    /// Returns the part of a path below the site that stands before the token of a link. A link that was cut or has grown
    /// has one as well, which must not be read by others either.
    pub fn before_token(below: &str) -> Option<&'static str> {
        ["/confirm/", "/manage/", "/u/"].into_iter().find(|head| below.starts_with(head))
    }

    /// Returns true if a token leads to the place, which only the subscriber has.
    pub fn has_token(&self) -> bool {
        match self {
            Self::Subscribe | Self::Browser => false,
            Self::Confirm(_) | Self::Manage(_) | Self::End(_) => true,
        }
    }

    /// Returns true if a request for the place needs the forms. The page with the forms is a finished one.
    pub fn is_visit(&self, method: &Method) -> bool {
        self.has_token() || *method == Method::POST
    }

    /// Returns the media types that may be sent there.
    pub fn takes(&self, media: Media) -> bool {
        match self {
            Self::Subscribe => matches!(media, Media::Form | Media::Json),
            Self::Browser => media == Media::Json,
            Self::Confirm(_) | Self::Manage(_) => media == Media::Form,
            Self::End(_) => matches!(media, Media::Form | Media::Multipart),
        }
    }

    /// Returns what a visitor is told who sends another media type.
    pub fn other_media(&self) -> &'static str {
        match self {
            Self::Subscribe => "Content-Type: send application/x-www-form-urlencoded or application/json",
            Self::Browser => "Content-Type: send application/json",
            Self::Confirm(_) | Self::Manage(_) => "Content-Type: send application/x-www-form-urlencoded",
            Self::End(_) => "Content-Type: send application/x-www-form-urlencoded or multipart/form-data",
        }
    }
}

impl Media {
    /// Reads a `Content-Type`.
    pub fn find(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "application/json" => Some(Self::Json),
            "multipart/form-data" => Some(Self::Multipart),
            _ => None,
        }
    }
}

/// Returns true if another site makes its visitors send this. A browser says so itself (Fetch Metadata), an older one
/// by its `Origin`. Programs and mail providers send neither.
pub fn is_cross_site(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "same-site" | "none");
    }
    text("origin").is_some_and(|origin| {
        let own = origin.split_once("://").map(|(_, authority)| authority);
        !own.is_some_and(|own| own.eq_ignore_ascii_case(host))
    })
}

/// Letters of a token that is passed on.
const LONGEST_TOKEN: usize = 128;
/// Bytes of a body.
pub const MOST_BODY: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_by_its_path() {
        let token = "AZaz09-_".to_owned();
        let cases = [
            ("/subscribe", Some(Place::Subscribe)),
            ("/subscribe/push", Some(Place::Browser)),
            ("/confirm/AZaz09-_", Some(Place::Confirm(token.clone()))),
            ("/manage/AZaz09-_", Some(Place::Manage(token.clone()))),
            ("/u/AZaz09-_", Some(Place::End(token))),
            ("/u/", None),
            ("/u", None),
            ("/u/a/b", None),
            ("/u/a.b", None),
            ("/other/a", None),
            ("/subscribe/a", None),
        ];
        for (path, place) in cases {
            assert_eq!(Place::find(path), place, "{path}");
        }
        assert_eq!(Place::find(&format!("/u/{}", "a".repeat(129))), None);
    }

    #[test]
    fn whoever_sends_another_media_type_is_told_those_that_are_taken() {
        let names = ["application/x-www-form-urlencoded", "application/json", "multipart/form-data"];
        let token = String::new;
        for place in [Place::Subscribe, Place::Confirm(token()), Place::Manage(token()), Place::End(token())] {
            for name in names {
                let is_taken = Media::find(name).is_some_and(|media| place.takes(media));
                assert_eq!(place.other_media().contains(name), is_taken, "{place:?} {name}");
            }
        }
    }

    #[test]
    fn what_another_site_sends_is_told_apart() {
        let cases: [(&[(&'static str, &str)], bool); 12] = [
            (&[], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "?")], true),
            (&[("origin", "https://status.test")], false),
            (&[("origin", "http://STATUS.test")], false),
            (&[("origin", "https://status.test:444")], true),
            (&[("origin", "https://evil.test")], true),
            (&[("origin", "null")], true),
            // A page that hides where it comes from: the browser knows better.
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], false),
        ];
        for (fields, is_foreign) in cases {
            let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_cross_site(&headers, "status.test"), is_foreign, "{fields:?}");
        }
    }
}
