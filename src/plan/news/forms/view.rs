//! Forms as the templates of the site show them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::super::document::{Marked, Tags};
use super::super::mark::Mark;
use super::super::{Service, Words};
use super::{Choices, Form, Kinds, Mistake, Pace, Way};

/// Form of one way.
#[derive(Clone, Debug, Serialize)]
pub struct FormView {
    /// Word for the way, which begins the ids of its fields.
    pub way: &'static str,
    title: String,
    label: String,
    help: Option<String>,
    /// `type`, `inputmode` and `autocomplete` of the field.
    kind: &'static str,
    autocomplete: &'static str,
    placeholder: &'static str,
    address: String,
    error: Option<String>,
    /// Key for which this browser subscribes.
    key: Option<String>,
    /// Error of another field.
    trouble: Option<String>,
    services: Vec<ChoiceView>,
    regions: Vec<ChoiceView>,
    kinds: Vec<ChoiceView>,
    /// Choice of the digest; `None` if the way has none.
    digest: Option<ChoiceView>,
    languages: Vec<ChoiceView>,
}

/// Choice with its label.
#[derive(Clone, Debug, Serialize)]
struct ChoiceView {
    value: String,
    words: String,
    chosen: bool,
    /// Mark by which a filter leaves the choice out; `None` if none does.
    mark: Option<Mark>,
}

/// Places of the tags of choices among those of a page.
#[derive(Clone, Copy, Debug)]
pub struct ChoiceTags {
    services: usize,
    regions: usize,
}

impl ChoiceTags {
    /// Puts the tags of all choices behind those that a page has already.
    pub fn add(all: &mut Vec<Marked>, choices: &Choices) -> Self {
        let free = |tags| Marked { tags, share: None };
        let services = all.len();
        all.extend(choices.services.iter().map(|service| free(service.tags())));
        let regions = all.len();
        all.extend(choices.regions().into_iter().map(|region| {
            let of = choices.services.iter().filter(|service| service.regions.iter().any(|own| own == region));
            let of: Vec<&Service> = of.collect();
            free(Arc::new(Tags {
                routes: of.iter().flat_map(|service| service.routes.iter().cloned()).collect(),
                services: of.iter().flat_map(|one| [one.name.clone(), one.key.to_string()]).collect(),
                regions: BTreeSet::from([region.to_owned()]),
                ..Tags::default()
            }))
        }));
        Self { services, regions }
    }
}

impl FormView {
    /// Makes the form of a way. `sent` is what a visitor has sent or chosen before, with its mistake.
    pub fn new(
        way: Way,
        choices: &Choices,
        tags: ChoiceTags,
        words: Words<'_>,
        sent: Option<(&Form, Option<&Mistake>)>,
    ) -> Self {
        let nothing = Form { language: words.tag().to_owned(), ..Form::default() };
        let (form, mistake) = sent.unwrap_or((&nothing, None));
        let (kind, autocomplete) = match way {
            Way::Mail => ("email", "email"),
            Way::Webhook | Way::Slack | Way::Discord | Way::Teams | Way::Ntfy | Way::Push => ("url", "url"),
        };
        let told = mistake.map(|mistake| (mistake.field == "address", words.own(mistake.wrong.message())));
        let error = told.clone().filter(|(is_address, _)| *is_address).map(|(_, words)| words);
        let trouble = told.filter(|(is_address, _)| !is_address).map(|(_, words)| words);
        Self {
            way: way.as_str(),
            title: way.chat().map_or_else(|| words.own(&format!("form-{}", way.as_str())), str::to_owned),
            label: words.own(label(way)),
            help: help(way, words),
            kind,
            autocomplete,
            placeholder: way.example(),
            address: form.address.clone(),
            error,
            key: choices.push_key.clone().filter(|_| way == Way::Push),
            trouble,
            services: services(choices, tags, form),
            regions: regions(choices, tags, form),
            kinds: kinds(form, words),
            digest: (way == Way::Mail).then(|| ChoiceView {
                value: Pace::Digest.as_str().to_owned(),
                words: words.own("form-digest"),
                chosen: form.pace == Pace::Digest.as_str(),
                mark: None,
            }),
            languages: Vec::new(),
        }
    }

    /// Adds the choice of a language.
    #[must_use]
    pub fn with_languages<'l>(self, all: impl Iterator<Item = Words<'l>>, chosen: &str) -> Self {
        let choice = |words: Words<'_>| ChoiceView {
            value: words.tag().to_owned(),
            words: words.own("name"),
            chosen: words.tag() == chosen,
            mark: None,
        };
        Self { languages: all.map(choice).collect(), ..self }
    }
}

fn label(way: Way) -> &'static str {
    match way {
        Way::Mail => "form-mail-address",
        Way::Webhook => "form-webhook-address",
        Way::Slack | Way::Discord | Way::Teams | Way::Ntfy => "form-chat-address",
        Way::Push => "form-push",
    }
}

fn help(way: Way, words: Words<'_>) -> Option<String> {
    match way {
        Way::Mail => None,
        Way::Webhook => Some(words.own("form-webhook-help")),
        Way::Push => Some(words.own("form-push-help")),
        Way::Slack | Way::Discord | Way::Teams | Way::Ntfy => {
            Some(words.with("form-chat-help", &[("example", way.example().to_owned())]))
        }
    }
}

fn services(choices: &Choices, tags: ChoiceTags, form: &Form) -> Vec<ChoiceView> {
    let choice = |(index, service): (usize, &Service)| ChoiceView {
        value: service.key.to_string(),
        words: service.name.clone(),
        chosen: form.services.contains(service.key.as_str()) || form.services.contains(&service.name),
        mark: Some(Mark::new(tags.services + index)),
    };
    choices.services.iter().enumerate().map(choice).collect()
}

fn regions(choices: &Choices, tags: ChoiceTags, form: &Form) -> Vec<ChoiceView> {
    let choice = |(index, region): (usize, &str)| ChoiceView {
        value: region.to_owned(),
        words: region.to_owned(),
        chosen: form.regions.contains(region),
        mark: Some(Mark::new(tags.regions + index)),
    };
    choices.regions().into_iter().enumerate().map(choice).collect()
}

fn kinds(form: &Form, words: Words<'_>) -> Vec<ChoiceView> {
    let choice = |kinds: Kinds| ChoiceView {
        value: kinds.as_str().to_owned(),
        words: words.own(&format!("form-kind-{}", kinds.as_str())),
        chosen: form.kinds.contains(kinds.as_str()),
        mark: None,
    };
    Kinds::ALL.into_iter().map(choice).collect()
}

/// Words of a page that answers somebody.
#[derive(Clone, Debug, Serialize)]
pub struct NoteView {
    /// Paragraphs.
    pub lines: Vec<String>,
    /// Role of the lines: `status` or `alert`.
    pub state: Option<&'static str>,
    /// Button that acts.
    pub button: Option<String>,
    /// Way on.
    pub link: Option<NoteLink>,
}

/// Link of a page that answers somebody.
#[derive(Clone, Debug, Serialize)]
pub struct NoteLink {
    /// Place.
    pub href: String,
    /// Words.
    pub words: String,
}

impl NoteView {
    /// Creates a note of some lines.
    pub fn new(lines: Vec<String>) -> Self {
        Self { lines, state: None, button: None, link: None }
    }
}
