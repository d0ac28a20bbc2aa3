//! Wait for flags that somebody else has edited: until every replica has them in force.

use clap::Args;
use jiff::SignedDuration;

use super::super::confirm::{Goal, Wish};
use super::super::failure::Failure;
use super::super::remains::Asked;
use super::super::site::{Site, SiteArgs};
use super::super::streams::Streams;
use super::super::{WaitFor, words};
use super::StatusArgs;

/// Options of a wait.
#[derive(Args, Debug)]
pub(super) struct WaitArgs {
    /// Return once every replica has the flags as they are now in force, whoever has edited them, and name those that have
    /// not
    #[arg(long, conflicts_with_all = ["json", "watch", "flags_only", "alive"])]
    pub(super) wait: bool,
    /// With --wait: and no replica has requests in flight that began before a route was closed
    #[arg(long, requires = "wait", conflicts_with = "open")]
    drained: bool,
    /// With --wait: and the routes are open at every replica
    #[arg(long, requires = "wait")]
    open: bool,
    /// With --drained or --open: look at this route, and not at all
    #[arg(long = "route", value_name = "ROUTE", requires = "wait")]
    routes: Vec<String>,
    /// With --wait: give up after this time
    #[arg(long, value_name = "TIME", value_parser = words::parse_span, default_value = "1m", requires = "wait")]
    timeout: SignedDuration,
}

/// Waits until every replica has the flags in force.
pub(super) fn run(args: &StatusArgs, streams: &mut Streams) -> Result<u8, Failure> {
    let wait = &args.wait;
    let patience = WaitFor { wait: true, timeout: wait.timeout, replicas: args.replicas, dry_run: false };
    let site = Site::to_edit(&SiteArgs::asking(args.admin.clone(), &args.config), &patience, streams)?;
    wait.routes.iter().try_for_each(|route| site.check_route(route))?;
    let text = site.text()?;
    let asked = if wait.routes.is_empty() { vec!["*".to_owned()] } else { wait.routes.clone() };
    let goal = match (wait.drained, wait.open) {
        (true, _) => Goal::Drained,
        (false, true) => Goal::Open,
        (false, false) => Goal::InForce,
    };
    patience.conclude(site.confirmation(text, Asked(asked), Wish::Taken)?, goal, streams)
}
