//! Places that a stranger may name for a channel. Operators may name others.

use std::fmt;

use crate::plan::news::forms::{Way, Wrong};

use super::address::Reach;
use super::chat::Chat;
use super::endpoint::{self, Endpoint, EndpointError, Host, Scheme};
use super::subscription::Channel;

/// Reason against a place that a stranger names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// The address is no URL that every program reads alike.
    Url(EndpointError),
    /// The URL is not `https://`, or names a port.
    Https,
    /// The URL is not one that the service gives out.
    Service(Chat),
    /// The URL is not one of a push service that is known.
    Browser,
    /// Mailboxes are no places.
    Mailbox,
}

/// Judges the place that a stranger names for a channel. Its addresses are judged at each delivery.
///
/// # Errors
/// If it is none for the channel.
pub fn of_stranger(channel: Channel, address: &str) -> Result<Endpoint, PlaceError> {
    let endpoint = Endpoint::parse(address).map_err(PlaceError::Url)?;
    if endpoint.scheme != Scheme::Https || endpoint.port != Scheme::Https.port() {
        return Err(PlaceError::Https);
    }
    match (channel, channel.chat()) {
        (_, Some(chat)) if !chat.gives_out(&endpoint) => Err(PlaceError::Service(chat)),
        // Nobody confirms it there, so that the service itself has to be one.
        (Channel::Push, _) if !is_push_service(&endpoint) => Err(PlaceError::Browser),
        (Channel::Mail, _) => Err(PlaceError::Mailbox),
        (Channel::Webhook | Channel::Slack | Channel::Discord | Channel::Teams | Channel::Ntfy | Channel::Push, _) => {
            Ok(endpoint)
        }
    }
}

/// Judges the place that a stranger types for a way, as far as that goes without a look-up: each attempt looks the host up.
/// Returns its usual form, so that a place has one name.
///
/// # Errors
/// If it is none for the way, or leads nowhere public. In a network of the operator, any server may take the form of a chat.
pub fn judge(reach: &Reach, channel: Channel, url: &str) -> Result<String, Wrong> {
    if channel == Channel::Webhook {
        return endpoint::judge(reach, url);
    }
    match of_stranger(channel, url) {
        Ok(_) => endpoint::judge(reach, url),
        Err(PlaceError::Url(_)) => Err(Wrong::NoUrl),
        Err(PlaceError::Https | PlaceError::Service(_) | PlaceError::Browser | PlaceError::Mailbox) => {
            let endpoint = Endpoint::parse(url).map_err(|_| Wrong::NoUrl)?;
            if reach.vouches_for(&endpoint) { Ok(endpoint.to_string()) } else { Err(Wrong::NoPlace) }
        }
    }
}

/// Returns the name under which a place is counted: the same for all URLs that lead to one channel of a chat.
pub fn counted(channel: Channel, address: &str) -> String {
    let place = match channel.chat() {
        Some(chat) => Endpoint::parse(address).ok().map(|endpoint| (chat, endpoint)),
        None => None,
    };
    let Some((chat, endpoint)) = place else { return address.to_owned() };
    let path = endpoint.path.split('?').next().unwrap_or_default();
    match chat {
        // The service has several hosts for each channel.
        Chat::Slack | Chat::Discord => format!("https://{}{path}", channel.as_str()),
        Chat::Teams | Chat::Ntfy => format!("https://{}{path}", endpoint.authority()),
    }
}

impl Chat {
    /// Returns true if the service gives out such URLs for its channels. They lead to no other host, so that nothing
    /// inside can be meant. An ntfy server may be anywhere.
    fn gives_out(self, endpoint: &Endpoint) -> bool {
        let Host::Name(host) = &endpoint.host else { return false };
        let (path, query) = endpoint.path.split_once('?').unwrap_or((&endpoint.path, ""));
        // A path with dots or escapes could climb out of its folder.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/@".contains(&byte);
        if !path.bytes().all(is_plain) || path.contains("//") {
            return false;
        }
        let below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
        match self {
            Self::Slack => {
                ["hooks.slack.com", "hooks.slack-gov.com"].contains(&host.as_str()) && has(path, "/services/", 3)
            }
            Self::Discord => {
                ["discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"].contains(&host.as_str())
                    && has(path, "/api/webhooks/", 2)
            }
            Self::Teams => {
                let hosts = ["logic.azure.com", "webhook.office.com", "api.powerplatform.com"];
                hosts.into_iter().any(below) && path.len() > 1
            }
            Self::Ntfy => has(path, "/", 1) && query.is_empty() && path.len() <= MOST_TOPIC,
        }
    }
}

/// Returns true for the services of the browsers.
fn is_push_service(endpoint: &Endpoint) -> bool {
    let Host::Name(host) = &endpoint.host else { return false };
    PUSH_SERVICES.iter().any(|service| match service.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => host == service,
    })
}

/// Returns true if a path has this many segments behind a beginning, none of them empty.
fn has(path: &str, beginning: &str, segments: usize) -> bool {
    let rest = path.strip_prefix(beginning).unwrap_or_default();
    rest.split('/').count() == segments && rest.split('/').all(|segment| !segment.is_empty())
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Https => f.write_str("does not begin with https://, or names a port"),
            Self::Service(chat) => write!(f, "is not such as {}", chat.example()),
            Self::Browser => f.write_str("is not at a push service that is known"),
            Self::Mailbox => f.write_str("is a mailbox"),
        }
    }
}

impl std::error::Error for PlaceError {}

impl Chat {
    /// Returns an address as the service gives it out.
    pub fn example(self) -> &'static str {
        match self {
            Self::Slack => Way::Slack.example(),
            Self::Discord => Way::Discord.example(),
            Self::Teams => Way::Teams.example(),
            Self::Ntfy => Way::Ntfy.example(),
        }
    }
}

/// Hosts of push services, and domains of theirs: Chrome and its kin, Firefox, Edge, Safari.
const PUSH_SERVICES: [&str; 6] = [
    "fcm.googleapis.com",
    "jmt17.google.com",
    "updates.push.services.mozilla.com",
    ".push.services.mozilla.com",
    ".notify.windows.com",
    ".push.apple.com",
];
/// Bytes of an ntfy topic, with its slash.
const MOST_TOPIC: usize = 65;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_may_name_what_the_service_gives_out() {
        for (channel, good) in [
            (Channel::Slack, "https://hooks.slack.com/services/T00/B00/x"),
            (Channel::Slack, "https://HOOKS.slack.com:443/services/T00/B00/x"),
            (Channel::Discord, "https://discord.com/api/webhooks/1/x-_"),
            (Channel::Discord, "https://canary.discord.com/api/webhooks/1/x?thread_id=7"),
            (
                Channel::Teams,
                "https://prod-1.westeurope.logic.azure.com:443/workflows/x/triggers/manual/paths/invoke?sp=%2F&sig=x",
            ),
            (Channel::Teams, "https://contoso.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d"),
            (Channel::Teams, "https://default.01.environment.api.powerplatform.com/powerautomate/x"),
            (Channel::Ntfy, "https://ntfy.sh/topic"),
            (Channel::Ntfy, "https://push.example.com/Topic_7-x"),
            (Channel::Webhook, "https://example.com/hook?x=1"),
            (Channel::Push, "https://fcm.googleapis.com/fcm/send/x:y"),
            (Channel::Push, "https://updates.push.services.mozilla.com/wpush/v2/x"),
            (Channel::Push, "https://wns2-db5p.notify.windows.com/w/?token=x"),
            (Channel::Push, "https://web.push.apple.com/x"),
        ] {
            assert!(of_stranger(channel, good).is_ok(), "{channel:?} {good}: {:?}", of_stranger(channel, good));
        }
    }

    #[test]
    fn a_stranger_may_name_nothing_else() {
        for (channel, bad) in [
            (Channel::Slack, "http://hooks.slack.com/services/T/B/x"),
            (Channel::Slack, "https://hooks.slack.com:8443/services/T/B/x"),
            (Channel::Slack, "https://hooks.slack.com/other"),
            (Channel::Slack, "https://hooks.slack.com/services/T/B/"),
            (Channel::Slack, "https://hooks.slack.com/services/T/B/x/y"),
            (Channel::Slack, "https://hooks.slack.com/services/../B/x"),
            (Channel::Slack, "https://hooks.slack.com/services/%2e%2e/B/x"),
            (Channel::Slack, "https://hooks.slack.com.evil.example/services/T/B/x"),
            (Channel::Slack, "https://evilhooks.slack.com/services/T/B/x"),
            (Channel::Slack, "https://hooks.slack.com@evil.example/services/T/B/x"),
            (Channel::Slack, "https://hooks.slack.com./services/T/B/x"),
            (Channel::Slack, "https://8.8.8.8/services/T/B/x"),
            (Channel::Discord, "https://discord.com/login"),
            (Channel::Discord, "https://discord.com/api/webhooks/1"),
            (Channel::Discord, "https://discord.com/api/webhooks//x"),
            (Channel::Teams, "https://logic.azure.com/x"),
            (Channel::Teams, "https://evil-logic.azure.com/x"),
            (Channel::Teams, "https://a.evillogic.azure.com/x"),
            (Channel::Teams, "https://x.logic.azure.com.evil.example/x"),
            (Channel::Ntfy, "https://ntfy.sh/"),
            (Channel::Ntfy, "https://ntfy.sh/v1/account"),
            (Channel::Ntfy, "https://ntfy.sh/topic?auth=x"),
            (Channel::Ntfy, "https://127.0.0.1/topic"),
            (Channel::Ntfy, "https://[::1]/topic"),
            (Channel::Webhook, "http://example.com/hook"),
            (Channel::Webhook, "https://example.com:22/hook"),
            (Channel::Push, "https://example.com/push"),
            (Channel::Push, "https://fcm.googleapis.com.evil.example/x"),
            (Channel::Push, "https://evilnotify.windows.com/x"),
            (Channel::Push, "http://fcm.googleapis.com/x"),
            (Channel::Push, "https://127.0.0.1/x"),
            (Channel::Mail, "https://example.com/"),
        ] {
            assert!(of_stranger(channel, bad).is_err(), "{channel:?} {bad}");
        }
    }

    #[test]
    fn urls_that_lead_to_one_channel_count_as_one() {
        let same = |channel, one, other| counted(channel, one) == counted(channel, other);
        let slack = "https://hooks.slack.com/services/T/B/x";
        assert!(same(Channel::Slack, slack, "https://HOOKS.slack.com:443/services/T/B/x?y"));
        assert!(!same(Channel::Slack, slack, "https://hooks.slack.com/services/T/B/y"));
        let hosts = ("https://discord.com/api/webhooks/1/x", "https://ptb.discord.com/api/webhooks/1/x?thread_id=7");
        assert!(same(Channel::Discord, hosts.0, hosts.1));
        assert!(!same(Channel::Ntfy, "https://ntfy.sh/a", "https://ntfy.example.com/a"));
        assert!(!same(Channel::Webhook, "https://a.example/?x", "https://a.example/?y"));
        assert_eq!(counted(Channel::Mail, "a@b.example"), "a@b.example");
    }

    #[test]
    fn a_server_in_a_network_of_the_operator_may_take_the_form_of_a_chat() {
        let own = Reach { allow_private: vec!["10.0.0.0/8".parse().unwrap()] };
        let none = Reach::default();
        let cases = [
            (&own, "http://10.1.2.3:8065/hooks/x", Ok(())),
            (&none, "http://10.1.2.3:8065/hooks/x", Err(Wrong::NoPlace)),
            (&own, "http://192.168.1.2/hooks/x", Err(Wrong::NoPlace)),
            (&own, "https://chat.example.com/hooks/x", Err(Wrong::NoPlace)),
            (&own, "nonsense", Err(Wrong::NoUrl)),
            (&none, "https://hooks.slack.com/services/T/B/x", Ok(())),
        ];
        for (reach, url, judged) in cases {
            assert_eq!(judge(reach, Channel::Slack, url).map(drop), judged, "{url}");
        }
        assert_eq!(judge(&none, Channel::Ntfy, "https://printer.local/topic"), Err(Wrong::NotPublic));
    }
}
