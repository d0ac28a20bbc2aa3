mod elsewhere;
mod isolation;
mod pages;
mod readers;

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::super::config::{self, Config, PageConfig};
use super::super::super::flags::{self, Flags, Mode};
use super::super::super::page::{Renderer, Sources};
use super::super::super::snapshot::{Phase, Source};
use super::super::document::Filter;
use super::super::sight::ClosingSight;
use super::super::{Ledger, PublicKeys, RouteSight, Sight, Site, elsewhere};
use super::*;

/// Proxy with the routes `api` and `web`, whose flag file and clock a test moves.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) flags: Flags,
    config: Config,
    routes: Vec<&'static str>,
    down: Vec<RouteSight>,
    renderer: Renderer,
}

const CONFIG: &str = r#"
listen = [{ address = "127.0.0.1:8080" }]
[status]
url = "https://status.example.com:8443/s"
title = "Shop & more"
services = [
    { name = "Web <shop>", detail = "web.example.com", routes = ["web"], regions = ["eu-west"] },
    { name = "API", detail = "api.example.com", routes = ["api"], regions = ["us-east"] },
]
[routes.web]
host = "web"
upstream = "http://127.0.0.1:1"
[routes.api]
host = "api"
upstream = "http://127.0.0.1:2"
"#;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl World {
    pub(super) fn new(since: &str) -> Self {
        let renderer = Renderer::new(&PageConfig::default(), &Sources::default(), "backsoon.toml").0.unwrap();
        let (config, flags, routes) = (configured(CONFIG), Flags::default(), vec!["api", "web"]);
        Self { ledger: Ledger::new(at(since)), flags, config, routes, down: Vec::new(), renderer }
    }

    /// Puts a config in force, in which the proxy has these routes.
    pub(super) fn configure(&mut self, text: &str, routes: &[&'static str]) -> &mut Self {
        (self.config, self.routes) = (configured(text), routes.to_vec());
        self
    }

    /// Puts a flag file in force.
    pub(super) fn edit(&mut self, text: &str) -> &mut Self {
        let (parsed, problems) = flags::parse("maintenance.toml", text);
        self.flags = parsed.unwrap_or_else(|| panic!("{problems:?}")).flags;
        self
    }

    /// Takes a route down, or brings it further.
    pub(super) fn down(&mut self, route: &str, phase: Phase, source: Source, started: &str) -> &mut Self {
        let (started, mode) = (at(started), Mode::Offline);
        let closing = ClosingSight { source, started, planned: started, mode, found: false, steps: Vec::new() };
        self.down.retain(|own| own.name != route);
        self.down.push(RouteSight { name: route.to_owned(), phase, closing: Some(closing) });
        self
    }

    pub(super) fn open(&mut self) -> &mut Self {
        self.down.clear();
        self
    }

    pub(super) fn look(&mut self, now: &str) -> &mut Self {
        let open = |name: &str| RouteSight { name: name.to_owned(), phase: Phase::Open, closing: None };
        let is_up = |name: &&str| self.down.iter().all(|own| own.name != *name);
        let routes: Vec<_> =
            self.down.iter().cloned().chain(self.routes.iter().copied().filter(is_up).map(open)).collect();
        let elsewhere = elsewhere(&self.config);
        self.ledger.observe(Sight { flags: &self.flags, routes: &routes, elsewhere: &elsewhere, now: at(now) });
        self
    }

    pub(super) fn all(&self) -> Vec<(&'static str, Document)> {
        let news = News::new(&self.config, &self.ledger, &self.flags.windows);
        all(&news, Words::all(&self.renderer).next().unwrap(), &Stories::new()).0
    }

    pub(super) fn document(&self, path: &str) -> Document {
        self.all().into_iter().find(|(own, _)| *own == path).unwrap().1
    }

    pub(super) fn text(&self, path: &str) -> String {
        String::from_utf8(self.document(path).whole.to_vec()).unwrap()
    }

    fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(path)).unwrap_or_else(|error| panic!("{path}: {error}: {}", self.text(path)))
    }
}

fn configured(text: &str) -> Config {
    let (config, problems) = config::parse("/etc/backsoon.toml", text);
    config.unwrap_or_else(|| panic!("{problems:?}"))
}

pub(super) fn window(id: &str) -> Source {
    Source::Window(id.to_owned())
}

/// Returns a world with a maintenance that is over, one that is on, one that is announced, and an interruption.
fn sample() -> World {
    let mut world = World::new("2026-05-01T00:00:00Z");
    let past = "[[windows]]\nid = \"MNT-1\"\ntitle = \"Disk <b>\"\nannounce = \"24h\"\nroutes = { api = \"offline\" }\n\
                starts = 2026-05-10T02:00:00Z\nends = 2026-05-10T03:00:00Z\n";
    let now = "[[windows]]\nid = \"MNT-2\"\ntitle = \"Upgrade & more\"\nsummary = \"The shop is away.\"\nmessage = \"\"\"\n\
               First line\n]]> second \"line\"\"\"\"\nannounce = \"72h\"\nroutes = { web = \"offline\" }\nregions = [\"eu-west\"]\n\
               impact = { level = \"low\" }\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T15:00:00Z\n\
               steps = [{ title = \"Copy\", state = \"done\" }, { title = \"Migrate\", state = \"running\", \
               progress = { done = 3, total = 7 } }]\n\
               [[windows]]\nid = \"MNT-3\"\ntitle = \"Next\"\nannounce = \"72h\"\nroutes = { api = \"read-only\" }\n\
               starts = 2026-05-20T14:00:00Z\nends = 2026-05-20T15:00:00Z\n";
    world.edit(past).look("2026-05-09T03:00:00Z");
    world.down("api", Phase::Closed, window("MNT-1"), "2026-05-10T02:00:00Z").look("2026-05-10T02:00:00Z");
    world.down("api", Phase::Verifying, window("MNT-1"), "2026-05-10T02:00:00Z").look("2026-05-10T03:00:00Z");
    world.open().look("2026-05-10T03:01:00Z");
    world.edit(&now.replace("done\" }", "running\" }")).look("2026-05-18T08:00:00Z");
    world.down("web", Phase::Closed, window("MNT-2"), "2026-05-19T14:00:00Z").look("2026-05-19T14:00:00Z");
    world.edit(now).look("2026-05-19T14:10:00Z");
    let flag = format!("[routes]\napi = {{ mode = \"offline\", message = \"A disk failed.\" }}\n{now}");
    world.edit(&flag).down("api", Phase::Closed, Source::Flag, "2026-05-19T14:20:00Z").look("2026-05-19T14:20:00Z");
    world
}

#[test]
fn documents_are_as_their_snapshots() {
    for (path, document) in sample().all() {
        let text = String::from_utf8(document.whole.to_vec()).unwrap();
        let text = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => serde_json::to_string_pretty(&value).unwrap(),
            Err(_) => text,
        };
        let name = format!("news.{}", path.trim_start_matches('/').replace('/', "."));
        snapshot(&name, &text);
    }
}

pub(super) fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_same_news_give_the_same_bytes() {
    let (one, other) = (sample(), sample());
    for ((path, a), (_, b)) in one.all().into_iter().zip(other.all()) {
        assert_eq!((a.whole, a.etag, a.modified), (b.whole, b.etag, b.modified), "{path}");
    }
    // A look that tells nothing new changes nothing.
    let mut later = sample();
    later.look("2026-05-19T14:25:00Z");
    for ((path, a), (_, b)) in one.all().into_iter().zip(later.all()) {
        assert_eq!(a.whole, b.whole, "{path}");
    }
}

#[test]
fn an_update_adds_an_item_and_leaves_the_others_as_they_are() {
    let mut world = sample();
    let before = world.json("/feed.json");
    world.open().edit("").look("2026-05-19T15:00:00Z");
    let after = world.json("/feed.json");
    let items = |feed: &serde_json::Value| feed["items"].as_array().unwrap().clone();
    let (old, new) = (items(&before), items(&after));
    assert!(new.len() > old.len());
    for item in &old {
        let same = new.iter().find(|own| own["id"] == item["id"]).unwrap();
        for field in ["title", "content_text", "date_published", "url"] {
            assert_eq!(same[field], item[field], "{item}");
        }
    }
}

#[test]
fn an_announced_window_takes_nothing_down() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    let text = "[[windows]]\nid = \"MNT-1\"\nannounce = \"24h\"\nroutes = { \"*\" = \"offline\" }\n\
                starts = 2026-05-10T02:00:00Z\nends = 2026-05-10T03:00:00Z\n";
    world.edit(text).look("2026-05-09T03:00:00Z");
    let summary = world.json("/api/v2/summary.json");
    assert_eq!(summary["status"]["indicator"], "none");
    assert!(summary["components"].as_array().unwrap().iter().all(|one| one["status"] == "operational"), "{summary}");
    assert_eq!(summary["scheduled_maintenances"][0]["status"], "scheduled");
    assert_eq!(
        world.json("/api/v2/scheduled-maintenances/upcoming.json")["scheduled_maintenances"][0]["name"],
        "Maintenance"
    );
    assert_eq!(
        world.json("/api/v2/scheduled-maintenances/active.json")["scheduled_maintenances"],
        serde_json::json!([])
    );
    let feed = world.text("/feed.rss");
    assert!(
        feed.contains("<pubDate>Sat, 09 May 2026 03:00:00 GMT</pubDate>") && !feed.contains("10 May 2026 02:00:00")
    );
}

#[test]
fn a_filter_leaves_the_status_of_what_it_leaves() {
    let world = sample();
    let document = world.document("/api/v2/status.json");
    for (service, indicator) in [("Web <shop>", "maintenance"), ("API", "critical"), ("?", "none")] {
        let filter = Filter { service: Some(service.into()), ..Filter::default() };
        let body: serde_json::Value = serde_json::from_slice(&document.select(&filter).bytes).unwrap();
        assert_eq!(body["status"]["indicator"], indicator, "{service}");
    }
    assert_eq!(world.json("/api/v2/status.json")["status"]["indicator"], "major");
    let web = Filter { routes: Some(BTreeSet::from(["web"])), ..Filter::default() };
    let summary = world.document("/api/v2/summary.json").select(&web).bytes;
    let summary = String::from_utf8(summary.to_vec()).unwrap();
    assert!(summary.contains("Upgrade & more") && !summary.contains("API") && !summary.contains("Next"), "{summary}");
}

#[test]
fn every_document_is_linked() {
    let world = sample();
    let links = world.json("/.well-known/backsoon.json")["links"].as_object().unwrap().clone();
    for (path, _) in world.all().into_iter().filter(|(path, _)| !path.starts_with("/.well-known")) {
        let url = format!("https://status.example.com:8443/s{path}");
        assert!(links.values().any(|link| *link == url), "no link to {path}");
    }
}

#[test]
fn public_keys_are_told_where_there_are_some() {
    let world = sample();
    assert_eq!(world.json("/.well-known/backsoon.json").get("keys"), None);
    let keys =
        PublicKeys { webhooks: vec!["whpk_new".to_owned(), "whpk_old".to_owned()], push: Some("BP4".to_owned()) };
    let news = News::new(&world.config, &world.ledger, &world.flags.windows).with_keys(keys);
    let all = all(&news, Words::all(&world.renderer).next().unwrap(), &Stories::new()).0;
    let document = all.into_iter().find(|(path, _)| *path == "/.well-known/backsoon.json").unwrap().1;
    let told: serde_json::Value = serde_json::from_slice(&document.whole).unwrap();
    assert_eq!(told["keys"], serde_json::json!({ "webhooks": ["whpk_new", "whpk_old"], "push": "BP4" }));
}

#[test]
fn no_host_of_a_url_has_a_port_or_a_user() {
    for (url, expected) in [
        ("https://status.example.com", "status.example.com"),
        ("https://u:p@Status.Example.com:8443/s", "status.example.com"),
        ("http://[2001:db8::1]:80/", "2001-db8--1"),
        ("/.backsoon/news", NO_HOST),
        ("", NO_HOST),
    ] {
        assert_eq!(host(url), expected, "{url}");
    }
}

/// Returns a world in which as many maintenances of both routes in turn are over, one after another.
pub(super) fn long_past(count: i64) -> World {
    let mut world = World::new("2026-01-01T00:00:00Z");
    let first = at("2026-01-02T00:00:00Z");
    for number in 0..count {
        let hour = |hours: i64| (first + SignedDuration::from_hours(10 * number + hours)).to_string();
        let route = if number % 2 == 0 { "web" } else { "api" };
        let text = format!(
            "[[windows]]\nid = \"MNT-{number}\"\ntitle = \"Upgrade {number}\"\nannounce = \"5h\"\nmessage = \"Words.\"\n\
             routes = {{ {route} = \"offline\" }}\nstarts = {}\nends = {}\n",
            hour(5),
            hour(6)
        );
        world.edit(&text).look(&hour(1));
        world.down(route, Phase::Closed, window(&format!("MNT-{number}")), &hour(5)).look(&hour(5));
        world.open().look(&hour(6));
    }
    world
}

#[test]
#[ignore = "prints numbers, for a quiet machine: --profile count --ignored --nocapture"]
fn many_incidents_are_made_into_a_site() {
    for count in [200, 1000] {
        let mut world = long_past(count);
        let news = News::new(&world.config, &world.ledger, &world.flags.windows);
        let before = Site::render(1, &news, &world.renderer, &Site::default());
        let (_, stories) = all(&news, Words::all(&world.renderer).next().unwrap(), &Stories::new());
        world.edit("[routes]\nweb = \"offline\"\n").down("web", Phase::Closed, Source::Flag, "2027-06-01T00:00:00Z");
        let began = std::time::Instant::now();
        world.look("2027-06-01T00:00:00Z");
        let looked = began.elapsed();
        let news = News::new(&world.config, &world.ledger, &world.flags.windows);
        let words = Words::all(&world.renderer).next().unwrap();
        let (documents, _) = all(&news, words, &stories);
        let made = began.elapsed();
        let site = Site::render(2, &news, &world.renderer, &before);
        let took = began.elapsed();
        eprintln!("{count} incidents: look {looked:?}, documents {made:?}, whole site {took:?}");
        let bytes: usize = documents.iter().map(|(_, document)| document.whole.len()).sum();
        eprintln!("{} documents, {bytes} bytes", documents.len());
        drop(site);
    }
}

/// Checks that the tags of a document close, and that it has no character that XML does not.
fn assert_xml(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, rest) = part.split_once('>').unwrap_or_else(|| panic!("no end of a tag: {part}"));
        assert!(!rest.contains(['>', '\r', '\0']), "{part}");
        match tag {
            tag if tag.starts_with('?') || tag.ends_with('/') => {}
            tag => match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{text}"),
                None => open.push(tag.split(' ').next().unwrap()),
            },
        }
        let entities = rest.split('&').skip(1);
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        entities.for_each(|entity| assert!(known.iter().any(|own| entity.starts_with(own)), "&{entity}"));
    }
    assert!(open.is_empty(), "{open:?}");
}

fn assert_calendar(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for line in text.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n']) && line.len() <= 75, "{line:?}");
        match line.split_once(':') {
            Some(("BEGIN", name)) => open.push(name),
            Some(("END", name)) => assert_eq!(open.pop(), Some(name), "{text}"),
            Some(_) => {}
            None => assert!(line.starts_with(' '), "{line:?}"),
        }
    }
    assert!(open.is_empty() && text.starts_with("BEGIN:VCALENDAR\r\n"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_words_and_no_filter_break_a_document(
        title in "[^\\p{Cc}]{1,40}", message in "[^\\p{Cc}]{0,40}", service in "API|Web <shop>|\\PC{0,5}",
        region in proptest::option::of("eu-west|us-east|x"), window in proptest::option::of("MNT-1|MNT-2|x"),
        routes in proptest::option::of(proptest::collection::btree_set(proptest::sample::select(vec!["api", "web"]), 0..2)),
    ) {
        let mut world = sample();
        let quoted = |text: &str| serde_json::to_string(&format!("x{text}")).unwrap();
        let mut text = format!("[routes]\nweb = {{ mode = \"offline\", message = {} }}\n", quoted(&message));
        let _ = write!(
            text,
            "[[windows]]\nid = \"W\"\ntitle = {}\nannounce = \"9h\"\nroutes = {{ api = \"hold\" }}\n\
             starts = 2026-05-19T20:00:00Z\nends = 2026-05-19T21:00:00Z\n",
            quoted(&title)
        );
        if flags::parse("maintenance.toml", &text).0.is_none() {
            return Ok(());
        }
        world.edit(&text).down("web", Phase::Closed, Source::Flag, "2026-05-19T15:20:00Z").look("2026-05-19T15:20:00Z");
        let service = (!service.is_empty()).then(|| service.as_str().into());
        let filter = Filter { service, region: region.map(Into::into), window: window.map(Into::into), routes };
        for (path, document) in world.all() {
            for bytes in [document.whole.clone(), document.select(&filter).bytes] {
                let text = std::str::from_utf8(&bytes).unwrap();
                match path.rsplit('.').next().unwrap() {
                    "json" => drop(serde_json::from_str::<serde_json::Value>(text).unwrap()),
                    "ics" => assert_calendar(text),
                    _ => assert_xml(text),
                }
            }
        }
    }
}
