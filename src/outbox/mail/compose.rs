//! Messages: the bytes of a mail with its sender and its recipient (RFC 5322).

use std::error::Error;
use std::fmt;

use lettre::Message;
use lettre::address::{Address, AddressError};
use lettre::message::header::{ContentDisposition, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox as LettreMailbox, MultiPart, SinglePart};

use crate::plan::config::Mailbox;
use crate::plan::news::mail::Mail;

use super::dkim::{Dkim, DkimError};

/// Sender of all mails.
#[derive(Debug)]
pub struct Sender {
    from: LettreMailbox,
    reply_to: Option<LettreMailbox>,
    dkim: Option<Dkim>,
}

/// Message that can be given to a server.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Address that failures are told.
    pub from: Address,
    /// Recipient.
    pub to: Address,
    /// Whole message.
    pub bytes: Vec<u8>,
}

/// Failure to put a message together.
#[derive(Debug)]
pub enum ComposeError {
    /// The address of a mailbox is none.
    Address(AddressError),
    /// The message could not be built.
    Message(lettre::error::Error),
    /// The message could not be signed.
    Sign(DkimError),
}

impl Sender {
    /// Creates the sender.
    ///
    /// # Errors
    /// If an address is none.
    pub fn new(from: &Mailbox, reply_to: Option<&Mailbox>, dkim: Option<Dkim>) -> Result<Self, ComposeError> {
        Ok(Self { from: mailbox(from)?, reply_to: reply_to.map(mailbox).transpose()?, dkim })
    }

    /// Puts a message together, and signs it.
    ///
    /// # Errors
    /// If the address of the recipient is none, or the message cannot be signed.
    pub fn compose(&self, mail: &Mail, to: &str) -> Result<Ready, ComposeError> {
        let to: Address = to.parse().map_err(ComposeError::Address)?;
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(LettreMailbox::new(None, to.clone()))
            .subject(mail.subject.clone());
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        if !mail.fields.iter().any(|(name, _)| *name == "Message-ID") {
            let unique = (fastrand::u128(..), self.from.email.domain());
            builder = builder.message_id(Some(format!("<{:032x}@{}>", unique.0, unique.1)));
        }
        for (name, value) in &mail.fields {
            let Ok(name) = HeaderName::new_from_ascii((*name).to_owned()) else { continue };
            builder = builder.raw_header(HeaderValue::new(name, value.clone()));
        }
        let parts = MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone());
        let parts = match &mail.calendar {
            // Beside the texts, not instead of them: some programs show nothing of a mail but its calendar.
            Some(calendar) => MultiPart::mixed().multipart(parts).singlepart(attached(calendar)),
            None => parts,
        };
        let message = builder.multipart(parts).map_err(ComposeError::Message)?;
        let mut bytes = message.formatted();
        if let Some(dkim) = &self.dkim {
            let mut signed = dkim.field(&bytes).map_err(ComposeError::Sign)?.into_bytes();
            signed.append(&mut bytes);
            bytes = signed;
        }
        Ok(Ready { from: self.from.email.clone(), to, bytes })
    }
}

fn attached(calendar: &str) -> SinglePart {
    // The type is one that lettre can read.
    let kind = ContentType::parse(CALENDAR).unwrap_or(ContentType::TEXT_PLAIN);
    let place = ContentDisposition::attachment("maintenance.ics");
    SinglePart::builder().header(kind).header(place).body(calendar.to_owned())
}

fn mailbox(mailbox: &Mailbox) -> Result<LettreMailbox, ComposeError> {
    let address = mailbox.address.parse().map_err(ComposeError::Address)?;
    Ok(LettreMailbox::new(mailbox.name.clone(), address))
}

/// RFC 6047 section 2.4: the method stands in the calendar, too.
const CALENDAR: &str = "text/calendar; charset=utf-8; method=PUBLISH";

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address(_) => "the address is none",
            Self::Message(_) => "the mail cannot be put together",
            Self::Sign(_) => "the mail cannot be signed",
        })
    }
}

impl Error for ComposeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match self {
            Self::Address(error) => error,
            Self::Message(error) => error,
            Self::Sign(error) => error,
        })
    }
}
