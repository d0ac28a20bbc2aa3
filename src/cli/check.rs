//! `backsoon check`: reports every problem of the files that `run` would find.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::control::load::{self, Loaded};
use crate::control::runtime_file;
use crate::files::source::{self, ReadError};
use crate::plan::config::{OnMissing, Origin, Sources};
use crate::plan::flags::{Odd, Switched, Window, switch_message};
use crate::plan::problem::{Problem, quoted};

use super::behind::Behind;
use super::failure::{Failure, summary};
use super::flag_file::with_option;
use super::place::Place;
use super::streams::{GOOD, Streams, styled};
use super::{ConfigFile, exit, words};

/// The arguments of `check`.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Write the problems as JSON to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Reads the config, the flag file, certificates and roots exactly as `run` does, and changes nothing. Problems go to \
standard error, each with its place and what would be right. Notes tell the nights of the next year in which the clock \
changes during a recurring window.

Examples:
  backsoon check --config /etc/backsoon/backsoon.toml
  backsoon check --json | jq '.problems[].message'

Exit codes:
  0   `run` would take the files, and so would the proxy that runs (there may be warnings)
  64  there are errors";

/// Reads the files and reports their problems.
pub(super) fn run(args: &Check, streams: &mut Streams) -> Result<u8, Failure> {
    let file = &args.config.config;
    let loaded = load::once(file).map_err(|problems| with_option(file, problems));
    let behind = loaded.as_ref().ok().and_then(|loaded| Behind::find(file, &Place::of(&loaded.config)));
    let loaded = loaded.and_then(|loaded| {
        let refused = behind.as_ref().and_then(|behind| behind.problem(&loaded.config.maintenance));
        match refused.or_else(|| refused_while_running(file, &loaded)) {
            Some(problem) => Err([loaded.warnings, vec![problem]].concat()),
            None => Ok(loaded),
        }
    });
    if let Some(behind) = behind.filter(|_| loaded.is_ok()) {
        streams.note(behind)?;
    }
    if args.json {
        return as_json(&loaded, streams);
    }
    let loaded = loaded.map_err(Failure::Problems)?;
    streams.problems(&loaded.warnings)?;
    let place = loaded.config.maintenance.display().to_string();
    // An engine that cannot be asked is a warning, and says nothing of its text.
    if loaded.flags_missing && !loaded.warnings.iter().any(|problem| problem.file == place) {
        streams.note(format_args!("there is no `{place}`: nothing is flagged"))?;
    }
    tell_of_sources(&loaded.sources, streams)?;
    for page in finished_pages(&loaded) {
        streams.note(format_args!(
            "{page} has no placeholders, and is served as it stands; to show the words of the flag file, write `{{{{ title }}}}` \
             and `{{{{ message[0] }}}}` where they should be"
        ))?;
    }
    for switch in &loaded.flags.switched {
        streams.note(format_args!(
            "{} is {}: its switch `{}` exists{}",
            switch.route,
            words::being(switch.mode),
            switch.file,
            unshown(switch)
        ))?;
    }
    let now = Timestamp::now();
    let odd = odd_nights(&loaded, now);
    for (window, night) in odd.iter().take(MOST_NIGHTS) {
        streams.note(format_args!("window {} on {night}", quoted(&window.id)))?;
    }
    if let Some(more) = odd.len().checked_sub(MOST_NIGHTS).filter(|more| *more > 0) {
        streams
            .note(format_args!("{} more in which the clock changes; --json has all", words::count(more, "night")))?;
    }
    writeln!(streams.out, "{}: {}", styled(GOOD, "ok"), counted(&loaded, now))?;
    Ok(exit::OK)
}

/// Says why the content of a switch is not shown.
fn unshown(switch: &Switched) -> String {
    let content = source::existence(Path::new(&switch.file)).ok();
    let note = content.and_then(|content| switch_message(&content.bytes).err());
    note.map(|note| format!("; {note}")).unwrap_or_default()
}

/// Tells which variables the config uses, without their values.
fn tell_of_sources(sources: &Sources, streams: &mut Streams) -> Result<(), Failure> {
    for origin in [Origin::Environment, Origin::Default] {
        let of_origin = sources.variables.iter().filter(|(_, other)| **other == origin);
        let names: Vec<String> = of_origin.map(|(name, _)| quoted(name)).collect();
        let from = match origin {
            Origin::Environment => "from the environment",
            Origin::Default => "by their defaults",
        };
        if !names.is_empty() {
            streams.note(format_args!("variables {from}: {}", names.join(", ")))?;
        }
    }
    if !sources.files.is_empty() {
        streams.note(format_args!("included: {}", words::count(sources.files.len(), "file")))?;
    }
    Ok(())
}

/// Returns the files of the pages that are served as they stand.
fn finished_pages(loaded: &Loaded) -> BTreeSet<&String> {
    loaded.renderers.all().filter_map(|renderer| renderer.finished.as_ref()).collect()
}

/// Returns a problem if the running proxy would refuse a config because the flag file that it newly names does not
/// exist. A start would take the config, since nothing is in force then that could be lost.
fn refused_while_running(file: &Path, loaded: &Loaded) -> Option<Problem> {
    let config = &loaded.config;
    if !loaded.flags_missing || config.on_missing == OnMissing::Open {
        return None;
    }
    let in_force = runtime_file::flags_in_force(file, config)?;
    let is_other = in_force != runtime_file::canonical(&config.maintenance);
    is_other.then(|| load::missing_flags(file, config, ReadError::Missing))
}

/// Returns a summary such as `3 routes, 2 listeners; 1 route is flagged now`.
fn counted(loaded: &Loaded, now: Timestamp) -> String {
    let flagged = flagged(loaded, now);
    let flagged = match flagged.len() {
        0 => "no route is flagged now".to_owned(),
        1 => "1 route is flagged now".to_owned(),
        more => format!("{more} routes are flagged now"),
    };
    let config = &loaded.config;
    let mut text = format!(
        "{}, {}; {flagged}",
        words::count(config.routes.len(), "route"),
        words::count(config.listen.len(), "listener")
    );
    if !loaded.warnings.is_empty() {
        text.push_str(&format!("; {}", words::count(loaded.warnings.len(), "warning")));
    }
    text
}

fn flagged(loaded: &Loaded, now: Timestamp) -> Vec<String> {
    let snapshot = loaded.snapshot(now);
    snapshot.routes.into_iter().filter(|route| route.closure.is_some()).map(|route| route.config.name.clone()).collect()
}

/// Returns the occurrences of the next year that a change of the clock moves.
fn odd_nights(loaded: &Loaded, now: Timestamp) -> Vec<(&Window, Odd)> {
    loaded.flags.odd_nights(now, now.checked_add(YEAR).unwrap_or(Timestamp::MAX))
}

fn as_json(loaded: &Result<Loaded, Vec<Problem>>, streams: &mut Streams) -> Result<u8, Failure> {
    let (code, value) = match loaded {
        Ok(loaded) => {
            let routes: Vec<&str> = loaded.config.routes.iter().map(|route| route.name.as_str()).collect();
            let odd: Vec<_> = odd_nights(loaded, Timestamp::now())
                .into_iter()
                .map(|(window, night)| {
                    json!({
                        "window": window.id, "planned": night.planned, "starts": night.starts, "ends": night.ends,
                        "oddity": night.oddity.as_str(), "told": night.to_string(),
                    })
                })
                .collect();
            let variables = loaded.sources.variables.iter().map(|(name, origin)| (name.as_str(), origin.as_str()));
            let variables: BTreeMap<&str, &str> = variables.collect();
            let value = json!({
                "ok": true,
                "summary": counted(loaded, Timestamp::now()),
                "problems": loaded.warnings,
                "variables": variables,
                "included": loaded.sources.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
                "finished_pages": finished_pages(loaded),
                "flag_file": loaded.config.maintenance.display().to_string(),
                "listeners": loaded.config.listen.len(),
                "routes": routes,
                "switches": loaded.flags.switched.iter().map(|switch| &switch.file).collect::<BTreeSet<_>>(),
                "flagged": flagged(loaded, Timestamp::now()),
                "odd_nights": odd,
            });
            (exit::OK, value)
        }
        Err(problems) => (exit::USAGE, json!({ "ok": false, "summary": summary(problems), "problems": problems })),
    };
    writeln!(streams.data(), "{value:#}")?;
    Ok(code)
}

/// Nights that are told one by one.
const MOST_NIGHTS: usize = 8;
/// Time ahead in which nights are looked for.
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);
