//! Stationery: the words of mails that ask a mailbox, in every language, before they have an address.

use crate::plan::news::mail::{Action, Letter};
use crate::plan::news::{News, Words};

/// Words of mails that ask, and the place where their links lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stationery {
    /// Absolute URL of the site without a slash at its end; `None` if none is configured. Then no mailbox is asked.
    pub url: Option<String>,
    /// Words by language, the default one first.
    pub sheets: Vec<Sheet>,
}

/// Words in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Letter that asks whether the subscription is theirs.
    pub confirm: Letter,
    /// Message that asks a chat whether it wants to be told.
    pub channel: Letter,
    /// First message to a browser.
    pub browser: Letter,
    /// Letter that says that nothing has changed.
    pub known: Letter,
}

/// Question that a mailbox is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Question whether the subscription is theirs.
    Confirm,
    /// Question to a chat, whose members shall be told.
    ConfirmChannel,
    /// None: a browser has agreed, and is greeted.
    Greeting,
    /// Nothing: it is subscribed already.
    Known,
}

impl Stationery {
    /// Words all mails.
    pub fn new<'l>(news: &News<'_>, languages: impl Iterator<Item = Words<'l>>) -> Self {
        let sheet = |words: Words<'_>| Sheet {
            confirm: Letter::of_confirmation(words, &news.title, String::new()),
            channel: Letter::of_channel(words, &news.title, String::new()),
            browser: Letter::of_browser(words, &news.title, String::new()),
            known: Letter::of_known(words, &news.title, String::new()),
        };
        let url = news.url.contains("://").then(|| news.url.clone());
        Self { url, sheets: languages.map(sheet).collect() }
    }

    /// Returns the letter with its link, in a language or else the default one; `None` if no link can be made.
    pub fn letter(&self, question: Question, language: &str, path: &str) -> Option<Letter> {
        let url = format!("{}{path}", self.url.as_ref()?);
        let of = |sheet: &Sheet| match question {
            Question::Confirm => sheet.confirm.clone(),
            Question::ConfirmChannel => sheet.channel.clone(),
            Question::Greeting => sheet.browser.clone(),
            Question::Known => sheet.known.clone(),
        };
        let own = self.sheets.iter().find(|sheet| sheet.confirm.language == language);
        let letter = own.or(self.sheets.first()).map(of)?;
        let action = letter.action.clone().map(|action| Action { url, ..action });
        Some(Letter { action, ..letter })
    }
}
