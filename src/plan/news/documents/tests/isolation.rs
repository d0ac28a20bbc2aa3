//! A tenant's visitors get the same bytes whether or not another tenant has news.

use super::super::super::super::dialect::Dialect;
use super::super::super::{Site, SiteResource};
use super::*;

/// Windows of `web`, in every state that a document has a word for.
const OTHERS: &str = r#"
[[windows]]
id = "B-past"
title = "Secret past"
starts = 2026-05-02T02:00:00Z
ends = 2026-05-02T04:00:00Z
routes = { web = "offline" }
[[windows]]
id = "B-now"
title = "Secret now"
regions = ["secret-1"]
starts = 2026-05-10T00:00:00Z
ends = 2026-05-11T04:00:00Z
routes = { web = "offline" }
[[windows]]
id = "B-soon"
title = "Secret soon"
starts = 2026-05-20T00:00:00Z
ends = 2026-05-20T04:00:00Z
announce = "720h"
routes = { web = "offline" }
[[windows]]
id = "B-weekly"
title = "Secret weekly"
every = "Sat 02:00-04:00 America/New_York"
announce = "24h"
routes = { web = "offline" }
"#;

/// Window of `api`.
const OWN: &str = r#"
[[windows]]
id = "A-weekly"
title = "Backup"
every = "Sun 02:00-04:00 Europe/Berlin"
announce = "24h"
routes = { api = "offline" }
"#;

/// Returns what visitors of `api` get, by its path and its form.
fn seen(flags: &str) -> Vec<(String, String)> {
    let mut world = World::new("2026-05-01T00:00:00Z");
    world.edit(flags);
    for now in [
        "2026-05-01T12:00:00Z",
        "2026-05-02T03:00:00Z",
        "2026-05-09T06:00:00Z",
        "2026-05-10T12:00:00Z",
        "2026-05-13T00:00:00Z",
        "2026-05-20T01:00:00Z",
        "2026-05-20T05:00:00Z",
    ] {
        world.look(now);
    }
    all_of(&world, &["api"])
}

/// Returns what visitors of routes get, by its path and its form.
fn all_of(world: &World, routes: &[&'static str]) -> Vec<(String, String)> {
    let news = News::new(&world.config, &world.ledger, &world.flags.windows);
    let site = Site::render(1, &news, &world.renderer, &Site::default());
    let filter = Filter { routes: Some(routes.iter().copied().collect()), ..Filter::default() };
    let bytes = |document: &Document| String::from_utf8(document.select(&filter).bytes.to_vec()).unwrap();
    let mut all: Vec<(String, String)> =
        world.all().iter().map(|(path, document)| ((*path).to_owned(), bytes(document))).collect();
    for path in ["/", "/history", "/subscribe"] {
        let Some(SiteResource::Page(page)) = site.find(path) else { panic!("no {path}") };
        for dialect in [Dialect::Html, Dialect::Text, Dialect::Markdown] {
            all.push((format!("{path} {dialect:?}"), bytes(page.choose(dialect, 0).unwrap())));
        }
    }
    all
}

#[test]
fn what_another_tenant_plans_and_does_changes_no_byte() {
    for own in ["", OWN] {
        let (alone, beside) = (seen(own), seen(&format!("{own}{OTHERS}")));
        let differs: Vec<String> = alone
            .iter()
            .zip(&beside)
            .filter(|(a, b)| a != b)
            .map(|(a, b)| format!("{}: {}", a.0, difference(&a.1, &b.1)))
            .collect();
        assert!(differs.is_empty(), "with {own:?}:\n{}", differs.join("\n"));
    }
}

/// Returns the lines that only one of two texts has.
fn difference(a: &str, b: &str) -> String {
    let only = |sign: &str, one: &str, other: &str| {
        let lines = one.lines().filter(|line| !other.lines().any(|known| known == *line));
        lines.map(|line| format!("\n  {sign} {line}")).collect::<String>()
    };
    only("-", a, b) + &only("+", b, a)
}

/// Returns the flag file of a night in which `web` fails as often, each time for a minute.
fn noise(world: &mut World, day: u32, times: u32) {
    for minute in 0..times {
        let (from, to) =
            (format!("{:02}:{:02}:00", minute / 60, minute % 60), format!("{:02}:{:02}:30", minute / 60, minute % 60));
        let (from, to) = (format!("2026-05-{day:02}T{from}Z"), format!("2026-05-{day:02}T{to}Z"));
        world.edit("[routes]\nweb = \"offline\"\n").down("web", Phase::Closed, Source::Flag, &from).look(&from);
        world.edit("").open().look(&to);
    }
}

#[test]
fn what_is_told_of_a_tenant_is_hidden_by_no_noise_of_another() {
    let told = |times: u32| {
        let mut world = World::new("2026-05-01T00:00:00Z");
        world
            .edit(&OWN.replace("A-weekly", "A-past"))
            .look("2026-05-03T00:30:00Z")
            .edit("")
            .look("2026-05-03T04:30:00Z");
        noise(&mut world, 4, times);
        all_of(&world, &["api"])
    };
    let (alone, beside) = (told(0), told(250));
    assert!(alone.iter().any(|(path, text)| path == "/feed.json" && text.contains("A-past")), "{alone:?}");
    for ((path, alone), (_, beside)) in alone.iter().zip(&beside) {
        assert!(alone == beside, "{path}: {}", difference(alone, beside));
    }
}

#[test]
fn each_incident_that_is_listed_has_a_page_and_no_list_is_longer_than_it_says() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    let window = |number: u32| {
        format!(
            "[[windows]]\nid = \"W-{number}\"\nannounce = \"720h\"\nstarts = 2026-05-20T02:00:00Z\n\
             ends = 2026-05-20T04:00:00Z\nroutes = {{ web = \"offline\" }}\n"
        )
    };
    noise(&mut world, 1, 230);
    world.edit(&(0..203).map(window).collect::<String>()).look("2026-05-02T00:00:00Z");
    let news = News::new(&world.config, &world.ledger, &world.flags.windows);
    let site = Site::render(1, &news, &world.renderer, &Site::default());
    for id in ["W-0", "W-202"] {
        assert!(site.find(&format!("/incidents/{id}")).is_some(), "{id}");
    }
    for incident in world.ledger.incidents() {
        assert!(site.find(&format!("/incidents/{}", incident.key)).is_some(), "{}", incident.key);
    }
    for filter in [Filter::default(), Filter { service: Some("Web <shop>".into()), ..Filter::default() }] {
        for (path, item, most) in [
            ("/history.atom", "<entry>", 200 + 203),
            ("/history.rss", "<item>", 200 + 203),
            ("/feed.atom", "<entry>", 200),
            ("/feed.rss", "<item>", 200),
            ("/feed.json", "\"date_published\"", 200),
            ("/api/v2/incidents.json", "\"shortlink\"", 50),
            ("/api/v2/scheduled-maintenances.json", "\"shortlink\"", 50),
            ("/api/v2/summary.json", "\"shortlink\"", 50),
        ] {
            let bytes = world.document(path).select(&filter).bytes;
            let count = std::str::from_utf8(&bytes).unwrap().matches(item).count();
            assert_eq!(count, most, "{path} with {filter:?}");
        }
    }
}

/// Config in which a service has the routes of both tenants.
const SHARED: &str = r#"
listen = [{ address = "127.0.0.1:8080" }]
[status]
host = "status.example.com"
services = [{ name = "Tools", routes = ["web"] }, { name = "Shop", routes = ["web", "api"] }, { name = "API", routes = ["api"] }]
[routes.web]
host = "web"
upstream = "http://127.0.0.1:1"
[routes.api]
host = "api"
upstream = "http://127.0.0.1:2"
"#;

#[test]
fn a_shared_service_tells_nothing_of_the_routes_of_others() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    world.configure(SHARED, &["api", "web"]);
    let both = "[[windows]]\nid = \"both\"\nannounce = \"24h\"\nroutes = { \"*\" = \"offline\" }\n\
                starts = 2026-05-10T02:00:00Z\nends = 2026-05-10T03:00:00Z\n";
    world.edit(&format!("{OTHERS}{OWN}{both}")).look("2026-05-10T00:00:00Z");
    let seen = all_of(&world, &["api"]);
    let text = |path: &str| &seen.iter().find(|(own, _)| own == path).unwrap().1;
    let calendar = text("/maintenance.ics");
    assert!(calendar.contains("Backup") && !calendar.contains("Secret"), "{calendar}");
    let positions = |list: &serde_json::Value| {
        let list = list.as_array().unwrap().iter();
        list.map(|one| (one["name"].as_str().unwrap().to_owned(), one["position"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let expected = [("Shop".to_owned(), 1), ("API".to_owned(), 2)];
    let components: serde_json::Value = serde_json::from_str(text("/api/v2/components.json")).unwrap();
    assert_eq!(positions(&components["components"]), expected);
    let every = [("Tools".to_owned(), 1), ("Shop".to_owned(), 2), ("API".to_owned(), 3)];
    assert_eq!(positions(&world.json("/api/v2/components.json")["components"]), every);
    let summary: serde_json::Value = serde_json::from_str(text("/api/v2/summary.json")).unwrap();
    assert_eq!(positions(&summary["components"]), expected);
}
