//! Clients that keep to an upstream by a cookie.

use std::io::Write as _;

use http::Request;

use crate::authority::{Authority, connect};
use crate::command::run;
use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, ask_until, request, wait};
use crate::two::Two;

/// Names of the upstreams, which they answer with.
const NAMES: [&str; 3] = ["a", "b", "c"];

fn named(name: &str, fields: &str) -> Upstream {
    Upstream::answering(&format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n{fields}\r\n{name}"))
}

fn items(upstreams: &[Upstream]) -> String {
    let item = |(upstream, name): (&Upstream, &str)| format!("{{ url = \"{}\", name = \"{name}\" }}", upstream.url());
    upstreams.iter().zip(NAMES).map(item).collect::<Vec<_>>().join(", ")
}

fn start(upstreams: &[Upstream], more: &str) -> Backsoon {
    Backsoon::start(&format!("{LISTEN}[routes.web]\nupstream = [{}]\n{more}\n", items(upstreams)))
}

fn ask(backsoon: &Backsoon, cookie: &str) -> Response {
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n");
    request(backsoon.address(), &head)
}

/// Returns the pair of the cookie that an answer sets.
fn pair(answer: &Response) -> String {
    let cookie = answer.field("set-cookie").unwrap_or_else(|| panic!("no cookie: {}", answer.head));
    cookie.split(';').next().unwrap().to_owned()
}

/// Returns the cookie of each upstream.
fn pairs(backsoon: &Backsoon) -> Vec<String> {
    let mut found = vec![None; NAMES.len()];
    ask_until("a cookie of each upstream", || {
        let answer = ask(backsoon, "x=y");
        found[NAMES.iter().position(|name| *name == answer.body).unwrap()] = Some(pair(&answer));
        found.iter().all(Option::is_some)
    });
    found.into_iter().flatten().collect()
}

#[test]
fn a_client_keeps_to_the_upstream_whose_mark_it_has_and_the_app_does_not_see_it() {
    let all = NAMES.map(|name| named(name, "set-cookie: app=1\r\n"));
    let backsoon = start(&all, "path = \"/\"\nsticky = \"cookie\"");
    let first = ask(&backsoon, "x=y");
    let cookies: Vec<&str> = first.head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
    let [app, own] = cookies[..] else { panic!("{}", first.head) };
    assert_eq!(app, "app=1");
    let (value, attributes) = own.strip_prefix("backsoon-sticky=").unwrap().split_once(';').unwrap();
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{own}");
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(first.field("cache-control"), Some("private"), "no cache hands it to others");
    for upstream in &all {
        upstream.forget();
    }
    for _ in 0..20 {
        let next = ask(&backsoon, &format!("x=y; backsoon-sticky={value}; z=1"));
        assert_eq!((next.body.as_str(), next.head.matches("backsoon-sticky").count()), (first.body.as_str(), 0));
    }
    let seen: String = all.iter().map(Upstream::seen).collect();
    assert_eq!(seen.matches("cookie: x=y; z=1\r\n").count(), 20, "{seen}");
    // Values that mean nothing are as none.
    for wrong in ["backsoon-sticky=", "backsoon-sticky=0123456789abcdef", "backsoon-sticky=%00; backsoon-sticky"] {
        assert!(ask(&backsoon, wrong).head.contains("backsoon-sticky="), "{wrong}");
    }
}

#[test]
fn another_process_knows_the_marks_and_they_follow_the_name_and_not_the_address() {
    let before = NAMES.map(|name| named(name, ""));
    let first = start(&before, "sticky = \"cookie\"");
    let pairs = pairs(&first);
    drop(first);
    let after = NAMES.map(|name| named(name, ""));
    let second = start(&after, "sticky = \"cookie\"");
    for (name, pair) in NAMES.iter().zip(&pairs) {
        let answer = ask(&second, pair);
        assert_eq!((answer.body.as_str(), answer.field("set-cookie")), (*name, None));
    }
}

#[test]
fn a_drained_upstream_keeps_its_clients_and_one_that_is_down_or_dead_loses_them() {
    let mut all = NAMES.map(|name| named(name, "")).to_vec();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let backsoon = start(&all, "sticky = \"cookie\"");
    let pairs = pairs(&backsoon);
    let dir = backsoon.path("");
    run(&dir, &["upstream", "drain", "a", "--wait"]).exits(0);
    for _ in 0..20 {
        assert_ne!(ask(&backsoon, "x=y").body, "a", "no new clients");
        let answer = ask(&backsoon, &pairs[0]);
        assert_eq!((answer.body.as_str(), answer.field("set-cookie")), ("a", None), "those that it has stay");
    }
    run(&dir, &["upstream", "down", "a", "--wait"]).exits(0);
    let moved = ask(&backsoon, &pairs[0]);
    assert_ne!(moved.body, "a");
    let new = pair(&moved);
    assert_eq!(ask(&backsoon, &new).body, moved.body, "it keeps to the other one");
    run(&dir, &["upstream", "up", "a", "--wait"]).exits(0);
    assert_eq!(ask(&backsoon, &new).body, moved.body, "also when the first is back");
    assert_eq!(ask(&backsoon, &pairs[0]).body, "a");
    // An upstream of the same name that answers nobody.
    all.truncate(2);
    let dead = format!("{{ url = \"http://{dead}\", name = \"c\" }}");
    backsoon.config(&format!("{LISTEN}[routes.web]\nupstream = [{}, {dead}]\nsticky = \"cookie\"\n", items(&all)));
    wait("it to be listed", || backsoon.route("web")["upstreams"].to_string().contains(&dead[9..30]));
    for _ in 0..10 {
        let moved = ask(&backsoon, &pairs[2]);
        assert!(moved.status == 200 && pairs.contains(&pair(&moved)), "{}", moved.head);
    }
    // And one that is gone.
    backsoon.config(&format!("{LISTEN}[routes.web]\nupstream = [{}]\nsticky = \"cookie\"\n", items(&all)));
    ask_until("another one", || pairs[..2].contains(&pair(&ask(&backsoon, &pairs[2]))));
}

#[test]
fn own_answers_and_those_for_shared_caches_set_no_cookie() {
    for shared in
        ["cache-control: max-age=60, Public\r\n", "cache-control: s-maxage=60\r\n", "surrogate-control: x\r\n"]
    {
        let all = NAMES.map(|name| named(name, shared));
        let answer = ask(&start(&all, "sticky = \"cookie\""), "x=y");
        assert_eq!((answer.status, answer.field("set-cookie")), (200, None), "{shared}");
    }
    let failing = || Upstream::answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let all = [failing(), failing()];
    let backsoon = start(&all, "sticky = \"cookie\"\nerrors = { upstream = [503] }");
    let head = "GET / HTTP/1.1\r\nhost: a\r\naccept: text/html\r\nsec-fetch-mode: navigate\r\n\r\n";
    let page = request(backsoon.address(), head);
    assert_eq!((page.status, page.field("set-cookie")), (503, None), "{}", page.head);
    assert!(ask(&backsoon, "x=y").field("set-cookie").is_some(), "programs get the app's own answer");
    backsoon.flag("[routes]\nweb = \"offline\"\n");
    wait("the page", || ask(&backsoon, "x=y").head.contains("maintenance"));
    assert_eq!(ask(&backsoon, "x=y").field("set-cookie"), None);
}

#[test]
fn a_websocket_goes_to_the_upstream_of_the_cookie() {
    let all = NAMES.map(|name| {
        Upstream::handling(move |connection| {
            while let Some(head) = connection.request() {
                if head.contains("upgrade: websocket") {
                    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";
                    connection.send(format!("{switch}x-name: {name}\r\n\r\n"));
                    return;
                }
                connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{name}"));
            }
        })
    });
    let backsoon = start(&all, "sticky = \"cookie\"");
    let pairs = pairs(&backsoon);
    let upgrade = |cookie: &str| {
        let mut client = Client::connect(backsoon.address());
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\ncookie: {cookie}\r\n\r\n"
        ));
        client.head()
    };
    for (name, pair) in NAMES.iter().zip(&pairs) {
        let head = upgrade(pair);
        assert!(head.contains(" 101 ") && head.contains(&format!("x-name: {name}\r\n")), "{head}");
        assert!(!head.contains("set-cookie"), "{head}");
    }
    assert!(upgrade("x=y").contains("set-cookie: backsoon-sticky="), "a handshake sets it as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn over_https_and_http_2_the_cookie_is_secure_and_a_name_and_attributes_may_be_chosen() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    authority.identity(&["localhost"]).write(dir.path());
    std::fs::File::create(dir.path().join("maintenance.toml")).unwrap().write_all(b"[routes]\n").unwrap();
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\
                  [admin]\naddress = \"127.0.0.1:0\"\n";
    let all = NAMES.map(|name| named(name, ""));
    let sticky = "sticky = { cookie = \"app\", max_age = \"24h\", same_site = \"none\" }";
    let config = format!("{listen}[routes.web]\npath = \"/shop\"\nupstream = [{}]\n{sticky}\n", items(&all));
    let backsoon = Backsoon::start_in(dir, &config);
    let stream = connect(backsoon.address(), &authority.client(&["h2"], &[&rustls::version::TLS13])).await.unwrap();
    let mut client = Two::over(stream, &mut h2::client::Builder::new()).await;
    let first = client.ask(Request::get("https://localhost/shop").body(()).unwrap(), "").await.unwrap();
    let cookie = first.field("set-cookie").unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/shop; Max-Age=86400; Secure; HttpOnly; SameSite=None"), "{cookie}");
    for _ in 0..10 {
        let mut head = Request::get("https://localhost/shop").body(()).unwrap();
        for crumb in ["x=y", cookie.split(';').next().unwrap(), "z=1"] {
            head.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        let next = client.ask(head, "").await.unwrap();
        assert_eq!(next.body, first.body);
        assert_eq!(next.field("set-cookie"), Some(cookie.as_str()), "its time begins anew");
    }
    let seen: String = all.iter().map(Upstream::seen).collect();
    assert!(seen.contains("cookie: x=y; z=1\r\n") && !seen.contains("app="), "{seen}");
}
