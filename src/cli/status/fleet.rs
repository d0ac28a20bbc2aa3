//! The fleet as one table: who lags, who differs, and who is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::plan::snapshot::Phase;
use crate::status::beat::Beat;
use crate::status::{FileStatus, Role, RouteStatus, Status};

use super::super::admin;
use super::super::failure::Failure;
use super::super::roll::{Roll, Wait};
use super::super::site;
use super::super::streams::{DIM, Streams, WARNING, styled};
use super::super::whom::Whom;
use super::super::words::harmless;
use super::agree::differences;
use super::columns::aligned;
use super::table as shown_table;
use super::{BETWEEN_LOOKS, EVERY, LOOKS, Replica, StatusArgs, health, shown};

/// Roll call of a fleet, with the name of its flags.
pub(super) struct Called {
    roll: Roll,
    place: String,
    /// Routes that a replica does not have plainly open, by which all are compared.
    routes: BTreeSet<String>,
    /// Time for those that are missing. It grows, so that one that is far away or busy is heard in the end.
    more: Duration,
}

/// Asks all replicas through the engine of the config; `None` if they are to be asked by their admin listeners. That is
/// noted if it is only for want of an answer.
///
/// # Errors
/// If there are fewer than wanted.
pub(super) fn roll(args: &StatusArgs, streams: &mut Streams) -> Result<Option<Called>, Failure> {
    let named = !args.admin.is_empty() || args.alive;
    let Some(fleet) = site::fleet(&args.config.config).filter(|_| !named) else { return Ok(None) };
    let Some(mut roll) = Roll::of(&fleet)? else { return Ok(None) };
    let why = match roll.call(&[], Wait::CALL) {
        Ok(()) if roll.members.has_answer() => {
            admin::expect(args.replicas, &roll.members.answering())?;
            let mut called = Called { roll, place: fleet.to_string(), routes: BTreeSet::new(), more: MORE };
            called.compare();
            return Ok(Some(called));
        }
        Ok(()) => "no replica answers".to_owned(),
        Err(error) => error.to_string(),
    };
    let asked = "what is asked instead is an admin listener, which is not the whole fleet";
    streams.note(format_args!("the fleet cannot be asked through {fleet} ({}): {asked}", harmless(&why)))?;
    Ok(None)
}

/// Shows the fleet, once or repeatedly.
pub(super) fn run(args: &StatusArgs, mut called: Called, streams: &mut Streams) -> Result<u8, Failure> {
    if args.watch {
        return watch(args, &mut called, streams);
    }
    let mut replicas = called.replicas(ALL_ROUNDS);
    for look in 0..LOOKS {
        let all: Vec<&Replica> = replicas.iter().collect();
        // One that is missing may have said farewell a moment ago, or be far away.
        let is_missing = look < LOOKS_FOR_MISSING && all.iter().any(|one| one.answer.is_err());
        if !is_missing && differences(&all, args.scope()).is_empty() {
            break;
        }
        called.look();
        replicas = called.replicas(ALL_ROUNDS);
    }
    let all: Vec<&Replica> = replicas.iter().collect();
    write!(streams.out, "{}", shown(args, &all))?;
    Ok(health(&all, args.scope()).code())
}

/// Shows the fleet whenever it has changed, until interrupted. The last one shown decides the exit code.
fn watch(args: &StatusArgs, called: &mut Called, streams: &mut Streams) -> Result<u8, Failure> {
    let mut interrupt = called.roll.runtime().block_on(async { signal(SignalKind::interrupt()) });
    let interrupt = interrupt.as_mut().map_err(|error| Failure::Internal(error.kind().into()))?;
    let in_place = streams.out_is_terminal() && !args.json;
    if in_place {
        streams.clear()?;
    }
    let mut last = String::new();
    loop {
        let replicas = called.replicas(1);
        let all: Vec<&Replica> = replicas.iter().collect();
        let (code, text) = (health(&all, args.scope()).code(), shown(args, &all));
        if in_place {
            streams.draw_over(&text)?;
        } else if text != last {
            write!(streams.out, "{text}")?;
        }
        streams.out.flush()?;
        last = text;
        let pause = async { tokio::time::timeout(EVERY, interrupt.recv()).await.is_ok() };
        if called.roll.runtime().block_on(pause) {
            return Ok(code);
        }
        called.roll.members.forget(FORGOTTEN);
        called.look();
    }
}

impl Called {
    /// Asks again. If the engine fails meanwhile, all are missing.
    fn look(&mut self) {
        self.roll.pause(BETWEEN_LOOKS * 2);
        self.ask();
        self.compare();
    }

    fn ask(&mut self) {
        let routes: Vec<String> = self.routes.iter().cloned().collect();
        let _ = self.roll.call(&routes, Wait { more: self.more, ..Wait::CALL });
        let is_complete = self.roll.members.is_complete();
        self.more = if is_complete { MORE } else { (self.more * 2).min(MOST_MORE) };
    }

    /// Asks again if a route is not plainly open at some replicas alone: the others have left it out.
    fn compare(&mut self) {
        let all = self.roll.members.all();
        let told: Vec<&Beat> = all.iter().filter_map(|(member, _)| Some(&member.told()?.beat)).collect();
        let listed = |beat: &Beat| beat.routes.iter().map(|route| route.name.clone()).collect::<BTreeSet<_>>();
        let routes: BTreeSet<String> = told.iter().flat_map(|beat| listed(beat)).collect();
        let is_uneven = told.iter().any(|beat| listed(beat) != routes) && routes != self.routes;
        self.routes = routes;
        if is_uneven {
            self.ask();
        }
    }

    /// Returns the replicas as they have answered last, in one of the last rounds.
    fn replicas(&self, rounds: u32) -> Vec<Replica> {
        let all = self.roll.members.all().into_iter().map(|(member, _)| {
            let told = member.told().filter(|_| self.roll.members.is_recent(member, rounds));
            let answer = match told {
                Some(told) => {
                    let status = told.beat.status(&self.place);
                    let value = json!(status);
                    Ok((status, value))
                }
                None => Err(admin::Error::Missing(member.ago())),
            };
            Replica {
                whom: Whom::Named(member.name.clone()),
                answer,
                unread: Vec::new(),
                looked: Vec::new(),
                clock: told.and_then(|told| told.clock),
                beat: told.map(|told| told.beat.clone()),
            }
        });
        all.collect()
    }
}

/// Formats the fleet: a line for each replica, the routes that are not open, and what is wrong where. Replicas that were
/// asked by their admin listeners have told that above.
pub(super) fn table(replicas: &[&Replica], now: Timestamp) -> String {
    let common = Common::of(replicas);
    let mut rows: Vec<Row> = replicas.iter().map(|replica| row(replica, &common)).collect();
    let more = rows.len().saturating_sub(MOST_ROWS);
    if more > 0 {
        // Those that differ stay.
        rows.sort_by_key(|row| row.is_usual);
        rows.truncate(MOST_ROWS);
    }
    let head = COLUMNS.map(str::to_owned);
    let mut lines =
        aligned(&std::iter::once(&head).chain(rows.iter().map(|row| &row.cells)).collect::<Vec<_>>()).into_iter();
    let mut text: String = lines.next().map(|head| format!("{}\n", styled(DIM, head))).into_iter().collect();
    for (row, cells) in rows.iter().zip(lines) {
        let cells = if row.is_usual { cells } else { styled(WARNING, cells).to_string() };
        text.push_str(&format!("{cells}\n"));
        text.push_str(&row.below);
    }
    if more > 0 {
        text.push_str(&format!("and {more} more replicas: --json has all\n"));
    }
    let routes = unopened(replicas);
    if !routes.is_empty() {
        text.push_str(&shown_table::routes(&routes, now));
    }
    text
}

/// Values that most replicas have.
struct Common {
    version: String,
    flags: Option<String>,
    /// Latest revision.
    revision: Option<u64>,
    config: Option<String>,
    routes: String,
}

/// Line of a replica.
struct Row {
    cells: [String; COLUMNS.len()],
    /// True if it is like most.
    is_usual: bool,
    /// Lines about what is wrong.
    below: String,
}

impl Common {
    fn of(replicas: &[&Replica]) -> Self {
        let told: Vec<&Status> = replicas.iter().filter_map(|one| Some(&one.answer.as_ref().ok()?.0)).collect();
        let newest = told.iter().filter_map(|status| Some((revision(status)?, hash(status, Role::Flags)))).max();
        let flags = match &newest {
            Some((_, flags)) => flags.clone(),
            None => most(told.iter().map(|status| hash(status, Role::Flags))),
        };
        Self {
            version: most(told.iter().map(|status| status.version.clone())),
            flags,
            revision: newest.map(|(revision, _)| revision),
            config: most(told.iter().map(|status| hash(status, Role::Config))),
            routes: most(told.iter().map(|status| phases(status))),
        }
    }
}

/// Returns the value that comes most often.
fn most<T: Ord + Default>(values: impl Iterator<Item = T>) -> T {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(value, _)| value).unwrap_or_default()
}

fn row(replica: &Replica, common: &Common) -> Row {
    let name = replica.whom.to_string();
    let status = match &replica.answer {
        Ok((status, _)) => status,
        Err(error) => {
            let mut cells = COLUMNS.map(|_| "-".to_owned());
            (cells[0], cells[HEARD]) = (name, heard(error));
            return Row { cells, is_usual: false, below: String::new() };
        }
    };
    let (flags, config) = (flags(status, common), hash(status, Role::Config) == common.config);
    let routes = phases(status);
    let is_usual = flags == SAME && config && routes == common.routes && status.version == common.version;
    let cells = [
        name,
        harmless(&status.version),
        flags.to_owned(),
        status.fleet.as_ref().and_then(|fleet| fleet.in_force.clone()).map_or("-".to_owned(), |text| harmless(&text)),
        if config { SAME } else { OTHER }.to_owned(),
        status.generation.to_string(),
        routes,
        replica.in_flight().map_or("-".to_owned(), |count| count.to_string()),
        replica.clock.map_or("-".to_owned(), |clock| clock.to_string()),
        if status.stage == "running" { "now".to_owned() } else { format!("now, {}", harmless(&status.stage)) },
    ];
    let below = replica.beat.iter().map(|beat| below(replica, beat)).collect();
    Row { cells, is_usual, below }
}

/// Formats what is wrong at a replica that was asked through the engine.
fn below(replica: &Replica, beat: &Beat) -> String {
    let refusal = beat.refusal.iter().map(|why| format!("the flags are refused: {why}"));
    let all = refusal.chain(beat.concerns.iter().cloned()).chain(replica.remarks());
    all.map(|text| shown_table::alarm(&text)).collect()
}

/// Says how the flags of a replica compare to the latest.
fn flags(status: &Status, common: &Common) -> &'static str {
    if status.file(Role::Flags).is_some_and(|file| !file.is_good()) {
        return "refused";
    }
    if hash(status, Role::Flags) == common.flags {
        return SAME;
    }
    match (revision(status), common.revision) {
        (Some(own), Some(latest)) if own < latest => "old",
        (None, Some(_)) => "none",
        (Some(_), _) | (None, None) => OTHER,
    }
}

fn heard(error: &admin::Error) -> String {
    match error {
        admin::Error::Missing(Some(ago)) => format!("missing, heard {} s ago", ago.as_secs()),
        admin::Error::Missing(None) => "missing".to_owned(),
        admin::Error::Connect(_)
        | admin::Error::Timeout(_)
        | admin::Error::Http(_)
        | admin::Error::Status(_)
        | admin::Error::TooLarge
        | admin::Error::Json(_)
        | admin::Error::Foreign => "no answer".to_owned(),
    }
}

fn hash(status: &Status, role: Role) -> Option<String> {
    status.file(role).and_then(FileStatus::hash_in_force).map(str::to_owned)
}

fn revision(status: &Status) -> Option<u64> {
    status.fleet.as_ref()?.in_force.as_ref()?.parse().ok()
}

/// Describes the routes that are not open: `web closed, api ramping and 3 more`.
fn phases(status: &Status) -> String {
    let unopened: Vec<&RouteStatus> = status.routes.iter().filter(|route| !route.is(Phase::Open)).collect();
    let mut shown: Vec<String> = Vec::new();
    for route in unopened.iter().take(MOST_PHASES) {
        shown.push(format!("{} {}", harmless(&route.name), harmless(&route.phase)));
    }
    let more = unopened.len().saturating_sub(MOST_PHASES);
    match (shown.is_empty(), more) {
        (true, _) => "open".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns the routes that a replica which was asked through the engine does not have plainly open, each once, with the
/// requests in flight at all of them.
fn unopened(replicas: &[&Replica]) -> Vec<RouteStatus> {
    let mut routes: BTreeMap<String, RouteStatus> = BTreeMap::new();
    for replica in replicas.iter().filter(|replica| replica.beat.is_some()) {
        for route in replica.answer.iter().flat_map(|(status, _)| &status.routes) {
            let known = routes.entry(route.name.clone()).or_default();
            let in_flight = known.in_flight + route.in_flight;
            if known.name.is_empty() || known.is(Phase::Open) {
                known.clone_from(route);
            }
            known.in_flight = in_flight;
        }
    }
    routes.into_values().collect()
}

const COLUMNS: [&str; 10] =
    ["REPLICA", "VERSION", "FLAGS", "REVISION", "CONFIG", "GENERATION", "ROUTES", "IN FLIGHT", "CLOCK", "HEARD"];
/// Place of the last column.
const HEARD: usize = COLUMNS.len() - 1;
const SAME: &str = "same";
const OTHER: &str = "other";
/// Lines of the table.
const MOST_ROWS: usize = 60;
/// Routes of a line.
const MOST_PHASES: usize = 2;
/// Rounds of one look at the fleet, and more: one that answered a moment ago is there.
const ALL_ROUNDS: u32 = 100;
/// Number of looks for one that is missing.
const LOOKS_FOR_MISSING: usize = 2;
/// Time for those that are missing, at first and at most.
const MORE: Duration = Duration::from_millis(400);
const MOST_MORE: Duration = Duration::from_secs(2);
/// Time after which a watch forgets a silent replica, as the replicas do.
const FORGOTTEN: Duration = Duration::from_secs(60);
