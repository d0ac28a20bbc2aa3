//! Clients that pass a closed route, and the fate of the credentials that let them.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::support::{Backsoon, Client, Response, Upstream, request, wait};

const SECRET: &str = "correct horse battery staple";

/// Config with one worker, so that one place counts wrong credentials. Peers on this machine are trusted.
const CONFIG: &str = "\
workers = 1
trusted_proxies = [\"127.0.0.1\"]
[[listen]]
address = \"127.0.0.1:0\"
[admin]
address = \"127.0.0.1:0\"
[log]
access = \"full\"
access_file = \"access.log\"
";

/// Starts a proxy with the secret in a file.
fn start(config: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), format!("{SECRET}\n")).unwrap();
    Backsoon::start_in(dir, config)
}

fn with_bypass(upstream: &Upstream, bypass: &str) -> String {
    format!("{CONFIG}[routes.web]\nupstream = \"{}\"\nbypass = {{ {bypass} }}\n", upstream.url())
}

const OFFLINE: &str = "[routes]\nweb = \"offline\"\n";
const BY_SECRET: &str = "header = \"X-Key\", secret_file = \"key\"";

/// Sends a `GET` with these fields.
fn ask(address: SocketAddr, path: &str, fields: &[&str]) -> Response {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n"))
}

/// Runs `backsoon bypass` and returns its output.
fn bypass(backsoon: &Backsoon, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.arg("bypass").args(args).current_dir(backsoon.dir.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns the path and query of a URL.
fn target(url: &str) -> String {
    let rest = url.strip_prefix("https://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// Returns the `Cookie: …` field for the cookie that an answer sets.
fn cookie_of(answer: &Response) -> String {
    let cookie = answer.field("set-cookie").unwrap_or_else(|| panic!("{}", answer.head));
    format!("cookie: {}", cookie.split(';').next().unwrap())
}

#[test]
fn a_network_passes_and_nobody_can_claim_to_be_in_it() {
    let upstream = Upstream::ok();
    let backsoon = start(&with_bypass(&upstream, "networks = [\"192.0.2.0/24\"]"));
    backsoon.flag(OFFLINE);
    let status = |addresses: &str| ask(backsoon.address(), "/", &[&format!("x-forwarded-for: {addresses}")]).status;
    assert_eq!(status("192.0.2.7"), 200);
    assert_eq!(status("203.0.113.9, 192.0.2.7"), 200);
    assert_eq!(status("192.0.2.7, 203.0.113.9"), 503, "the client wrote the first one itself");
    assert_eq!(ask(backsoon.address(), "/", &[]).status, 503);
    // Now no peer is trusted.
    let config = with_bypass(&upstream, "networks = [\"192.0.2.0/24\"]").replace("\"127.0.0.1\"]", "]");
    backsoon.config(&config);
    assert_eq!(status("192.0.2.7"), 503);
}

#[test]
fn the_secret_passes_ends_at_the_proxy_and_its_answers_are_not_stored() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncache-control: max-age=600\r\ncdn-cache-control: max-age=600\r\n\
                  maintenance: mine\r\n\r\nhello";
    let upstream = Upstream::answering(answer);
    let backsoon = start(&with_bypass(&upstream, BY_SECRET));
    let open = ask(backsoon.address(), "/", &["x-key: something", "cookie: a=1; __Host-backsoon-ramp=x; b=2"]);
    assert_eq!(
        (open.status, open.field("cache-control"), open.field("maintenance")),
        (200, Some("max-age=600"), Some("mine"))
    );
    let seen = upstream.seen().to_lowercase();
    assert!(
        !seen.contains("something") && !seen.contains("backsoon-") && seen.contains("cookie: a=1; b=2\r\n"),
        "{seen}"
    );
    backsoon.flag(OFFLINE);
    upstream.forget();
    let passed = ask(backsoon.address(), "/", &[&format!("x-key: {SECRET}")]);
    assert_eq!((passed.status, passed.body.as_str()), (200, "hello"));
    assert_eq!(passed.field("cache-control"), Some("no-store"));
    assert_eq!(passed.field("cdn-cache-control"), None);
    assert_eq!(passed.field("maintenance"), Some("bypass"));
    assert!(!upstream.seen().contains("horse"), "{}", upstream.seen());
    assert_eq!(ask(backsoon.address(), "/", &["x-key: wrong"]).status, 503);
    assert_eq!(backsoon.metric("backsoon_bypass_total", "route=\"web\""), 1.0);
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 1.0);
    let log = || std::fs::read_to_string(backsoon.path("access.log")).unwrap_or_default();
    wait("the access log", || log().lines().count() == 3);
    assert!(log().contains("\"verdict\":\"bypass\"") && !log().contains("horse"), "{}", log());
    let key = backsoon.file("secret");
    assert!(key["hash"].is_null(), "{key}");
    assert!(!backsoon.log_text().contains("horse"));
}

#[test]
fn a_link_gives_a_cookie_that_passes_until_it_is_revoked() {
    let upstream = Upstream::ok();
    let backsoon = start(&with_bypass(&upstream, BY_SECRET));
    backsoon.flag(OFFLINE);
    let link = target(&bypass(&backsoon, &["web", "--url", "https://a/app/x?y"]));
    assert!(link.starts_with("/.backsoon/bypass/app/x?token="), "{link}");
    let answer = ask(backsoon.address(), &link, &[]);
    assert_eq!((answer.status, answer.field("location")), (303, Some("/app/x")));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
    let set = answer.field("set-cookie").unwrap();
    assert!(
        set.starts_with("__Host-backsoon-bypass-web=")
            && set.contains("; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=3"),
        "{set}"
    );
    let cookie = cookie_of(&answer);
    upstream.forget();
    assert_eq!(ask(backsoon.address(), "/app/x", &[&cookie]).status, 200);
    assert!(!upstream.seen().to_lowercase().contains("cookie"), "{}", upstream.seen());
    let by_script = bypass(&backsoon, &["web", "--cookie"]);
    assert_eq!(ask(backsoon.address(), "/", &[&format!("cookie: a=b; {by_script}")]).status, 200);

    bypass(&backsoon, &["web", "--revoke"]);
    let flags = std::fs::read_to_string(backsoon.path("maintenance.toml")).unwrap();
    assert!(flags.starts_with(&format!("{OFFLINE}\n[revoked]\nweb = ")), "{flags}");
    backsoon.wait_for_file("maintenance.toml", &flags);
    assert_eq!(ask(backsoon.address(), "/app/x", &[&cookie]).status, 503);
    let answer = ask(backsoon.address(), &link, &[]);
    assert_eq!(
        (answer.status, answer.field("set-cookie"), answer.field("cache-control")),
        (403, None, Some("no-store"))
    );
    assert!(answer.body.contains("it was revoked; ask whoever sent it for a new one"), "{}", answer.body);
    let again = target(&bypass(&backsoon, &["web", "--url", "https://a/"]));
    assert_eq!(ask(backsoon.address(), &again, &[]).status, 303);
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 0.0, "none of these was a guess");

    backsoon.unflag();
    let answer = ask(backsoon.address(), &again, &[]);
    assert_eq!(
        (answer.status, answer.field("location"), answer.field("set-cookie")),
        (303, Some("/"), None),
        "it is open"
    );
}

#[test]
fn a_link_is_good_for_its_closure_and_its_secret_alone() {
    let backsoon = start(&with_bypass(&Upstream::ok(), BY_SECRET));
    let window = |id: &str| {
        format!(
            "[[windows]]\nid = \"{id}\"\nstarts = 2020-01-01T00:00:00Z\nends = 2099-01-01T00:00:00Z\nroutes = {{ web = \"offline\" }}\n"
        )
    };
    backsoon.flag(&window("M-1"));
    let link = target(&bypass(&backsoon, &["web", "--url", "https://a/"]));
    let cookie = cookie_of(&ask(backsoon.address(), &link, &[]));
    assert_eq!(ask(backsoon.address(), "/", &[&cookie]).status, 200);
    backsoon.flag(&window("M-2"));
    assert_eq!(ask(backsoon.address(), "/", &[&cookie]).status, 200, "the route stays down");
    backsoon.unflag();
    wait("the route to open", || backsoon.route("web")["phase"] == "open");
    backsoon.flag(&window("M-1"));
    assert_eq!(ask(backsoon.address(), "/", &[&cookie]).status, 503);
    assert_eq!(ask(backsoon.address(), &link, &[]).status, 403);
    let cookie = format!("cookie: {}", bypass(&backsoon, &["web", "--cookie"]));
    assert_eq!(ask(backsoon.address(), "/", &[&cookie]).status, 200);
    std::fs::write(backsoon.path("key.new"), "another secret of some length").unwrap();
    std::fs::rename(backsoon.path("key.new"), backsoon.path("key")).unwrap();
    wait("the new secret to be taken", || ask(backsoon.address(), "/", &[&cookie]).status == 503);
    assert_eq!(ask(backsoon.address(), "/", &["x-key: another secret of some length"]).status, 200);
    std::fs::write(backsoon.path("key.new"), "short").unwrap();
    std::fs::rename(backsoon.path("key.new"), backsoon.path("key")).unwrap();
    wait("the short one to be refused", || backsoon.log_text().contains("this secret has 5 bytes"));
    assert_eq!(
        ask(backsoon.address(), "/", &["x-key: another secret of some length"]).status,
        200,
        "the last good one stays"
    );
}

#[test]
fn who_guesses_keeps_nobody_at_the_same_address_out() {
    let backsoon = start(&with_bypass(&Upstream::ok(), BY_SECRET));
    backsoon.flag(OFFLINE);
    let right = format!("x-key: {SECRET}");
    let cookie = format!("cookie: {}", bypass(&backsoon, &["web", "--cookie"]));
    let link = target(&bypass(&backsoon, &["web", "--url", "https://a/"]));
    let from = |path: &str, field: &str| ask(backsoon.address(), path, &["x-forwarded-for: 203.0.113.1", field]);
    let wrong = |n| {
        let answer = from("/", &format!("x-key: guess {n}"));
        assert!(answer.status == 503 && answer.field("retry-after").is_some(), "{answer:?}");
    };
    (0..30).for_each(wrong);
    for n in 0..3 {
        assert_eq!((from("/", &right).status, from("/", &cookie).status), (200, 200), "the secret, and a cookie");
        let answer = from(&link, "accept: */*");
        assert!(answer.status == 303 && answer.field("set-cookie").is_some(), "a link: {answer:?}");
        wrong(n);
    }
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 33.0);
    // A wrong link is still refused, but no longer told why.
    let forged = |address: &str| {
        let answer = ask(backsoon.address(), &format!("{link}x"), &[&format!("x-forwarded-for: {address}")]);
        assert_eq!((answer.status, answer.field("set-cookie")), (403, None), "{answer:?}");
        answer.body
    };
    assert!(forged("203.0.113.2").contains("it is not one that was issued"), "{}", forged("203.0.113.2"));
    let body = forged("203.0.113.1");
    assert!(body.contains("does not let you pass") && !body.contains("it is not one"), "{body}");
    // A revoked link is still told why, because it is no guess.
    bypass(&backsoon, &["web", "--revoke"]);
    wait("it to be revoked", || from("/", &cookie).status == 503);
    let answer = from(&link, "accept: */*");
    assert!(answer.status == 403 && answer.body.contains("it was revoked"), "{answer:?}");
    assert_eq!(backsoon.log_text().matches("many wrong credentials").count(), 1, "{}", backsoon.log_text());
}

#[test]
fn a_browser_with_a_mangled_cookie_sees_the_page_each_time() {
    let backsoon = start(&with_bypass(&Upstream::ok(), BY_SECRET));
    backsoon.flag(OFFLINE);
    let fields = ["accept: text/html", "cookie: __Host-backsoon-bypass-web=mangled"];
    for _ in 0..25 {
        let answer = ask(backsoon.address(), "/", &fields);
        assert!(answer.status == 503 && answer.body.starts_with("<!doctype html>"), "{answer:?}");
    }
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 25.0);
}

#[test]
fn a_wrong_secret_of_a_request_that_waits_counts_once() {
    let backsoon = start(&with_bypass(&Upstream::ok(), BY_SECRET));
    backsoon.flag("[routes]\nweb = \"hold\"\n");
    let mut client = Client::connect(backsoon.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-key: wrong\r\n\r\n");
    wait("the request to be held", || backsoon.route("web")["held"] == 1);
    backsoon.flag(OFFLINE);
    assert_eq!(client.response().status, 503);
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 1.0);
    // The next request on the same connection counts separately.
    client.send("GET / HTTP/1.1\r\nhost: a\r\nx-key: wrong\r\n\r\n");
    assert_eq!(client.response().status, 503);
    assert_eq!(backsoon.metric("backsoon_bypass_refused_total", "route=\"web\""), 2.0);
}

#[test]
fn a_ramp_admits_the_same_clients_in_every_replica_and_a_cookie_keeps_them() {
    let upstream = Upstream::ok();
    let config =
        format!("{}drain = \"1s\"\nramp = [\"30% at 0s\", \"100% at 1h\"]\n", with_bypass(&upstream, BY_SECRET));
    let replicas = [start(&config), start(&config)];
    for replica in &replicas {
        replica.flag(OFFLINE);
        wait("the route to be closed", || replica.route("web")["phase"] == "closed");
        replica.unflag();
        wait("the route to come back", || replica.route("web")["phase"] == "ramping");
    }
    let [one, other] = replicas.each_ref().map(Backsoon::address);
    let https = ["x-forwarded-proto: https", "accept: text/html"];
    let from = |replica, n: u32, more: &[&str]| {
        let address = format!("x-forwarded-for: 198.51.{}.{}", n >> 8, n & 255);
        ask(replica, "/", &[&[address.as_str()], more].concat())
    };
    let mut admitted = 0;
    for n in 0..400 {
        let answer = from(one, n, &https);
        admitted += u32::from(answer.status == 200);
        assert_eq!(answer.status, from(other, n, &[]).status, "client {n} in the other replica");
        if n % 10 == 0 {
            let cookie = cookie_of(&answer);
            let moved = from(other, n + 1000, &[https[0], https[1], &cookie]);
            assert_eq!(
                (moved.status, moved.field("set-cookie")),
                (answer.status, None),
                "client {n} with another address"
            );
            assert_eq!(answer.field("cache-control").unwrap().contains("no-store"), answer.status == 503);
        }
    }
    assert!((85..155).contains(&admitted), "{admitted} of 400, not 30 %");
    assert!(from(one, 1, &["accept: text/html"]).field("set-cookie").is_none(), "not over plain HTTP");
    let out = Command::new(env!("CARGO_BIN_EXE_backsoon"))
        .args(["explain", "http://a/", "--from", "198.51.0.1"])
        .current_dir(replicas[0].dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("30.0 % of the clients are admitted"), "{text}");
    assert_eq!(text.contains("verdict   forward"), from(one, 1, &[]).status == 200, "{text}");
}

#[test]
fn what_is_read_while_the_route_is_read_only_says_so() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nproxy-status: cache; hit\r\n\r\nhello";
    let backsoon = Backsoon::before(&Upstream::answering(answer).url(), "");
    backsoon.flag("[routes]\nweb = \"read-only\"\n");
    let read = ask(backsoon.address(), "/", &[]);
    assert_eq!((read.status, read.field("maintenance")), (200, Some("read-only")));
    let marks: Vec<&str> = read.head.lines().filter(|line| line.to_lowercase().starts_with("proxy-status")).collect();
    assert_eq!(marks.len(), 2, "{}", read.head);
    assert!(marks[1].ends_with("backsoon; details=\"maintenance: read-only\""), "{}", read.head);
}
