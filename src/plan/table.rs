//! Look-up of a request's route by its listener, its host and its path.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::{HostPattern, RouteConfig, SitePlace};
use super::path::PathPattern;

/// Look-up of routes: those of the request's listener alone, then those of every listener. Among them the most specific
/// host that has the path, then the closest path: of prefixes, the longest.
#[derive(Debug, Default)]
pub struct Table {
    /// Routes of every listener.
    hosts: Hosts,
    /// Routes of single listeners, by their names. Most configs have none, and pay one branch.
    listeners: Vec<(Box<str>, Hosts)>,
    /// Number of routes, which stands for the status site.
    routes: usize,
    site: SitePlace,
}

/// Routes by host and path.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, Paths>,
    /// Hosts by the part after `*.`.
    below: HashMap<Box<str>, Paths>,
    any: Paths,
}

/// Paths of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    /// Route for `/`. Most hosts have no other, so it is found without a look-up.
    root: Option<usize>,
    /// Routes for all other paths.
    routes: HashMap<Box<str>, usize>,
    /// Paths with `*` by the prefix that they begin with, the closest first. Most configs have none, and pay one branch.
    patterns: HashMap<Box<str>, Vec<(PathPattern, usize)>>,
    /// Bytes of the longest prefix. Longer paths need not be hashed.
    longest: usize,
}

impl Table {
    /// Builds the table. The caller refuses two routes with the same listener, host and path; here the first one stays.
    pub fn new(routes: &[Arc<RouteConfig>], site: SitePlace) -> Self {
        let mut table = Self { routes: routes.len(), ..Self::default() };
        for (index, route) in routes.iter().enumerate() {
            if route.listen.is_empty() {
                table.hosts.insert(route, index);
            }
            for listener in &route.listen {
                table.of_listener(listener).insert(route, index);
            }
        }
        // Requests for the status site are found like those of a route, so that all others pay nothing for it.
        let index = table.routes;
        table.listeners.iter_mut().map(|(_, hosts)| hosts).chain([&mut table.hosts]).for_each(|hosts| {
            hosts.place(&site, index);
        });
        table.site = site;
        table
    }

    fn of_listener(&mut self, name: &str) -> &mut Hosts {
        let found = self.listeners.iter().position(|(other, _)| &**other == name);
        let index = found.unwrap_or_else(|| {
            self.listeners.push((name.into(), Hosts::default()));
            self.listeners.len() - 1
        });
        &mut self.listeners[index].1
    }

    /// Returns the place of the status site.
    pub fn site(&self) -> &SitePlace {
        &self.site
    }

    /// Returns the indexes of the routes that a host has at a listener, in any order and perhaps repeated.
    pub fn routes_of(&self, listener: Option<&str>, host: &str) -> Vec<usize> {
        let mut found = self.hosts.routes_of(host);
        found.extend(self.own(listener).into_iter().flat_map(|hosts| hosts.routes_of(host)));
        found.retain(|index| *index < self.routes);
        found
    }

    /// Returns the index of the route for a listener's name, a host (lowercase, without port or trailing dot) and a path
    /// in normal form. An index that no route has is the status site's.
    pub fn find(&self, listener: Option<&str>, host: &str, path: &str) -> Option<usize> {
        if !self.listeners.is_empty()
            && let Some(found) = self.own(listener).and_then(|hosts| hosts.find(host, path))
        {
            return Some(found);
        }
        self.hosts.find(host, path)
    }

    /// Returns the routes of one listener alone. A config has few of them, so comparing is cheaper than hashing.
    fn own(&self, listener: Option<&str>) -> Option<&Hosts> {
        let listener = listener?;
        self.listeners.iter().find(|(name, _)| &**name == listener).map(|(_, hosts)| hosts)
    }
}

impl Hosts {
    fn insert(&mut self, route: &RouteConfig, index: usize) {
        if route.hosts.is_empty() {
            self.any.insert(route, index);
        }
        for host in &route.hosts {
            let paths = match host {
                HostPattern::Exact(host) => self.exact.entry(host.as_str().into()).or_default(),
                HostPattern::Below(host) => self.below.entry(host.as_str().into()).or_default(),
            };
            paths.insert(route, index);
        }
    }

    /// Adds the status site.
    fn place(&mut self, site: &SitePlace, index: usize) {
        if let Some(host) = &site.host {
            self.exact.insert(host.as_str().into(), Paths { root: Some(index), ..Paths::default() });
        }
        if let Some(prefix) = &site.prefix {
            let hosts = self.exact.values_mut().chain(self.below.values_mut()).chain([&mut self.any]);
            hosts.for_each(|paths| paths.insert_prefix(prefix.as_str(), index));
        }
    }

    fn routes_of(&self, host: &str) -> Vec<usize> {
        let mut found: Vec<usize> = self.exact.get(host).into_iter().chain([&self.any]).flat_map(Paths::all).collect();
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.').filter(|_| host.len() <= LONGEST_HOST) {
            found.extend(self.below.get(parent).into_iter().flat_map(Paths::all));
            rest = parent;
        }
        found
    }

    fn find(&self, host: &str, path: &str) -> Option<usize> {
        // No valid name is longer (RFC 1035 section 2.3.4), and a hostile one is not worth a walk over its labels.
        if host.len() > LONGEST_HOST {
            return self.any.find(path);
        }
        if let Some(found) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(found);
        }
        if !self.below.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(found) = self.below.get(parent).and_then(|paths| paths.find(path)) {
                    return Some(found);
                }
                rest = parent;
            }
        }
        self.any.find(path)
    }
}

impl Paths {
    fn insert(&mut self, route: &RouteConfig, index: usize) {
        for path in &route.paths {
            if path.is_prefix() { self.insert_prefix(path.as_str(), index) } else { self.insert_pattern(path, index) }
        }
    }

    fn insert_prefix(&mut self, path: &str, index: usize) {
        match path {
            "/" => _ = self.root.get_or_insert(index),
            path => {
                self.routes.entry(path.into()).or_insert(index);
                self.longest = self.longest.max(path.len());
            }
        }
    }

    fn insert_pattern(&mut self, path: &PathPattern, index: usize) {
        let beginning = path.beginning().trim_end_matches('/');
        self.longest = self.longest.max(beginning.len());
        let patterns = self.patterns.entry(beginning.into()).or_default();
        let rank = path.rank();
        let place = patterns.partition_point(|(other, _)| other.rank() >= rank);
        patterns.insert(place, (path.clone(), index));
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        let patterns = self.patterns.values().flatten().map(|(_, index)| *index);
        self.root.into_iter().chain(self.routes.values().copied()).chain(patterns)
    }

    /// Tries the whole path, then the path without its last segment, and so on to `/`. Patterns that go on behind a prefix
    /// are closer than the prefix itself, and all of them are less close than a longer prefix. Without patterns, the look
    /// for them is one at the length of an empty map.
    fn find(&self, path: &str) -> Option<usize> {
        let mut rest = cut(path.trim_end_matches('/'), self.longest);
        loop {
            let mut patterns = self.patterns.get(rest).into_iter().flatten();
            if let Some((_, index)) = patterns.find(|(pattern, _)| pattern.covers(path)) {
                return Some(*index);
            }
            if rest.is_empty() {
                return self.root;
            }
            if let Some(&index) = self.routes.get(rest) {
                return Some(index);
            }
            rest = rest.rfind('/').map_or("", |slash| &rest[..slash]);
        }
    }
}

/// Cuts a path to as many leading segments as fit `longest` bytes.
fn cut(path: &str, longest: usize) -> &str {
    if path.len() <= longest {
        return path;
    }
    let head = path.as_bytes().iter().take(longest + 1).rposition(|&byte| byte == b'/');
    head.map_or("", |slash| &path[..slash])
}

const LONGEST_HOST: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::config::{Config, parse};
    use super::super::verdict::normal_host;
    use super::*;

    fn config(paths: &[(usize, String)]) -> Option<Config> {
        let mut text = "[[listen]]\naddress = \"127.0.0.1:8080\"\n".to_owned();
        for (index, (host, path)) in paths.iter().enumerate() {
            let host = ["www.example.com", "*.example.com"].get(*host).map(|host| format!("host = {host:?}\n"));
            let host = host.unwrap_or_default();
            text += &format!("[routes.r{index:02}]\n{host}path = {path:?}\nupstream = \"http://127.0.0.1:1\"\n");
        }
        parse("backsoon.toml", &text).0
    }

    /// Compares all paths of all routes, as the documents tell it.
    fn naive(routes: &[Arc<RouteConfig>], host: &str, path: &str) -> Option<usize> {
        let closeness = |route: &RouteConfig| match route.hosts.first() {
            None => Some(0),
            Some(HostPattern::Below(parent)) => host.ends_with(&format!(".{parent}")).then_some(1),
            Some(HostPattern::Exact(exact)) => (exact == host).then_some(2),
        };
        let ranks = routes.iter().enumerate().filter_map(|(index, route)| {
            let path = route.path_of(path)?;
            Some(((closeness(route)?, path.rank()), index))
        });
        ranks.max().map(|(_, index)| index)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn the_table_finds_the_closest_path_of_the_closest_host(
            paths in proptest::collection::vec((0..3_usize, proptest::collection::vec(
                proptest::sample::select(vec!["**", "*", "a", "b", "a*", "ab"]), 0..4)), 1..7),
            asked in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab", "abb", "c"]), 0..5),
            host in proptest::sample::select(vec!["www.example.com", "a.example.com", "example.org"]),
        ) {
            let mut paths: Vec<_> =
                paths.into_iter().map(|(host, path)| (host, format!("/{}", path.join("/")))).collect();
            // One that contradicts the others is refused.
            while config(&paths).is_none() {
                paths.pop();
            }
            let routes = config(&paths).map(|config| config.routes).unwrap_or_default();
            let table = Table::new(&routes, SitePlace::default());
            let path = format!("/{}", asked.join("/"));
            prop_assert_eq!(table.find(None, &normal_host(host), &path), naive(&routes, host, &path), "{:?} {}", paths, path);
        }
    }
}
