//! Changes of files other than new content: their lines in the log, and their effects.

use crate::files::Change;
use crate::plan::config::OnMissing;

use super::{Effect, Inputs};

impl Inputs {
    /// Logs what happened to a file other than new content, and acts on it.
    pub(super) fn follow(&mut self, change: &Change) -> Effect {
        match change {
            Change::Accepted(_) | Change::Noted(_) | Change::Listed(_) => {}
            Change::Restored(path) => {
                tracing::info!(path = %path.display(), "the file can be read again");
                if *path == self.config.maintenance {
                    // The flags may have been given up when the file went missing.
                    return self.take_flags();
                }
            }
            Change::Missing(path) if *path == self.config.maintenance && self.config.on_missing == OnMissing::Open => {
                tracing::warn!(path = %path.display(), "the flag file is gone: nothing is flagged any more");
                return self.give_up_flags();
            }
            // Switches are logged with their effect.
            Change::Missing(path) if self.is_switch(path) => {}
            Change::Missing(path) if self.is_optional(path) => {
                tracing::info!(path = %path.display(), "the file is gone: the built-in one is shown");
            }
            Change::Missing(path) => {
                tracing::warn!(path = %path.display(), "the file is gone, the last good one stays");
            }
            Change::Unreadable(path) if self.is_switch(path) => {
                let error = self.files.get(path).and_then(|state| state.error).map(|error| error.to_string());
                tracing::warn!(path = %path.display(), trouble = error, "the switch cannot be told");
            }
            Change::Unreadable(path) => {
                let error = self.files.get(path).and_then(|state| state.error).map(|error| error.to_string());
                tracing::warn!(path = %path.display(), trouble = error, "the file cannot be read, the last good one stays");
            }
            Change::WatchWarning(path) => {
                let warning = self.files.get(path).and_then(|state| state.warning);
                let warning = warning.map(|warning| warning.to_string());
                tracing::warn!(path = %path.display(), caveat = warning, "changes of the file may not be seen");
            }
            Change::Watching => tracing::warn!(watching = %self.files.watching(), "how files are watched has changed"),
        }
        Effect::None
    }
}
