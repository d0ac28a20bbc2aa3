//! Banner of an announced maintenance: the script and the JSON that an open app includes.

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, get, wait};

/// Asks at a host, with these further lines of a head.
fn ask(address: SocketAddr, request: &str, host: &str, lines: &[&str]) -> Response {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let mut client = Client::connect(address);
    client.send(format!("{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{lines}\r\n"));
    if request.starts_with("HEAD ") {
        let head = client.head();
        return Response { status: head[9..12].parse().unwrap(), head, body: String::new() };
    }
    client.response()
}

fn in_hours(hours: i64) -> Timestamp {
    Timestamp::from_second((Timestamp::now() + SignedDuration::from_hours(hours)).as_second()).unwrap()
}

/// Returns a window for a route, from an hour on.
fn window(id: &str, route: &str, hours: i64, more: &str) -> String {
    let (starts, ends) = (in_hours(hours), in_hours(hours + 1));
    format!(
        "[[windows]]\nid = \"{id}\"\nroutes = {{ {route} = \"offline\" }}\nstarts = {starts}\nends = {ends}\n{more}\n"
    )
}

fn announced(proxy: &Backsoon, path: &str, lines: &[&str]) -> Value {
    let answer = ask(proxy.address(), &format!("GET /.backsoon/banner.json{path}"), "a", lines);
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")), "{}", answer.head);
    serde_json::from_str::<Value>(&answer.body).unwrap()["announced"].take()
}

const TITLES: &str = "announce = \"48h\"\ntitle = { en = \"A new disk\", de = \"Eine neue Platte\" }";

#[test]
fn a_banner_tells_of_what_is_announced_for_the_route_of_its_path() {
    let upstream = Upstream::ok().url();
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{upstream}\"\nannounce_banner = true\n\
         [routes.shop]\npath = \"/shop\"\nupstream = \"{upstream}\"\nannounce_banner = true\n\
         [routes.api]\npath = \"/api\"\nupstream = \"{upstream}\"\n"
    );
    let proxy = Backsoon::start(&config);
    let script = |path: &str| get(proxy.address(), &format!("/.backsoon/banner.js{path}"));
    let nothing = script("");
    assert_eq!((nothing.status, nothing.body.as_str()), (200, ""), "nothing is announced");
    assert_eq!(nothing.field("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(announced(&proxy, "", &[]), json!([]));
    let flags = [
        window("SHOP", "shop", 2, TITLES),
        window("LATER", "shop", 30, "announce = \"48h\""),
        window("SECRET", "shop", 1, ""),
        window("API", "api", 1, TITLES),
    ];
    proxy.flag(&flags.concat());
    let (starts, ends) = (in_hours(2), in_hours(3));
    let told = announced(&proxy, "/shop/cart", &[]);
    let near = |at: &Value, wanted: Timestamp| {
        let at: Timestamp = at.as_str().unwrap().parse().unwrap();
        (at.as_second() - wanted.as_second()).abs() < 60
    };
    assert!(near(&told[0]["starts"], starts) && near(&told[0]["ends"], ends), "{told}");
    let first = (&told[0]["id"], &told[0]["title"], &told[0]["mode"], &told[0]["url"]);
    assert_eq!(first, (&json!("SHOP"), &json!("A new disk"), &json!("offline"), &json!("/.backsoon/news/")));
    assert_eq!((&told[1]["id"], told[1].get("title"), told.as_array().unwrap().len()), (&json!("LATER"), None, 2));
    assert!(script("/shop").body.contains("\"id\":\"SHOP\""));
    assert!(!script("/shop").body.contains("SECRET"), "a window without `announce` is told to nobody");
    assert_eq!(announced(&proxy, "/", &[]), json!([]), "the window of another route is none of this one");
    // The same as the field and the status tell.
    let field = get(proxy.address(), "/shop/").field("maintenance").map(str::to_owned);
    assert!(field.as_deref().is_some_and(|field| field.contains("id=\"SHOP\"")), "{field:?}");
    let status: Value = serde_json::from_str(&get(proxy.address(), "/.backsoon/status/shop").body).unwrap();
    assert_eq!(status["announced"][0]["starts"], told[0]["starts"]);
    // Off by default, with the reason.
    for name in ["banner.js", "banner.json"] {
        let off = ask(proxy.address(), &format!("GET /.backsoon/{name}/api"), "a", &["accept: application/json"]);
        assert_eq!(off.status, 404, "{name}");
        assert!(off.body.contains("this route has no banner: its key `announce_banner` is off"), "{}", off.body);
    }
    proxy.unflag();
    assert_eq!((announced(&proxy, "/shop", &[]), script("/shop").body.as_str()), (json!([]), ""));
}

#[test]
fn a_banner_is_cached_for_a_minute_and_asked_for_by_its_tag() {
    let config = "announce_banner = true\n[page.links]\nstatus = \"https://status.example.com\"\n";
    let proxy = Backsoon::before(&Upstream::ok().url(), config);
    let flags = window("W", "web", 2, TITLES);
    proxy.flag(&flags);
    for (name, kind) in [("banner.js", "text/javascript; charset=utf-8"), ("banner.json", "application/json")] {
        let request = |method: &str| format!("{method} /.backsoon/{name}/");
        let whole = ask(proxy.address(), &request("GET"), "a", &["accept: */*"]);
        for (field, value) in [
            ("content-type", kind),
            ("cache-control", "public, max-age=60"),
            ("vary", "accept-language"),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(whole.field(field), Some(value), "{name}: {field}");
        }
        assert!(whole.body.contains("\"url\":\"https://status.example.com\""), "{}", whole.body);
        let head = ask(proxy.address(), &request("HEAD"), "a", &[]);
        assert_eq!((head.status, head.field("content-length")), (200, Some(whole.body.len().to_string().as_str())));
        let tag = whole.field("etag").unwrap();
        assert_eq!(head.field("etag"), Some(tag));
        for asked in [tag.to_owned(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let fresh = ask(proxy.address(), &request("GET"), "a", &[&format!("if-none-match: {asked}")]);
            assert_eq!((fresh.status, fresh.field("etag"), fresh.body.as_str()), (304, Some(tag), ""), "{asked}");
            assert_eq!(
                (fresh.field("vary"), fresh.field("cache-control")),
                (whole.field("vary"), whole.field("cache-control"))
            );
        }
        let stale = ask(proxy.address(), &request("GET"), "a", &["if-none-match: \"x\""]);
        assert_eq!((stale.status, &stale.body), (200, &whole.body));
        for method in ["POST", "PUT", "DELETE"] {
            let refused = ask(proxy.address(), &request(method), "a", &["content-length: 0"]);
            assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")), "{method}");
        }
        assert_eq!(ask(proxy.address(), &request("OPTIONS"), "a", &["origin: https://b.example"]).status, 204);
    }
    let tag = || get(proxy.address(), "/.backsoon/banner.js").field("etag").map(str::to_owned);
    let before = tag();
    // What does not concern the banner leaves it as it is.
    proxy.flag(&format!("{flags}[routes]\nweb = \"hold\"\n"));
    assert_eq!(tag(), before);
    proxy.flag(&window("W", "web", 5, TITLES));
    wait("the move to be told", || tag() != before);
}

#[test]
fn a_banner_speaks_the_language_of_its_reader() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "announce_banner = true\n");
    proxy.flag(&window("W", "web", 2, TITLES));
    for (asked, tag, words, title) in [
        ("de-AT, en;q=0.5", "de", "Ausblenden", "Eine neue Platte"),
        ("fr", "fr", "Masquer", "A new disk"),
        ("ja", "ja", "閉じる", "A new disk"),
        ("ar", "ar", "\"dir\":\"rtl\"", "A new disk"),
        ("tlh", "en", "Dismiss", "A new disk"),
    ] {
        let language = format!("accept-language: {asked}");
        let script = ask(proxy.address(), "GET /.backsoon/banner.js", "a", &[&language]);
        let text = &script.body;
        assert!(text.contains(&format!("\"lang\":\"{tag}\"")) && text.contains(words), "{asked}: {text}");
        assert!(text.contains(title) && text.len() <= 3000, "{asked}: {text}");
        assert_eq!(announced(&proxy, "", &[&language])[0]["title"], title, "{asked}");
    }
}

#[test]
fn a_closed_route_has_its_banner_of_what_comes_next() {
    let proxy = Backsoon::before(&Upstream::ok().url(), "announce_banner = true\n");
    let flag = "[routes]\nweb = \"read-only\"\n";
    proxy.flag(&format!("{flag}{}", window("NEXT", "web", 2, TITLES)));
    assert_eq!(announced(&proxy, "", &[])[0]["id"], "NEXT");
}
