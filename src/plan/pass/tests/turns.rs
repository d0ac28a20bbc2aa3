//! Tests of turns: a client that is admitted to one route is admitted to the routes beside it.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::super::super::compile::{Inputs, Known, compile};
use super::super::super::config;
use super::super::super::flags;
use super::super::super::head::Head;
use super::super::super::page::Renderers;
use super::super::super::snapshot::{Phase, Route, Snapshot};
use super::super::*;

const SECRET: &[u8] = b"0123456789abcdef";

/// Compiles two routes that ramp, each with these lines, one minute after what `closed` closes was lifted.
fn ramping(web: &str, api: &str, closed: &str, secrets: &[&str]) -> Snapshot {
    let route = |name: &str, lines: &str| {
        let url = "upstream = \"http://127.0.0.1:3000\"\nramp = [\"25% at 0s\", \"100% at 1h\"]";
        format!("[routes.{name}]\n{url}\n{lines}\n")
    };
    let listen = "trusted_proxies = [\"10.0.0.0/8\"]\n[[listen]]\naddress = \"127.0.0.1:8080\"\n";
    let text = format!(
        "{listen}{}{}",
        route("web", &format!("path = \"/\"\n{web}")),
        route("api", &format!("path = \"/api\"\n{api}"))
    );
    let (config, problems) = config::parse("backsoon.toml", &text);
    let config = config.unwrap_or_else(|| panic!("{problems:?}"));
    let key = |name: &&str| ((*name).to_owned(), Arc::new(Key::new(&[SECRET, name.as_bytes()].concat()).unwrap()));
    let known = Known { secrets: secrets.iter().map(key).collect(), ..Known::default() };
    let renderers = Renderers::built_in();
    let mut live: Option<Snapshot> = None;
    for (now, text) in [("14:00:00", closed), ("14:10:00", closed), ("15:00:00", ""), ("15:01:00", "")] {
        let now: Timestamp = format!("2026-05-19T{now}Z").parse().unwrap();
        let flags = flags::parse("maintenance.toml", text).0.unwrap().flags;
        let previous = live.as_ref();
        live = Some(compile(Inputs {
            config: &config,
            flags: &flags,
            renderers: &renderers,
            known: &known,
            previous,
            now,
            generation: 1,
        }));
    }
    let live = live.unwrap();
    assert!(live.routes.iter().all(|route| route.phase() == Phase::Ramping));
    live
}

fn is_admitted(live: &Snapshot, name: &str, peer: &str, headers: &HeaderMap) -> bool {
    let route = live.route(name).unwrap();
    let head = Head { peer: Some(peer.parse().unwrap()).into(), ..Head::unknown(headers) };
    check(live, route, route.closure.as_ref().unwrap(), &head) == Ok(PassReason::Cohort)
}

/// Returns how many of 2000 clients are admitted to both routes, and how many to one alone.
fn shares(live: &Snapshot) -> (usize, usize) {
    let none = HeaderMap::new();
    let admitted = (0..2000_u32).map(|n| {
        let peer = format!("198.51.{}.{}", n >> 8, n & 255);
        [is_admitted(live, "web", &peer, &none), is_admitted(live, "api", &peer, &none)]
    });
    let admitted: Vec<_> = admitted.collect();
    (admitted.iter().filter(|both| **both == [true; 2]).count(), admitted.iter().filter(|one| one[0] != one[1]).count())
}

const WINDOW: &str = "[[windows]]\nid = \"M-1\"\nstarts = 2026-05-19T14:00:00Z\nends = 2026-05-19T15:00:00Z\n\
                      routes = { web = \"offline\", api = \"offline\" }\n";
const FLAGS: &str = "[routes]\nweb = \"offline\"\napi = \"offline\"\n";
const SECRET_FILE: &str = "bypass = { secret_file = \"key\" }";

#[test]
fn a_client_that_is_admitted_to_the_page_is_admitted_to_the_api() {
    for (closed, name) in [(WINDOW, "window"), ("[routes]\n\"*\" = \"offline\"\n", "every route"), (FLAGS, "flags")] {
        for secrets in [&[][..], &["web"], &["web", "api"]] {
            let lines = |name: &str| if secrets.contains(&name) { SECRET_FILE } else { "" };
            let (both, one) = shares(&ramping(lines("web"), lines("api"), closed, secrets));
            assert!((400..600).contains(&both) && one == 0, "{name}, {secrets:?}: {both} to both, {one} to one alone");
        }
    }
}

#[test]
fn a_group_joins_what_different_flags_and_windows_close() {
    let apart = format!("{}[routes]\napi = \"offline\"\n", WINDOW.replace(", api = \"offline\"", ""));
    let group = |name: &str| format!("ramp_group = \"{name}\"");
    let (_, one) = shares(&ramping("", "", &apart, &[]));
    assert!(one > 300, "a window and a flag are two maintenances: {one}");
    let (both, one) = shares(&ramping(&group("shop"), &group("shop"), &apart, &[]));
    assert!((400..600).contains(&both) && one == 0, "{both} to both, {one} to one alone");
    let (_, one) = shares(&ramping(&group("shop"), &group("blog"), WINDOW, &[]));
    assert!(one > 300, "two groups: {one}");
}

#[test]
fn another_window_begins_with_other_clients() {
    let first = ramping("", "", WINDOW, &[]);
    let then = ramping("", "", &WINDOW.replace("M-1", "M-2"), &[]);
    let none = HeaderMap::new();
    let admitted = |live: &Snapshot, n: u32| is_admitted(live, "web", &format!("198.51.100.{n}"), &none);
    assert!((0..200).any(|n| admitted(&first, n) != admitted(&then, n)));
}

#[test]
fn the_cookie_of_the_page_keeps_the_turn_on_the_api() {
    for secrets in [&["web"][..], &["api"], &["web", "api"]] {
        let lines = |name: &str| if secrets.contains(&name) { SECRET_FILE } else { "" };
        let live = ramping(lines("web"), lines("api"), WINDOW, secrets);
        let route = |name: &str| -> &Route { live.route(name).unwrap() };
        let document = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("text/html"))]);
        for n in 0..50 {
            let (page, moved) = (format!("198.51.100.{n}"), format!("2001:db8:{n}::1"));
            let head = Head { peer: Some(page.parse().unwrap()).into(), ..Head::unknown(&document) };
            let (web, closure) = (route("web"), route("web").closure.as_ref().unwrap());
            let cookie = keep_turn(&live, web, closure, &head, Transport::Https).unwrap();
            let value = HeaderValue::from_str(cookie.split(';').next().unwrap()).unwrap();
            let with = HeaderMap::from_iter([(COOKIE, value)]);
            let admitted = is_admitted(&live, "web", &page, &document);
            assert_eq!(is_admitted(&live, "api", &moved, &with), admitted, "client {n}, {secrets:?}");
        }
    }
}

#[test]
fn a_turn_is_kept_over_plain_http_where_the_route_allows_it() {
    let live = ramping("cookie_secure = false", SECRET_FILE, WINDOW, &["api"]);
    let document = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("text/html"))]);
    let head = Head { peer: Some([198, 51, 100, 1].into()).into(), ..Head::unknown(&document) };
    let kept = |name: &str, transport| {
        let route = live.route(name).unwrap();
        keep_turn(&live, route, route.closure.as_ref().unwrap(), &head, transport)
    };
    let plain = kept("web", Transport::Http).unwrap();
    assert!(plain.starts_with("backsoon-ramp=") && !plain.contains("Secure"), "{plain}");
    assert!(kept("web", Transport::Https).unwrap().starts_with("__Host-backsoon-ramp="));
    assert_eq!(kept("api", Transport::Http), None);
    let value = HeaderValue::from_str(plain.split(';').next().unwrap()).unwrap();
    let with = HeaderMap::from_iter([(COOKIE, value)]);
    let is_kept = |name: &str| turn(&live, live.route(name).unwrap(), &Head::unknown(&with)).1;
    assert!(is_kept("web") && !is_kept("api"), "a route that does not allow it takes none");
}

#[test]
fn what_a_script_of_the_site_fetches_keeps_its_turn_too() {
    let live = ramping("", SECRET_FILE, WINDOW, &["api"]);
    let route = live.route("api").unwrap();
    for (dest, site, kept) in [
        ("empty", "same-site", true),
        ("empty", "same-origin", true),
        ("empty", "cross-site", false),
        ("image", "same-origin", false),
        ("script", "same-site", false),
    ] {
        let fields = [(SEC_FETCH_DEST, dest), (SEC_FETCH_SITE, site)];
        let fields = HeaderMap::from_iter(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
        let head = Head { peer: Some([198, 51, 100, 1].into()).into(), ..Head::unknown(&fields) };
        let closure = route.closure.as_ref().unwrap();
        assert_eq!(keep_turn(&live, route, closure, &head, Transport::Https).is_some(), kept, "{dest} {site}");
    }
}
