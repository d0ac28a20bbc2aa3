//! Inputs: the contents of the files, and how a changed file replaces a part of them.
//!
//! Each `take_*` reads one part again. A part is replaced only if all of it is good; otherwise the last good one stays.

mod fleet;
mod follow;
mod in_force;
mod materials;
mod own_pages;
mod pairs;
mod refused_page;
mod roles;
mod sources;
mod switches;

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::files::{Change, Files};
use crate::plan::compile::{self, Known};
use crate::plan::config::{Config, OnMissing, Parsed};
use crate::plan::flags::{Flags, Reading, Stale};
use crate::plan::page::Renderers;
use crate::plan::problem::{Problem, Severity};
use crate::plan::snapshot::Snapshot;
use crate::telemetry::log::LogHandle;

use super::certs::{self, Materials};
use super::findings::{Findings, warn};
use super::history::{Author, Event};
use super::judge;
use super::load::{self, Loaded};
use super::page_trial::PageTrial;
use super::pages;
use super::preview::Preview;
use super::startup::StartupSettings;
pub(super) use fleet::{FleetInput, changed as fleet_changed};
use in_force::InForce;
use pairs::Pairs;
use refused_page::RefusedPage;
use sources::ConfigSources;
use switches::Switches;

/// The inputs in force, and the files that they come from.
pub(super) struct Inputs {
    config_file: PathBuf,
    pub(super) files: Files,
    /// Source of the flags, if they do not come from a file.
    pub(super) fleet: Option<FleetInput>,
    config: Arc<Config>,
    sources: ConfigSources,
    flags: Arc<Flags>,
    /// Entries of the flags that can never act.
    stale: Stale,
    materials: Arc<Materials>,
    renderers: Renderers,
    /// Remembered and observed state of the routes.
    pub(super) known: Known,
    /// A config that was refused only because of files that it names. The files are watched, too.
    waiting: Option<Config>,
    startup: StartupSettings,
    in_force: InForce,
    pairs: Pairs,
    findings: Findings,
    /// Edits that are not recorded yet.
    edits: Vec<Event>,
    /// Warnings that come and go without an edit, as they were at the last look: secrets that others can read,
    /// certificates that end.
    standing: Vec<Problem>,
    /// Trial of the page's files after an edit.
    pub(super) trial: PageTrial,
    refused_page: RefusedPage,
    switches: Switches,
    preview: Option<Preview>,
    log: LogHandle,
}

/// The effect of a change on what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    /// The inputs in force have changed.
    Publish,
    /// The inputs in force are as before.
    None,
}

impl Effect {
    fn or(self, other: Self) -> Self {
        if self == Self::Publish { self } else { other }
    }
}

/// The files that are to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reread {
    /// The files that have changed.
    Changed,
    /// The config, the flag file and the page, changed or not.
    All,
}

/// The outcome of an edit of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Taken,
    Refused,
}

/// Parts of the inputs that a batch of changes concerns.
#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    config: bool,
    materials: bool,
    pages: bool,
    flags: bool,
}

impl Inputs {
    /// Reads every input for the first time.
    ///
    /// # Errors
    /// All problems, if at least one is an error.
    pub(super) fn read(
        config_file: PathBuf,
        mut files: Files,
        preview: Option<Preview>,
        log: LogHandle,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (loaded, fleet) = match &preview {
            Some(preview) => {
                let loaded = load::from(&config_file, &mut files)?;
                (preview.adapt(loaded, &config_file, &mut files)?, None)
            }
            None => fleet::load(&config_file, &mut files)?,
        };
        let Loaded { config, sources, flags, flags_missing, stale, materials, renderers, warnings, standing } = loaded;
        log.set_level(config.log.level);
        warn(&standing);
        if flags_missing {
            tracing::info!(path = %config.maintenance.display(), "no flag file: nothing is flagged");
        }
        let mut inputs = Self {
            config_file,
            files,
            fleet,
            startup: StartupSettings::of(&config),
            config,
            sources: ConfigSources { in_force: sources.clone(), read: sources },
            flags,
            stale,
            known: Known { secrets: materials.secrets.clone(), ..Known::default() },
            materials: Arc::new(materials),
            renderers,
            waiting: None,
            in_force: InForce::default(),
            pairs: Pairs::default(),
            findings: Findings::of_start(&warnings),
            edits: Vec::new(),
            standing,
            trial: PageTrial::new(),
            refused_page: RefusedPage::default(),
            switches: Switches::default(),
            preview,
            log,
        };
        inputs.take_all();
        Ok((inputs, warnings))
    }

    /// Sets the address at which the admin listener was bound.
    pub(super) fn set_admin(&mut self, admin: Option<String>) {
        self.startup.bound = admin;
    }

    /// Returns the address at which the admin listener was bound.
    pub(super) fn admin(&self) -> Option<&str> {
        self.startup.bound.as_deref()
    }

    pub(super) fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// Returns the certificates, roots and secrets in force. A new config brings a new `Arc`.
    pub(super) fn materials(&self) -> &Arc<Materials> {
        &self.materials
    }

    /// Returns the inputs of a snapshot for the present instant.
    pub(super) fn at_now<'i>(&'i self, previous: Option<&'i Snapshot>, generation: u64) -> compile::Inputs<'i> {
        compile::Inputs {
            config: &self.config,
            flags: &self.flags,
            renderers: &self.renderers,
            known: &self.known,
            previous,
            now: Timestamp::now(),
            generation,
        }
    }

    /// Returns the instant of the next refresh that needs no changed file.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pairs.due()
    }

    /// Returns the hash of the flag file read last.
    pub(super) fn flags_hash(&self) -> Option<String> {
        self.hash(&self.config.maintenance)
    }

    /// Returns the edits seen since the last call.
    pub(super) fn take_edits(&mut self) -> Vec<Event> {
        mem::take(&mut self.edits)
    }

    /// Watches every file that the inputs come from, and no other.
    pub(super) fn watch(&mut self) {
        self.files.set_all(self.watched());
        let waiting = self.waiting.iter().flat_map(certs::dirs_of);
        let dirs: Vec<PathBuf> = self.materials.dirs().chain(waiting).cloned().collect();
        self.files.set_dirs(dirs);
    }

    /// Takes in changed files.
    pub(super) fn refresh(&mut self, changes: &[Change], reread: Reread) -> Effect {
        let touched = self.touched(changes, reread);
        let mut effect = if touched.config { self.take_config() } else { Effect::None };
        // A new config has brought all its files with it.
        if effect == Effect::None {
            effect = self.take_parts(touched);
        }
        for change in changes {
            effect = self.follow(change).or(effect);
        }
        self.follow_switches(changes).or(effect)
    }

    fn touched(&self, changes: &[Change], reread: Reread) -> Touched {
        let all = reread == Reread::All;
        let pages = pages::files_of(&self.config);
        let mut touched = Touched { config: all, flags: all, pages: all && !pages.is_empty(), materials: false };
        // Any change may mend a config that waits for other files, even the removal of a bad template.
        let waiting = self.waiting.is_some();
        if self.pairs.is_due() {
            (touched.config, touched.materials) = (all || waiting, !waiting);
        }
        for change in changes {
            match change {
                Change::Accepted(path) if *path == self.config_file => touched.config = true,
                Change::Accepted(path) if *path == self.config.maintenance => touched.flags = true,
                // The content is the same as before. For the flag file that matters, see `follow`.
                Change::Restored(path) if *path == self.config_file || *path == self.config.maintenance => {}
                Change::Accepted(path) if self.sources.has(path) => touched.config = true,
                Change::Accepted(path) | Change::Restored(path) => {
                    touched.config |= waiting;
                    touched.pages |= pages.contains(path);
                    touched.materials |= self.material_files().any(|(file, _)| file == path);
                }
                Change::Missing(path) => {
                    touched.config |= waiting;
                    touched.pages |= pages.contains(path);
                }
                Change::Listed(_) => (touched.config, touched.materials) = (touched.config || waiting, true),
                Change::Unreadable(_) | Change::WatchWarning(_) | Change::Noted(_) | Change::Watching => {}
            }
        }
        touched
    }

    fn take_parts(&mut self, touched: Touched) -> Effect {
        let mut effect = Effect::None;
        if touched.materials {
            effect = self.take_materials().or(effect);
        }
        if touched.pages {
            self.try_pages();
        }
        if touched.flags {
            effect = self.take_flags().or(effect);
        }
        effect
    }

    fn take_config(&mut self) -> Effect {
        let Ok(content) = self.files.settled(&self.config_file) else { return Effect::None };
        let Parsed { config, mut problems, sources } = load::parse_config(&self.config_file, &content, &mut self.files);
        self.sources.read = sources;
        self.waiting = None;
        let Some(mut config) = config else {
            self.watch();
            return self.refuse(&self.config_file.clone(), problems);
        };
        if let Some(refusal) = self.doubted_config() {
            self.watch();
            return self.refuse(&self.config_file.clone(), vec![refusal]);
        }
        if let Some(preview) = &self.preview {
            (preview.config)(&mut config);
        }
        problems.extend(self.startup.keep_source(&mut config, &self.config, &self.config_file));
        let materials = self.load_materials(&config);
        let page = pages::read_files(&self.config_file, &config, |path| self.files.present(path));
        let checked = self.refused_page.check(page, &self.renderers);
        problems.extend(self.new_switches(&config));
        match (materials, checked.whole(), self.misses_flags(&config).or_else(|| untold(&mut problems))) {
            (Ok(materials), Some(renderers), None) => {
                problems.extend(self.startup.changed_by(&config, &self.config_file));
                self.trial.forget();
                self.sources.in_force = self.sources.read.clone();
                self.set_config(config, problems);
                self.set_renderers(renderers, checked);
                self.set_materials(materials);
                self.watch();
                self.findings.retain(|path| self.files.get(path).is_some() || path.is_file());
                self.in_force.retain(|path| self.files.get(path).is_some());
                let _ = self.look_at_standing();
                // Even if the new flag file is refused at first, its next contents must be doubted.
                self.judge_flags();
                let _ = self.take_switches();
                // The flag file may name routes that were added or removed.
                let _ = self.take_flags();
                Effect::Publish
            }
            (Err(found), Some(_), None) if self.awaits_pair(&config, &found) => {
                self.waiting = Some(config);
                self.watch();
                Effect::None
            }
            (materials, _, missing) => {
                self.pairs.forget();
                problems.extend(materials.err().unwrap_or_default());
                problems.extend(missing);
                problems.extend(checked.problems);
                self.waiting = Some(config);
                self.watch();
                self.refuse(&self.config_file.clone(), problems)
            }
        }
    }

    /// Returns a problem if a config names another flag file that does not exist yet. Routes that the old file flags
    /// would open by mistake.
    fn misses_flags(&mut self, config: &Config) -> Option<Problem> {
        let flag_file = &config.maintenance;
        if *flag_file == self.config.maintenance || config.on_missing == OnMissing::Open {
            return None;
        }
        let error = self.files.settled(flag_file).err()?;
        Some(load::missing_flags(&self.config_file, config, error))
    }

    fn set_config(&mut self, config: Config, problems: Vec<Problem>) {
        warn(&problems);
        self.note_edit(&self.config_file.clone(), Edit::Taken, &problems);
        self.findings.set(self.config_file.clone(), problems);
        self.log.set_level(config.log.level);
        self.config = Arc::new(config);
        self.take_config_content();
        self.judge_config();
    }

    fn take_flags(&mut self) -> Effect {
        let config = Arc::clone(&self.config);
        let flag_file = &config.maintenance;
        if config.on_missing == OnMissing::Open && self.files.is_missing(flag_file) {
            return self.give_up_flags();
        }
        let Ok(content) = self.files.settled(flag_file) else { return Effect::None };
        let reading = Reading { now: Timestamp::now(), before: Some((&self.flags, &self.stale)) };
        let (flags, problems) = load::parse_flags(flag_file, &content, &config, reading);
        let Some((flags, stale)) = flags else { return self.refuse(flag_file, problems) };
        let doubt = self.files.get(flag_file).map(|state| state.doubt).unwrap_or_default();
        if let Some(refusal) = judge::refusal(flag_file, doubt) {
            return self.refuse(flag_file, vec![refusal]);
        }
        warn(&problems);
        self.note_edit(flag_file, Edit::Taken, &problems);
        self.findings.set(flag_file.clone(), problems);
        self.take_content(flag_file);
        self.take_revision();
        self.stale = stale;
        self.set_flags(flags);
        Effect::Publish
    }

    /// Drops all flags, because the flag file is gone.
    fn give_up_flags(&mut self) -> Effect {
        self.findings.clear(&self.config.maintenance);
        self.in_force.forget(&self.config.maintenance);
        self.set_flags(Flags::default());
        Effect::Publish
    }

    fn set_flags(&mut self, mut flags: Flags) {
        flags.switched.clone_from(&self.flags.switched);
        if let Some(preview) = &self.preview {
            (preview.flags)(&mut flags);
        }
        self.flags = Arc::new(flags);
        self.judge_flags();
    }

    /// Keeps what is in force, and reports why.
    fn refuse(&mut self, file: &Path, problems: Vec<Problem>) -> Effect {
        self.findings.refuse(&problems);
        self.note_edit(file, Edit::Refused, &problems);
        self.findings.set(file.to_owned(), problems);
        Effect::None
    }

    /// Returns the author of the content that was read last.
    fn author(&self, file: &Path) -> Option<Author> {
        let content = self.files.get(file)?.content.as_ref()?;
        content.trace.author(content.hash)
    }

    fn note_edit(&mut self, file: &Path, edit: Edit, problems: &[Problem]) {
        self.edits.push(Event::Edit {
            file: file.display().to_string(),
            role: self.role(file).as_str().to_owned(),
            hash: self.hash(file),
            taken: edit == Edit::Taken,
            by: self.author(file),
            problems: problems.iter().map(|problem| problem.message.clone()).collect(),
        });
    }
}

/// Takes the error out of the problems of a config's switches; `None` if they are warnings.
fn untold(problems: &mut Vec<Problem>) -> Option<Problem> {
    let error = problems.iter().position(|problem| problem.severity == Severity::Error)?;
    Some(problems.remove(error))
}
