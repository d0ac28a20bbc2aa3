//! Refusals of the write API, told as problem details (RFC 9457) in the words of the command.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::control::edit::engine_failure::EngineFailure;
use crate::control::edit::failure::{EditFailure, chain};
use crate::control::edit::refusal::Refusal as NoSense;
use crate::control::fleet::FleetError;
use crate::files::write::WriteError;
use crate::plan::problem::Problem;

/// Reason why nothing was written.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    detail: String,
    help: Option<String>,
    problems: Vec<Problem>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// Body of an answer.
#[derive(Serialize)]
struct Details<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    problems: &'a [Problem],
}

impl Refusal {
    /// Creates a refusal. The caller adds advice and fields.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), help: None, problems: Vec::new(), fields: Vec::new() }
    }

    /// Creates a refusal of a value in a request.
    pub(super) fn value(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Creates the refusal of a request without a valid token.
    pub(super) fn unknown(detail: &str) -> Self {
        let help = "send one: `Authorization: Bearer TOKEN`";
        let demand = HeaderValue::from_static("Bearer realm=\"backsoon\"");
        Self::new(StatusCode::UNAUTHORIZED, detail).help(help).with(WWW_AUTHENTICATE, demand)
    }

    /// Creates the refusal of a method.
    pub(super) fn method(allowed: &'static str) -> Self {
        let detail = format!("only {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail).with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// Creates the refusal of an edit whose condition is not met. `etag` is that of the present text.
    pub(super) fn condition(detail: &str, etag: &str) -> Self {
        let refusal = Self::new(StatusCode::PRECONDITION_FAILED, detail);
        let refusal = refusal.help("nothing was written; read the flag again, and decide anew");
        match HeaderValue::from_str(etag) {
            Ok(etag) => refusal.with(ETAG, etag),
            Err(_) => refusal,
        }
    }

    /// Adds advice.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds the time after which a client may try again.
    pub(super) fn later(self) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Adds a field to the answer.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Makes the answer.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let details = Details {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            help: self.help.as_deref(),
            problems: &self.problems,
        };
        let mut response = super::super::json(self.status, &details);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.fields.iter().cloned());
        response
    }
}

impl From<Problem> for Refusal {
    /// Converts the problem of a file of tokens: nobody can be recognised.
    fn from(problem: Problem) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("{}: {}", problem.file, problem.message));
        Self { help: problem.help, ..refusal }
    }
}

impl From<EditFailure> for Refusal {
    fn from(failure: EditFailure) -> Self {
        let status = status(&failure);
        let refusal = Self::new(status, chain(&failure));
        let refusal = if is_passing(&failure) { refusal.later() } else { refusal };
        Self { help: failure.help(), problems: failure.problems().to_vec(), ..refusal }
    }
}

/// Returns true for a failure that may be over in a moment.
fn is_passing(failure: &EditFailure) -> bool {
    match failure {
        EditFailure::Engine(EngineFailure::Engine { source, .. }) => !matches!(source, FleetError::ReadOnly(_)),
        EditFailure::Engine(EngineFailure::Outrun { .. })
        | EditFailure::Write(WriteError::Locked(_) | WriteError::Busy(..) | WriteError::Contended(_)) => true,
        EditFailure::Problems(_)
        | EditFailure::WrongBefore { .. }
        | EditFailure::WrongAfter { .. }
        | EditFailure::Text { .. }
        | EditFailure::Write(_)
        | EditFailure::NoRoute { .. }
        | EditFailure::NoWindow { .. }
        | EditFailure::NoStep { .. }
        | EditFailure::MovesByItself { .. }
        | EditFailure::Refused(_)
        | EditFailure::Past => false,
    }
}

fn status(failure: &EditFailure) -> StatusCode {
    match failure {
        EditFailure::NoRoute { .. } | EditFailure::NoWindow { .. } | EditFailure::NoStep { .. } => {
            StatusCode::NOT_FOUND
        }
        EditFailure::WrongAfter { .. } | EditFailure::Past => StatusCode::UNPROCESSABLE_ENTITY,
        EditFailure::Refused(refusal) => match refusal {
            NoSense::PastStart(..) | NoSense::NeverComes(_) | NoSense::PastEnd(..) => StatusCode::UNPROCESSABLE_ENTITY,
            NoSense::Taken(_)
            | NoSense::Over(..)
            | NoSense::On(_)
            | NoSense::NotBegun(..)
            | NoSense::ComesOnce(_)
            | NoSense::ComesAgain(..)
            | NoSense::NoOccurrence(..)
            | NoSense::PastOccurrence(..)
            | NoSense::Meets(..)
            | NoSense::NoUpstream(..) => StatusCode::CONFLICT,
        },
        EditFailure::Problems(_)
        | EditFailure::WrongBefore { .. }
        | EditFailure::Text { .. }
        | EditFailure::MovesByItself { .. }
        | EditFailure::Write(WriteError::Locked(_) | WriteError::Busy(..) | WriteError::Contended(_))
        | EditFailure::Engine(
            EngineFailure::Outrun { .. } | EngineFailure::Engine { source: FleetError::ReadOnly(_), .. },
        ) => StatusCode::CONFLICT,
        EditFailure::Engine(EngineFailure::Engine {
            source: FleetError::Unreached(_) | FleetError::Wrong(_), ..
        }) => StatusCode::SERVICE_UNAVAILABLE,
        EditFailure::Write(
            WriteError::Io { .. }
            | WriteError::NotAFile(_)
            | WriteError::NoTarget(_)
            | WriteError::NotText(_)
            | WriteError::TooLarge(_),
        ) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
