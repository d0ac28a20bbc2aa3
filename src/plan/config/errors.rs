//! `errors`: errors of the upstreams in whose place browsers get the proxy's own page.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::super::keys;
use super::super::read::{Report, Section, Value, no_hint};
use super::FieldChanges;

/// Status of an error that has a page: nobody answered, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorStatus {
    /// 502: the upstream gave no valid answer.
    BadGateway,
    /// 503: the upstream takes no request.
    Unavailable,
    /// 504: the upstream did not answer in time.
    Timeout,
}

impl ErrorStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BadGateway, Self::Unavailable, Self::Timeout];

    /// Returns the error of a status, if it has a page.
    pub fn of(status: StatusCode) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.status() == status)
    }

    /// Returns the number of the status, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadGateway => "502",
            Self::Unavailable => "503",
            Self::Timeout => "504",
        }
    }

    /// Returns the status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Errors that a route answers with the proxy's page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Statuses of the upstreams' answers whose place the page takes in browsers.
    pub upstream: Vec<ErrorStatus>,
}

/// Settings that a route has if its own keys say nothing.
#[derive(Debug)]
pub(super) struct Inherited {
    /// `errors` above the tables.
    pub errors: Errors,
    /// `errors` of `[page]`: false if there are no pages for errors.
    pub shown: bool,
    /// `retry_after_max` above the tables.
    pub retry_after_max: Option<Duration>,
    /// `request` above the tables.
    pub request: Option<Arc<FieldChanges>>,
    /// `response` above the tables.
    pub response: Option<Arc<FieldChanges>>,
}

impl Inherited {
    /// Reads `errors` above the tables. `shown` is that of `[page]`.
    pub(super) fn new(value: Option<&Value<'_>>, shown: bool, report: &mut Report<'_>) -> Self {
        let none = Self { errors: Errors::default(), shown, retry_after_max: None, request: None, response: None };
        let errors = value.map_or(Errors::default(), |value| errors(value, &none, report));
        Self { errors, ..none }
    }
}

/// Reads `errors = { upstream = [502, 503, 504] }`.
pub(super) fn errors(value: &Value<'_>, inherited: &Inherited, report: &mut Report<'_>) -> Errors {
    let Some(table) = value.table("errors = { upstream = [502, 503, 504] }", report) else { return Errors::default() };
    let mut section = Section::new(&keys::ERRORS, "`errors`", value.span.clone(), table);
    let mut upstream = Vec::new();
    let written = section.take("upstream");
    if let Some(value) = &written {
        let items = value.any_number();
        report.at_most(ErrorStatus::ALL.len(), items.len(), "statuses", value.key_span.clone());
        upstream.extend(items.iter().take(ErrorStatus::ALL.len()).filter_map(|item| status(item, report)));
    }
    section.finish(report, no_hint);
    if let Some(value) = written.filter(|_| !upstream.is_empty() && !inherited.shown) {
        let help = "remove it, or `errors = false` under `[page]`";
        report.wrong(value.key_span, "there is no page to show: `[page]` has `errors = false`", help);
    }
    Errors { upstream }
}

fn status(value: &Value<'_>, report: &mut Report<'_>) -> Option<ErrorStatus> {
    let number = value.count(FIRST, LAST, report)?;
    ErrorStatus::of(StatusCode::from_u16(u16::try_from(number).ok()?).ok()?)
}

const FIRST: u64 = 502;
const LAST: u64 = 504;
