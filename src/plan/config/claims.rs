//! Claims of routes: which listener, host and path each of them answers for. No two routes have the same, and none of
//! them stands in vain.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use toml::de::DeTable;

use super::super::path::{PathPattern, Prefix};
use super::super::problem::quoted;
use super::super::read::Report;
use super::{HostPattern, Listen, RouteConfig};

/// Listener and host, where a route names them.
type Site = (Option<String>, Option<HostPattern>);

/// Listeners, with the places of their addresses, and the prefix of the proxy's own paths.
pub(super) type Edge<'e> = (&'e [(Listen, Range<usize>)], &'e Prefix);

/// Route with the place in the file where it claims something.
type Owner = (String, Range<usize>);

/// Routes that own each listener, host and path.
#[derive(Default)]
pub(super) struct Owners {
    claims: HashMap<(Site, PathPattern), Owner>,
    /// Paths with `*`, by the prefix that they begin with.
    patterns: HashMap<(Site, String), Vec<(PathPattern, Owner)>>,
    /// Names of the listeners.
    listeners: Vec<String>,
}

/// Hosts, paths and listeners of a route.
pub(super) struct Places {
    pub(super) hosts: Vec<(HostPattern, Range<usize>)>,
    pub(super) paths: Vec<(PathPattern, Range<usize>)>,
    /// Names of listeners.
    pub(super) listen: Vec<String>,
    /// False if some are given, but none of them could be read.
    pub(super) whole: bool,
}

impl Owners {
    /// Creates claims for a config whose listeners have these names.
    pub(super) fn new(listeners: &[(Listen, Range<usize>)]) -> Self {
        let names = listeners.iter().filter_map(|(listen, _)| listen.name.clone());
        Self { listeners: names.collect(), ..Self::default() }
    }

    /// Returns the names of the listeners.
    pub(super) fn listeners(&self) -> &[String] {
        &self.listeners
    }

    /// Claims listeners, hosts and paths for a route, and reports those that another one has. What a listener's own
    /// routes have, others may have too: its own come first.
    pub(super) fn claim(&mut self, route: &str, header: &Range<usize>, places: &Places, report: &mut Report<'_>) {
        if !places.whole {
            return;
        }
        let any = [(None, header.clone())];
        let named: Vec<_> = places.hosts.iter().map(|(host, span)| (Some(host.clone()), span.clone())).collect();
        let hosts = if named.is_empty() { &any[..] } else { &named[..] };
        let listeners: Vec<_> = places.listen.iter().cloned().map(Some).collect();
        let listeners = if listeners.is_empty() { vec![None] } else { listeners };
        for (host, host_span) in hosts {
            for path in &places.paths {
                let sites: Vec<Site> = listeners.iter().map(|listener| (listener.clone(), host.clone())).collect();
                let is_new = self.claim_one(&sites, &path.0, &(route.to_owned(), host_span.clone()), report);
                if is_new && !path.0.is_prefix() {
                    self.claim_pattern(&sites, path, route, report);
                }
            }
        }
    }

    /// Claims a path of a host at some listeners. Returns false if another route has it.
    fn claim_one(&mut self, sites: &[Site], path: &PathPattern, owner: &Owner, report: &mut Report<'_>) -> bool {
        let mut keys = sites.iter().map(|site| (site.clone(), path.clone()));
        if let Some((other, first)) = keys.find_map(|key| self.claims.get(&key)) {
            let host = sites.first().and_then(|(_, host)| host.as_ref());
            let message = format!("routes `{other}` and `{}` both answer for {}", owner.0, shown(host, path));
            let help = format!(
                "{} is at {}: give one of them another host, path or listener",
                quoted(other),
                report.line(first.clone())
            );
            report.wrong(owner.1.clone(), message, help);
            return false;
        }
        self.claims.extend(sites.iter().map(|site| ((site.clone(), path.clone()), owner.clone())));
        true
    }

    /// Claims a path with `*`. One that matches some path of another route's, and is as close as it, is refused: the file
    /// does not tell which of them counts there.
    fn claim_pattern(
        &mut self,
        sites: &[Site],
        (path, span): &(PathPattern, Range<usize>),
        route: &str,
        report: &mut Report<'_>,
    ) {
        let rank = path.rank();
        for site in sites {
            let patterns = self.patterns.entry((site.clone(), path.beginning().to_owned())).or_default();
            if patterns.len() >= MOST_PATTERNS {
                let message = format!(
                    "more than {MOST_PATTERNS} patterns of one host begin with {}, and each request would be compared \
                     with all of them",
                    quoted(path.beginning())
                );
                report.wrong(span.clone(), message, "write more of their segments out, from the left, or use prefixes");
                return;
            }
            let unclear = |(other, owner): &&(PathPattern, Owner)| {
                owner.0 != route && other.rank().is_alike(&rank) && other.meets(path)
            };
            if let Some((other, (name, first))) = patterns.iter().find(unclear) {
                let message = format!(
                    "{} of route {} and {} of route {} match some of the same paths, and neither is closer",
                    quoted(other.as_str()),
                    quoted(name),
                    quoted(path.as_str()),
                    quoted(route)
                );
                let help = format!(
                    "{} is at {}: write more of one of them out, or give the routes different hosts",
                    quoted(other.as_str()),
                    report.line(first.clone())
                );
                report.wrong(span.clone(), message, help);
                return;
            }
            patterns.push((path.clone(), (route.to_owned(), span.clone())));
        }
    }
}

/// Writes a host and a path for a message.
fn shown(host: Option<&HostPattern>, path: &PathPattern) -> String {
    match host {
        None => format!("{} on any host", quoted(path.as_str())),
        Some(HostPattern::Exact(host)) => quoted(&format!("{host}{}", path.as_str())),
        Some(HostPattern::Below(host)) => quoted(&format!("*.{host}{}", path.as_str())),
    }
}

/// Warns of routes that no request can reach, since others come first everywhere.
pub(super) fn warn_of_unreachable(
    routes: &[RouteConfig],
    (listeners, reserved): Edge<'_>,
    table: &DeTable<'_>,
    report: &mut Report<'_>,
) {
    let before = Before::new(routes, listeners, reserved);
    for (index, route) in routes.iter().enumerate() {
        let mut claims = before.claims(route);
        let Some(first) = claims.next() else { continue };
        let Some(reason) = before.shadow(index, &first) else { continue };
        if claims.all(|claim| before.shadow(index, &claim).is_some())
            && let Some((name, _)) = table.get_key_value(route.name.as_str())
        {
            let help = "remove it, or give it a path, host or listener that nothing else has";
            report.warn(name.span(), format!("route {} can never be reached: {reason}", quoted(&route.name)), help);
        }
    }
}

/// Host and path that a route answers for.
type Claim<'r> = (Option<&'r HostPattern>, &'r PathPattern);

/// Listener and host, where a route names them, and the prefix that a path begins with.
type Beginning<'r> = (Option<&'r str>, Option<&'r HostPattern>, &'r str);

/// Everything that may come before a route.
struct Before<'r> {
    routes: &'r [RouteConfig],
    /// Names of the listeners; empty if one has no name, since no route is for it alone.
    listeners: Vec<&'r str>,
    /// Prefixes that routes of single listeners have.
    own: HashSet<(&'r str, Option<&'r HostPattern>, &'r str)>,
    /// Paths with `*` of every listener, and of single ones, by the prefix that they begin with.
    patterns: HashMap<Beginning<'r>, Vec<(usize, &'r PathPattern)>>,
    reserved: Option<PathPattern>,
}

impl<'r> Before<'r> {
    fn new(routes: &'r [RouteConfig], listeners: &'r [(Listen, Range<usize>)], reserved: &Prefix) -> Self {
        let names: Option<Vec<&str>> = listeners.iter().map(|(listen, _)| listen.name.as_deref()).collect();
        let mut before = Self {
            routes,
            listeners: names.unwrap_or_default(),
            own: HashSet::new(),
            patterns: HashMap::new(),
            reserved: PathPattern::new(reserved.as_str()).ok(),
        };
        for (index, route) in routes.iter().enumerate() {
            let claims: Vec<Claim<'r>> = before.claims(route).collect();
            for (host, path) in claims {
                for listener in listeners_of(route) {
                    if !path.is_prefix() {
                        let key = (listener, host, path.beginning());
                        before.patterns.entry(key).or_default().push((index, path));
                    } else if let Some(listener) = listener {
                        before.own.insert((listener, host, path.as_str()));
                    }
                }
            }
        }
        before
    }

    fn claims(&self, route: &'r RouteConfig) -> impl Iterator<Item = Claim<'r>> + use<'r> {
        let hosts: Vec<Option<&HostPattern>> =
            if route.hosts.is_empty() { vec![None] } else { route.hosts.iter().map(Some).collect() };
        hosts.into_iter().flat_map(move |host| route.paths.iter().map(move |path| (host, path)))
    }

    /// Returns what comes before a claim of a route for each of its requests.
    fn shadow(&self, index: usize, (host, path): &Claim<'r>) -> Option<String> {
        if self.reserved.as_ref().is_some_and(|reserved| reserved.includes(path)) {
            return Some(format!("{} is the proxy's own", quoted(path.as_str())));
        }
        let route = &self.routes[index];
        let wider = |listener| self.wider(index, listener, (*host, path));
        if let Some(found) = listeners_of(route).map(wider).collect::<Option<Vec<String>>>() {
            return found.into_iter().next();
        }
        let mut listeners = self.listeners.iter().filter(|_| route.listen.is_empty()).peekable();
        let first = listeners.peek().copied()?;
        listeners
            .all(|listener| self.is_owned(listener, *host, path))
            .then(|| format!("every listener, as {}, has routes of its own for all that it is for", quoted(first)))
    }

    /// Returns the pattern of the same listener and host that is closer and covers a whole pattern.
    fn wider(&self, index: usize, listener: Option<&str>, (host, path): Claim<'r>) -> Option<String> {
        if path.is_prefix() {
            return None;
        }
        let patterns = self.patterns.get(&(listener, host, path.beginning()))?;
        let rank = path.rank();
        let (other, wider) = patterns
            .iter()
            .find(|(other, pattern)| *other != index && pattern.rank() > rank && pattern.includes(path))?;
        let name = quoted(&self.routes[*other].name);
        Some(format!("{} of route {name} is closer, and covers {}", quoted(wider.as_str()), quoted(path.as_str())))
    }

    /// Returns true if routes of one listener alone have all paths of a claim.
    fn is_owned(&self, listener: &str, host: Option<&HostPattern>, path: &PathPattern) -> bool {
        let hosts = if host.is_some() { &[host, None][..] } else { &[None][..] };
        let mut rest = Some(path.beginning());
        while let Some(prefix) = rest {
            if hosts.iter().any(|host| self.own.contains(&(listener, *host, prefix))) {
                return true;
            }
            rest = match prefix.rfind('/') {
                Some(0) if prefix.len() > 1 => Some("/"),
                Some(0) | None => None,
                Some(slash) => Some(&prefix[..slash]),
            };
        }
        false
    }
}

/// Returns the names of a route's listeners; `None` for a route of every listener.
fn listeners_of(route: &RouteConfig) -> impl Iterator<Item = Option<&str>> {
    let every = route.listen.is_empty().then_some(None);
    every.into_iter().chain(route.listen.iter().map(|name| Some(name.as_str())))
}

/// Patterns of one host that begin with the same prefix. A request below it is compared with each of them.
const MOST_PATTERNS: usize = 64;
