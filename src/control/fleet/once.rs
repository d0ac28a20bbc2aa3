//! One look at an engine, for commands and for checks.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::files::source::{Content, ReadError};
use crate::plan::config::{Config, FleetConfig};
use crate::plan::problem::Problem;

use super::super::state::StateDir;
use super::copy::{Copied, GoodCopy};
use super::{FleetError, read};

/// Result of a look at an engine.
pub(crate) struct Fetched {
    /// Text, or the reason why there is none.
    pub content: Result<Content, ReadError>,
    /// Warning that the text is not the engine's present one.
    pub warning: Option<Problem>,
}

/// Returns the text of the engine. While it is away, that of the copy that a proxy on this machine has kept.
pub(crate) fn fetch(config_file: &Path, config: &Config, fleet: &FleetConfig) -> Fetched {
    match block_on(read(fleet)) {
        Ok(document) => {
            let content = document.map(|document| document.content()).ok_or(ReadError::Missing);
            Fetched { content, warning: None }
        }
        Err(error) => {
            let state = StateDir::of_process(config_file, config.state_dir.as_deref());
            let copied = GoodCopy::new(state, fleet.to_string()).load();
            let warning = Some(away(fleet, &error, copied.as_ref()));
            let content = copied.map(|copied| copied.document.content()).ok_or(ReadError::Missing);
            Fetched { content, warning }
        }
    }
}

/// Warns that the engine cannot be asked.
pub(crate) fn away(fleet: &FleetConfig, error: &FleetError, copied: Option<&Copied>) -> Problem {
    let (stands_for, help) = match copied {
        Some(copied) => {
            let taken = Timestamp::from_second(copied.taken.as_second()).unwrap_or(copied.taken);
            (format!("the copy of {taken} stands for it"), "the flags are those that were taken last")
        }
        None => (
            "and there is no copy of an earlier text here".to_owned(),
            "a proxy that starts now waits a moment for it, and then begins with nothing flagged",
        ),
    };
    Problem::warning(&fleet.to_string(), format!("the engine cannot be asked ({error}), {stands_for}")).help(help)
}

/// Runs one exchange with an engine to its end, or until it takes too long.
///
/// # Errors
/// Those of the exchange.
pub(crate) fn block_on<T>(exchange: impl Future<Output = Result<T, FleetError>>) -> Result<T, FleetError> {
    let refused = |error: io::Error| FleetError::Unreached(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let done = runtime.block_on(async { timeout(PATIENCE, exchange).await });
    // A look-up that hangs is left behind.
    runtime.shutdown_background();
    done.unwrap_or_else(|_| Err(FleetError::Unreached(format!("no answer within {} s", PATIENCE.as_secs()))))
}

const PATIENCE: Duration = Duration::from_secs(15);
