//! Upstreams that the flag file takes out: `[upstreams]`.

use toml::de::DeValue;

use super::super::config::{RouteConfig, Upstream, UpstreamAddress};
use super::super::problem::{Place, Problem, did_you_mean, quoted};
use super::super::read::{Report, Section, Value, in_order, list};
use super::Parsed;

/// Entry of `[upstreams]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Upstream as the file names it.
    pub upstream: String,
    /// Way in which it is out.
    pub how: Withdrawn,
}

/// Way in which an upstream is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withdrawn {
    /// No new clients. What is in flight goes on.
    Drain,
    /// No request at all. What is in flight goes on.
    Down,
}

impl Withdrawn {
    /// Returns the word for the way in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}

impl Withdrawal {
    /// Returns true if an upstream is meant: by its name, its whole address, by host and port, or by its host alone.
    pub fn is(&self, (upstream, name): (&Upstream, Option<&str>)) -> bool {
        let is = |name: &str| self.upstream.eq_ignore_ascii_case(name);
        name.is_some_and(is)
            || is(&upstream.to_string())
            || match &upstream.address {
                UpstreamAddress::Host(host, _) => is(host) || is(&upstream.address.authority()),
                UpstreamAddress::Unix(path) => is(&path.display().to_string()),
            }
    }
}

/// Reads `[upstreams]`, with the place of each entry.
pub(super) fn upstreams(top: &mut Section<'_>, report: &mut Report<'_>) -> (Vec<Withdrawal>, Vec<Place>) {
    let Some(value) = top.take("upstreams") else { return Default::default() };
    let Some(table) = value.table("[upstreams]", report) else { return Default::default() };
    report.at_most(MOST, table.len(), "upstreams", value.key_span.clone());
    let (mut all, mut places) = (Vec::new(), Vec::new());
    for (name, value) in in_order(table).into_iter().take(MOST) {
        let value = Value::new(name.get_ref(), name, value);
        let how = how(&value, report);
        if !is_name(value.key) {
            let help = "name one as the config does: `\"10.0.0.3:8080\" = \"drain\"`; `*` stands for none: a route is \
                        closed in `[routes]`";
            report.wrong(value.key_span.clone(), format!("{} is not an upstream", quoted(value.key)), help);
        } else if let Some(how) = how {
            all.push(Withdrawal { upstream: value.key.to_owned(), how });
            places.push(report.place(value.key_span.clone()));
        }
    }
    (all, places)
}

fn is_name(name: &str) -> bool {
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    fits && name != "*" && !name.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn how(value: &Value<'_>, report: &mut Report<'_>) -> Option<Withdrawn> {
    let word = match value.inner {
        DeValue::String(word) => word.to_ascii_lowercase(),
        DeValue::Boolean(_) => "up".to_owned(),
        // A name with a dot is a table in a table, unless it is quoted.
        DeValue::Table(_) => {
            let help = "a name with a dot is quoted: `\"10.0.0.3:8080\" = \"drain\"`";
            report.wrong(value.key_span.clone(), format!("{} is not an upstream", quoted(value.key)), help);
            return None;
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => String::new(),
    };
    if matches!(word.as_str(), "up" | "on" | "ready" | "open" | "active") {
        let help = "to take it back, remove its line or put a `#` before it";
        report.wrong(value.span.clone(), "an upstream here is `drain` or `down`", help);
        return None;
    }
    if matches!(word.as_str(), "maint" | "maintenance" | "off" | "offline") {
        let help = "write `drain` (what is in flight, and clients that keep to it, go on) or `down` (nothing new)";
        report.wrong(value.span.clone(), format!("unknown word {}", quoted(&word)), help);
        return None;
    }
    value.choice(&WORDS, report)
}

/// Returns how a route's upstream is out: the strictest word counts.
pub(in crate::plan) fn withdrawn(all: &[Withdrawal], upstream: (&Upstream, Option<&str>)) -> Option<Withdrawn> {
    all.iter().filter(|one| one.is(upstream)).map(|one| one.how).max()
}

impl Parsed {
    /// Warns of entries of `[upstreams]` that no route has, and of routes that have no upstream left.
    pub fn misplaced_upstreams<'r>(&self, file: &str, routes: impl Iterator<Item = &'r RouteConfig>) -> Vec<Problem> {
        let Some(first) = self.upstream_places.first() else { return Vec::new() };
        let routes: Vec<&RouteConfig> = routes.collect();
        let known: Vec<String> = routes.iter().flat_map(|route| route.named_upstreams()).flat_map(names).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let entries = self.flags.upstreams.iter().zip(&self.upstream_places);
        let is_unknown =
            |one: &Withdrawal| !routes.iter().flat_map(|route| route.named_upstreams()).any(|other| one.is(other));
        let mut problems: Vec<Problem> = Vec::new();
        for (one, place) in entries.filter(|(one, _)| is_unknown(one)).take(MOST_TOLD) {
            let message = format!("no route of this proxy has the upstream {}", quoted(&one.upstream));
            let problem = Problem::warning(file, message).at(place.clone());
            problems.push(match did_you_mean(&one.upstream, known.iter().copied().take(MOST_LOOKED_AT)) {
                Some(near) => problem.help(format!("did you mean `{near}`? the rest of the file applies")),
                None => problem.help(format!("it has {}; the rest of the file applies", some(&known))).expected(),
            });
        }
        // A route that redirects asks no upstream.
        let is_left = |route: &RouteConfig| {
            route.upstreams.is_empty()
                || route.named_upstreams().any(|upstream| withdrawn(&self.flags.upstreams, upstream).is_none())
        };
        problems.extend(routes.iter().filter(|route| !is_left(route)).take(MOST_TOLD).map(|route| {
            let message = format!("no upstream is left for {}", quoted(&route.name));
            let help =
                format!("its requests are answered by 503; to close it, flag it: `{} = \"offline\"`", route.name);
            Problem::warning(file, message).at(first.clone()).help(help)
        }));
        problems
    }
}

/// Returns the names of an upstream, as people write them into the flag file.
fn names((upstream, name): (&Upstream, Option<&str>)) -> impl Iterator<Item = String> {
    let address = match &upstream.address {
        UpstreamAddress::Host(..) => upstream.address.authority(),
        UpstreamAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    name.map(str::to_owned).into_iter().chain([address])
}

fn some(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(MOST_SHOWN));
    match more.len() {
        0 => list(shown, "and"),
        more => format!("{} and {more} more", list(shown, "and")),
    }
}

const WORDS: [(&str, Withdrawn); 2] = [("drain", Withdrawn::Drain), ("down", Withdrawn::Down)];
/// Entries of one file.
const MOST: usize = 4096;
const LONGEST_NAME: usize = 1024;
/// Most warnings of one kind.
const MOST_TOLD: usize = 16;
/// Most upstreams among which a similar name is searched.
const MOST_LOOKED_AT: usize = 1024;
/// Most upstreams that a warning names.
const MOST_SHOWN: usize = 8;
