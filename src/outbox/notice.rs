//! Notices: updates as subscribers are told of them, with the words in every language.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::plan::news::mail::Letter;
use crate::plan::news::{Incident, News, Update, Words};
use crate::plan::notify;

/// Update of an incident, and all that a message about it is made of. The outbox keeps it until all are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Name of the site.
    pub title: String,
    /// URL of the site without a slash at its end; a path if no URL is configured.
    pub url: String,
    /// Incident as it is now. Of its updates, only the one that is told.
    pub incident: Incident,
    /// Update.
    pub update: Update,
    /// Names and keys of the services that it concerns.
    pub services: BTreeSet<String>,
    /// Words by language, the default one first.
    pub tellings: Vec<Telling>,
}

/// Words of a notice in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// Tag of the language (BCP 47).
    pub language: String,
    /// Heading of the incident.
    pub title: String,
    /// Word for its stage.
    pub stage: String,
    /// Paragraphs of the update.
    pub paragraphs: Vec<String>,
    /// Words of a mail; `None` in a notice that an older backsoon recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<Letter>,
    /// Words of a message to a chat; `None` in a notice that an older backsoon recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<notify::Notice>,
}

impl Notice {
    /// Puts a notice together, in every language.
    pub fn new<'l>(
        news: &News<'_>,
        incident: &Incident,
        update: &Update,
        languages: impl Iterator<Item = Words<'l>>,
    ) -> Self {
        let page = || news.link(&format!("/incidents/{}", incident.key));
        let telling = |words: Words<'_>| Telling {
            language: words.tag().to_owned(),
            title: words.title(&incident.facts),
            stage: words.stage(update.stage),
            paragraphs: words.paragraphs(incident, update),
            letter: Some(Letter::of_update(words, news, incident, update)),
            chat: Some(notify::Notice::of_update(incident, update, words, page())),
        };
        Self {
            title: news.title.clone(),
            url: news.url.clone(),
            services: news.tags(incident).services.clone(),
            tellings: languages.map(telling).collect(),
            incident: Incident { updates: vec![update.clone()], ..incident.clone() },
            update: update.clone(),
        }
    }

    /// Returns the words in a language: in the same one, else in its parent, else in the default one.
    pub fn in_language(&self, tag: &str) -> Option<&Telling> {
        let mut tag = tag;
        loop {
            if let Some(found) = self.tellings.iter().find(|telling| telling.language.eq_ignore_ascii_case(tag)) {
                return Some(found);
            }
            match tag.rfind('-') {
                Some(dash) => tag = &tag[..dash],
                None => return self.tellings.first(),
            }
        }
    }
}
