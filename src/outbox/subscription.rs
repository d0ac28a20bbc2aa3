//! Subscriptions: channels, addresses, and the updates that each wants.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chat::Chat;
use super::endpoint::{Endpoint, EndpointError};
use super::notice::Notice;
use super::token::Uid;

pub use crate::plan::news::forms::Pace;

/// Subscription as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Number within the store. It changes by export and import.
    #[serde(default)]
    pub id: i64,
    /// Name of the subscription in links.
    #[serde(default)]
    pub uid: Uid,
    /// Channel, address and choice.
    #[serde(flatten)]
    pub order: Order,
    /// State.
    pub state: State,
    /// Secret that signs messages to it, `whsec_…`.
    pub secret: String,
    /// Instant of the subscription.
    pub created: Timestamp,
    /// Failed attempts since the last success.
    #[serde(default)]
    pub failures: u32,
    /// Last failure.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// Wishes of a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Channel.
    pub channel: Channel,
    /// Address: a URL, or that of a mailbox.
    pub address: String,
    /// Tag of the language (BCP 47).
    #[serde(default)]
    pub language: String,
    /// Names or keys of services; empty means all.
    #[serde(default)]
    pub services: BTreeSet<String>,
    /// Regions; empty means all.
    #[serde(default)]
    pub regions: BTreeSet<String>,
    /// Kinds of updates, by the words of [`crate::plan::news::UpdateKind::as_str`]; empty means all.
    #[serde(default)]
    pub kinds: BTreeSet<String>,
    /// Routes of the host on which somebody subscribed, who may learn of no others; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub routes: BTreeSet<String>,
    /// Pace.
    #[serde(default)]
    pub pace: Pace,
}

/// Channel of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Standard Webhooks.
    Webhook,
    /// E-mail.
    Mail,
    /// Incoming webhook of Slack, or of what takes its form.
    Slack,
    /// Webhook of Discord.
    Discord,
    /// Workflow of Microsoft Teams.
    Teams,
    /// Topic of an ntfy server.
    Ntfy,
    /// Browser, by Web Push.
    Push,
}

/// State of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The endpoint has not yet proved that it wants messages. It gets none.
    Unconfirmed,
    /// Told of every update that it wants.
    Active,
    /// Has failed for days. Nothing is sent until an operator says so.
    Quarantined,
    /// Has asked for silence, by 410 Gone.
    Disabled,
}

impl Order {
    /// Returns the endpoint of a channel that is told by POST.
    ///
    /// # Errors
    /// If the address is no URL that every program reads alike.
    pub fn endpoint(&self) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(&self.address)
    }

    /// Returns the address as it may be shown: who knows the URL of a chat can write there, and that of a browser is its alone, so its path is left out.
    pub fn shown(&self) -> String {
        let host = || self.endpoint().map(|endpoint| endpoint.authority()).unwrap_or_default();
        match self.channel {
            Channel::Webhook | Channel::Mail => self.address.chars().filter(|char| !char.is_control()).collect(),
            Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy | Channel::Push => {
                format!("{}/…", host())
            }
        }
    }

    /// Returns true if all news of a day come in one mail. Other channels are told of each update.
    pub fn is_digest(&self) -> bool {
        self.channel == Channel::Mail && self.pace == Pace::Digest
    }

    /// Returns true if the subscriber wants a notice.
    pub fn wants(&self, notice: &Notice) -> bool {
        let regions = &notice.incident.facts.regions;
        let meets = |wanted: &BTreeSet<String>, own: &BTreeSet<String>| wanted.is_empty() || !wanted.is_disjoint(own);
        meets(&self.services, &notice.services)
            // An incident without regions is everywhere.
            && (regions.is_empty() || meets(&self.regions, regions))
            && meets(&self.routes, &notice.incident.facts.routes)
            && (self.kinds.is_empty() || self.kinds.contains(notice.update.kind.as_str()))
    }
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 7] =
        [Self::Webhook, Self::Mail, Self::Slack, Self::Discord, Self::Teams, Self::Ntfy, Self::Push];

    /// Returns the word for the channel.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mail => "mail",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::Ntfy => "ntfy",
            Self::Push => "push",
        }
    }

    /// Finds a channel by its word.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == word)
    }

    /// Returns true if a new subscriber first gets a message of its own: one that asks, or in a browser one that greets. An endpoint answers a challenge instead.
    pub fn is_asked(self) -> bool {
        match self {
            Self::Mail | Self::Slack | Self::Discord | Self::Teams | Self::Ntfy | Self::Push => true,
            Self::Webhook => false,
        }
    }

    /// Returns the chat that the channel leads to.
    pub fn chat(self) -> Option<Chat> {
        match self {
            Self::Webhook | Self::Mail | Self::Push => None,
            Self::Slack => Some(Chat::Slack),
            Self::Discord => Some(Chat::Discord),
            Self::Teams => Some(Chat::Teams),
            Self::Ntfy => Some(Chat::Ntfy),
        }
    }
}

impl State {
    /// Returns the word for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unconfirmed => "unconfirmed",
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Disabled => "disabled",
        }
    }

    /// Finds a state by its word.
    pub fn find(word: &str) -> Option<Self> {
        let all = [Self::Unconfirmed, Self::Active, Self::Quarantined, Self::Disabled];
        all.into_iter().find(|state| state.as_str() == word)
    }
}
