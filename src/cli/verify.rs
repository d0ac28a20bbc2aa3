//! `backsoon verify`: tries the checks of routes now, before all depends on them.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::control::checker::{LONGEST_ROUND, Permits, Subject, round};
use crate::control::load;
use crate::status::verified::{Verified, VerifiedAttempt, VerifiedRoute};

use super::admin::{self, Endpoint};
use super::failure::{EditFailure, Failure, Force, chain};
use super::flag_file::with_option;
use super::streams::{BOLD, ERROR, GOOD, Streams, styled};
use super::words::harmless;
use super::{ConfigFile, exit, site};

/// The arguments of `verify`.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// Routes to verify; by default all that have checks
    #[arg(value_name = "ROUTE")]
    routes: Vec<String>,
    /// Ask this admin listener, and not the config's; may be given again. A name stands for all its addresses
    #[arg(long, value_name = "ADDRESS", env = "BACKSOON_ADMIN", hide_env_values = true, value_delimiter = ',')]
    admin: Vec<Endpoint>,
    /// Write the outcome as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
Makes one attempt of each check (`verify` in the config) on each upstream, and shows what came. Nothing is changed. The \
running proxy makes the attempts if it can be asked; otherwise this process does, and says so.

Examples:
  backsoon verify web
  backsoon verify --admin replica-1:9901 --admin replica-2:9901
  backsoon verify --json web | jq '.[].verified.routes[].attempts[] | select(.failure)'

Exit codes:
  0   enough upstreams of every route pass
  1   a route would not open
  64  the config is wrong, or the route has no checks
  69  a proxy that was named cannot be asked";

/// Outcome of one place that made the attempts.
struct Report {
    /// The proxy that was asked; `None` is this process.
    by: Option<Endpoint>,
    verified: Verified,
}

/// Outcomes of all places that were asked.
struct Asked {
    reports: Vec<Report>,
    /// The failure of the first proxy that gave no outcome.
    silent: Option<Failure>,
}

/// Place that makes the attempts.
enum Place {
    /// Proxies that were named, or the replicas of the config.
    Named(Vec<Endpoint>),
    /// The proxy that runs with the config, if it can be asked, with notes on its address.
    Running(Endpoint, Vec<String>),
    /// The command's own process, for this reason.
    Here(String),
}

/// Tries the checks, and shows what came.
pub(super) fn run(args: &Verify, streams: &mut Streams) -> Result<u8, Failure> {
    // The search asks proxies in a runtime of its own.
    let place = place(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
    let Asked { reports, silent } = LocalSet::new().block_on(&runtime, reports(args, place, streams))?;
    for report in &reports {
        check_names(args, &report.verified)?;
    }
    if args.json {
        writeln!(streams.data(), "{:#}", as_json(&reports))?;
    } else {
        let text: String = reports.iter().map(|report| shown(report, reports.len())).collect();
        write!(streams.out, "{text}")?;
    }
    if let Some(failure) = silent {
        return Err(failure);
    }
    let all = reports.iter().all(|report| report.verified.all_open());
    Ok(if all { exit::OK } else { exit::DIFFERS })
}

/// Finds the place that is to make the attempts.
fn place(args: &Verify) -> Result<Place, Failure> {
    match site::listeners(&args.admin, &args.config.config) {
        Ok((endpoints, _)) if !args.admin.is_empty() => Ok(Place::Named(endpoints)),
        Ok((endpoints, notes)) => match <[Endpoint; 1]>::try_from(endpoints) {
            Ok([endpoint]) => Ok(Place::Running(endpoint, notes)),
            Err(replicas) => Ok(Place::Named(replicas)),
        },
        Err(Failure::NoAdmin(_)) => Ok(Place::Here("the config has no `[admin]`".to_owned())),
        Err(other) => Err(other),
    }
}

async fn reports(args: &Verify, place: Place, streams: &mut Streams) -> Result<Asked, Failure> {
    let why = match place {
        Place::Named(endpoints) => return Ok(of_named(args, endpoints).await),
        Place::Running(endpoint, notes) => match admin::verify(&endpoint, &args.routes, WITHIN).await {
            Ok(verified) => {
                notes.into_iter().try_for_each(|note| streams.note(note))?;
                return Ok(Asked { reports: vec![Report { by: Some(endpoint), verified }], silent: None });
            }
            Err(error) => format!("the proxy at {endpoint} cannot be asked ({})", chain(&error)),
        },
        Place::Here(why) => why,
    };
    let config = &args.config.config;
    streams.note(format_args!("{why}: this process checks by `{}`", config.display()))?;
    Ok(Asked { reports: vec![Report { by: None, verified: from_here(args, config).await? }], silent: None })
}

async fn of_named(args: &Verify, endpoints: Vec<Endpoint>) -> Asked {
    let mut asked = Asked { reports: Vec::new(), silent: None };
    for endpoint in endpoints {
        match admin::verify(&endpoint, &args.routes, WITHIN).await {
            Ok(verified) => asked.reports.push(Report { by: Some(endpoint), verified }),
            Err(source) => {
                asked.silent.get_or_insert_with(|| refused(args, &endpoint, source));
            }
        }
    }
    asked
}

/// Explains why a proxy that was named gave no outcome.
fn refused(args: &Verify, endpoint: &Endpoint, source: admin::Error) -> Failure {
    match (&source, args.routes.first()) {
        (admin::Error::Status(status), Some(name)) if *status == hyper::StatusCode::NOT_FOUND => {
            Failure::Edit(EditFailure::NoRoute { name: name.clone(), known: Vec::new(), force: Force::Impossible })
        }
        _ => Failure::Silent { endpoint: endpoint.clone(), source },
    }
}

/// Makes the attempts in this process.
async fn from_here(args: &Verify, config: &Path) -> Result<Verified, Failure> {
    let loaded = load::once(config).map_err(|problems| Failure::Problems(with_option(config, problems)))?;
    let known = || loaded.config.routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>();
    if let Some(name) = args.routes.iter().find(|name| !known().contains(name)) {
        return Err(Failure::Edit(EditFailure::NoRoute {
            name: name.clone(),
            known: known(),
            force: Force::Impossible,
        }));
    }
    let meant = |name: &String| args.routes.is_empty() || args.routes.contains(name);
    let routes = loaded.config.routes.iter().filter(|route| meant(&route.name) && !route.policy.verify.is_empty());
    let subjects = routes.map(|route| Subject::of_config(route, |upstream| loaded.materials.client_config(upstream)));
    Ok(round(subjects.collect(), &Permits::default()).await)
}

/// Refuses to call a route good that has no checks.
fn check_names(args: &Verify, verified: &Verified) -> Result<(), Failure> {
    let is_checked = |name: &&String| verified.routes.iter().any(|route| route.name == **name);
    if args.routes.is_empty() && verified.routes.is_empty() {
        return Err(Failure::NoChecks(None));
    }
    match args.routes.iter().find(|name| !is_checked(name)) {
        Some(name) => Err(Failure::NoChecks(Some(name.clone()))),
        None => Ok(()),
    }
}

fn as_json(reports: &[Report]) -> Value {
    let of_each = reports.iter().map(|report| {
        let by = report.by.as_ref().map(ToString::to_string);
        json!({ "admin": by, "opens": report.verified.all_open(), "verified": report.verified })
    });
    Value::Array(of_each.collect())
}

/// Formats an outcome: who asked, then each route with a row for each attempt.
fn shown(report: &Report, reports: usize) -> String {
    let by = match &report.by {
        Some(endpoint) if reports > 1 => format!("{}\n", styled(BOLD, endpoint)),
        Some(endpoint) => format!("checked by the proxy at {endpoint}\n"),
        None => "checked from here\n".to_owned(),
    };
    by + &report.verified.routes.iter().map(route).collect::<String>()
}

fn route(route: &VerifiedRoute) -> String {
    let VerifiedRoute { name, upstreams, passed, quorum, attempts } = route;
    let (style, word) = if route.opens() { (GOOD, "would open") } else { (ERROR, "would stay closed") };
    let line = format!("{word}: {passed} of {upstreams} upstreams pass, {quorum} must");
    let widths = [column(attempts, |attempt| &attempt.check), column(attempts, |attempt| &attempt.upstream)];
    let rows: String = attempts.iter().map(|attempt| row(attempt, widths)).collect();
    format!("{} {}\n{rows}", harmless(name), styled(style, line))
}

fn column(attempts: &[VerifiedAttempt], of: fn(&VerifiedAttempt) -> &String) -> usize {
    attempts.iter().map(|attempt| harmless(of(attempt)).chars().count()).max().unwrap_or(0)
}

/// Formats an attempt: `  fails  GET /healthz  http://10.0.0.2:3000   12.3 ms  answered 500, expected 200`.
fn row(attempt: &VerifiedAttempt, [check, upstream]: [usize; 2]) -> String {
    let (style, word) = if attempt.failure.is_none() { (GOOD, "passes") } else { (ERROR, "fails ") };
    let took = attempt.millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1} ms"));
    let prefix = format!("{} on {} ", attempt.check, attempt.upstream);
    let why = attempt.failure.as_deref().unwrap_or_default();
    let why = harmless(why.strip_prefix(&prefix).unwrap_or(why));
    let regions = if attempt.regions.is_empty() { String::new() } else { format!(" ({})", attempt.regions.join(", ")) };
    let (name, of) = (harmless(&attempt.check), harmless(&attempt.upstream));
    let line = format!("{name:check$}  {of:upstream$}  {took:>10}  {why}{}", harmless(&regions));
    format!("  {}  {}\n", styled(style, word), line.trim_end())
}

/// Time for the answer of a proxy: that of its round, which may have to wait for another.
const WITHIN: Duration = LONGEST_ROUND.saturating_add(Duration::from_secs(15));
