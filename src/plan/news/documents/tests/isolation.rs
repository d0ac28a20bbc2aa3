//! A tenant's visitors get the same bytes whether or not another tenant has news.

use std::collections::BTreeSet;

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
    let news = News::new(&world.config, &world.ledger, &world.flags.windows);
    let site = Site::render(1, &news, &world.renderer, &Site::default());
    let filter = Filter { routes: Some(BTreeSet::from(["api"])), ..Filter::default() };
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
