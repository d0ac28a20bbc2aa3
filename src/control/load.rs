//! Loads files into inputs, on the one path that `run`, `check`, `explain` and `render` share.
//!
//! There is no second validator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::plan::compile::{Inputs, Known, Memory, compile};
use crate::plan::config::{self, Config, Parsed, Sources, Surroundings};
use crate::plan::encoding;
use crate::plan::flags::{self, Flags, Reading, Stale};
use crate::plan::page::Renderers;
use crate::plan::problem::{Problem, Severity};
use crate::plan::snapshot::Snapshot;

use super::certs::{self, Materials};
use super::{pages, switches};
use crate::files::source::{self, Content, ReadError};

/// Contents of all files, parsed and checked.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The config.
    pub config: Arc<Config>,
    /// Sources of the config besides its file.
    pub sources: Sources,
    /// The flag file.
    pub flags: Arc<Flags>,
    /// Entries of the flag file that can never act.
    pub stale: Stale,
    /// True if the flag file is missing. Nothing is flagged then.
    pub flags_missing: bool,
    /// Certificates, roots and secrets.
    pub materials: Materials,
    /// The renderers of the pages.
    pub renderers: Renderers,
    /// Warnings; none of them is an error.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// Compiles a snapshot for an instant.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.snapshot_of(Memory::default(), now)
    }

    /// Compiles a snapshot with a process's memory of the routes.
    pub(crate) fn snapshot_of(&self, memory: Memory, now: Timestamp) -> Snapshot {
        let Self { config, flags, renderers, materials, .. } = self;
        let known = Known { memory, secrets: materials.secrets.clone(), ..Known::default() };
        compile(Inputs { config, flags, renderers, known: &known, previous: None, now, generation: 1 })
    }
}

/// Reads and checks every file once.
///
/// # Errors
/// All problems including warnings, if at least one is an error.
pub(crate) fn once(config_file: &Path) -> Result<Loaded, Vec<Problem>> {
    from(config_file, |path| source::read(path).content)
}

/// Loads with the caller's reader.
///
/// # Errors
/// The same as those of [`once`].
pub(crate) fn from(
    config_file: &Path,
    mut read: impl FnMut(&Path) -> Result<Content, ReadError>,
) -> Result<Loaded, Vec<Problem>> {
    let config_text = read(config_file).map_err(|error| vec![Problem::in_file(config_file, error)])?;
    let Parsed { config, mut problems, sources } = parse_config(config_file, &config_text);
    let Some(config) = config else {
        return Err(problems);
    };
    let flag_file = &config.maintenance;
    let (flags, flags_missing) = match read(flag_file) {
        Ok(content) => {
            let reading = Reading { now: Timestamp::now(), before: None };
            let (flags, found) = parse_flags(flag_file, &content, &config, reading);
            problems.extend(found);
            (flags, false)
        }
        Err(ReadError::Missing) => (Some(Default::default()), true),
        Err(error) => {
            problems.push(Problem::in_file(flag_file, error));
            (None, false)
        }
    };
    let materials = certs::materials(config_file, &config, &mut read);
    let (materials, found) =
        materials.map_or_else(|problems| (None, problems), |materials| (Some(materials), Vec::new()));
    problems.extend(found);
    problems.extend(certs::exposed(&config));
    problems.extend(super::notify::unrunnable(config_file, &config));
    problems.extend(super::subscribers::unmailable(config_file, &config));
    let (renderers, found) = pages::renderers(config_file, &config, &mut read);
    problems.extend(found);
    let found = switches::problems(config_file, &config, |_| false);
    let told = found.iter().all(|problem| problem.severity != Severity::Error);
    problems.extend(found);
    match (flags.filter(|_| told), materials, renderers) {
        (Some((flags, stale)), Some(materials), Some(renderers)) => Ok(Loaded {
            renderers,
            flags: Arc::new(Flags { switched: switches::on(&config), ..flags }),
            config: Arc::new(config),
            sources,
            stale,
            flags_missing,
            materials,
            warnings: problems,
        }),
        _ => Err(problems),
    }
}

/// Returns the problem of a config that names another flag file, if that cannot be read. A running proxy must not take
/// the config, since routes that the old file flags would open by mistake.
pub(crate) fn missing_flags(config_file: &Path, config: &Config, error: ReadError) -> Problem {
    let message = format!("`maintenance` names {}, which cannot be read: {error}", config.maintenance.display());
    let help = "write that file first (an empty one flags nothing); then this config is taken";
    Problem::in_file(config_file, message).help(help)
}

/// Parses a config file's content, with the environment of this process.
pub(crate) fn parse_config(path: &Path, content: &Content) -> Parsed {
    let mut surroundings = Surroundings { variable: &|name| std::env::var(name).ok() };
    match encoding::decode(path, &content.bytes) {
        Ok(text) => config::parse_in(path, text, &mut surroundings),
        Err(problem) => Parsed { config: None, problems: vec![problem], sources: Sources::default() },
    }
}

/// Parses a flag file's content. Reports routes that the config does not have, and entries that can never act.
pub(crate) fn parse_flags(
    path: &Path,
    content: &Content,
    config: &Config,
    reading: Reading<'_>,
) -> (Option<(Flags, Stale)>, Vec<Problem>) {
    let text = match encoding::decode(path, &content.bytes) {
        Ok(text) => text,
        Err(problem) => return (None, vec![problem]),
    };
    let file = path.display().to_string();
    let (parsed, mut problems) = flags::parse_at(&file, text, reading.now);
    let Some(parsed) = parsed else {
        return (None, problems);
    };
    problems.extend(parsed.unknown_routes(config.routes.iter().map(|route| route.name.as_str())));
    problems.extend(parsed.misplaced_upstreams(&file, config.routes.iter().map(|route| &**route)));
    let (found, stale) = parsed.stale(&file, reading);
    problems.extend(found);
    (Some((parsed.flags, stale)), problems)
}

/// Returns every file besides the config that a config names.
pub(crate) fn files_of(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::iter::once(config.maintenance.clone())
        .chain(certs::files_of(config).map(|(file, _)| file.to_owned()))
        .chain(pages::files_of(config))
        .collect();
    files.sort_unstable();
    files.dedup();
    files
}
