//! The status site: what it tells, to whom, and that it outlives the proxy.

use std::fs;

use std::io::BufRead as _;

use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, request, wait};

/// Proxy with two tenants and a host for the site.
fn config(app: &Upstream) -> String {
    let url = app.url();
    format!(
        "{LISTEN}[routes.web]\nhost = \"a.test\"\nupstream = \"{url}\"\n[routes.api]\nhost = \"b.test\"\nupstream = \"{url}\"\n\
         [status]\nhost = \"status.test\"\nprefix = \"/status\"\ntitle = \"Example status\"\n\
         services = [{{ name = \"Shop\", routes = \"web\" }}, {{ name = \"Tools\", routes = \"api\" }}]\n"
    )
}

const WINDOW: &str = "[[windows]]\nid = \"MNT-7\"\ntitle = { en = \"New disks\", de = \"Neue Platten\" }\n\
    starts = 2020-01-01T00:00:00Z\nends = 2090-01-01T00:00:00Z\nroutes = { web = \"offline\" }\n";

fn ask(proxy: &Backsoon, host: &str, path: &str, fields: &str) -> Response {
    request(proxy.address(), &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
}

/// Ends a proxy at once, and returns its folder.
fn killed(mut proxy: Backsoon) -> tempfile::TempDir {
    proxy.signal("KILL");
    proxy.wait_for_exit();
    std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap())
}

#[test]
fn the_site_tells_while_the_route_is_down_and_each_tenant_of_its_own_alone() {
    let app = Upstream::ok();
    let mut proxy = Backsoon::start(&config(&app));
    proxy.flag(WINDOW);
    proxy.wait_for_log("news");
    let told = |host: &str, path: &str| {
        let answer = ask(&proxy, host, path, "Accept: text/html\r\n");
        (answer.status == 200, answer.body)
    };
    wait("the site has the window", || told("status.test", "/").1.contains("New disks"));
    assert_eq!(ask(&proxy, "a.test", "/", "").status, 503);
    for path in [
        "/",
        "/history",
        "/incidents/MNT-7",
        "/history.atom",
        "/history.rss",
        "/feed.rss",
        "/feed.json",
        "/maintenance.ics",
        "/api/v2/summary.json",
        "/api/v2/scheduled-maintenances/active.json",
    ] {
        for (host, prefix) in [("status.test", ""), ("b.test", "/status"), ("a.test", "/.backsoon/news")] {
            let (found, text) = told(host, &format!("{prefix}{path}"));
            assert!(found && text.contains("New disks"), "{host} {prefix}{path}: {text}");
        }
        let (_, text) = told("b.test", &format!("/.backsoon/news{path}"));
        for secret in ["New disks", "Shop", "MNT-7"] {
            assert!(!text.contains(secret), "{path} tells b.test of {secret}: {text}");
        }
    }
    let none = ask(&proxy, "b.test", "/.backsoon/news/incidents/MNT-7", "");
    assert_eq!(none.status, 404, "{}", none.head);
    assert_eq!(ask(&proxy, "status.test", "/nothing", "").status, 404);
    for host in ["c.test", "status.test"] {
        assert_eq!(ask(&proxy, host, "/.backsoon/news/", "").status, 404, "{host} has no route");
    }
    // What changes for one tenant changes nothing for another: no tag, no date.
    let tags = |host: &str| {
        ["/", "/history.atom", "/feed.rss", "/api/v2/status.json"].map(|path| {
            let answer = ask(&proxy, host, &format!("/.backsoon/news{path}"), "Accept: text/html\r\n");
            assert!(host == "a.test" || answer.field("last-modified").is_none(), "{path}");
            answer.field("etag").unwrap().to_owned()
        })
    };
    let (own, others) = (tags("a.test"), tags("b.test"));
    proxy.flag(&WINDOW.replace("2090", "2080"));
    wait("the end is sooner", || told("status.test", "/feed.rss").1.contains("2080"));
    assert!(own.iter().zip(tags("a.test")).skip(1).take(2).all(|(before, now)| *before != now));
    assert_eq!(tags("b.test"), others);
    let filtered = |query: &str| ask(&proxy, "status.test", &format!("/feed.json{query}"), "").body;
    assert!(filtered("?service=Shop").contains("New disks") && filtered("?window=MNT-7").contains("New disks"));
    assert!(!filtered("?service=Tools").contains("New disks") && !filtered("?window=MNT-8").contains("New disks"));
}

#[test]
fn the_site_speaks_the_language_and_the_dialect_of_its_reader_and_says_what_is_new() {
    let app = Upstream::ok();
    let proxy = Backsoon::start(&config(&app));
    proxy.flag(WINDOW);
    let page = |fields: &str| ask(&proxy, "status.test", "/incidents/MNT-7", fields);
    wait("the page is there", || page("").status == 200);
    let german = page("Accept: text/html\r\nAccept-Language: de-AT\r\n");
    assert!(german.body.contains("Neue Platten") && german.body.contains("lang=\"de\""), "{}", german.body);
    assert_eq!(german.field("content-language"), Some("de"));
    assert!(german.field("content-security-policy").is_some_and(|policy| policy.contains("script-src 'none'")));
    let plain = page("Accept: text/plain\r\n");
    assert!(plain.field("content-type").unwrap().starts_with("text/plain") && !plain.body.contains('<'));
    let json = ask(&proxy, "status.test", "/", "Accept: application/json\r\n");
    assert!(json.body.starts_with("{\"page\":"), "{}", json.body);
    let feed = ask(&proxy, "status.test", "/history.atom", "");
    let tag = feed.field("etag").unwrap().to_owned();
    assert_eq!(feed.field("cache-control"), Some("public, max-age=15, stale-if-error=600"));
    assert_eq!(feed.field("access-control-allow-origin"), Some("*"));
    let again = ask(&proxy, "status.test", "/history.atom", &format!("If-None-Match: {tag}\r\n"));
    assert!(again.status == 304 && again.body.is_empty(), "{}", again.head);
    let moved = ask(&proxy, "a.test", "/.backsoon/news", "");
    assert_eq!((moved.status == 308, moved.field("location")), (true, Some("news/")));
    let post = request(proxy.address(), "POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((post.status == 405, post.field("allow")), (true, Some("GET, HEAD")));
    // The page of the route leads there.
    let page = ask(&proxy, "a.test", "/", "Accept: text/html\r\n");
    let html = page.body.replace("&#x2f;", "/");
    assert!(html.contains("href=\"https://status.test/subscribe\""), "{html}");
    assert!(page.field("link").is_some_and(|link| link.contains("<https://status.test/>; rel=\"status\"")));
}

#[test]
fn an_edit_reaches_watchers_and_the_news_outlive_the_proxy() {
    let app = Upstream::ok();
    let proxy = Backsoon::start(&config(&app));
    let mut watcher = Client::connect(proxy.address());
    watcher.send("GET /events HTTP/1.1\r\nHost: status.test\r\n\r\n");
    assert!(watcher.head().contains("text/event-stream"));
    proxy.flag(WINDOW);
    let events = watcher.stream.lines().map_while(Result::ok).filter(|line| line == "event: news");
    assert_eq!(events.take(2).count(), 2, "the news of the start, and of the edit");
    let feed = ask(&proxy, "status.test", "/feed.rss", "").body;
    assert!(feed.contains("New disks"), "{feed}");
    let folder = killed(proxy);
    let ledger = folder.path().join(".backsoon/backsoon.news.json");
    assert!(ledger.exists());
    let proxy = Backsoon::start_in(folder, &config(&app));
    assert_eq!(ask(&proxy, "status.test", "/feed.rss", "").body, feed, "the same bytes after a crash");
    // A damaged file is put aside, and costs the past alone.
    let folder = killed(proxy);
    fs::write(&ledger, "{").unwrap();
    let proxy = Backsoon::start_in(folder, &config(&app));
    assert!(ask(&proxy, "status.test", "/feed.rss", "").body.contains("New disks"));
    assert_eq!(fs::read_to_string(ledger.with_file_name("backsoon.news.damaged.json")).unwrap(), "{");
}
