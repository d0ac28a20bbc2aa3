//! Answers of receivers: what each status means.

use std::time::Duration;

use super::super::config::Channel;

/// Meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message was taken.
    Taken,
    /// Another attempt may succeed, at the earliest after a time that the receiver names.
    Again(Option<Duration>),
    /// The place is gone, or does not let us post: no message to it will be taken. A subscription ends here.
    Gone,
    /// This message is not taken, and no repetition of it will be.
    Refused,
}

/// Rules of a receiver: statuses that mean something beyond HTTP's own classes.
struct Rules {
    /// The place is gone.
    gone: &'static [u16],
    /// Other statuses of the class 4xx.
    others: Others,
}

/// Meaning of a status of the class 4xx that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// The message is wrong in the receiver's eyes.
    Refused,
    /// The receiver may be at fault (Standard Webhooks: anything but 2xx is repeated).
    Again,
}

/// Returns the meaning of an answer's status. `retry_after` is that field of the answer.
pub fn answer(channel: Channel, status: u16, retry_after: Option<&str>) -> Answer {
    let rules = rules(channel);
    match status {
        200..=299 => Answer::Taken,
        _ if rules.gone.contains(&status) => Answer::Gone,
        408 | 425 | 429 | 500..=599 => Answer::Again(retry_after.and_then(seconds)),
        400..=499 if rules.others == Others::Again => Answer::Again(retry_after.and_then(seconds)),
        // A redirect is not followed: it could lead anywhere.
        _ => Answer::Refused,
    }
}

fn rules(channel: Channel) -> Rules {
    let (gone, others): (&'static [u16], _) = match channel {
        // `action_prohibited`; `channel_not_found`, `no_service`; `channel_is_archived`.
        Channel::Slack => (&[403, 404, 410], Others::Refused),
        // 50027 invalid webhook token; 10015 unknown webhook.
        Channel::Discord => (&[401, 403, 404], Others::Refused),
        // A workflow that is switched off, deleted, or has another signature.
        Channel::Teams => (&[401, 403, 404, 410], Others::Refused),
        Channel::Ntfy => (&[401, 403, 404], Others::Refused),
        Channel::Webhook => (&[410], Others::Again),
    };
    Rules { gone, others }
}

/// Reads `Retry-After` in seconds. A date is not waited for: a clock that differs would make nonsense of it.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| (0.0..=LONGEST_WAIT).contains(seconds))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Longest wait that a receiver may ask for, in seconds.
const LONGEST_WAIT: f64 = 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_means_what_the_receiver_means_by_it() {
        use Answer::{Again, Gone, Refused, Taken};
        for (channel, status, retry_after, meaning) in [
            (Channel::Slack, 200, None, Taken),
            (Channel::Slack, 400, None, Refused),
            (Channel::Slack, 403, None, Gone),
            (Channel::Slack, 404, None, Gone),
            (Channel::Slack, 410, None, Gone),
            (Channel::Slack, 429, Some("30"), Again(Some(Duration::from_secs(30)))),
            (Channel::Slack, 503, None, Again(None)),
            (Channel::Slack, 302, None, Refused),
            (Channel::Discord, 204, None, Taken),
            (Channel::Discord, 401, None, Gone),
            (Channel::Discord, 429, Some("0.25"), Again(Some(Duration::from_millis(250)))),
            (Channel::Teams, 202, None, Taken),
            (Channel::Teams, 404, None, Gone),
            (Channel::Ntfy, 413, None, Refused),
            (Channel::Ntfy, 403, None, Gone),
            (Channel::Webhook, 404, None, Again(None)),
            (Channel::Webhook, 410, None, Gone),
            (Channel::Webhook, 301, None, Refused),
            (Channel::Webhook, 502, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Again(None)),
            (Channel::Webhook, 429, Some("-1"), Again(None)),
            (Channel::Webhook, 429, Some("1e300"), Again(None)),
            (Channel::Webhook, 100, None, Refused),
        ] {
            assert_eq!(answer(channel, status, retry_after), meaning, "{channel:?} {status} {retry_after:?}");
        }
    }
}
