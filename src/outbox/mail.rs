//! Mails on their way: put together, signed, and given to the operator's mail server.

pub mod compose;
pub mod dkim;
pub mod mailer;
pub mod smtp;

#[cfg(test)]
mod tests;
