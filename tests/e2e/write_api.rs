//! The write API of the admin listener: who may, what is refused, and that no edit is lost.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clients::has_curl;
use crate::command::run;
use crate::nats::Nats;
use crate::support::{Backsoon, Client, PATIENCE, Response, Upstream, get, sha256, wait};

const OPS: &str = "0123456789abcdef0123456789abcdef-ops";
const WEB: &str = "0123456789abcdef0123456789abcdef-web";
const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n";

/// Starts a proxy of the routes `web` and `api` with two tokens, `ops` for all routes and `ci` for `web`.
fn proxy(write: &str, more: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    tokens(dir.path(), &format!("ops:{OPS}\nci:{WEB} web\n"));
    let upstream = Upstream::ok();
    let url = upstream.url();
    // It serves until the test ends.
    std::mem::forget(upstream);
    let routes = format!("[routes.web]\nupstream = \"{url}\"\n[routes.api]\npath = \"/api/*\"\nupstream = \"{url}\"\n");
    Backsoon::start_in(dir, &format!("{LISTEN}{write}\n{more}\n{routes}"))
}

fn writable() -> Backsoon {
    proxy("write = { token_file = \"tokens\" }", "")
}

fn tokens(dir: &Path, text: &str) {
    let file = dir.join("tokens");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Request with what a good client sends.
struct Ask<'a> {
    line: &'a str,
    token: Option<&'a str>,
    fields: &'a str,
    body: &'a str,
}

impl<'a> Ask<'a> {
    fn new(line: &'a str, body: &'a str) -> Self {
        Self { line, token: Some(OPS), fields: "", body }
    }

    fn by(self, token: &'a str) -> Self {
        Self { token: Some(token), ..self }
    }

    fn with(self, fields: &'a str) -> Self {
        Self { fields, ..self }
    }

    fn bytes(&self) -> String {
        let host = if self.fields.to_lowercase().contains("host:") { "" } else { "host: 127.0.0.1\r\n" };
        let token = self.token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let kind = if self.body.is_empty() || self.fields.contains("content-type") {
            String::new()
        } else {
            "content-type: application/json\r\n".to_owned()
        };
        let length = format!("content-length: {}\r\n", self.body.len());
        format!(
            "{} HTTP/1.1\r\n{host}{token}{kind}{}{length}connection: close\r\n\r\n{}",
            self.line, self.fields, self.body
        )
    }

    fn of(&self, proxy: &Backsoon) -> Answer {
        let mut client = Client::connect(proxy.admin);
        client.send(self.bytes());
        Answer::of(client.response())
    }
}

/// Answer with its JSON.
struct Answer {
    response: Response,
    json: Value,
}

impl Answer {
    fn of(response: Response) -> Self {
        let json = serde_json::from_str(&response.body).unwrap_or_default();
        Self { response, json }
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.response.status, status, "{}{}", self.response.head, self.response.body);
        if status >= 400 {
            assert_eq!(self.response.field("content-type"), Some("application/problem+json"));
            assert_eq!(self.json["status"], status);
            assert!(self.json["detail"].is_string() && self.json["title"].is_string(), "{}", self.json);
        }
        self
    }

    #[track_caller]
    fn tells(self, text: &str) -> Self {
        assert!(self.response.body.contains(text), "no {text:?} in {}", self.response.body);
        self
    }

    fn etag(&self) -> String {
        self.response.field("etag").unwrap().to_owned()
    }
}

fn flags(proxy: &Backsoon) -> String {
    std::fs::read_to_string(proxy.path("maintenance.toml")).unwrap_or_default()
}

#[test]
fn nothing_can_be_changed_unless_the_config_says_who_may() {
    let proxy = proxy("", "");
    let put = Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").of(&proxy);
    assert_eq!((put.response.status, put.response.field("allow")), (405, Some("GET, HEAD")));
    assert_eq!(get(proxy.admin, "/routes/web/flag").status, 404);
    assert_eq!(flags(&proxy), "");
    // A config that allows it takes effect at once, and so does one that forbids it again.
    let closed = std::fs::read_to_string(proxy.path("backsoon.toml")).unwrap();
    let open = closed.replacen("[routes.web]", "write = { token_file = \"tokens\" }\n[routes.web]", 1);
    proxy.config(&open);
    wait("the write API to be on", || {
        Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").of(&proxy).response.status == 200
    });
    proxy.config(&closed);
    wait("the write API to be off", || Ask::new("DELETE /routes/web/flag", "").of(&proxy).response.status == 405);
    assert_eq!(get(proxy.address(), "/").status, 503);
}

#[test]
fn a_route_is_closed_and_opened_as_by_the_commands() {
    let proxy = writable();
    let body = "{\"mode\":\"offline\",\"for\":\"30m\",\"message\":\"A bigger disk.\"}";
    let closed = Ask::new("PUT /routes/web/flag", body).of(&proxy).is(200);
    assert_eq!((&closed.json["changed"], &closed.json["in_force"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!((&closed.json["flag"]["mode"], &closed.json["flag"]["flagged"]), (&"offline".into(), &true.into()));
    assert_eq!(closed.etag(), format!("\"{}\"", sha256(flags(&proxy).as_bytes())));
    let answer = get(proxy.address(), "/");
    assert!(answer.status == 503 && answer.body.contains("A bigger disk."), "{}", answer.head);
    assert_eq!(get(proxy.address(), "/api/x").status, 200);

    let seen = Ask::new("GET /routes/web/flag", "").of(&proxy).is(200);
    assert_eq!((seen.etag(), &seen.json["message"]), (closed.etag(), &"A bigger disk.".into()));
    let etag = format!("if-none-match: {}\r\n", seen.etag());
    assert_eq!(Ask::new("GET /routes/web/flag", "").with(&etag).of(&proxy).is(304).response.body, "");

    let opened = Ask::new("DELETE /routes/web/flag?now&wait=5s", "").of(&proxy).is(200);
    assert_eq!((&opened.json["flag"]["flagged"], &opened.json["in_force"]), (&false.into(), &true.into()));
    wait("the route to be open", || get(proxy.address(), "/").status == 200);
    let again = Ask::new("DELETE /routes/web/flag", "").of(&proxy).is(200);
    assert_eq!(again.json["changed"], false);
    run(proxy.dir.path(), &["history"]).exits(0).says("by token ops").says("PUT /routes/web/flag");
}

#[test]
fn windows_and_steps_go_the_way_of_the_commands() {
    let proxy = writable();
    let body = "{\"at\":\"2036-12-06T02:00:00Z\",\"for\":\"1h\",\"announce\":\"48h\",\"title\":\"A new disk\",\"routes\":[\"api\"]}";
    let planned = Ask::new("POST /routes/web/windows", body).of(&proxy).is(200);
    let id = planned.json["window"]["id"].as_str().unwrap().to_owned();
    assert_eq!((id.as_str(), &planned.json["window"]["ends"]), ("MNT-2036-1206-a", &"2036-12-06T03:00:00Z".into()));
    let longer = Ask::new(&format!("PATCH /windows/{id}"), "{\"by\":\"30m\"}").of(&proxy).is(200);
    assert_eq!(longer.json["window"]["ends"], "2036-12-06T03:30:00Z");
    assert!(flags(&proxy).contains("= 2036-12-06T03:30:00Z"), "{}", flags(&proxy));
    let cancel = format!("DELETE /windows/{id}");
    Ask::new(&cancel, "").by(WEB).of(&proxy).is(403).tells("token ci may not change the route `api`");
    Ask::new(&cancel, "").of(&proxy).is(200);
    Ask::new(&cancel, "").of(&proxy).is(404).tells("the flag file has no window `MNT-2036-1206-a`");
    let past = "{\"at\":\"2020-12-06T02:00:00Z\",\"for\":\"1h\"}";
    Ask::new("POST /routes/web/windows", past).of(&proxy).is(422).tells("the start is in the past");

    proxy.flag(
        "[[windows]]\nid = \"M\"\nstarts = 2036-01-01T00:00:00Z\nends = 2036-01-01T01:00:00Z\nroutes.web = \"offline\"\n\
         steps = [{ title = \"Copy\" }, { title = \"Check\" }]\n",
    );
    let step = |body: &str| Ask::new("POST /routes/web/steps", body).of(&proxy);
    step("{\"window\":\"M\",\"step\":\"Copy\",\"state\":\"running\",\"progress\":\"3/7\"}").is(200);
    assert!(flags(&proxy).contains("{ title = \"Copy\", state = \"running\", progress = { done = 3, total = 7 } }"));
    step("{\"window\":\"M\",\"step\":2,\"state\":\"done\"}").is(200);
    step("{\"window\":\"M\",\"step\":3,\"state\":\"done\"}").is(404).tells("window `M` has no step `3`");
    let elsewhere = "{\"window\":\"M\",\"step\":2,\"state\":\"done\"}";
    Ask::new("POST /routes/api/steps", elsewhere).of(&proxy).is(404).tells("window `M` is none of the route `api`");
    let every = flags(&proxy).replace("routes.web", "routes.\"*\"");
    proxy.flag(&every);
    Ask::new("POST /routes/api/steps", elsewhere).of(&proxy).is(200);
    Ask::new("POST /routes/web/steps", elsewhere).by(WEB).of(&proxy).is(403).tells("every route");
}

#[test]
fn tokens_open_their_routes_alone_and_are_read_anew() {
    let proxy = writable();
    let put = "PUT /routes/web/flag";
    let body = "{\"for\":\"30m\"}";
    let none = Ask { token: None, ..Ask::new(put, body) }.of(&proxy).is(401);
    assert_eq!(none.response.field("www-authenticate"), Some("Bearer realm=\"backsoon\""));
    Ask::new(put, body).by(&OPS[1..]).of(&proxy).is(401).tells("this token is not known");
    Ask::new("PUT /routes/api/flag", body).by(WEB).of(&proxy).is(403).tells("token ci may not change the route `api`");
    Ask::new("PUT /routes/*/flag", body).by(WEB).of(&proxy).is(403).tells("every route");
    Ask::new(put, body).by(WEB).of(&proxy).is(200);
    Ask::new("PUT /routes/shop/flag", body).of(&proxy).is(404).tells("the config has no route `shop`");
    tokens(proxy.dir.path(), &format!("ci:{WEB} api\n"));
    Ask::new(put, body).of(&proxy).is(401);
    Ask::new(put, body).by(WEB).of(&proxy).is(403);
    Ask::new("PUT /routes/api/flag", body).by(WEB).of(&proxy).is(200);
    std::fs::set_permissions(proxy.path("tokens"), std::fs::Permissions::from_mode(0o644)).unwrap();
    Ask::new(put, body).by(WEB).of(&proxy).is(503).tells("everybody on this machine can read these tokens");
    run(proxy.dir.path(), &["check"]).complains("nobody can change flags by a token");
}

#[test]
fn who_is_wrong_too_often_has_to_wait() {
    let proxy = writable();
    let guess = "0123456789abcdef0123456789abcdef-guess";
    let mut guesses = 0;
    wait("too many guesses", || {
        guesses += 1;
        Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").by(guess).of(&proxy).response.status == 429
    });
    assert!((10..20).contains(&guesses), "{guesses}");
    // Others are not kept waiting.
    let mut client = Client::from(9, proxy.admin);
    client.send(Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").bytes());
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_condition_lets_one_of_two_win() {
    let proxy = writable();
    let before = Ask::new("GET /routes/web/flag", "").of(&proxy).is(200).etag();
    let condition = format!("if-match: {before}\r\n");
    let first = Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").with(&condition).of(&proxy).is(200);
    let second = Ask::new("PUT /routes/api/flag", "{\"for\":\"30m\"}").with(&condition).of(&proxy);
    let second = second.is(412).tells("the flags were changed meanwhile");
    assert_eq!(second.etag(), first.etag());
    assert!(!flags(&proxy).contains("api"), "{}", flags(&proxy));
    Ask::new("PUT /routes/web/flag", "{\"for\":\"1h\"}").with("if-none-match: *\r\n").of(&proxy).is(412);
    Ask::new("DELETE /routes/api/flag", "").with("if-match: *\r\n").of(&proxy).is(412);
    Ask::new("DELETE /routes/web/flag", "").with("if-match: *\r\n").of(&proxy).is(200);
    Ask::new("PUT /routes/web/flag", "{\"for\":\"1h\"}").with("if-none-match: *\r\n").of(&proxy).is(200);
}

#[test]
fn other_sites_and_bad_requests_change_nothing() {
    let proxy = writable();
    let put = |fields: &'static str| Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").with(fields).of(&proxy);
    put("host: evil.example\r\n").is(421).tells("this listener is not known as `evil.example`");
    put("origin: http://evil.example\r\n").is(403).tells("a page of another site");
    put("sec-fetch-site: cross-site\r\n").is(403);
    put("content-type: text/plain\r\n").is(415);
    let large = format!("{{\"for\":\"30m\",\"message\":\"{}\"}}", "x".repeat(16 * 1024));
    Ask::new("PUT /routes/web/flag", &large).of(&proxy).is(413);
    Ask::new("PUT /routes/web/flag", "{}").of(&proxy).is(422).tells("the flag has no end");
    Ask::new("PUT /routes/web/flag", "{\"until\":\"2020-01-01T00:00:00Z\"}")
        .of(&proxy)
        .is(422)
        .tells("the end is in the past");
    Ask::new("PUT /routes/web/flag", "{").of(&proxy).is(400);
    assert_eq!(
        Ask::new("POST /routes/web/flag", "{}").of(&proxy).is(405).response.field("allow"),
        Some("GET, PUT, DELETE")
    );
    Ask::new("GET /routes/web", "").of(&proxy).is(404);
    assert_eq!(flags(&proxy), "");
    // A file with a mistake is told with the place, as by the command.
    std::fs::write(proxy.path("maintenance.toml"), "[routes]\nweb = \"offlin\"\n").unwrap();
    let told = Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").of(&proxy).is(409);
    let problem = &told.json["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&2.into(), &7.into()), "{}", told.json);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let proxy = writable();
    let mut client = Client::connect(proxy.admin);
    let whole = Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}").bytes();
    client.send(&whole[..whole.len() - 4]);
    let begun = Instant::now();
    // Meanwhile others are served.
    Ask::new("PUT /routes/api/flag", "{\"for\":\"30m\"}").of(&proxy).is(200);
    assert_eq!(client.response().status, 408);
    assert!(begun.elapsed() < Duration::from_secs(19));
    assert!(!flags(&proxy).contains("web"));
}

#[test]
fn of_twenty_writers_none_is_lost() {
    let routes: String =
        (0..20).map(|n| format!("[routes.r{n}]\npath = \"/r{n}/*\"\nupstream = \"http://127.0.0.1:1\"\n")).collect();
    let proxy = proxy("write = { token_file = \"tokens\" }", &routes);
    write_at_once(&proxy);
    let text = flags(&proxy);
    assert!((0..20).all(|n| text.contains(&format!("r{n} = {{"))), "{text}");
}

#[test]
fn of_twenty_writers_none_is_lost_in_nats() {
    let Some(nats) = Nats::start("twenty writers of the write API are not tried with NATS") else { return };
    let mut client = nats.client();
    client.make_bucket();
    client.put("# of the fleet\n[routes]\n");
    let routes: String =
        (0..20).map(|n| format!("[routes.r{n}]\npath = \"/r{n}/*\"\nupstream = \"http://127.0.0.1:1\"\n")).collect();
    let proxy = proxy("write = { token_file = \"tokens\" }", &format!("{}\n{routes}", nats.table()));
    write_at_once(&proxy);
    let text = client.flags();
    assert!(text.starts_with("# of the fleet\n") && (0..20).all(|n| text.contains(&format!("r{n} = {{"))), "{text}");
    run(proxy.dir.path(), &["history"]).exits(0).says("by token ops");
    drop(nats);
    let away = Ask::new("PUT /routes/r1/flag", "{\"for\":\"1h\"}").of(&proxy).is(503);
    assert!(away.response.field("retry-after").is_some());
}

/// Flags twenty routes at once, each again while the desk is busy.
fn write_at_once(proxy: &Backsoon) {
    thread::scope(|scope| {
        for n in 0..20 {
            scope.spawn(move || {
                let line = format!("PUT /routes/r{n}/flag?wait=20s");
                let ends = Instant::now() + PATIENCE;
                loop {
                    let answer = Ask::new(&line, "{\"for\":\"30m\"}").of(proxy);
                    match answer.response.status {
                        200 => return,
                        503 | 409 if Instant::now() < ends => thread::sleep(Duration::from_millis(20)),
                        _ => panic!("{}", answer.response.body),
                    }
                }
            });
        }
    });
}

#[test]
fn a_unix_socket_tells_who_writes() {
    let uid = rustix::process::getuid().as_raw();
    let start = |peers: &str| {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("admin.sock");
        let config = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"unix:{}\"\nwrite = {{ peers = [\"{peers}\"] }}\n\
             [routes.web]\nupstream = \"http://127.0.0.1:1\"\n",
            socket.display()
        );
        (Backsoon::start_in(dir, &config), socket)
    };
    let put = |socket: &Path| {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let ask = Ask { token: None, ..Ask::new("PUT /routes/web/flag", "{\"for\":\"30m\"}") };
        stream.write_all(ask.with("host: anything\r\n").bytes().as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (proxy, socket) = start(&uid.to_string());
    let answer = put(&socket);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let user = run(proxy.dir.path(), &["history", "--json"]).exits(0).out;
    assert!(user.contains("PUT /routes/web/flag") && !user.contains("\"user\":\"token"), "{user}");
    let (_other, socket) = start(&(uid + 1).to_string());
    let answer = put(&socket);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

/// Runs the examples of the document one after the other, as they stand there.
#[test]
fn the_examples_of_the_document_work() {
    if !has_curl("the examples of the write API") {
        return;
    }
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/write-api.md")).unwrap();
    let proxy = writable();
    let examples: Vec<&str> = document.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let example = example
            .replace("127.0.0.1:9901", &proxy.admin.to_string())
            .replace("curl -sS", "curl -qsS --fail-with-body");
        let done = std::process::Command::new("sh").args(["-ec", &example]).env("TOKEN", OPS).output().unwrap();
        let out = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{example}\n{out}\n{}", String::from_utf8_lossy(&done.stderr));
        assert!(out.contains("\"in_force\": true"), "{example}\n{out}");
    }
    assert!(flags(&proxy).contains("web = { mode = \"read-only\""), "{}", flags(&proxy));
}

#[test]
fn a_session_of_the_page_needs_its_word_and_ends_with_its_token() {
    let proxy = writable();
    let log_in = |fields: &'static str| {
        let body = format!("{{\"token\":\"{WEB}\"}}");
        Ask { token: None, ..Ask::new("POST /session", &body) }.with(fields).of(&proxy)
    };
    log_in("host: evil.example\r\n").is(421);
    log_in("origin: http://evil.example\r\n").is(403);
    log_in("content-type: text/plain\r\n").is(415);
    let begun = log_in("origin: http://127.0.0.1\r\n").is(200);
    assert_eq!(begun.json["user"], "token ci");
    let set = begun.response.field("set-cookie").unwrap().to_owned();
    assert!(
        set.contains("; HttpOnly") && set.contains("; SameSite=Strict") && set.contains("; Max-Age=28800"),
        "{set}"
    );
    let cookie = format!("cookie: a=b; {}\r\n", set.split(';').next().unwrap());
    let word = format!("{cookie}x-csrf-token: {}\r\n", begun.json["csrf"].as_str().unwrap());
    let ask = |line: &'static str, fields: &str| {
        let body = if line.starts_with("PUT") { "{\"for\":\"30m\"}" } else { "" };
        Ask { token: None, ..Ask::new(line, body) }.with(fields).of(&proxy)
    };
    assert_eq!(ask("GET /session", &cookie).is(200).json["user"], "token ci");
    assert_eq!(ask("GET /session", "").is(200).json["user"], Value::Null);
    ask("PUT /routes/web/flag", &cookie).is(403).tells("this request does not come from the page");
    ask("PUT /routes/web/flag", &format!("{cookie}x-csrf-token: 0\r\n")).is(403);
    assert_eq!(flags(&proxy), "");
    ask("PUT /routes/web/flag", &word).is(200);
    ask("PUT /routes/api/flag", &word).is(403).tells("token ci may not change the route `api`");
    tokens(proxy.dir.path(), &format!("ops:{OPS}\n"));
    ask("PUT /routes/web/flag", &word).is(401);
    tokens(proxy.dir.path(), &format!("ci:{WEB} web\n"));
    ask("PUT /routes/web/flag", &word).is(200);
    ask("DELETE /session", &cookie).is(403);
    ask("DELETE /session", &word).is(200);
    ask("PUT /routes/web/flag", &word).is(401);
}
