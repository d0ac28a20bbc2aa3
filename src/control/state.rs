//! The state file: facts about the routes that must outlast a restart.
//!
//! The file is written atomically after a publication. Without it the proxy still works, because most of a phase
//! follows from the flag file and the clock.

mod salvage;

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::plan::compile::Memory;
use crate::plan::lifecycle::RouteState;

use crate::files::write::{self, WriteError};
pub(crate) use salvage::Dropped;

/// Directory of the state and the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    directory: PathBuf,
    /// Prefix of the file names, so that several proxies can share a directory.
    stem: OsString,
}

/// A failure to load the state.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    Read(io::Error),
    /// The content is not usable. The file was moved to this name, if possible, as evidence. The next state takes its
    /// place.
    Unusable(Fault, Option<PathBuf>),
}

/// Saved state that was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Saved {
    /// States by route.
    pub(crate) routes: HashMap<String, RouteState>,
    /// Parts that were unusable.
    pub(crate) dropped: Vec<Dropped>,
}

/// The fault of a state file.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The content is torn, or not a state.
    Damaged(serde_json::Error),
    /// The version is unknown.
    Version(u64),
    /// The file is larger than any state.
    TooLarge,
}

/// A failure to save the state.
#[derive(Debug)]
pub(crate) enum SaveError {
    /// The directory cannot be created.
    Directory(io::Error),
    /// The file cannot be written.
    Write(WriteError),
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct File<R> {
    version: u64,
    routes: R,
}

impl StateDir {
    /// Chooses the directory: the config's, else systemd's (`$STATE_DIRECTORY`), else one beside the config.
    pub fn new(config_file: &Path, configured: Option<&Path>, from_systemd: Option<OsString>) -> Self {
        let directory = match configured {
            Some(configured) => configured.to_owned(),
            None => from_systemd.and_then(first_of).unwrap_or_else(|| Self::beside(config_file)),
        };
        let stem = config_file.file_stem().map_or_else(|| OsString::from("backsoon"), ToOwned::to_owned);
        Self { directory, stem }
    }

    /// Chooses the directory as [`StateDir::new`] does, in the environment of this process.
    pub(crate) fn of_process(config_file: &Path, configured: Option<&Path>) -> Self {
        Self::new(config_file, configured, env::var_os("STATE_DIRECTORY"))
    }

    /// Returns the directory beside a config, which is the default.
    pub(crate) fn beside(config_file: &Path) -> PathBuf {
        config_file.with_file_name(DEFAULT)
    }

    /// Returns the path of the file with this ending.
    pub(super) fn file(&self, ending: &str) -> PathBuf {
        let mut name = self.stem.clone();
        name.push(ending);
        self.directory.join(name)
    }

    /// Returns the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Creates the directory, for its owner alone.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    /// Opens a file in the directory. Refuses a symlink, and does not wait for a pipe. A user who can place one there
    /// must not choose the file that is read or written.
    ///
    /// # Errors
    /// If the system refuses, or the path is not a regular file.
    pub(super) fn open(&self, ending: &str, how: &OpenOptions) -> io::Result<fs::File> {
        // The type of the bits differs between platforms.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = how.clone().custom_flags(flags.bits().cast_signed()).mode(0o600).open(self.file(ending))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
    }

    /// Loads the memory of the routes; `None` if there is no file. Parts that are damaged are left out. The file is copied
    /// then, as evidence.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a usable state.
    pub(crate) fn load(&self) -> Result<Option<Saved>, LoadError> {
        let Some(bytes) = self.bytes().map_err(LoadError::Read)? else { return Ok(None) };
        let saved = parse(&bytes).map_err(|fault| {
            let aside = self.file(DAMAGED);
            let moved = fs::rename(self.file(STATE), &aside).is_ok();
            LoadError::Unusable(fault, moved.then_some(aside))
        })?;
        if !saved.dropped.is_empty()
            && let Err(error) = write::privately(&self.file(DAMAGED), &bytes)
        {
            tracing::debug!(%error, "the damaged state cannot be kept");
        }
        Ok(Some(saved))
    }

    /// Loads the memory that `run` would start with. Does not move an unusable file.
    ///
    /// # Errors
    /// If the file cannot be read. The proxy may be able to.
    pub(crate) fn peek(&self) -> io::Result<Memory> {
        let Some(bytes) = self.bytes()? else { return Ok(Memory::default()) };
        Ok(parse(&bytes).map_or(Memory::Lost, |saved| Memory::States(saved.routes)))
    }

    /// Reads the state file; `None` if there is none.
    fn bytes(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(STATE, OpenOptions::new().read(true)) {
            Ok(file) => file,
            // A file in the place of the directory has no state below it.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Returns the path of the state file.
    pub(super) fn state_file(&self) -> PathBuf {
        self.file(STATE)
    }

    /// Saves a text that [`text_of`] made.
    ///
    /// # Errors
    /// If the directory cannot be created or the file cannot be written.
    pub(crate) fn save(&self, text: &str) -> Result<(), SaveError> {
        self.make().map_err(SaveError::Directory)?;
        write::privately(&self.file(STATE), text.as_bytes()).map_err(SaveError::Write)
    }
}

/// Returns the first directory of a list by systemd.
pub(crate) fn first_of(list: OsString) -> Option<PathBuf> {
    let list = list.into_string().ok()?;
    list.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

fn parse(bytes: &[u8]) -> Result<Saved, Fault> {
    if bytes.len() as u64 > LARGEST {
        return Err(Fault::TooLarge);
    }
    // Read the version first, since the form of the rest depends on it.
    let file: File<serde::de::IgnoredAny> = serde_json::from_slice(bytes).map_err(Fault::Damaged)?;
    if file.version != VERSION {
        return Err(Fault::Version(file.version));
    }
    if let Ok(file) = serde_json::from_slice::<File<HashMap<String, RouteState>>>(bytes) {
        return Ok(Saved { routes: file.routes, dropped: Vec::new() });
    }
    let file: File<HashMap<String, serde_json::Value>> = serde_json::from_slice(bytes).map_err(Fault::Damaged)?;
    let (routes, dropped) = salvage::routes(file.routes, Timestamp::now());
    Ok(Saved { routes, dropped })
}

/// Returns the state of the routes as text; `None` if no route has anything to remember.
pub(crate) fn text_of<'m>(routes: impl Iterator<Item = (&'m str, &'m RouteState)>) -> Option<String> {
    let routes: std::collections::BTreeMap<_, _> = routes.filter(|(_, state)| !state.is_plain()).collect();
    if routes.is_empty() {
        return None;
    }
    serde_json::to_string_pretty(&File { version: VERSION, routes }).ok()
}

/// Returns the text of a state that remembers nothing.
pub(crate) fn empty() -> String {
    format!("{{ \"version\": {VERSION}, \"routes\": {{}} }}\n")
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("the state cannot be read"),
            Self::Unusable(_, Some(aside)) => {
                write!(f, "the saved state is unusable, and was kept as {}", aside.display())
            }
            Self::Unusable(_, None) => f.write_str("the saved state is unusable"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Unusable(fault, _) => Some(fault),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Keep this in one line of the log, with the parser's own words.
            Self::Damaged(error) if error.is_eof() && error.column() == 0 => f.write_str("it is damaged: it is empty"),
            Self::Damaged(error) => write!(f, "it is damaged: {error}"),
            Self::Version(version) => write!(f, "it is of version {version}, which is not known here"),
            Self::TooLarge => write!(f, "it is larger than {LARGEST} bytes"),
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory(_) => "the directory cannot be made",
            Self::Write(_) => "the file cannot be written",
        })
    }
}

impl std::error::Error for SaveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Directory(error) => Some(error),
            Self::Write(error) => Some(error),
        }
    }
}

const STATE: &str = ".state.json";
const DAMAGED: &str = ".state.json.damaged";
const DEFAULT: &str = ".backsoon";
const VERSION: u64 = 1;
/// Bytes of a state file. A route that is down takes a few hundred.
const LARGEST: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use crate::plan::lifecycle::{Desired, Observed, RouteInputs, Source};
    use crate::plan::{config::Policy, flags::Mode};

    use super::*;

    fn closed() -> RouteState {
        let desired = Desired {
            mode: Mode::Offline,
            source: Source::Window("M-1".to_owned()),
            until: None,
            started: None,
            overruns: false,
            held_by: None,
            by_hand: false,
        };
        RouteState::first(RouteInputs {
            policy: &Policy::default(),
            drain: std::time::Duration::ZERO,
            desired: Some(&desired),
            forced: None,
            over: None,
            lifted: None,
            observed: &Observed::default(),
            now: "2026-05-19T14:00:00Z".parse().unwrap(),
        })
    }

    const VERSION_0_1: &str = include_str!("state/version-0.1.json");

    #[test]
    fn what_is_saved_is_loaded_and_what_is_not_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), None, None);
        assert!(state.load().unwrap().is_none() && !state.path().exists());
        let route = closed();
        state.save(&text_of([("web", &route)].into_iter()).unwrap()).unwrap();
        let saved = state.load().unwrap().unwrap();
        assert_eq!((saved.routes, saved.dropped), (HashMap::from([("web".to_owned(), route)]), Vec::new()));
        assert!(state.path().join("edge.state.json").is_file());
        state.save(&empty()).unwrap();
        assert!(state.load().unwrap().unwrap().routes.is_empty());
    }

    #[test]
    fn a_state_of_version_0_1_is_read_and_written_as_it_was() {
        let routes = parse(VERSION_0_1.as_bytes()).unwrap().routes;
        let mut names: Vec<_> = routes.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(names.len(), 5);
        let text = text_of(names.into_iter().map(|(name, state)| (name.as_str(), state)));
        assert_eq!(text.as_deref(), Some(VERSION_0_1.trim_end()));
    }

    #[test]
    fn a_share_is_read_back_to_the_last_bit() {
        for ticks in 1_u32..=1_200 {
            let share = f64::from(ticks) / 1_200.0;
            let text = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), share.to_bits(), "{text}");
        }
    }

    #[test]
    fn a_state_of_no_use_is_put_aside_and_the_next_one_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), Some(&dir.path().join("state")), None);
        let aside = dir.path().join("state/edge.state.json.damaged");
        let route = closed();
        let whole = text_of([("web", &route)].into_iter()).unwrap();
        let too_large = vec![b' '; usize::try_from(LARGEST).unwrap() + 1];
        for (bytes, expected) in [
            (&whole.as_bytes()[..whole.len() - 2], "damaged"),
            (b"", "damaged"),
            (b"\0\0\0\0", "damaged"),
            (b"{ \"version\": 1, \"routes\": { \"web\": \"\xff\" } }", "damaged"),
            (b"{ \"version\": 2, \"routes\": [] }", "version 2"),
            (&too_large, "larger"),
        ] {
            state.make().unwrap();
            fs::write(state.file(STATE), bytes).unwrap();
            let error = state.load().unwrap_err();
            let LoadError::Unusable(fault, Some(kept)) = &error else { panic!("{error:?}") };
            assert!(fault.to_string().contains(expected) && *kept == aside, "{error:?}");
            assert_eq!(fs::read(&aside).unwrap(), bytes);
            assert!(state.load().unwrap().is_none());
        }
        state.save(&whole).unwrap();
        assert_eq!(state.load().unwrap().unwrap().routes.len(), 1);
    }

    #[test]
    fn a_damaged_part_costs_itself_alone() {
        let whole = r#"{ "phase": "closed", "since": "2026-05-19T14:30:00Z", "why": "", "closure": null, "share": 0.5,
            "watched": true, "breach": { "at": "2026-05-19T14:30:00Z", "what": "words" }, "began": "2026-05-19T14:30:00Z",
            "baseline": { "requests": 1000, "errors": 5 }, "seen": "2026-05-19T14:31:00Z", "trial": "under",
            "suspicion": { "breach": { "at": "2026-05-19T14:30:00Z", "what": "words" } }, "eased": true, "late":
            { "secs": 1, "nanos": 0 }, "interrupted": null, "open_before": "2026-05-19T14:00:00Z" }"#;
        let whole: serde_json::Value = serde_json::from_str(whole).unwrap();
        let sound = serde_json::from_value::<RouteState>(whole.clone()).unwrap();
        let read = |web: &serde_json::Value| {
            let text = serde_json::json!({ "version": 1, "routes": { "web": web, "api": whole } }).to_string();
            let mut saved = parse(text.as_bytes()).unwrap();
            assert_eq!(saved.routes.remove("api").as_ref(), Some(&sound), "the other route is as it was: {text}");
            (saved.routes.remove("web").unwrap(), saved.dropped)
        };
        assert_eq!(read(&whole), (sound.clone(), Vec::new()));
        for key in whole.as_object().unwrap().keys() {
            for damage in [serde_json::json!({ "x": [] }), serde_json::json!([[]])] {
                let mut web = whole.clone();
                web[key] = damage;
                let (state, dropped) = read(&web);
                let [one] = dropped.as_slice() else { panic!("{key}: {dropped:?}") };
                let is_lost = key == "phase";
                assert_eq!((one.route.as_str(), one.key), ("web", (!is_lost).then_some(key.as_str())));
                assert_eq!(state.phase() == sound.phase(), !is_lost, "{key}: {state:?}");
                assert_eq!(state.breach().is_some(), !is_lost, "a finding stands, whatever is lost: {key}");
            }
        }
        for damage in [serde_json::json!(null), serde_json::json!("x"), serde_json::json!({})] {
            let (state, dropped) = read(&damage);
            assert_eq!((state.phase(), dropped.len()), (crate::plan::lifecycle::Phase::Verifying, 1), "{damage}");
            assert_eq!(dropped[0].to_string(), "everything about web: its checks have to pass before it opens");
        }
    }

    #[test]
    fn a_damaged_state_is_copied_and_what_is_left_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), None, None);
        let text = text_of([("web", &closed())].into_iter()).unwrap();
        let damaged = text.replace("\"baseline\": null", "\"baseline\": { \"requests\": -1 }");
        assert_ne!(text, damaged);
        state.save(&damaged).unwrap();
        let saved = state.load().unwrap().unwrap();
        assert_eq!((saved.routes.get("web"), saved.dropped.len()), (Some(&closed()), 1));
        assert_eq!(fs::read_to_string(state.file(DAMAGED)).unwrap(), damaged);
    }

    #[test]
    fn a_symlink_or_a_pipe_in_the_way_is_neither_read_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), None, None);
        state.make().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "{ \"version\": 1, \"routes\": {} }").unwrap();
        std::os::unix::fs::symlink(&secret, state.file(STATE)).unwrap();
        assert!(matches!(state.load(), Err(LoadError::Read(_))));
        assert!(matches!(state.save(&empty()), Err(SaveError::Write(WriteError::NotAFile(_)))));
        assert_eq!(fs::read_to_string(&secret).unwrap(), "{ \"version\": 1, \"routes\": {} }");
        fs::remove_file(state.file(STATE)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, state.file(STATE), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(state.load(), Err(LoadError::Read(_))));
    }

    #[test]
    fn nobody_else_looks_into_what_is_made() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), Some(&dir.path().join("a/b")), None);
        state.save(&empty()).unwrap();
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn it_is_where_the_config_says_else_where_systemd_says_else_beside() {
        let place = |configured: Option<&str>, systemd: Option<&str>| {
            let file = Path::new("/etc/backsoon/backsoon.toml");
            StateDir::new(file, configured.map(Path::new), systemd.map(OsString::from)).directory
        };
        assert_eq!(place(Some("/srv/state"), Some("/var/lib/backsoon")), Path::new("/srv/state"));
        assert_eq!(place(None, Some("/var/lib/backsoon:/x")), Path::new("/var/lib/backsoon"));
        assert_eq!(place(None, Some("")), Path::new("/etc/backsoon/.backsoon"));
    }

    #[test]
    fn a_file_in_the_way_is_an_error_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".backsoon"), "mine").unwrap();
        let state = StateDir::new(&dir.path().join("edge.toml"), None, None);
        assert!(matches!(state.save(&empty()), Err(SaveError::Directory(_))));
        assert_eq!(fs::read_to_string(dir.path().join(".backsoon")).unwrap(), "mine");
    }
}
