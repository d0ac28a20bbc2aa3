//! Forms of times that several tables have.

use std::time::Duration;

use super::super::key::Form;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// Time of a route.
pub(super) const ROUTE_TIME: Form = Form::Time(MILLISECOND, Duration::from_secs(24 * 3600));

/// Longest time that clients are told to wait.
pub(super) const RETRY_TIME: Form = Form::Time(Duration::from_secs(1), Duration::from_secs(24 * 3600));
