//! The proxy that a command is about: its flag file, its routes, and the admin listeners that can be asked.
//!
//! All three come from the config on disk. While the config is broken, they come from a running proxy, which is found
//! by `--admin` or by its runtime file.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use crate::control::state::StateDir;
use crate::control::switches;
use crate::files::source::{self, ReadError};
use crate::files::write::Emptied;
use crate::plan::compile::{Inputs, Known, Memory, compile};
use crate::plan::config::{Address, Config, FleetConfig};
use crate::plan::encoding;
use crate::plan::flags::{self, Flags};
use crate::plan::page::Renderers;
use crate::plan::problem::Problem;
use crate::plan::snapshot::Snapshot;
use crate::status::{Role, RuntimeFile, Status};

use super::admin::{self, Endpoint};
use super::confirm::{Claim, Confirmation, Wish};
use super::edit::EditError;
use super::failure::{EditFailure, Failure, Force};
use super::flag_file::{self, Edited, FlagFile};
use super::place::Place;
use super::remains::{self, Asked, Facts, Origin};
use super::roll::{Roll, Wait};
use super::streams::Streams;
use super::unseen::{self, Target, has_config};
use super::words::harmless;
use super::{ConfigFile, WaitFor, runtime};

/// Options that name the flag file, and the proxies that follow it.
#[derive(Args, Clone, Debug)]
pub(super) struct SiteArgs {
    /// Ask this admin listener, and not the config's; all must confirm, if it is given again or is a name of several
    #[arg(long, value_name = "ADDRESS", env = "BACKSOON_ADMIN", hide_env_values = true, value_delimiter = ',')]
    admin: Vec<Endpoint>,
    /// Edit this flag file, and not the config's; an app with the layer has no config
    #[arg(long, value_name = "FILE")]
    flags: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

impl SiteArgs {
    /// Returns the options of a command that names listeners, and edits nothing.
    pub(super) fn asking(admin: Vec<Endpoint>, config: &ConfigFile) -> Self {
        Self { admin, ..Self::of(config) }
    }

    /// Returns the options of a command that has none of them but `--config`.
    pub(super) fn of(config: &ConfigFile) -> Self {
        Self { admin: Vec::new(), flags: None, config: config.clone() }
    }
}

/// Flag file of a proxy, its routes and its admin listeners.
pub(super) struct Site {
    /// The flag file.
    pub(super) file: PathBuf,
    /// Engine that keeps its text, if it is no file.
    fleet: Option<FleetConfig>,
    config_file: PathBuf,
    /// The config on disk, if it can be parsed.
    config: Option<Config>,
    /// Names of the routes; `None` if nobody could tell.
    routes: Option<Vec<String>>,
    endpoints: Vec<Endpoint>,
    /// True if the user has named the listeners to ask, or the flag file.
    is_named: bool,
    /// Roll call that was made before an edit.
    roll: RefCell<Option<Roll>>,
    /// Notes on where the flag file and the routes come from.
    notes: Vec<String>,
}

impl Site {
    /// Finds the flag file, the routes and the admin listeners.
    ///
    /// # Errors
    /// If the config is broken, and neither a running proxy nor an option says which flag file is meant.
    pub(super) fn find(args: &SiteArgs) -> Result<Self, Failure> {
        match FlagFile::of(&args.config.config) {
            Ok(FlagFile { place, config }) => Self::of_config(args, place, config),
            Err(Failure::Problems(problems)) => Self::without_config(args, problems),
            Err(other) => Err(other),
        }
    }

    /// Finds what [`Site::find`] finds for an edit, and writes the notes. Nothing is written if `--wait` has nobody to ask.
    ///
    /// # Errors
    /// As [`Site::find`], and [`Failure::NoAdmin`].
    pub(super) fn to_edit(args: &SiteArgs, wait: &WaitFor, streams: &mut Streams) -> Result<Self, Failure> {
        let site = Self::find(args)?;
        site.note(streams)?;
        site.check_wait(wait)?;
        Ok(site)
    }

    fn of_config(args: &SiteArgs, place: Place, config: Config) -> Result<Self, Failure> {
        let config_file = args.config.config.clone();
        let (endpoints, note) = if args.admin.is_empty() {
            of_replicas(&config_file, &config)?
        } else {
            (admin::resolved(args.admin.clone())?, None)
        };
        let place = args.flags.clone().map_or(place, Place::file);
        Ok(Self {
            file: place.path,
            fleet: place.fleet,
            routes: Some(config.routes.iter().map(|route| route.name.clone()).collect()),
            config_file,
            config: Some(config),
            endpoints,
            is_named: !args.admin.is_empty() || args.flags.is_some(),
            roll: RefCell::default(),
            notes: note.into_iter().collect(),
        })
    }

    fn without_config(args: &SiteArgs, problems: Vec<Problem>) -> Result<Self, Failure> {
        let config_file = &args.config.config;
        let running = runtime::find(config_file, runtime::state_dir(config_file).as_deref());
        let endpoints = match (args.admin.is_empty(), &running) {
            (true, Some(running)) => runtime::endpoint(running).into_iter().collect(),
            (true, None) | (false, _) => admin::resolved(args.admin.clone())?,
        };
        let told = endpoints.first().map(|endpoint| (endpoint, admin::ask_at_once(endpoint)));
        let status = told.as_ref().and_then(|(_, told)| told.as_ref().ok());
        let error = described(config_file, &problems);
        let named = args.flags.clone().map(|file| (format!("using `{}`", file.display()), file));
        let of_proxy = || flag_file_of(status, running.as_ref());
        let by_proxy =
            || Some((format!("using what the running proxy at {} has in force", endpoints.first()?), of_proxy()?));
        let Some((using, file)) = named.or_else(by_proxy) else {
            return Err(match told {
                Some((endpoint, Err(source))) => Failure::Unreachable { endpoint: endpoint.clone(), source },
                Some((_, Ok(_))) | None => Failure::NoSite(problems),
            });
        };
        let routes = status.map(|status| status.routes.iter().map(|route| route.name.clone()).collect());
        // Without a proxy there is no config, and none is missed: an app has the flag file alone.
        let is_missed = args.flags.is_none() || config_file.exists();
        let mut notes: Vec<String> = is_missed.then(|| format!("{error}, {using}")).into_iter().collect();
        notes.extend(unknown_replicas(config_file).filter(|_| args.admin.is_empty()));
        let fleet = None;
        Ok(Self {
            file,
            fleet,
            config_file: config_file.clone(),
            config: None,
            routes,
            endpoints: endpoints.clone(),
            is_named: true,
            roll: RefCell::default(),
            notes,
        })
    }

    /// Writes the notes on where the flag file and the routes come from.
    pub(super) fn note(&self, streams: &mut Streams) -> Result<(), Failure> {
        self.notes.iter().try_for_each(|note| streams.note(note)).map_err(Failure::Output)
    }

    /// Refuses a name that is neither `*` nor a known route.
    ///
    /// # Errors
    /// [`Failure::NoRoute`].
    pub(super) fn check_route(&self, name: &str) -> Result<(), Failure> {
        match &self.routes {
            Some(routes) if name != "*" && !routes.iter().any(|route| route == name) => {
                Err(Failure::Edit(EditFailure::NoRoute {
                    name: name.to_owned(),
                    known: routes.clone(),
                    force: Force::Possible,
                }))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses to wait if nobody can be asked, or fewer than the user knows of. Call this before anything is written.
    ///
    /// # Errors
    /// [`Failure::NoAdmin`] or [`Failure::Number`].
    pub(super) fn check_wait(&self, wait: &WaitFor) -> Result<(), Failure> {
        if (wait.wait || wait.replicas.is_some())
            && let Some(roll) = self.roll(Wait::CALL)?
        {
            let checked = admin::expect(wait.replicas, &roll.members.answering());
            // Who is there now is waited for, even if nobody speaks of it later.
            self.roll.replace(Some(roll));
            return Ok(checked?);
        }
        if wait.wait && self.endpoints.is_empty() {
            return Err(Failure::NoAdmin(self.config_file.clone()));
        }
        Ok(admin::expect(wait.replicas, &self.endpoints)?)
    }

    /// Asks all replicas through the engine; `None` if it carries no beats, if nobody answers, or if the user has named
    /// whom to ask.
    fn roll(&self, wait: Wait) -> Result<Option<Roll>, Failure> {
        let made = self.roll.borrow_mut().take();
        let Some(fleet) = self.fleet.as_ref().filter(|_| made.is_none() && !self.is_named) else { return Ok(made) };
        let Some(mut roll) = Roll::of(fleet)? else { return Ok(None) };
        let called = roll.call(&[], wait);
        Ok(Some(roll).filter(|roll| called.is_ok() && roll.members.has_answer()))
    }

    /// Returns the place of the flag file's text.
    pub(super) fn place(&self) -> Place {
        Place { path: self.file.clone(), fleet: self.fleet.clone() }
    }

    /// Returns true if the flag file is a file, and does not exist yet.
    pub(super) fn is_new(&self) -> bool {
        self.fleet.is_none() && !self.file.exists()
    }

    /// Reads the flags. A missing file has none.
    ///
    /// # Errors
    /// If the file cannot be read, or has errors.
    pub(super) fn flags(&self) -> Result<Flags, Failure> {
        Ok(self.with_switches(flag_file::flags(&self.place())?))
    }

    /// Reads the text, whatever is wrong with it.
    ///
    /// # Errors
    /// If there is none, or it cannot be read as text.
    pub(super) fn text(&self) -> Result<String, Failure> {
        let content = self.place().content()?;
        let content = content.ok_or_else(|| EditFailure::unreadable(&self.file, ReadError::Missing))?;
        encoding::decode(&self.file, &content.bytes).map_err(|problem| EditFailure::Problems(vec![problem]))?;
        Ok(String::from_utf8_lossy(&content.bytes).into_owned())
    }

    /// Edits the file, unless it would have errors afterwards. The caller decides about a file that was emptied.
    ///
    /// # Errors
    /// If the file has errors, would get errors, or cannot be edited, read or written. Also if an edit would drop flags
    /// that a proxy has in force.
    pub(super) fn edit<T>(
        &self,
        emptied: Emptied,
        edit: impl FnMut(&str) -> Result<(String, T), EditError>,
    ) -> Result<Edited<T>, Failure> {
        self.check_unseen(emptied)?;
        let edited = flag_file::edit(&self.place(), emptied, edit)?;
        Ok(Edited { flags: self.with_switches(edited.flags), ..edited })
    }

    /// Refuses an edit that would drop flags which only a proxy has.
    ///
    /// # Errors
    /// [`Failure::Unseen`].
    pub(super) fn check_unseen(&self, emptied: Emptied) -> Result<(), Failure> {
        if emptied == Emptied::Refused {
            let named_by = self.config.as_ref().filter(|config| config.maintenance == self.file);
            let named_by = named_by.map(|_| &*self.config_file);
            let memory = self.config.as_ref().map(|config| self.memory(config)).unwrap_or_default();
            unseen::check(&Target { place: &self.place(), named_by, memory }, &self.endpoints)?;
        }
        Ok(())
    }

    /// Returns the config on disk, if it can be parsed.
    pub(super) fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Returns the number of requests that all proxies have in flight at upstreams. A proxy that does not answer has none.
    pub(super) fn in_flight_at(&self, upstreams: &BTreeSet<String>) -> u64 {
        let statuses = self.endpoints.iter().filter_map(|endpoint| admin::ask_at_once(endpoint).ok());
        let of = |status: Status| -> u64 {
            let all = status.routes.iter().flat_map(|route| &route.upstreams);
            // Routes share an upstream, and each tells all that is in flight there.
            let meant: BTreeMap<&str, u64> = all
                .filter(|upstream| upstreams.contains(&upstream.name))
                .map(|upstream| (upstream.name.as_str(), upstream.pending))
                .collect();
            meant.values().sum()
        };
        statuses.map(of).sum()
    }

    /// Adds the switches that are on, as they are seen from here.
    fn with_switches(&self, flags: Flags) -> Flags {
        Flags { switched: self.config.as_ref().map(switches::on).unwrap_or_default(), ..flags }
    }

    /// Prepares to ask the proxies about an edit that was made.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(super) fn confirmation(&self, text: String, asked: Asked, wish: Wish) -> Result<Confirmation, Failure> {
        let claim = Claim::new(&self.file, &self.config_file, text, asked, wish);
        match (self.roll(Wait::GLANCE)?, &self.fleet) {
            (Some(roll), Some(fleet)) => Confirmation::through(claim, roll, fleet.clone()),
            (Some(_) | None, _) => Ok(Confirmation::new(claim, self.endpoints.clone())?.noted(self.unheard())),
        }
    }

    /// Returns a note if not all replicas are asked although the engine could reach them.
    fn unheard(&self) -> Option<String> {
        let carries = |fleet: &&FleetConfig| !self.is_named && fleet.nats().is_some();
        self.fleet.as_ref().filter(carries).map(|_| {
            let asked = if self.endpoints.len() == 1 { "only one proxy is asked" } else { "only these are asked" };
            format!("no replica answers through the engine, {asked}: {}", listed(&self.endpoints))
        })
    }

    /// Returns the routes as the files have them, with their saved state. Without a config nothing is known.
    pub(super) fn facts(&self, flags: &Flags, now: Timestamp) -> Facts {
        let snapshot = self.snapshot(flags, now, None);
        let routes = snapshot.iter().flat_map(|snapshot| &snapshot.routes).map(remains::compiled);
        Facts { routes: routes.collect(), from: Origin::Files }
    }

    /// Returns the snapshot that a proxy with this config would make of these flags; `None` without a config.
    pub(super) fn snapshot(&self, flags: &Flags, now: Timestamp, previous: Option<&Snapshot>) -> Option<Snapshot> {
        let config = self.config.as_ref()?;
        let memory = self.memory(config);
        // Only the closures matter here, so the built-in page is enough.
        let renderers =
            previous.map_or_else(Renderers::built_in, |previous| Renderers::from(Arc::clone(&previous.renderer)));
        let known = Known { memory, ..Known::default() };
        Some(compile(Inputs { config, flags, renderers: &renderers, known: &known, previous, now, generation: 1 }))
    }

    /// Reads the saved state of the proxy, as far as it can be read.
    fn memory(&self, config: &Config) -> Memory {
        StateDir::of_process(&self.config_file, config.state_dir.as_deref()).peek().unwrap_or_default()
    }

    /// Parses a text of the flag file; `None` if it has errors.
    pub(super) fn parse(&self, text: &str) -> Option<Flags> {
        flags::parse_at(&self.file.display().to_string(), text, Timestamp::now())
            .0
            .map(|parsed| self.with_switches(parsed.flags))
    }
}

/// Returns the engine of a config through which all replicas can be asked.
pub(super) fn fleet(config_file: &Path) -> Option<FleetConfig> {
    FlagFile::of(config_file).ok()?.config.fleet.filter(|fleet| fleet.nats().is_some())
}

fn listed(endpoints: &[Endpoint]) -> String {
    if endpoints.is_empty() {
        return "none".to_owned();
    }
    endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Finds the admin listener of the proxy that runs with a config, with notes on the source of the address.
///
/// # Errors
/// If the config is broken and has no runtime file, or if there is no admin listener.
pub(super) fn listener(config_file: &Path) -> Result<(Endpoint, Option<String>), Failure> {
    let (endpoint, note) = match FlagFile::of(config_file) {
        Ok(FlagFile { config, .. }) => {
            let (endpoints, note) = of_running(config_file, &config);
            (endpoints.into_iter().next(), note)
        }
        Err(Failure::Problems(problems)) => {
            let running = runtime::find(config_file, runtime::state_dir(config_file).as_deref());
            let endpoint = running.as_ref().and_then(runtime::endpoint).ok_or(Failure::Problems(problems.clone()))?;
            let note = format!("{}, asking the running proxy at {endpoint}", described(config_file, &problems));
            (Some(endpoint), Some(note))
        }
        Err(other) => return Err(other),
    };
    Ok((endpoint.ok_or_else(|| Failure::NoAdmin(config_file.to_owned()))?, note))
}

/// Finds the admin listeners to ask: those that are named, else those of all replicas of a config, else that of the proxy
/// that runs with it, with notes as above.
///
/// # Errors
/// As [`listener`], and if there are too many.
pub(super) fn listeners(named: &[Endpoint], config_file: &Path) -> Result<(Vec<Endpoint>, Vec<String>), Failure> {
    if !named.is_empty() {
        return Ok((admin::resolved(named.to_vec())?, Vec::new()));
    }
    if let Ok(FlagFile { config, .. }) = FlagFile::of(config_file)
        && !config.replicas.is_empty()
    {
        return Ok((admin::resolved(config.replicas)?, Vec::new()));
    }
    let (endpoint, note) = listener(config_file)?;
    let unknown = note.as_ref().and_then(|_| unknown_replicas(config_file));
    Ok((vec![endpoint], note.into_iter().chain(unknown).collect()))
}

/// Returns a note if a config that cannot be read names replicas: only one proxy can be asked then.
fn unknown_replicas(config_file: &Path) -> Option<String> {
    let text = config_text(config_file)?;
    let mut top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let named = top.any(|line| line.split_once('=').is_some_and(|(key, _)| key.trim() == "replicas"));
    named.then(|| "its `replicas` are not read: name them with `--admin`, or one proxy is asked alone".to_owned())
}

/// Returns the replicas of a config; without any, what [`of_running`] returns.
fn of_replicas(config_file: &Path, config: &Config) -> Result<(Vec<Endpoint>, Option<String>), Failure> {
    if config.replicas.is_empty() {
        return Ok(of_running(config_file, config));
    }
    Ok((admin::resolved(config.replicas.clone())?, None))
}

/// Returns the admin listener of a config, and a note if its address changed. A running proxy keeps the address that it
/// began with.
fn of_running(config_file: &Path, config: &Config) -> (Vec<Endpoint>, Option<String>) {
    let chosen_by_system = matches!(&config.admin, Some(Address::Ip(address)) if address.port() == 0);
    let configured = config.admin.as_ref().filter(|_| !chosen_by_system).map(Endpoint::from);
    let running = runtime::find(config_file, config.state_dir.as_deref());
    let running = running.as_ref().and_then(runtime::endpoint).filter(|running| Some(running) != configured.as_ref());
    let Some(running) = running.filter(|running| is_of(running, config_file)) else {
        return (configured.into_iter().collect(), None);
    };
    let note = (!chosen_by_system).then(|| {
        let told = match configured {
            Some(endpoint) => format!("`[admin]` of the config says {endpoint}"),
            None => "the config has no `[admin]` any more".to_owned(),
        };
        format!("the running proxy listens at {running}; {told}, which needs a restart")
    });
    (vec![running], note)
}

/// Returns true if a proxy with this config answers at an address.
fn is_of(endpoint: &Endpoint, config_file: &Path) -> bool {
    admin::ask_at_once(endpoint).is_ok_and(|status| has_config(&status, config_file))
}

/// Returns the flag file that a running proxy goes by.
fn flag_file_of(status: Option<&Status>, running: Option<&RuntimeFile>) -> Option<PathBuf> {
    let told = status.and_then(|status| status.file(Role::Flags)).and_then(|file| {
        let path = file.real.as_ref().unwrap_or(&file.path);
        // A relative path means something in the proxy's own directory alone.
        Some(PathBuf::from(path)).filter(|path| path.is_absolute())
    });
    let written = running.map(|running| running.maintenance.clone()).filter(|path| path.is_absolute());
    told.or(written)
}

/// Describes the first error of a config: `` `backsoon.toml` has an error (line 3: …) ``.
pub(super) fn described(config_file: &Path, problems: &[Problem]) -> String {
    let error = problems.iter().find(|problem| problem.is_error());
    let error = error.map(|problem| match &problem.place {
        Some(place) => format!(" (line {}: {})", place.line, harmless(&problem.message)),
        None => format!(" ({})", harmless(&problem.message)),
    });
    format!("`{}` has an error{}", config_file.display(), error.unwrap_or_default())
}

/// Reads the text of a config, as far as it can be read.
pub(super) fn config_text(config_file: &Path) -> Option<String> {
    let content = source::read(config_file).content.ok()?;
    Some(String::from_utf8_lossy(&content.bytes).into_owned())
}
