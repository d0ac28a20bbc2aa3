//! `backsoon notify`: lists the places at which operators are told, and tells them of a test.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::control::load;
use crate::control::notify::{Failure as Untold, Place, Tools, attempt, places, program_fault, replica};
use crate::plan::config::{Destination, EventKind};
use crate::plan::notify::OperatorEvent;
use crate::plan::problem::Problem;

use super::failure::Failure;
use super::flag_file::with_option;
use super::streams::{DIM, ERROR, GOOD, Streams, styled};
use super::words::harmless;
use super::{ConfigFile, exit};

/// The arguments of `notify`.
#[derive(Args, Debug)]
pub(super) struct NotifyArgs {
    /// Tell each place that this is a test, once, and show what came of it
    #[arg(long)]
    test: bool,
    /// With --test: run the programs, too, with the event `test`
    #[arg(long, requires = "test")]
    programs: bool,
    /// Write the places and the outcomes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Lists each `[[notify]]` of the config, without the secret part of its URL. With --test, this process sends a message to \
each, with one attempt. A program is only looked at, because it might start a migration; --programs runs it with the event \
`test` in BACKSOON_EVENT.

Examples:
  backsoon notify
  backsoon notify --test
  backsoon notify --test --programs --json | jq '.[] | select(.told | not)'

Exit codes:
  0   every place was told, or they are listed
  1   a place was not told
  64  the config is wrong, or has no `[[notify]]`";

/// Outcome for a place.
enum Outcome {
    /// Listed, and not told.
    Listed,
    /// Told, in the receiver's words.
    Told(String),
    /// Program that can be run, and was not.
    Runnable,
    /// Not told, for this reason.
    Untold(String),
}

/// Lists the places, or tells them of a test.
pub(super) fn run(args: &NotifyArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let file = &args.config.config;
    let loaded = load::once(file).map_err(|problems| Failure::Problems(with_option(file, problems)))?;
    let places = places(&loaded.config, &loaded.materials);
    if places.is_empty() {
        let help = "name a place under a `[[notify]]` line: `to = \"slack:https://hooks.slack.com/services/…\"`";
        return Err(Failure::Problems(vec![Problem::in_file(file, "the config has no `[[notify]]`").help(help)]));
    }
    let outcomes =
        if args.test { outcomes(&places, args.programs)? } else { places.iter().map(|_| Outcome::Listed).collect() };
    if args.json {
        let all: Vec<Value> = places.iter().zip(&outcomes).map(|(place, outcome)| as_json(place, outcome)).collect();
        writeln!(streams.data(), "{:#}", Value::Array(all))?;
    } else {
        let width = places.iter().map(|place| place.to.to_string().chars().count()).max().unwrap_or(0);
        for (number, (place, outcome)) in (1..).zip(places.iter().zip(&outcomes)) {
            writeln!(streams.out, "{}", row(number, place, outcome, width))?;
        }
    }
    let any_untold = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Untold(_)));
    Ok(if any_untold { exit::DIFFERS } else { exit::OK })
}

/// Tells all places at once, and returns the outcomes in their order.
fn outcomes(places: &[Place], programs: bool) -> Result<Vec<Outcome>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
    let outcomes = LocalSet::new().block_on(&runtime, async {
        let tools = Tools::default();
        let mut attempts = JoinSet::new();
        for (index, place) in places.iter().cloned().enumerate() {
            let tools = tools.clone();
            attempts.spawn_local(async move { (index, outcome(&place, programs, &tools).await) });
        }
        let mut outcomes = attempts.join_all().await;
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    });
    runtime.shutdown_background();
    Ok(outcomes)
}

async fn outcome(place: &Place, programs: bool, tools: &Tools) -> Outcome {
    if let Destination::Exec(program) = &place.to
        && !programs
    {
        return program_fault(program).map_or(Outcome::Runnable, Outcome::Untold);
    }
    let what = "backsoon notify --test sent this: nothing has happened".to_owned();
    let event = OperatorEvent::of_proxy(EventKind::Test, Timestamp::now(), "this is a test", what);
    match attempt(place, &event, &replica(), tools).await {
        Ok(told) => Outcome::Told(told.0),
        Err(Untold { why, .. }) => Outcome::Untold(why),
    }
}

/// Formats a row: ` 1  slack hooks.slack.com  told: answered 200`.
fn row(number: u32, place: &Place, outcome: &Outcome, width: usize) -> String {
    let to = harmless(&place.to.to_string());
    let outcome = match outcome {
        Outcome::Listed => styled(DIM, subjects(place)),
        Outcome::Told(how) => styled(GOOD, format!("told: {how}")),
        Outcome::Runnable => styled(GOOD, "can be run; --programs runs it"),
        Outcome::Untold(why) => styled(ERROR, format!("not told: {}", harmless(why))),
    };
    format!("{number:>2}  {to:<width$}  {outcome}")
}

/// Describes what a place is told of.
fn subjects(place: &Place) -> String {
    let on: Vec<&str> = place.settings.on.iter().map(|kind| kind.as_str()).collect();
    let routes: Vec<&str> = place.settings.routes.iter().map(String::as_str).collect();
    let of = if routes.is_empty() { String::new() } else { format!(" of {}", routes.join(", ")) };
    format!("{}{of}", on.join(", "))
}

fn as_json(place: &Place, outcome: &Outcome) -> Value {
    let (told, how) = match outcome {
        Outcome::Listed | Outcome::Runnable => (Value::Null, None),
        Outcome::Told(how) => (Value::Bool(true), Some(how)),
        Outcome::Untold(why) => (Value::Bool(false), Some(why)),
    };
    let on: Vec<&str> = place.settings.on.iter().map(|kind| kind.as_str()).collect();
    json!({ "to": place.to.to_string(), "on": on, "routes": place.settings.routes, "told": told, "how": how })
}
