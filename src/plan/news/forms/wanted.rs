//! Wishes of a visitor, checked against what is offered.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::super::config::is_address;
use super::super::super::page::Renderer;
use super::super::{News, Service, Words};
use super::Form;

/// Way in which somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// E-mail.
    Mail,
    /// Webhook.
    Webhook,
    /// Channel of Slack.
    Slack,
    /// Channel of Discord.
    Discord,
    /// Channel of Microsoft Teams.
    Teams,
    /// Topic of ntfy.
    Ntfy,
    /// This browser, by Web Push. A script sends it, and not the form.
    Push,
}

/// Group of kinds of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// Plans and changes of them.
    Plans,
    /// Beginning and end.
    Course,
    /// Changes of the expected end.
    Times,
    /// Progress.
    Steps,
}

/// Pace at which a subscriber is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Each update by itself.
    #[default]
    EachStep,
    /// All updates of a day together.
    Digest,
}

/// Choices that are offered to a visitor.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Ways; none if this proxy tells no subscribers.
    pub ways: Vec<Way>,
    /// Services.
    pub services: Vec<Service>,
    /// Tags of the languages.
    pub languages: Vec<String>,
    /// Key that browsers subscribe for.
    pub push_key: Option<String>,
}

/// Wishes that are in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Way.
    pub way: Way,
    /// Address.
    pub address: String,
    /// Keys of services; none means all.
    pub services: BTreeSet<String>,
    /// Regions; none means all.
    pub regions: BTreeSet<String>,
    /// Kinds of updates, by their words; none means all.
    pub kinds: BTreeSet<String>,
    /// Tag of the language.
    pub language: String,
    /// Pace. Only mails have a digest.
    pub pace: Pace,
}

/// Button of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Saves the preferences.
    Save,
    /// Deletes all data.
    Erase,
}

/// Mistake in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Name of the field.
    pub field: &'static str,
    /// Reason.
    pub wrong: Wrong,
    /// Value that was found.
    pub found: String,
}

/// Reason of a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No address of a mailbox.
    NoMailbox,
    /// No URL that every program reads alike.
    NoUrl,
    /// URL that leads nowhere public.
    NotPublic,
    /// URL that the service of a chat does not give out.
    NoPlace,
    /// Keys of a browser that are none.
    NoKeys,
    /// Choice that is not offered.
    NotOffered,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 7] =
        [Self::Mail, Self::Webhook, Self::Slack, Self::Discord, Self::Teams, Self::Ntfy, Self::Push];
    /// Ways into chats.
    pub const CHATS: [Self; 4] = [Self::Slack, Self::Discord, Self::Teams, Self::Ntfy];

    /// Returns the word for the way.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::Ntfy => "ntfy",
            Self::Push => "push",
        }
    }

    /// Returns the name of the chat that the way leads to.
    pub fn chat(self) -> Option<&'static str> {
        match self {
            Self::Mail | Self::Webhook | Self::Push => None,
            Self::Slack => Some("Slack"),
            Self::Discord => Some("Discord"),
            Self::Teams => Some("Microsoft Teams"),
            Self::Ntfy => Some("ntfy"),
        }
    }

    /// Returns an address such as the field takes.
    pub fn example(self) -> &'static str {
        match self {
            Self::Mail => "name@example.com",
            Self::Webhook => "https://example.com/hook",
            Self::Slack => "https://hooks.slack.com/services/T…/B…/…",
            Self::Discord => "https://discord.com/api/webhooks/…/…",
            Self::Teams => "https://….api.powerplatform.com/…",
            Self::Ntfy => "https://ntfy.sh/topic",
            Self::Push => "https://fcm.googleapis.com/fcm/send/…",
        }
    }
}

impl Kinds {
    /// All groups.
    pub const ALL: [Self; 4] = [Self::Plans, Self::Course, Self::Times, Self::Steps];

    /// Returns the word for the group.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plans => "plans",
            Self::Course => "course",
            Self::Times => "times",
            Self::Steps => "steps",
        }
    }

    /// Returns the kinds of the group, by their words.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Plans => &["announced", "reworded", "moved", "cancelled"],
            Self::Course => &["began", "closed-again", "over"],
            Self::Times => &["extended", "expected", "overrun"],
            Self::Steps => &["step-done", "checking", "returning"],
        }
    }
}

impl Pace {
    /// Returns the word for the pace.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EachStep => "each-step",
            Self::Digest => "digest",
        }
    }

    /// Finds a pace by its word. No word is the pace of those who say nothing.
    pub fn find(word: &str) -> Option<Self> {
        match word {
            "" | "each-step" => Some(Self::EachStep),
            "digest" => Some(Self::Digest),
            _ => None,
        }
    }
}

impl Act {
    /// Finds an act by the value of its button.
    pub fn find(word: &str) -> Option<Self> {
        match word {
            "" | "save" => Some(Self::Save),
            "erase" => Some(Self::Erase),
            _ => None,
        }
    }
}

impl Wrong {
    /// Returns the key of its message.
    pub fn message(self) -> &'static str {
        match self {
            Self::NoMailbox => "form-mail-wrong",
            Self::NoUrl => "form-url-wrong",
            Self::NotPublic => "form-url-private",
            Self::NoPlace => "form-place-wrong",
            Self::NoKeys => "form-push-no",
            Self::NotOffered => "form-choice-wrong",
        }
    }
}

impl Choices {
    /// Returns the choices that are offered beside the news, in the languages of a renderer.
    pub fn new(news: &News<'_>, renderer: &Renderer) -> Self {
        let languages = Words::all(renderer).map(|words| words.tag().to_owned()).collect();
        Self { ways: news.ways.clone(), services: news.services.clone(), languages, push_key: news.keys.push.clone() }
    }

    /// Leaves out what a client may not learn of.
    #[must_use]
    pub fn within(&self, routes: Option<&BTreeSet<String>>) -> Self {
        let is_known = |service: &&Service| routes.is_none_or(|routes| !routes.is_disjoint(&service.routes));
        Self { services: self.services.iter().filter(is_known).cloned().collect(), ..self.clone() }
    }

    /// Leaves out the ways that no form leads to.
    #[must_use]
    pub fn by_form(&self) -> Self {
        Self { ways: self.ways.iter().copied().filter(|way| *way != Way::Push).collect(), ..self.clone() }
    }

    /// Returns all regions.
    pub fn regions(&self) -> BTreeSet<&str> {
        self.services.iter().flat_map(|service| &service.regions).map(String::as_str).collect()
    }

    /// Checks a form for a new subscription. `judge` looks at the URL of a way, and returns its usual form.
    ///
    /// # Errors
    /// If something of it is not offered, or the address is none.
    pub fn check(&self, form: &Form, judge: impl Fn(Way, &str) -> Result<String, Wrong>) -> Result<Wanted, Mistake> {
        let way = self.ways.iter().find(|way| way.as_str() == form.way);
        let way = *way.ok_or_else(|| Mistake::not_offered("channel", &form.way))?;
        let judged = match way {
            // Hosts do not tell capitals from small letters, and no server that is known does so for mailboxes.
            Way::Mail if is_address(&form.address) => Ok(form.address.to_ascii_lowercase()),
            Way::Mail => Err(Wrong::NoMailbox),
            Way::Webhook | Way::Slack | Way::Discord | Way::Teams | Way::Ntfy | Way::Push => judge(way, &form.address),
        };
        let mistake = |wrong| Mistake { field: "address", wrong, found: form.address.clone() };
        let address = judged.map_err(mistake)?;
        self.preferences(form, way, address)
    }

    /// Checks the preferences of a form, for a subscription with an address that is known.
    ///
    /// # Errors
    /// If something of it is not offered.
    pub fn preferences(&self, form: &Form, way: Way, address: String) -> Result<Wanted, Mistake> {
        let mut services = BTreeSet::new();
        for wanted in &form.services {
            let found = self.services.iter().find(|one| one.key.as_str() == wanted || one.name == *wanted);
            let found = found.ok_or_else(|| Mistake::not_offered("services", wanted))?;
            services.insert(found.key.to_string());
        }
        let regions = self.regions();
        if let Some(unknown) = form.regions.iter().find(|wanted| !regions.contains(wanted.as_str())) {
            return Err(Mistake::not_offered("regions", unknown));
        }
        let known = |word: &String| Kinds::ALL.iter().any(|kinds| kinds.as_str() == word);
        if let Some(unknown) = form.kinds.iter().find(|word| !known(word)) {
            return Err(Mistake::not_offered("kinds", unknown));
        }
        let language = match form.language.as_str() {
            "" => self.languages.first().cloned().unwrap_or_default(),
            tag if self.languages.iter().any(|known| known == tag) => tag.to_owned(),
            tag => return Err(Mistake::not_offered("language", tag)),
        };
        let pace = Pace::find(&form.pace).filter(|pace| way == Way::Mail || *pace == Pace::EachStep);
        let pace = pace.ok_or_else(|| Mistake::not_offered("pace", &form.pace))?;
        let kinds = kinds(&form.kinds);
        // All is what will be added later as well.
        let services = if services.len() == self.services.len() { BTreeSet::new() } else { services };
        let all_regions = form.regions.len() == regions.len();
        let regions = if all_regions { BTreeSet::new() } else { form.regions.clone() };
        Ok(Wanted { way, address, services, regions, kinds, language, pace })
    }
}

impl Mistake {
    fn not_offered(field: &'static str, found: &str) -> Self {
        Self { field, wrong: Wrong::NotOffered, found: found.to_owned() }
    }
}

/// Returns the kinds of some groups; none for all of them, and for no group.
fn kinds(groups: &BTreeSet<String>) -> BTreeSet<String> {
    let chosen: Vec<Kinds> = Kinds::ALL.into_iter().filter(|kinds| groups.contains(kinds.as_str())).collect();
    if chosen.len() == Kinds::ALL.len() {
        return BTreeSet::new();
    }
    chosen.into_iter().flat_map(Kinds::words).map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::{Key, ServiceStatus};
    use super::*;

    fn service(name: &str, regions: &[&str]) -> Service {
        Service {
            key: Key::of(&["service", name]),
            name: name.to_owned(),
            detail: None,
            routes: BTreeSet::from([name.to_owned()]),
            regions: regions.iter().map(|region| (*region).to_owned()).collect(),
            status: ServiceStatus::Operational,
            changed: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn choices() -> Choices {
        Choices {
            ways: Way::ALL.to_vec(),
            services: vec![service("shop", &["eu"]), service("tools", &["us"])],
            languages: vec!["en".to_owned(), "de".to_owned()],
            push_key: None,
        }
    }

    fn form(way: &str, address: &str) -> Form {
        Form { way: way.to_owned(), address: address.to_owned(), ..Form::default() }
    }

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_form_says_all_or_some() {
        let check = |form: &Form| choices().check(form, |_, url| Ok(url.to_owned())).unwrap();
        let all = check(&form("mail", "Reader@Example.org"));
        assert_eq!((all.address.as_str(), all.language.as_str()), ("reader@example.org", "en"));
        assert!(all.services.is_empty() && all.regions.is_empty() && all.kinds.is_empty());
        let some = Form {
            services: set(&["shop"]),
            regions: set(&["eu"]),
            kinds: set(&["course", "plans"]),
            language: "de".to_owned(),
            ..form("webhook", "https://a.example/Hook")
        };
        let some = check(&some);
        assert_eq!(some.address, "https://a.example/Hook");
        assert_eq!(some.services, BTreeSet::from([Key::of(&["service", "shop"]).to_string()]));
        assert_eq!(some.kinds, set(&["announced", "reworded", "moved", "cancelled", "began", "closed-again", "over"]));
        let every = Form {
            services: set(&["shop", "tools"]),
            regions: set(&["eu", "us"]),
            kinds: set(&["plans", "course", "times", "steps"]),
            ..form("mail", "a@b.example")
        };
        let every = check(&every);
        assert!(every.services.is_empty() && every.regions.is_empty() && every.kinds.is_empty());
    }

    #[test]
    fn a_mistake_names_its_field_and_what_was_found() {
        let check = |form: &Form| choices().check(form, |_, _| Err(Wrong::NotPublic)).unwrap_err();
        let mail = || form("mail", "a@b.example");
        let cases = [
            (form("pigeon", "x"), "channel", Wrong::NotOffered, "pigeon"),
            (form("mail", "a@localhost"), "address", Wrong::NoMailbox, "a@localhost"),
            (form("mail", ""), "address", Wrong::NoMailbox, ""),
            (form("webhook", "https://10.0.0.1/"), "address", Wrong::NotPublic, "https://10.0.0.1/"),
            (Form { services: set(&["blog"]), ..mail() }, "services", Wrong::NotOffered, "blog"),
            (Form { regions: set(&["mars"]), ..mail() }, "regions", Wrong::NotOffered, "mars"),
            (Form { kinds: set(&["began"]), ..mail() }, "kinds", Wrong::NotOffered, "began"),
            (Form { language: "xx".to_owned(), ..mail() }, "language", Wrong::NotOffered, "xx"),
            (Form { pace: "weekly".to_owned(), ..mail() }, "pace", Wrong::NotOffered, "weekly"),
        ];
        for (form, field, wrong, found) in cases {
            assert_eq!(check(&form), Mistake { field, wrong, found: found.to_owned() });
        }
    }

    #[test]
    fn a_digest_is_a_mail() {
        for (way, pace, wanted) in [
            (Way::Mail, "", Ok(Pace::EachStep)),
            (Way::Mail, "each-step", Ok(Pace::EachStep)),
            (Way::Mail, "digest", Ok(Pace::Digest)),
            (Way::Webhook, "each-step", Ok(Pace::EachStep)),
            (Way::Webhook, "digest", Err("pace")),
        ] {
            let form = Form { pace: pace.to_owned(), ..form(way.as_str(), "a@b.example") };
            let found = choices().check(&form, |_, url| Ok(url.to_owned()));
            assert_eq!(found.map(|wanted| wanted.pace).map_err(|mistake| mistake.field), wanted, "{way:?} {pace}");
        }
    }

    #[test]
    fn what_another_host_has_is_not_offered() {
        let own = choices().within(Some(&set(&["shop"])));
        let tools = Form { services: set(&["tools"]), ..form("mail", "a@b.example") };
        assert_eq!(own.check(&tools, |_, url| Ok(url.to_owned())).unwrap_err().field, "services");
        assert_eq!(own.regions(), BTreeSet::from(["eu"]));
    }

    #[test]
    fn every_kind_of_update_is_in_one_group() {
        let all: Vec<&str> = Kinds::ALL.into_iter().flat_map(Kinds::words).copied().collect();
        let once: BTreeSet<&&str> = all.iter().collect();
        assert_eq!((all.len(), once.len()), (13, 13));
    }
}
