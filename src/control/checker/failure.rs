//! Reasons for which an upstream did not pass a check.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::plan::config::Statuses;

/// The reason why an upstream did not pass. The words end a sentence that begins with the upstream.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection, or no TLS over it.
    Connection(io::Error),
    /// The answer did not come in time.
    Late(Duration),
    /// The answer was good, and took longer than it may.
    Slow {
        /// Time that it took.
        took: Duration,
        /// Time that it may take.
        most: Duration,
    },
    /// The answer has another status than expected.
    Answered {
        /// The status.
        status: u16,
        /// The statuses that pass.
        expected: Vec<Statuses>,
    },
    /// The body lacks this text.
    Lacks(String),
    /// This expression does not match in the body.
    Unmatched(String),
    /// A field of the answer lacks a text, or is not there at all.
    Field {
        /// Name of the field.
        name: String,
        /// Text that it should contain.
        expected: String,
        /// Value that came, if the field is there.
        found: Option<String>,
    },
    /// The answer redirects to another host, which is not this upstream's.
    Elsewhere(String),
    /// The answer redirects once more than may be followed.
    Redirects(u64),
    /// The HTTP/1 connection ended before the answer did.
    Broken(hyper::Error),
    /// The HTTP/2 stream ended before the answer did.
    Reset(h2::Error),
    /// The call of the health service failed: its status (`grpc-status`), if there was one, and its message.
    Call(Option<u16>, String),
    /// The health service knows the service, and says that it does not serve.
    NotServing(&'static str),
    /// The answer of the health service is not one.
    NoHealth,
    /// The request cannot be built.
    Request(http::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => {
                // Leave out the error number of the system, which adds nothing.
                let words = error.to_string();
                let words = words.split_once(" (os error ").map_or(words.as_str(), |(words, _)| words);
                write!(f, "got no connection: {words}")
            }
            Self::Late(within) => write!(f, "did not answer within {}", Time(*within)),
            Self::Slow { took, most } => write!(f, "took {}, must be faster than {}", Time(*took), Time(*most)),
            Self::Answered { status, expected } => {
                let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
                write!(f, "answered {status}, expected {}", expected.join(" or "))
            }
            Self::Lacks(text) => write!(f, "answered without {text:?} in its body"),
            Self::Unmatched(pattern) => write!(f, "answered with a body that `{pattern}` does not match"),
            Self::Field { name, expected, found: None } => write!(f, "answered without `{name}: {expected}`"),
            Self::Field { name, expected, found: Some(found) } => {
                write!(f, "answered with `{name}: {found}`, expected {expected:?} in it")
            }
            Self::Elsewhere(location) => write!(f, "redirects to another host, {location}"),
            Self::Redirects(most) => write!(f, "redirects more than {most} times"),
            Self::Broken(error) => write!(f, "broke off: {error}"),
            Self::Reset(error) => write!(f, "broke off: {error}"),
            Self::Call(Some(code), message) if message.is_empty() => write!(f, "answered with grpc-status {code}"),
            Self::Call(Some(code), message) => write!(f, "answered with grpc-status {code}: {message}"),
            Self::Call(None, _) => f.write_str("answered without a grpc-status"),
            Self::NotServing(word) => write!(f, "answered {word}, expected SERVING"),
            Self::NoHealth => f.write_str("answered with no health message"),
            Self::Request(error) => write!(f, "cannot be asked for: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Broken(error) => Some(error),
            Self::Reset(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Late(_)
            | Self::Slow { .. }
            | Self::Answered { .. }
            | Self::Lacks(_)
            | Self::Unmatched(_)
            | Self::Field { .. }
            | Self::Elsewhere(_)
            | Self::Redirects(_)
            | Self::Call(..)
            | Self::NotServing(_)
            | Self::NoHealth => None,
        }
    }
}

/// Time in whole seconds, or in milliseconds.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 && self.0.as_secs() > 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}
