//! Script that shows notifications while no page of the site is open.

use http::HeaderValue;
use http::header::CONTENT_SECURITY_POLICY;

use super::super::document::{Document, Section};
use super::super::forms::Way;
use super::News;

/// Returns the script with its path, if browsers are told. It asks for nothing, and its policy lets it ask for nothing.
pub(super) fn script(news: &News<'_>) -> Option<(&'static str, Document)> {
    news.ways.contains(&Way::Push).then(|| {
        let section = Section { head: SCRIPT.into(), ..Section::default() };
        let mut document = Document::new("text/javascript; charset=utf-8", news.changed, vec![section], "");
        document.fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        ("/sw.js", document)
    })
}

const SCRIPT: &str = include_str!("../../../../pages/sw.js");
