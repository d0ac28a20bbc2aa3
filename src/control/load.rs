//! Loads files into inputs, on the one path that `run`, `check`, `explain` and `render` share.
//!
//! There is no second validator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::plan::compile::{Inputs, Known, Memory, compile};
use crate::plan::config::{self, Config, Include, Included, Parsed, Sources, Surroundings};
use crate::plan::encoding;
use crate::plan::flags::{self, Flags, Reading, Stale};
use crate::plan::page::Renderers;
use crate::plan::problem::{Problem, Severity};
use crate::plan::snapshot::Snapshot;

use super::certs::{self, Materials};
use super::fleet::{self, Fetched as Flagged};
use super::{pages, switches};
use crate::files::source::{self, Content, Hash, ReadError};
use crate::files::{Files, Kind, listing};

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
    /// The warnings among them that come and go without an edit.
    pub standing: Vec<Problem>,
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
    from(config_file, &mut Disk)
}

/// Loads by a reader.
///
/// # Errors
/// The same as those of [`once`].
pub(crate) fn from(config_file: &Path, reader: &mut impl Reader) -> Result<Loaded, Vec<Problem>> {
    let config_text = reader.file(config_file).map_err(|error| vec![Problem::in_file(config_file, error)])?;
    let Parsed { config, mut problems, sources } = parse_config(config_file, &config_text, reader);
    let Some(config) = config else {
        return Err(problems);
    };
    let flag_file = &config.maintenance;
    let Flagged { content, warning } = reader.flags(config_file, &config);
    problems.extend(warning);
    let (flags, flags_missing) = match content {
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
    let materials = certs::materials(config_file, &config, None, |path| reader.file(path));
    let (materials, found) =
        materials.map_or_else(|problems| (None, problems), |materials| (Some(materials), Vec::new()));
    problems.extend(found);
    let standing = materials.as_ref().map(|materials| standing(&config, materials, Timestamp::now()));
    let standing = standing.unwrap_or_else(|| certs::exposed(&config));
    problems.extend(standing.iter().cloned());
    let unready = fleet::unready(config_file, &config);
    let told = unready.is_empty();
    problems.extend(unready);
    let unowned = super::sockets::unowned(config_file, &config);
    let is_owned = unowned.is_empty();
    problems.extend(unowned);
    problems.extend(super::notify::unrunnable(config_file, &config));
    problems.extend(super::subscribers::unmailable(config_file, &config));
    let (renderers, found) = pages::renderers(config_file, &config, |path| reader.file(path));
    problems.extend(found);
    let found = switches::problems(config_file, &config, |_| false);
    let told = told && found.iter().all(|problem| problem.severity != Severity::Error);
    problems.extend(found);
    match (flags.filter(|_| told), materials, renderers) {
        (Some((flags, stale)), Some(materials), Some(renderers)) if is_owned => Ok(Loaded {
            renderers,
            flags: Arc::new(Flags { switched: switches::on(&config), ..flags }),
            config: Arc::new(config),
            sources,
            stale,
            flags_missing,
            materials,
            warnings: problems,
            standing,
        }),
        _ => Err(problems),
    }
}

/// Returns the warnings that come and go without an edit: secrets that others can read, and certificates that end.
pub(super) fn standing(config: &Config, materials: &Materials, now: Timestamp) -> Vec<Problem> {
    let mut standing = certs::exposed(config);
    standing.extend(super::admin::unusable(config));
    standing.extend(materials.warnings(now));
    standing
}

/// Returns the problem of a config that names another flag file, if that cannot be read. A running proxy must not take
/// the config, since routes that the old file flags would open by mistake.
pub(crate) fn missing_flags(config_file: &Path, config: &Config, error: ReadError) -> Problem {
    let message = format!("`maintenance` names {}, which cannot be read: {error}", config.maintenance.display());
    let help = "write that file first (an empty one flags nothing); then this config is taken";
    Problem::in_file(config_file, message).help(help)
}

/// Place that files are read from.
pub(crate) trait Reader {
    /// Reads a file.
    fn file(&mut self, path: &Path) -> Result<Content, ReadError>;

    /// Lists the files that a pattern matches.
    fn listing(&mut self, pattern: &Path) -> Result<Content, ReadError>;

    /// Reads the text of the flag file, wherever it comes from.
    fn flags(&mut self, config_file: &Path, config: &Config) -> Flagged {
        match &config.fleet {
            Some(fleet) => fleet::fetch(config_file, config, fleet),
            None => Flagged { content: self.file(&config.maintenance), warning: None },
        }
    }
}

/// The disk, as it is now.
pub(crate) struct Disk;

impl Reader for Disk {
    fn file(&mut self, path: &Path) -> Result<Content, ReadError> {
        source::read(path).content
    }

    fn listing(&mut self, pattern: &Path) -> Result<Content, ReadError> {
        listing::read(pattern).content
    }
}

/// Watched files, as they settled. What is read is watched from then on. The text of an engine stays as it was once.
impl Reader for Files {
    fn file(&mut self, path: &Path) -> Result<Content, ReadError> {
        self.settled(path)
    }

    fn flags(&mut self, config_file: &Path, config: &Config) -> Flagged {
        let path = &config.maintenance;
        if let (Some(fleet), None) = (&config.fleet, self.get(path)) {
            let Flagged { content, warning } = fleet::fetch(config_file, config, fleet);
            let _ = self.hand(path, content.clone());
            return Flagged { content, warning };
        }
        Flagged { content: self.settled(path), warning: None }
    }

    fn listing(&mut self, pattern: &Path) -> Result<Content, ReadError> {
        self.listed(pattern)
    }
}

/// Parses a config file's content, with the environment of this process and the files that it includes.
pub(crate) fn parse_config(path: &Path, content: &Content, reader: &mut impl Reader) -> Parsed {
    let mut include = |include: &Include| included(include, reader);
    let mut surroundings = Surroundings { variable: &|name| std::env::var(name).ok(), include: &mut include };
    match encoding::decode(path, &content.bytes) {
        Ok(text) => config::parse_in(path, text, &mut surroundings),
        Err(problem) => Parsed { config: None, problems: vec![problem], sources: Sources::default() },
    }
}

fn included(include: &Include, reader: &mut impl Reader) -> Vec<Included> {
    let files = match include {
        Include::File(path) => vec![path.clone()],
        Include::Matching(pattern) => {
            reader.listing(pattern).map(|listing| listing::files(pattern, &listing)).unwrap_or_default()
        }
    };
    let files = files.into_iter().filter_map(|file| {
        let text = match reader.file(&file) {
            // A file that went between the look at the folder and this one does not match any more.
            Err(ReadError::Missing) if matches!(include, Include::Matching(_)) => return None,
            Err(error) => Err(error.to_string()),
            Ok(content) => {
                encoding::decode(&file, &content.bytes).map(str::to_owned).map_err(|problem| problem.message)
            }
        };
        Some(Included { file, text })
    });
    files.collect()
}

/// Returns what is to be watched for the files that a config includes.
pub(crate) fn sources_of(sources: &Sources) -> Vec<(PathBuf, Kind)> {
    let kind = |include: &Include| match include {
        Include::File(_) => Kind::Content,
        Include::Matching(_) => Kind::Listing,
    };
    let includes = sources.includes.iter().map(|include| (include.path().to_owned(), kind(include)));
    includes.chain(sources.files.iter().map(|file| (file.clone(), Kind::Content))).collect()
}

/// Returns the hash of a config with all that it includes. Without that, it is the one of its file.
pub(crate) fn whole_hash(config: Hash, included: impl IntoIterator<Item = Hash>) -> Hash {
    let mut included = included.into_iter().peekable();
    if included.peek().is_none() {
        return config;
    }
    let all: Vec<u8> = std::iter::once(config).chain(included).flat_map(|hash| hash.0).collect();
    Hash::of(&all)
}

/// Returns the hash of a config on disk with all that it includes.
pub(crate) fn hash_on_disk(config_file: &Path) -> Option<Hash> {
    let content = source::read(config_file).content.ok()?;
    let sources = parse_config(config_file, &content, &mut Disk).sources;
    let included = sources.files.iter().filter_map(|file| Some(source::read(file).content.ok()?.hash));
    Some(whole_hash(content.hash, included))
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
