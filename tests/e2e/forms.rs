//! Forms of the status site: people subscribe, confirm, change and leave, and strangers learn nothing.

use std::fs;

use crate::command::run as run_in;
use crate::mails::{Sink, field};
use crate::support::{Backsoon, Client, LISTEN, Response, Upstream, wait};

const WITNESS: &str = r#"{"channel":"mail","address":"witness@example.org","state":"active","secret":"","created":"2026-05-19T14:00:00Z"}
{"channel":"mail","address":"blocked@example.org","state":"disabled","secret":"","created":"2026-05-19T14:00:00Z"}
"#;

pub struct World {
    pub proxy: Backsoon,
    sink: Sink,
    _app: Upstream,
}

impl World {
    fn new() -> Self {
        Self::at("host = \"status.test\"")
    }

    /// Starts a proxy whose site is at a place.
    pub fn at(place: &str) -> Self {
        let (app, sink, folder) = (Upstream::ok(), Sink::start(), tempfile::tempdir().unwrap());
        let config = format!(
            "{LISTEN}[routes.web]\nhost = \"a.test\"\nupstream = \"{0}\"\n[routes.api]\nhost = \"b.test\"\nupstream = \"{0}\"\n\
             [status]\n{2}\nsend = true\nservices = [{{ name = \"Shop\", routes = \"web\", regions = [\"eu\"] }}, \
             {{ name = \"Tools\", routes = \"api\", regions = [\"us\"] }}]\n\
             [mail]\nserver = \"smtp://127.0.0.1:{1}\"\nfrom = \"status@example.com\"\n",
            app.url(),
            sink.port,
            place,
        );
        fs::write(folder.path().join("backsoon.toml"), &config).unwrap();
        fs::write(folder.path().join("import"), WITNESS).unwrap();
        run_in(folder.path(), &["subscribers", "import", "import"]).exits(0);
        Self { proxy: Backsoon::start_in(folder, &config), sink, _app: app }
    }

    fn ask(&self, client: u8, head: &str, body: &str) -> Response {
        let mut client = Client::from(client, self.proxy.address());
        client.send(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        client.response()
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask(1, &format!("GET {path} HTTP/1.1\r\nHost: status.test\r\nAccept: text/html"), "")
    }

    fn post(&self, client: u8, path: &str, body: &str) -> Response {
        self.ask(client, &post(path, FORM, ""), body)
    }

    fn subscribe(&self, client: u8, address: &str) -> Response {
        let address = address.replace('@', "%40");
        self.post(client, "/subscribe", &format!("channel=mail&address={address}&language=en"))
    }

    /// Waits for a mail to somebody with a link to a path, and returns the path of the link.
    pub fn link(&self, to: &str, path: &str) -> String {
        let mut found = None;
        wait("a mail with the link", || {
            let mails = self.sink.mails().into_iter().filter(|mail| field(mail, "To") == to);
            let texts = mails.map(|mail| mail.replace("=\n", "")).collect::<Vec<_>>();
            found = texts.iter().rev().find_map(|text| token(text, &format!("https://status.test{path}")));
            found.is_some()
        });
        format!("{path}{}", found.unwrap())
    }

    pub fn list(&self) -> String {
        run_in(self.proxy.dir.path(), &["subscribers", "list", "--json"]).exits(0).out
    }

    fn told(&self, to: &str) -> usize {
        let about = |mail: &&String| mail.contains("\nList-Id: ") && field(mail, "To") == to;
        self.sink.mails().iter().filter(about).count()
    }
}

fn post(path: &str, content_type: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: status.test\r\nAccept: text/html\r\nContent-Type: {content_type}{more}")
}

/// Returns the letters of a token behind the first occurrence of a text.
fn token(text: &str, before: &str) -> Option<String> {
    let rest = text.split_once(before)?.1;
    let is_letter = |one: &char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    Some(rest.chars().take_while(is_letter).collect())
}

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn somebody_subscribes_confirms_is_told_changes_and_leaves() {
    let world = World::new();
    let page = world.get("/subscribe");
    for part in
        ["type=\"email\"", "autocomplete=\"email\"", "action=\"subscribe\"", "Shop", "value=\"us\"", "history.atom"]
    {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert!(page.field("content-security-policy").unwrap().contains("form-action 'self'"));
    assert_eq!(world.subscribe(1, "Reader@example.org").status, 200);
    let confirm = world.link("reader@example.org", "/confirm/");
    // A scanner follows the link, and nothing happens.
    let seen = world.get(&confirm);
    assert!(seen.status == 200 && seen.body.contains("<form method=\"post\"><button"), "{}", seen.body);
    for (name, value) in
        [("referrer-policy", "no-referrer"), ("cache-control", "no-store"), ("x-robots-tag", "noindex")]
    {
        assert_eq!(seen.field(name), Some(value));
    }
    assert!(world.list().contains("\"unconfirmed\""));
    let done = world.post(1, &confirm, "");
    assert!(done.status == 200 && done.body.contains("You are subscribed"), "{}", done.body);
    assert_eq!((world.post(1, &confirm, "").status, world.get(&confirm).status), (410, 410));
    world.proxy.flag("[routes]\nweb = \"offline\"\n");
    wait("the reader is told", || world.told("reader@example.org") == 1 && world.told("witness@example.org") == 1);
    let manage = format!("/manage/{}", token(&done.body.replace("&#x2f;", "/"), "../manage/").unwrap());
    assert_eq!(world.link("reader@example.org", "/manage/").len(), manage.len());
    let shown = world.get(&manage);
    assert!(shown.body.contains("r…@example.org") && !shown.body.contains("reader@"), "{}", shown.body);
    let key = token(&shown.body, "name=\"service\" value=\"").unwrap();
    let saved = world.post(1, &manage, &format!("service={key}&kind=course&language=de"));
    assert!(saved.body.contains("Your changes are saved"), "{}", saved.body);
    let list = world.list();
    assert!(list.contains(&format!("\"services\":[\"{key}\"]")) && list.contains("\"language\":\"de\""), "{list}");
    let end = world.link("reader@example.org", "/u/");
    assert!(world.get(&end).body.contains("<form method=\"post\"><button"));
    assert!(world.list().contains("reader@example.org"));
    // As a provider of mailboxes sends it: no cookies, no redirects, either type.
    let one_click = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    let ended = world.ask(1, &post(&end, "multipart/form-data; boundary=x", ""), one_click);
    let unknown = world.post(1, &format!("/u/{}", "A".repeat(76)), "List-Unsubscribe=One-Click");
    assert_eq!((ended.status, unknown.status, &ended.body), (200, 200, &unknown.body));
    assert!(!world.list().contains("reader@example.org"));
    world.proxy.flag("[routes]\n");
    wait("the witness is told", || world.told("witness@example.org") == 2);
    assert_eq!(world.told("reader@example.org"), 1);
    assert_eq!(world.get(&manage).status, 410);
    for (end, count) in [("asked", 1.0), ("confirmed", 1.0), ("changed", 1.0), ("unsubscribed", 1.0)] {
        assert_eq!(world.proxy.metric("backsoon_forms_total", &format!("end=\"{end}\"")), count, "{end}");
    }
}

#[test]
fn nobody_learns_who_has_subscribed() {
    let world = World::new();
    let plain = |response: Response| {
        let is_same = |line: &&str| !line.to_ascii_lowercase().starts_with("x-request-id") && !line.starts_with("date");
        let head: Vec<&str> = response.head.lines().filter(is_same).collect();
        format!("{}\n{}", head.join("\n"), response.body)
    };
    let new = plain(world.subscribe(1, "new@example.org"));
    assert!(new.contains("200 OK") && new.contains("One more step"), "{new}");
    for (client, address) in [(2, "new@example.org"), (3, "witness@example.org"), (4, "blocked@example.org")] {
        assert_eq!(plain(world.subscribe(client, address)), new, "{address}");
    }
    let trap = "channel=mail&address=trap%40example.org&website=x&language=en";
    assert_eq!(plain(world.post(5, "/subscribe", trap)), new);
    // The one who is subscribed is told so, and keeps what was chosen.
    world.link("witness@example.org", "/manage/");
    world.link("new@example.org", "/confirm/");
    let list = world.list();
    assert!(!list.contains("trap@") && list.matches("\"active\"").count() == 1, "{list}");
    let asked = world.sink.mails().iter().filter(|mail| field(mail, "To") == "new@example.org").count();
    assert_eq!(asked, 1, "a mailbox is not asked twice in ten minutes");
    assert!(world.sink.mails().iter().all(|mail| field(mail, "To") != "blocked@example.org"));
    let others = world.ask(6, "GET /.backsoon/news/subscribe HTTP/1.1\r\nHost: a.test\r\nAccept: text/html", "");
    assert!(others.body.contains("Shop") && !others.body.contains("Tools") && !others.body.contains("value=\"us\""));
    let head = "POST /.backsoon/news/subscribe HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\nContent-Type: ";
    let wrong = world.ask(6, &format!("{head}{FORM}"), "channel=mail&address=x");
    assert!(wrong.status == 422 && wrong.body.contains("Shop") && !wrong.body.contains("Tools"), "{}", wrong.body);
    assert_eq!(world.ask(6, &format!("{head}{FORM}"), "channel=mail&address=host%40example.org").status, 200);
    wait("the order is taken", || world.list().contains("host@example.org"));
    assert!(world.list().contains("\"routes\":[\"web\"]"), "{}", world.list());
}

#[test]
fn what_is_wrong_or_too_much_is_refused_with_a_word() {
    let world = World::new();
    let mail = "channel=mail&address=a%40example.org";
    let large = format!("{mail}&x={}", "x".repeat(9000));
    let post = |content_type: &str, more: &str| post("/subscribe", content_type, more);
    let cases = [
        (post(FORM, "\r\nSec-Fetch-Site: cross-site"), mail, 403),
        (post(FORM, "\r\nOrigin: https://evil.test"), mail, 403),
        (post("text/plain", ""), mail, 415),
        (post("multipart/form-data; boundary=x", ""), mail, 415),
        (post(FORM, ""), &*large, 413),
        (post(FORM, ""), "channel=pigeon&address=x", 422),
        (post("application/json", ""), "{", 400),
        (post("application/json", ""), r#"{"channel":"mail","address":"a@b"}"#, 422),
        (post("application/json", ""), r#"{"channel":"mail","address":"json@example.org","kinds":["plans"]}"#, 202),
        ("PUT /manage/x HTTP/1.1\r\nHost: status.test".to_owned(), "", 405),
        ("DELETE /subscribe HTTP/1.1\r\nHost: status.test".to_owned(), "", 405),
        ("GET /confirm/x HTTP/1.1\r\nHost: status.test\r\nAccept: text/html".to_owned(), "", 410),
    ];
    for (head, body, status) in cases {
        let answer = world.ask(1, &head, body);
        assert_eq!(answer.status, status, "{head}\n{}", answer.body);
        assert!(!answer.body.is_empty());
    }
    let chunked =
        format!("{}\r\nTransfer-Encoding: chunked\r\n\r\n2400\r\n{}\r\n0\r\n\r\n", post(FORM, ""), "x".repeat(9216));
    let mut client = Client::from(1, world.proxy.address());
    client.send(chunked);
    assert_eq!(client.response().status, 413);
    let kept = world.post(1, "/subscribe", "channel=mail&address=%22%3E%3Cb%3Ea%01%40b&language=de");
    assert!(kept.status == 422 && kept.body.contains("value=\"&quot;&gt;&lt;b&gt;a@b\""), "{}", kept.body);
    assert!(kept.body.contains("aria-invalid=\"true\"") && kept.body.contains("id=\"mail-e\""), "{}", kept.body);
    for url in ["http%3A%2F%2Fhooks.example.com", "https%3A%2F%2F127.0.0.1%2F", "https%3A%2F%2Flocalhost%2F"] {
        assert_eq!(world.post(1, "/subscribe", &format!("channel=webhook&address={url}")).status, 422, "{url}");
    }
    for number in 0..5 {
        assert_eq!(world.subscribe(9, &format!("{number}@example.org")).status, 200);
    }
    let later = world.subscribe(9, "6@example.org");
    let seconds: u64 = later.field("retry-after").unwrap().parse().unwrap();
    assert!(later.status == 429 && (1..=600).contains(&seconds) && later.body.contains("Too many"), "{}", later.body);
    wait("the first is asked", || world.list().contains("json@example.org"));
    let confirm = world.link("0@example.org", "/confirm/");
    let end = if confirm.ends_with('A') { "B" } else { "A" };
    let tampered = format!("{}{end}", &confirm[..confirm.len() - 1]);
    for wrong in [tampered, confirm.replace("/confirm/", "/manage/"), confirm.replace("/confirm/", "/confirm/A")] {
        assert_eq!((world.get(&wrong).status, world.post(1, &wrong, "").status), (410, 410), "{wrong}");
    }
    let foreign = world.post(1, &confirm.replace("/confirm/", "/u/"), "List-Unsubscribe=One-Click");
    assert!(foreign.status == 200 && world.list().contains("\"0@example.org\""), "{}", world.list());
}
