//! `page` of a route: a page of its own, or that of another route.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::super::keys;
use super::super::problem::{did_you_mean, quoted};
use super::super::read::{Lines, Report, Section, Value, did_you_mean_text};
use super::page::{self, LONGEST_LINE, PageConfig};
use super::{Links, RouteConfig};

/// Collector of the pages of single routes.
pub(super) struct RoutePages<'g> {
    general: &'g PageConfig,
    /// By route. One without `page` is there as well, so that another can be told what it lacks.
    routes: BTreeMap<String, (Choice, Range<usize>)>,
}

/// Page of a route.
enum Choice {
    /// General one.
    General,
    /// One of its own.
    Own(Box<PageConfig>),
    /// The one that another route has.
    Of(String),
    /// One that could not be read.
    Wrong,
}

impl<'g> RoutePages<'g> {
    pub(super) fn new(general: &'g PageConfig) -> Self {
        Self { general, routes: BTreeMap::new() }
    }

    /// Reads `page` of a route.
    pub(super) fn read(&mut self, route: &str, value: Option<&Value<'_>>, report: &mut Report<'_>) {
        let choice = match value.map(|value| value.inner) {
            None => Choice::General,
            Some(DeValue::Table(table)) => Choice::Own(Box::new(self.own(route, value, table, report))),
            Some(_) => {
                let name = value.and_then(|value| value.string("shop", report));
                name.map_or(Choice::Wrong, |name| Choice::Of(name.to_owned()))
            }
        };
        let span = value.map_or(0..0, |value| value.span.clone());
        self.routes.insert(route.to_owned(), (choice, span));
    }

    /// Reads a page. What is not written is that of `[page]`.
    fn own(&self, route: &str, value: Option<&Value<'_>>, table: &DeTable<'_>, report: &mut Report<'_>) -> PageConfig {
        let span = value.map_or(0..0, |value| value.span.clone());
        let general = self.general.clone();
        let mut section = Section::new(&keys::ROUTE_PAGE, format!("the page of route {}", quoted(route)), span, table);
        let brand = section.take("brand").and_then(|value| value.words(LONGEST_LINE, Lines::One, report));
        let logo = match section.take("logo") {
            None => general.logo,
            Some(value) => {
                if let DeValue::Boolean(shown) = value.inner {
                    general.logo.filter(|_| *shown)
                } else {
                    value.path("logo.svg", report)
                }
            }
        };
        let accent = section.take("accent").and_then(|value| page::accent(&value, report));
        let (language, languages) = page::languages(&mut section, report, general.languages);
        let links: Option<Links> = section.take("links").map(|value| page::links(&value, report));
        let framing = section.take("framing").and_then(|value| page::framing(&value, report));
        let dir = section.take("pages").and_then(|value| value.path("pages/shop", report));
        section.finish(report, |key, value| hint(route, key, value));
        PageConfig {
            dirs: dir.into_iter().chain(general.dirs).collect(),
            brand: brand.or(general.brand),
            logo,
            accent: accent.unwrap_or(general.accent),
            language,
            languages,
            links: links.unwrap_or(general.links),
            framing: framing.unwrap_or(general.framing),
            ..self.general.clone()
        }
    }

    /// Gives each route its page. Routes with equal ones share it. The site and the programs are those of `general`.
    pub(super) fn assign(self, general: &PageConfig, routes: &mut [Arc<RouteConfig>], report: &mut Report<'_>) {
        let mut distinct: Vec<Arc<PageConfig>> = Vec::new();
        let mut own: BTreeMap<&str, Arc<PageConfig>> = BTreeMap::new();
        let mut beyond = 0..0;
        for (name, (choice, span)) in &self.routes {
            let Choice::Own(page) = choice else { continue };
            let (site, programs) = (general.site.clone(), general.programs.clone());
            let page = PageConfig { site, programs, route: Some(name.clone()), ..(**page).clone() };
            let is_same =
                |known: &&Arc<PageConfig>| PageConfig { route: page.route.clone(), ..(***known).clone() } == page;
            let page = distinct.iter().find(is_same).map(Arc::clone).unwrap_or_else(|| {
                beyond = span.clone();
                distinct.push(Arc::new(page.clone()));
                Arc::clone(&distinct[distinct.len() - 1])
            });
            own.insert(name, page);
            if distinct.len() > MOST_PAGES {
                break;
            }
        }
        if distinct.len() > MOST_PAGES {
            report.wrong(
                beyond,
                format!("too many pages: at most {MOST_PAGES} routes can have one that differs from all others"),
                "let routes share one: `page = \"ROUTE\"` shows that of another route",
            );
            return;
        }
        for route in routes {
            let page = match self.routes.get(&route.name) {
                Some((Choice::Own(_), _)) => own.get(route.name.as_str()),
                Some((Choice::Of(other), span)) => match own.get(other.as_str()) {
                    Some(page) => Some(page),
                    None => {
                        self.tell_of_none(&route.name, other, span, report);
                        None
                    }
                },
                Some((Choice::General | Choice::Wrong, _)) | None => None,
            };
            if let Some(page) = page {
                Arc::make_mut(route).page = Some(Arc::clone(page));
            }
        }
    }

    /// Reports that a route shows the page of one that has none of its own.
    fn tell_of_none(&self, route: &str, other: &str, span: &Range<usize>, report: &mut Report<'_>) {
        let (message, help) = match self.routes.get(other) {
            _ if other == route => {
                let message =
                    format!("route {} shows its own page, and has none: that of `[page]` is shown", quoted(route));
                report.warn(span.clone(), message, format!("write the page below `[routes.{route}.page]`"));
                return;
            }
            Some((Choice::General, _)) => (
                format!("route {} has no page of its own", quoted(other)),
                "leave `page` away: the one of `[page]` is shown".to_owned(),
            ),
            Some((Choice::Of(first), _)) => (
                format!("route {} has no page of its own, it shows that of {}", quoted(other), quoted(first)),
                format!("write `page = {first:?}`"),
            ),
            Some((Choice::Own(_) | Choice::Wrong, _)) => return,
            None => {
                let near = did_you_mean(other, self.routes.keys().map(String::as_str));
                let help = "name a route with a page of its own, or write one: `page = { brand = \"Shop\" }`";
                (
                    format!("there is no route {}", quoted(other)),
                    near.map_or_else(|| help.to_owned(), did_you_mean_text),
                )
            }
        };
        report.wrong(span.clone(), message, help);
    }
}

/// Returns a correction for an unknown key of a route's page.
fn hint(route: &str, key: &str, value: &DeValue<'_>) -> Option<String> {
    match key {
        "prefix" | "cors" | "event_stream" => {
            Some(format!("`{key}` is the same for all routes: write it below `[page]`"))
        }
        "upstream" | "host" | "path" => {
            let name = format!("[routes.\"{route}.page\"]");
            Some(format!("if the route's name has a dot, quote it: {}", quoted(&name)))
        }
        "dir" | "templates" => Some(did_you_mean_text("pages")),
        _ => page::hint(key, value).filter(|_| key != "page"),
    }
}

/// Most pages besides the general one. Each has templates that are tried, and takes memory.
const MOST_PAGES: usize = 64;
