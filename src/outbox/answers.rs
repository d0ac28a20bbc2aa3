//! Answers of endpoints, read as their channels mean them.

use http::StatusCode;

use super::meaning::Meaning;
use super::post::Answer;
use super::push;
use super::subscription::Channel;

impl Channel {
    /// Reads the answer of an endpoint.
    pub(super) fn meaning(self, answer: &Answer) -> Meaning {
        match (self, self.chat()) {
            (_, Some(chat)) => chat.meaning(answer),
            (Self::Push, _) => push::meaning(answer),
            (Self::Webhook | Self::Mail | Self::Slack | Self::Discord | Self::Teams | Self::Ntfy, None) => {
                of_webhook(answer)
            }
        }
    }
}

/// Reads an answer as Standard Webhooks have it. Redirects are failures: they could lead anywhere.
fn of_webhook(answer: &Answer) -> Meaning {
    match answer.status {
        status if status.is_success() => Meaning::Taken,
        StatusCode::GONE => Meaning::Gone(answer.status.to_string()),
        status => Meaning::Again(status.to_string(), answer.retry_after),
    }
}
