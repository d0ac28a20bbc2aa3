//! Fields of a form, from the bodies in which pages, programs and mail providers send them.

use std::collections::BTreeSet;

use percent_encoding::percent_decode;
use serde::Deserialize;

use super::{Media, Way};

/// Fields that were sent. All are as the visitor wrote them, but without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Form {
    /// Way in which somebody wants to be told.
    #[serde(rename = "channel")]
    pub way: String,
    /// Address.
    pub address: String,
    /// Keys or names of services.
    pub services: BTreeSet<String>,
    /// Regions.
    pub regions: BTreeSet<String>,
    /// Kinds of updates.
    pub kinds: BTreeSet<String>,
    /// Tag of a language.
    pub language: String,
    /// Pace: `digest` or `each-step`.
    pub pace: String,
    /// Field that people do not see. Programs that fill every field fill it as well.
    #[serde(skip)]
    pub trap: String,
    /// Button that was pressed.
    #[serde(skip)]
    pub act: String,
    /// `List-Unsubscribe` of one click.
    #[serde(skip)]
    pub one_click: String,
}

/// Keys of a browser, as it gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct BrowserKeys {
    /// Point on P-256, in base64url.
    pub p256dh: String,
    /// Secret, in base64url.
    pub auth: String,
}

/// Body that a browser sends: what `PushSubscription.toJSON()` returns, with choices beside it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    endpoint: String,
    #[serde(rename = "expirationTime", default)]
    _expires: Option<serde_json::Value>,
    keys: BrowserKeys,
    #[serde(default)]
    services: BTreeSet<String>,
    #[serde(default)]
    regions: BTreeSet<String>,
    #[serde(default)]
    kinds: BTreeSet<String>,
    #[serde(default)]
    language: String,
}

/// Body that is not of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// If JSON is none, or has another shape. The other types have no mistakes: what is no field is left out.
    pub fn read(media: Media, body: &[u8]) -> Result<Self, Malformed> {
        match media {
            Media::Form => Ok(Self::of_pairs(pairs(body))),
            Media::Multipart => Ok(Self::of_pairs(parts(body))),
            Media::Json => {
                let form: Self = serde_json::from_slice(body).map_err(|error| Malformed(error.to_string()))?;
                Ok(form.plain())
            }
        }
    }

    /// Reads what a browser sends that is to be told itself, and its keys.
    ///
    /// # Errors
    /// If the body is no JSON, or has another shape.
    pub fn of_browser(body: &[u8]) -> Result<(Self, BrowserKeys), Malformed> {
        let sent: Sent = serde_json::from_slice(body).map_err(|error| Malformed(error.to_string()))?;
        let Sent { endpoint, keys, services, regions, kinds, language, _expires } = sent;
        let way = Way::Push.as_str().to_owned();
        let form = Self { way, address: endpoint, services, regions, kinds, language, ..Self::default() };
        Ok((form.plain(), keys))
    }

    fn of_pairs(pairs: impl Iterator<Item = (String, String)>) -> Self {
        let mut form = Self::default();
        for (name, value) in pairs {
            let value = plain(&value);
            match name.as_str() {
                "channel" => form.way = value,
                "address" => form.address = value,
                "service" => drop(form.services.insert(value)),
                "region" => drop(form.regions.insert(value)),
                "kind" => drop(form.kinds.insert(value)),
                "language" => form.language = value,
                "pace" => form.pace = value,
                TRAP => form.trap = value,
                "act" => form.act = value,
                "List-Unsubscribe" => form.one_click = value,
                _ => {}
            }
        }
        form
    }

    fn plain(self) -> Self {
        let all = |set: &BTreeSet<String>| set.iter().map(|text| plain(text)).collect();
        Self {
            way: plain(&self.way),
            address: plain(&self.address),
            services: all(&self.services),
            regions: all(&self.regions),
            kinds: all(&self.kinds),
            language: plain(&self.language),
            pace: plain(&self.pace),
            ..self
        }
    }
}

/// Returns a text without control characters, which mark items in pages, and without blanks around it.
fn plain(text: &str) -> String {
    let shown: String = text.chars().filter(|character| !character.is_control()).collect();
    shown.trim().to_owned()
}

/// Splits `application/x-www-form-urlencoded`.
fn pairs(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &[u8]| {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_decode(&spaced).decode_utf8_lossy().into_owned()
    };
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        (decoded(name), decoded(value))
    })
}

/// Splits `multipart/form-data` by its own first line, which is the boundary.
fn parts(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    let text = String::from_utf8_lossy(body).into_owned();
    let boundary = text.lines().next().map(str::trim_end).unwrap_or_default().to_owned();
    let whole: Vec<(String, String)> = match boundary.strip_prefix("--") {
        None | Some("") => Vec::new(),
        Some(_) => text.split(&boundary).filter_map(part).collect(),
    };
    whole.into_iter()
}

fn part(part: &str) -> Option<(String, String)> {
    let part = part.strip_prefix("\r\n").or_else(|| part.strip_prefix('\n'))?;
    let (head, value) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n"))?;
    let is_disposition = |line: &&str| line.to_ascii_lowercase().starts_with("content-disposition:");
    let line = head.lines().find(is_disposition)?;
    let name = line.split(';').find_map(|one| one.trim().strip_prefix("name="))?;
    Some((name.trim_matches('"').to_owned(), value.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Name of the field that people do not see.
pub const TRAP: &str = "website";

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_body_breaks_the_reader_or_a_page(
            bytes in prop_oneof![
                vec(any::<u8>(), 0..200).boxed(),
                "--a(\r?\n(Content-Disposition: form-data; name=\"?[a-zA-Z-]{0,16}\"?)?(\r?\n){0,2}[^a]{0,9}(--a)?){0,3}"
                    .prop_map(String::into_bytes)
                    .boxed(),
                "((address|service|act|website)=[a-z%0-9+]{0,9}&?){0,6}".prop_map(String::into_bytes).boxed(),
            ],
        ) {
            for media in [Media::Form, Media::Json, Media::Multipart] {
                let Ok(form) = Form::read(media, &bytes) else { continue };
                let all = [form.way, form.address, form.language, form.pace, form.trap, form.act, form.one_click];
                let sets = [form.services, form.regions, form.kinds].into_iter().flatten();
                for text in all.into_iter().chain(sets) {
                    prop_assert!(!text.contains(char::is_control) && text.len() <= 3 * bytes.len(), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_body_of_a_page_is_read() {
        let body = "channel=mail&address=+reader%2Bnews%40example.org&service=a&service=b&kind=plans&region=eu%20west\
                    &language=de&website=&act=erase&other=1&&x";
        let form = Form::read(Media::Form, body.as_bytes()).unwrap();
        assert_eq!((form.way.as_str(), form.address.as_str()), ("mail", "reader+news@example.org"));
        assert_eq!(form.services, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(form.regions, BTreeSet::from(["eu west".to_owned()]));
        assert_eq!((form.language.as_str(), form.trap.as_str(), form.act.as_str()), ("de", "", "erase"));
        let odd = Form::read(Media::Form, b"address=a%01%02b%0Ac%ff").unwrap();
        assert_eq!(odd.address, "abc\u{fffd}");
    }

    #[test]
    fn a_body_of_a_program_is_read_and_a_wrong_one_is_an_error() {
        let body = br#"{"channel":"webhook","address":"https://a.example/\u0001","kinds":["plans"]}"#;
        let form = Form::read(Media::Json, body).unwrap();
        assert_eq!((form.way.as_str(), form.address.as_str()), ("webhook", "https://a.example/"));
        for (body, found) in [("{", "EOF"), (r#"{"mailbox":"x"}"#, "unknown field `mailbox`"), ("[1]", "invalid")] {
            let Err(Malformed(error)) = Form::read(Media::Json, body.as_bytes()) else { panic!("{body}") };
            assert!(error.contains(found), "{error}");
        }
    }

    #[test]
    fn one_click_is_read_as_providers_send_it() {
        let multipart =
            "--abc\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--abc--\r\n";
        let bare = "--x\nContent-Disposition: form-data; name=List-Unsubscribe\n\nOne-Click\n--x--";
        for (media, body) in [
            (Media::Form, "List-Unsubscribe=One-Click"),
            (Media::Form, "List-Unsubscribe=One-Click\r\n"),
            (Media::Multipart, multipart),
            (Media::Multipart, bare),
        ] {
            assert_eq!(Form::read(media, body.as_bytes()).unwrap().one_click, "One-Click", "{body}");
        }
        for body in ["", "--", "no boundary", "--a\r\nb"] {
            assert_eq!(Form::read(Media::Multipart, body.as_bytes()).unwrap(), Form::default(), "{body}");
        }
    }
}
