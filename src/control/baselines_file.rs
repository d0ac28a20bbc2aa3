//! The file of baselines: how the routes with a guard did lately, for the next process. Losing it costs only that.

use std::fs::OpenOptions;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::files::write;

use super::observe::Baselines;
use super::state::StateDir;

/// The file of baselines, beside the state file.
pub(super) struct BaselinesFile {
    state: StateDir,
    /// The text that was written last.
    written: String,
}

/// Content of the file.
#[derive(Serialize, Deserialize)]
struct Content<R> {
    version: u64,
    routes: R,
}

impl BaselinesFile {
    pub(super) fn new(state: StateDir) -> Self {
        Self { state, written: String::new() }
    }

    /// Reads the baselines of an earlier process; none if there are none to be had.
    pub(super) fn load(&self) -> Baselines {
        match self.read() {
            Ok(baselines) => baselines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Baselines::default(),
            Err(error) => {
                let file = self.state.file(ENDING).display().to_string();
                tracing::warn!(file, %error, "baselines of guards cannot be read, and begin anew");
                Baselines::default()
            }
        }
    }

    fn read(&self) -> io::Result<Baselines> {
        let file = self.state.open(ENDING, OpenOptions::new().read(true))?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        let content: Content<Map<String, Value>> = serde_json::from_slice(&bytes)?;
        if content.version != VERSION {
            return Err(io::Error::other("its version is not known"));
        }
        let mut routes = content.routes;
        routes.retain(|route, value| {
            let is_whole = serde_json::from_value::<Baselines>(json!({ route: value })).is_ok();
            if !is_whole {
                tracing::warn!(route, "the saved baseline of a guard is damaged, and begins anew");
            }
            is_whole
        });
        Ok(serde_json::from_value(Value::Object(routes))?)
    }

    /// Writes the baselines if they have changed. A failure is not told: the state file fails as well, and is.
    pub(super) fn save(&mut self, routes: &Baselines) {
        if routes.is_empty() && self.written.is_empty() {
            return;
        }
        let content = Content { version: VERSION, routes: routes.clone() };
        let Ok(text) = serde_json::to_string(&content) else { return };
        if text != self.written && self.state.make().is_ok() {
            match write::privately(&self.state.file(ENDING), text.as_bytes()) {
                Ok(()) => self.written = text,
                Err(error) => tracing::debug!(%error, "baselines of guards cannot be written"),
            }
        }
    }
}

const ENDING: &str = ".baselines.json";
const VERSION: u64 = 1;
/// Bytes of the largest file that is read, enough for ten thousand routes.
const LARGEST: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn baselines_outlast_a_process_and_a_damaged_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("backsoon.toml"), None, None);
        let text = r#"{"version":1,"routes":{"web":{"at":"2026-05-19T14:00:00Z","requests":900,"errors":3,"dispersion":2.5,"hanging":7}}}"#;
        let routes = serde_json::from_str::<Content<Baselines>>(text).unwrap().routes;
        let mut file = BaselinesFile::new(state.clone());
        assert!(file.load().is_empty());
        file.save(&routes);
        assert_eq!(fs::read_to_string(state.file(ENDING)).unwrap(), text);
        assert_eq!(BaselinesFile::new(state.clone()).load(), routes);
        fs::write(state.file(ENDING), text.replace("}}}", "},\"api\":{\"at\":0},\"docs\":null}}")).unwrap();
        assert_eq!(file.load(), routes, "one that is damaged costs no other");
        for damage in ["", "{", "{\"version\": 2, \"routes\": {}}"] {
            fs::write(state.file(ENDING), damage).unwrap();
            assert!(file.load().is_empty(), "{damage}");
        }
    }
}
