//! Mailboxes that are told of events, by the server that tells subscribers.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::time::timeout;

use crate::outbox::mail::mailer::{MailDesk, MailError, Outgoing};
use crate::outbox::told::told;
use crate::plan::config::{MailConfig, Notify};
use crate::plan::news::mail::Thread;
use crate::plan::notify::{OperatorEvent, formats};

use super::outcome::{Failure, Next, Told};

/// Mail server of all places. Its clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct MailRoom(Arc<Mutex<MailDesk>>);

impl MailRoom {
    /// Makes one attempt to tell a mailbox of an event.
    ///
    /// # Errors
    /// The reason why it was not told.
    pub(super) async fn send(
        &self,
        to: &str,
        (server, settings): (Option<&MailConfig>, &Notify),
        event: &OperatorEvent,
        replica: &str,
    ) -> Result<Told, Failure> {
        let mail = self.prepare(to, server, event, (replica, settings.language.as_deref()));
        let mail = mail.map_err(|error| self.failure(&error))?;
        let sent = timeout(settings.timeout, mail.send()).await;
        let late = |_| Failure { why: format!("no answer within {:?}", settings.timeout), next: Next::Again(None) };
        sent.map_err(late)?.map_err(|error| self.failure(&error))?;
        Ok(Told("taken by the mail server".to_owned()))
    }

    fn prepare(
        &self,
        to: &str,
        server: Option<&MailConfig>,
        event: &OperatorEvent,
        (replica, language): (&str, Option<&str>),
    ) -> Result<Outgoing, MailError> {
        let letter = formats::mail(&event.notice(replica, language), replica);
        let thread = Thread { incident: Some(&event.thread()), update: &event.id(replica), subscription: None };
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desk.set(server);
        desk.address(&letter, thread, to, Timestamp::now())
    }

    fn failure(&self, error: &MailError) -> Failure {
        if error.is_final() {
            return Failure { why: told(error), next: Next::Never };
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failed();
        Failure { why: told(error), next: Next::Again(None) }
    }
}
