//! Banner: what an open app may show its visitors of an announced maintenance, as a script and as JSON.
//!
//! Both are finished bytes in each language, made when a window is announced and kept until that changes. An app includes
//! the script, and nothing is put into its pages.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::etag::etag;
use super::flags::Mode;
use super::page::{Language, Renderer};
use super::text::Text;

/// Content of a banner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BannerModel {
    /// URL of the status site, or its path on this proxy.
    pub url: String,
    /// Announced windows, soonest first.
    pub windows: Vec<AnnouncedWindow>,
}

/// Window as a banner tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnnouncedWindow {
    /// Id of the window.
    pub id: String,
    /// Title for people.
    pub title: Option<Text>,
    /// Mode to come.
    pub mode: Mode,
    /// Planned start.
    pub starts: Timestamp,
    /// Planned end.
    pub ends: Timestamp,
}

/// Finished banner.
#[derive(Debug)]
pub struct Banner {
    /// Content.
    pub model: Arc<BannerModel>,
    /// Forms in the renderer's order of languages, or in the default language alone.
    languages: Vec<LocalizedBanner>,
}

#[derive(Debug)]
struct LocalizedBanner {
    script: BannerForm,
    data: BannerForm,
}

/// One form of a banner: bytes with their tag.
#[derive(Clone, Debug)]
pub struct BannerForm {
    /// Type of the bytes.
    pub content_type: HeaderValue,
    /// Bytes.
    pub bytes: Bytes,
    /// Strong entity tag of the bytes.
    pub etag: HeaderValue,
}

impl Banner {
    /// Makes a banner in this many languages, at least one.
    pub(crate) fn new(model: Arc<BannerModel>, renderer: &Renderer, languages: usize) -> Self {
        let localized = |language: &Language| {
            let announced = announced(&model, language);
            LocalizedBanner {
                script: BannerForm::new("text/javascript; charset=utf-8", script(&model, language, &announced)),
                data: BannerForm::new("application/json", format!("{}\n", json!({ "announced": announced }))),
            }
        };
        let languages = renderer.languages().iter().take(languages.max(1)).map(localized).collect();
        Self { model, languages }
    }

    /// Returns the script in a language, by its index in the renderer.
    pub fn script(&self, language: usize) -> &BannerForm {
        &self.localized(language).script
    }

    /// Returns the JSON in a language, by its index in the renderer.
    pub fn data(&self, language: usize) -> &BannerForm {
        &self.localized(language).data
    }

    fn localized(&self, language: usize) -> &LocalizedBanner {
        // A renderer has at least one language.
        self.languages.get(language).unwrap_or(&self.languages[0])
    }
}

impl BannerForm {
    fn new(content_type: &'static str, text: String) -> Self {
        let bytes = Bytes::from(text);
        Self { content_type: HeaderValue::from_static(content_type), etag: etag(&bytes), bytes }
    }
}

/// Returns the announced windows, for programs and for the script. Routes are not named: an app may be one of many tenants.
fn announced(model: &BannerModel, language: &Language) -> Vec<Value> {
    let told = |window: &AnnouncedWindow| {
        let mut told = json!({
            "id": window.id, "mode": window.mode.as_str(), "starts": window.starts, "ends": window.ends,
            "url": model.url,
        });
        if let Some(title) = &window.title {
            told["title"] = title.in_language(&language.tag).into();
        }
        told
    };
    model.windows.iter().map(told).collect()
}

/// Returns the script with its words; empty if nothing is announced.
fn script(model: &BannerModel, language: &Language, announced: &[Value]) -> String {
    if model.windows.is_empty() {
        return String::new();
    }
    let place = |name: &str| (name.to_owned(), format!("{{{name}}}"));
    let (starts, ends) = (place("starts"), place("ends"));
    let words = language.own("news-announced", &[(&starts.0, starts.1), (&ends.0, ends.1)]);
    let banner = json!({
        "lang": language.tag, "dir": if language.right_to_left { "rtl" } else { "ltr" }, "announced": announced,
        "words": words, "status": language.own("status", &[]), "dismiss": language.own("dismiss", &[]),
    });
    let code: Vec<&str> = SCRIPT.lines().filter(|line| !line.starts_with("//")).collect();
    code.join("\n").replacen("BANNER", &banner.to_string(), 1)
}

const SCRIPT: &str = include_str!("../../pages/banner.js");

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Arc<BannerModel> {
        let title = Text {
            plain: "A new disk".to_owned(),
            languages: [("en", "A new disk"), ("de", "Eine neue Platte")].map(|(a, b)| (a.into(), b.into())).into(),
        };
        let window = AnnouncedWindow {
            id: "M-1".to_owned(),
            title: Some(title),
            mode: Mode::Offline,
            starts: "2026-12-06T01:00:00Z".parse().unwrap(),
            ends: "2026-12-06T02:00:00Z".parse().unwrap(),
        };
        Arc::new(BannerModel { url: "/.backsoon/news/".to_owned(), windows: vec![window] })
    }

    #[test]
    fn a_banner_is_short_and_says_the_same_in_each_language() {
        let renderer = Renderer::built_in();
        let banner = Banner::new(model(), &renderer, usize::MAX);
        for (index, tag) in renderer.tags.iter().enumerate() {
            let (script, data) = (banner.script(index), banner.data(index));
            let text = String::from_utf8(script.bytes.to_vec()).unwrap();
            assert!(text.len() <= 3000, "{tag}: {} bytes", text.len());
            for part in [&format!("\"lang\":\"{tag}\""), "{starts}", "{ends}"] {
                assert!(text.contains(part), "{tag}: {part}");
            }
            assert!(!text.contains("\"dismiss\":\"\"") && !text.contains("BANNER"), "{text}");
            let data: Value = serde_json::from_slice(&data.bytes).unwrap();
            let title = if tag == "de" { "Eine neue Platte" } else { "A new disk" };
            let told = json!({
                "id": "M-1", "title": title, "mode": "offline", "starts": "2026-12-06T01:00:00Z",
                "ends": "2026-12-06T02:00:00Z", "url": "/.backsoon/news/",
            });
            assert_eq!(data, json!({ "announced": [told] }), "{tag}");
        }
        assert_ne!(banner.script(0).etag, banner.script(1).etag);
    }

    #[test]
    fn nothing_announced_is_an_empty_script() {
        let nothing = BannerModel { url: "/".to_owned(), windows: Vec::new() };
        let banner = Banner::new(Arc::new(nothing), &Renderer::built_in(), 1);
        let (script, data) = (banner.script(5), banner.data(5));
        assert_eq!((&script.bytes[..], &data.bytes[..]), (&b""[..], &b"{\"announced\":[]}\n"[..]));
    }

    #[test]
    fn what_an_operator_writes_stays_a_string() {
        let mut model = (*model()).clone();
        let hostile = "\"};alert(1)//</script>\u{2028}BANNER {starts}";
        model.windows[0].title = Some(hostile.into());
        let banner = Banner::new(Arc::new(model), &Renderer::built_in(), 1);
        let text = String::from_utf8(banner.script(0).bytes.to_vec()).unwrap();
        let literal = text.split_once("told=").unwrap().1;
        let read: Value = serde_json::Deserializer::from_str(literal).into_iter().next().unwrap().unwrap();
        assert_eq!(read["announced"][0]["title"], hostile);
    }
}
