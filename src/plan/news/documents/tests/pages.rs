//! Pages of the site, of the same news as the documents.

use super::super::super::super::config::LANGUAGES;
use super::super::super::document::{BEGIN, END, OPEN};
use super::super::super::{Site, SitePage, SiteResource};
use super::*;

fn site(world: &World, version: u64, before: &Site) -> Site {
    let news = News::new(&world.config, &world.ledger, &world.flags.windows);
    Site::render(version, &news, &world.renderer, before)
}

fn page<'s>(site: &'s Site, path: &str) -> &'s SitePage {
    match site.find(path) {
        Some(SiteResource::Page(page)) => page,
        other => panic!("{path}: {other:?}"),
    }
}

fn text(document: &Document) -> &str {
    std::str::from_utf8(&document.whole).unwrap()
}

/// Asserts that each element that is opened is closed, in order.
fn assert_balanced(html: &str, about: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.split_once("<body").unwrap().1;
    rest = rest.split_once('>').unwrap().1;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag == "/body" {
            return assert!(open.is_empty(), "{about}: {open:?}");
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{about}: </{name}>");
        } else if !tag.ends_with('/') && name != "img" {
            open.push(name);
        }
    }
    panic!("{about}: the body does not end");
}

#[test]
fn every_page_is_whole_in_every_language_and_dialect() {
    let world = sample();
    let made = site(&world, 1, &Site::default());
    let again = site(&world, 2, &Site::default());
    let incidents = world.ledger.incidents().iter().map(|incident| format!("/incidents/{}", incident.key));
    let fixed = ["/", "/history", "/subscribe", "/incidents/MNT-1"].map(str::to_owned);
    for path in incidents.chain(fixed) {
        let (languages, same) = (&page(&made, &path).languages, &page(&again, &path).languages);
        assert_eq!(languages.len(), LANGUAGES.len());
        for ((words, page), same) in Words::all(&world.renderer).zip(languages).zip(same) {
            let (about, tag) = (format!("{path} {}", words.tag()), words.tag());
            let html = text(&page.html);
            assert!(html.contains(&format!("<html lang=\"{tag}\"")), "{about}: {html}");
            assert_balanced(html, &about);
            assert!(!html.contains("Disk <b>"), "{about}: not escaped");
            assert!(page.html.fields.contains_key("content-security-policy"), "{about}");
            let (forms, same) = ([&page.html, &page.text, &page.markdown], [&same.html, &same.text, &same.markdown]);
            for (document, same) in forms.into_iter().zip(same) {
                let whole = text(document);
                assert!(whole.trim().len() > 40, "{about}: {whole}");
                assert!(!whole.contains([OPEN, BEGIN, END]), "{about}: a mark is left");
                assert_eq!(document.whole, same.whole, "{about}");
            }
        }
    }
}

#[test]
fn a_page_is_kept_while_its_incident_does_not_change() {
    let mut world = sample();
    let before = site(&world, 1, &Site::default());
    world.edit("").open().look("2026-05-19T14:30:00Z");
    let after = site(&world, 2, &before);
    let is_kept = |path: &str| {
        let [before, after] = [&before, &after].map(|site| page(site, path).languages[0].html.whole.as_ptr());
        before == after
    };
    assert!(is_kept("/incidents/MNT-1") && !is_kept("/incidents/MNT-2") && !is_kept("/"));
    assert!(text(&page(&after, "/incidents/MNT-2").languages[0].html).contains("Everything is available again"));
}

#[test]
fn the_history_says_of_each_day_what_was() {
    let mut world = World::new("2026-05-01T12:00:00Z");
    let long = "[[windows]]\nid = \"LONG\"\ntitle = \"Move\"\nstarts = 2026-05-03T22:00:00Z\nends = 2026-05-05T02:00:00Z\n\
                routes = { web = \"offline\" }\n";
    let short = "[[windows]]\nid = \"SHORT\"\ntitle = \"Disks\"\nstarts = 2026-05-07T22:00:00Z\nends = 2026-05-07T23:30:00Z\n\
                 routes = { api = \"offline\" }\n";
    world.edit(long).look("2026-05-03T22:00:00Z").look("2026-05-05T02:00:00Z");
    world.edit(short).look("2026-05-07T22:00:00Z").look("2026-05-07T23:30:00Z");
    let made = site(&world, 1, &Site::default());
    let told = |routes: Option<&[&'static str]>| {
        let filter = Filter { routes: routes.map(|all| all.iter().copied().collect()), ..Filter::default() };
        let selected = page(&made, "/history").languages[0].text.select(&filter);
        let text = String::from_utf8(selected.bytes.to_vec()).unwrap();
        let lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("Incidents are kept")).skip(1);
        let known = |line: &&str| !line.is_empty();
        lines
            .filter(known)
            .map(|line| line.rsplit_once(" · incidents/").map_or(line, |(text, _)| text).to_owned())
            .collect::<Vec<_>>()
    };
    let quiet = |day: u32| format!("{day} May 2026 · No incidents.");
    let (disks, moved) = (
        "7 May 2026, 23:30 UTC · Disks · Completed · 1 h 30 min",
        "5 May 2026, 02:00 UTC · Move · Completed · 1 d 4 h",
    );
    let web = ["3 May 2026".to_owned(), moved.to_owned(), quiet(2), quiet(1)];
    assert_eq!(told(Some(&["web"])), web, "the days that the news of others reach are not told");
    let api = ["7 May 2026".to_owned(), disks.to_owned()].into_iter().chain([6, 5, 4, 3, 2, 1].map(quiet));
    assert_eq!(told(Some(&["api"])), api.clone().collect::<Vec<_>>());
    assert_eq!(told(Some(&[])), [""; 0], "nothing is claimed");
    let all: Vec<String> = api.take(3).chain(web).collect();
    assert_eq!(told(None), all, "of the 4th and the 5th, on which the move went on, nothing is said");
    let html = text(&page(&made, "/history").languages[1].html);
    assert!(html.contains("Keine Vorfälle.") && html.contains("<time datetime=\"2026-05-06\">"), "{html}");
}

#[test]
fn the_latest_of_each_route_stand_on_the_front_page() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    let flag = |route: &str| format!("[routes]\n{route} = \"offline\"\n");
    world.edit(&flag("api")).down("api", Phase::Closed, Source::Flag, "2026-05-02T00:00:00Z");
    world.look("2026-05-02T00:00:00Z").edit("").open().look("2026-05-02T00:10:00Z");
    for day in 3..18 {
        let (from, to) = (format!("2026-05-{day:02}T00:00:00Z"), format!("2026-05-{day:02}T00:10:00Z"));
        world.edit(&flag("web")).down("web", Phase::Closed, Source::Flag, &from).look(&from);
        world.edit("").open().look(&to);
    }
    let made = site(&world, 1, &Site::default());
    let front = &page(&made, "/").languages[0].text;
    let seen = |routes: &[&str]| {
        let routes = Some(routes.iter().copied().collect());
        let selected = front.select(&Filter { routes, ..Filter::default() });
        std::str::from_utf8(&selected.bytes).unwrap().matches("incidents/").count()
    };
    assert_eq!((seen(&["web"]), seen(&["api"]), seen(&["web", "api"])), (10, 1, 10));
}

#[test]
fn every_path_that_the_text_of_ways_to_subscribe_names_is_there() {
    let world = World::new("2026-05-01T00:00:00Z");
    let site = site(&world, 1, &Site::default());
    let text = text(&page(&site, "/subscribe").languages[0].text);
    let paths: Vec<&str> = text.lines().filter_map(|line| line.split_once("   ")).map(|(path, _)| path).collect();
    assert_eq!(paths.len(), 5, "{text}");
    for path in paths {
        assert!(site.find(&format!("/{}", path.trim())).is_some(), "{path}\n{text}");
    }
}
