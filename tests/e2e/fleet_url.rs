//! Flags from a web server: with tags, with errors, hanging, gone, and edited by commands.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::command::run;
use crate::support::{Backsoon, LISTEN, Upstream, get, sha256, wait};

/// Web server with one document. It does what the test says, and can be stopped and started again at its address.
struct Web {
    address: SocketAddr,
    state: Arc<State>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

#[derive(Default)]
struct State {
    document: Mutex<Option<String>>,
    behaviour: Mutex<Behaviour>,
    /// Answers by status.
    whole: AtomicUsize,
    same: AtomicUsize,
    /// Edits by others that come before that of a command.
    intruders: AtomicUsize,
    author: Mutex<Option<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Behaviour {
    #[default]
    Good,
    Error,
    Hanging,
    Endless,
}

impl Web {
    fn with(document: &str) -> Self {
        let state = State { document: Mutex::new(Some(document.to_owned())), ..State::default() };
        let mut web = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), state: Arc::new(state), running: None };
        web.start();
        web
    }

    fn start(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, state) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.state));
        let stopped = Arc::clone(&stop);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&state);
                thread::spawn(move || state.serve(stream));
            }
        });
        self.running = Some((stop, accepting));
    }

    fn stop(&mut self) {
        let (stop, accepting) = self.running.take().unwrap();
        stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        accepting.join().unwrap();
    }

    fn set(&self, document: Option<&str>) {
        *self.state.document.lock().unwrap() = document.map(str::to_owned);
    }

    fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    fn document(&self) -> String {
        self.state.document.lock().unwrap().clone().unwrap()
    }

    /// Returns the table that names this server.
    fn table(&self) -> String {
        format!("[fleet]\nurl = \"http://{}/flags.toml?key=secret\"\nevery = \"1s\"\nedits = true\n", self.address)
    }

    fn place(&self) -> String {
        format!("http://{}/flags.toml", self.address)
    }

    fn proxy(&self, upstream: &Upstream) -> Backsoon {
        Backsoon::before(&upstream.url(), &self.table())
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Good => {}
            Behaviour::Error => return answer(&mut stream, "500 Internal Server Error", "", "boom"),
            Behaviour::Hanging => {
                let _ = stream.read(&mut byte);
                return;
            }
            Behaviour::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while stream.write_all(&[b'#'; 65536]).is_ok() {}
                return;
            }
        }
        if head.starts_with("PUT ") {
            let length = field("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            self.put(&mut stream, &field, String::from_utf8(body).unwrap());
        } else {
            self.get(&mut stream, &field);
        }
    }

    fn get(&self, stream: &mut TcpStream, field: &dyn Fn(&str) -> Option<String>) {
        let document = self.document.lock().unwrap().clone();
        let Some(document) = document else { return answer(stream, "404 Not Found", "", "") };
        let tag = tag(&document);
        if field("if-none-match").as_deref() == Some(&tag) {
            self.same.fetch_add(1, Ordering::SeqCst);
            return answer(stream, "304 Not Modified", &format!("etag: {tag}\r\n"), "");
        }
        self.whole.fetch_add(1, Ordering::SeqCst);
        let author = self.author.lock().unwrap().clone();
        let author = author.map(|author| format!("backsoon-edit: {author}\r\n")).unwrap_or_default();
        answer(stream, "200 OK", &format!("etag: {tag}\r\n{author}"), &document);
    }

    fn put(&self, stream: &mut TcpStream, field: &dyn Fn(&str) -> Option<String>, body: String) {
        let mut document = self.document.lock().unwrap();
        let intruders = self.intruders.load(Ordering::SeqCst);
        if intruders > 0 {
            self.intruders.store(intruders - 1, Ordering::SeqCst);
            *document = Some(format!("{}# edit {intruders} of another\n", document.clone().unwrap_or_default()));
        }
        let now = document.as_deref().map(tag);
        let expected = match (field("if-match"), field("if-none-match").as_deref()) {
            (Some(tag), None) => now == Some(tag),
            (None, Some("*")) => now.is_none(),
            _ => false,
        };
        if !expected {
            return answer(stream, "412 Precondition Failed", "", "");
        }
        *document = Some(body);
        *self.author.lock().unwrap() = field("backsoon-edit");
        answer(stream, "204 No Content", "", "");
    }
}

fn tag(document: &str) -> String {
    format!("\"{}\"", &sha256(document.as_bytes())[..16])
}

fn answer(stream: &mut TcpStream, status: &str, fields: &str, body: &str) {
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len());
}

const OPEN: &str = "# of the fleet\n[routes]\n";
const CLOSED: &str = "# of the fleet\n[routes]\nweb = \"offline\"\n";

fn wait_for_status(proxy: &Backsoon, status: u16) {
    wait(&format!("{status} from {}", proxy.address()), || get(proxy.address(), "/").status == status);
}

#[test]
fn every_proxy_takes_the_document_and_a_bad_one_changes_nothing() {
    let (web, upstream) = (Web::with(OPEN), Upstream::ok());
    let proxies = [web.proxy(&upstream), web.proxy(&upstream)];
    proxies.iter().for_each(|proxy| assert_eq!(get(proxy.address(), "/").status, 200));
    web.set(Some(CLOSED));
    proxies.iter().for_each(|proxy| wait_for_status(proxy, 503));
    let read = web.state.whole.load(Ordering::SeqCst);
    let asked = web.state.same.load(Ordering::SeqCst);
    wait("answers without a document", || web.state.same.load(Ordering::SeqCst) > asked + 3);
    assert_eq!(web.state.whole.load(Ordering::SeqCst), read, "a document that is the same is not sent again");
    let status = proxies[0].status();
    let told = &status["fleet"];
    assert_eq!((told["kind"].as_str(), told["source"].as_str()), (Some("url"), Some(&*web.place())));
    assert_eq!(told["in_force"].as_str(), Some(&*tag(CLOSED)));
    assert!(told["stale_since"].is_null() && !status.to_string().contains("secret"), "{status:#}");
    web.set(Some("[routes]\nweb = \"of-line\"\n"));
    let place = web.place();
    wait("the mistake with its place", || {
        let status = proxies[1].status();
        let files = status["files"].as_array().unwrap();
        let flags = files.iter().find(|file| file["role"] == "flags").unwrap();
        flags["path"] == *place && flags["problems"][0]["line"] == 2 && flags["problems"][0]["file"] == *place
    });
    assert_eq!(get(proxies[1].address(), "/").status, 503, "the last good one stays");
    web.set(Some(OPEN));
    proxies.iter().for_each(|proxy| wait_for_status(proxy, 200));
}

#[test]
fn a_server_that_is_away_opens_nothing_not_even_over_a_restart() {
    let (mut web, upstream) = (Web::with(CLOSED), Upstream::ok());
    let mut proxy = web.proxy(&upstream);
    wait_for_status(&proxy, 503);
    let labels = format!("source=\"{}\",kind=\"url\"", web.place());
    assert!(proxy.metric("backsoon_fleet_up", &labels) > 0.5);
    for behaviour in [Behaviour::Error, Behaviour::Endless, Behaviour::Hanging] {
        web.behave(behaviour);
        wait(&format!("word of {behaviour:?}"), || proxy.status()["fleet"]["trouble"].is_string());
        web.behave(Behaviour::Good);
        wait("the server to be back", || proxy.status()["fleet"]["trouble"].is_null());
    }
    web.set(None);
    wait("word of the deletion", || proxy.status()["fleet"]["deleted"] == true);
    assert_eq!(get(proxy.address(), "/").status, 503, "deleted is not off");
    web.set(Some(CLOSED));
    wait("the document", || proxy.status()["fleet"]["deleted"].is_null());
    web.stop();
    wait("word of the server that is away", || proxy.status()["fleet"]["stale_since"].is_string());
    assert!(proxy.metric("backsoon_fleet_up", &labels) < 0.5);
    assert!(proxy.metric("backsoon_fleet_age_seconds", &labels) > 0.0);
    assert_eq!(get(proxy.admin, "/readyz").status, 200);
    assert!(get(proxy.admin, "/readyz").body.contains("flags_stale_since"));
    run(proxy.dir.path(), &["status", &proxy.admin.to_string()])
        .exits(1)
        .says("the engine of the flags")
        .says(" is away since");
    let said = proxy.log_lines().into_iter().filter(|line| line["message"].as_str().unwrap().contains("flags is away"));
    assert!(said.count() <= 2, "{}", proxy.log_text());
    proxy = restarted(proxy);
    assert_eq!(get(proxy.address(), "/").status, 503);
    assert!(proxy.status()["fleet"]["trouble"].is_string());
    run(proxy.dir.path(), &["check"]).exits(0).complains("the engine cannot be asked").complains("the copy of");
    // A bad document at a start is refused as at any time.
    web.set(Some("[routes\n"));
    web.start();
    proxy = restarted(proxy);
    assert_eq!(get(proxy.address(), "/").status, 503);
    wait("the mistake", || {
        proxy.metric("backsoon_file_good", &format!("file=\"{}\",role=\"flags\"", web.place())) < 0.5
    });
    web.set(Some(OPEN));
    wait_for_status(&proxy, 200);
}

fn restarted(mut proxy: Backsoon) -> Backsoon {
    proxy.signal("TERM");
    proxy.wait_for_exit();
    let config = std::fs::read_to_string(proxy.path("backsoon.toml")).unwrap();
    let dir = std::mem::replace(&mut proxy.dir, tempfile::tempdir().unwrap());
    drop(proxy);
    Backsoon::start_in(dir, &config)
}

#[test]
fn commands_edit_the_document_and_lose_no_edit_of_others() {
    let (web, upstream) = (Web::with("# of the fleet\n[routes]\n"), Upstream::ok());
    let proxy = web.proxy(&upstream);
    let dir = proxy.dir.path();
    let admin = proxy.admin.to_string();
    let with_admin = |args: &[&str]| run(dir, &[args, &["--admin", &admin]].concat());
    web.state.intruders.store(3, Ordering::SeqCst);
    with_admin(&["on", "web", "--wait"]).exits(0).says("offline until lifted");
    let text = web.document();
    assert!(
        text.starts_with("# of the fleet\n[routes]\nweb = \"offline\"\n") && text.contains("# edit 1 of another"),
        "{text}"
    );
    assert_eq!(get(proxy.address(), "/").status, 503);
    run(dir, &["history"]).exits(0).says("on web");
    // Every word that edits goes the same way.
    with_admin(&["plan", "web", "--at", "2030-01-01T01:00:00Z", "--for", "1h", "--id", "M-1", "--title", "Disks"])
        .exits(0);
    with_admin(&["extend", "M-1", "30m"]).exits(0);
    with_admin(&["cancel", "M-1"]).exits(0);
    with_admin(&["off", "web", "--dry-run"]).exits(0).says("-web = \"offline\"");
    assert!(web.document().contains("web = \"offline\"") && !web.document().contains("M-1"), "{}", web.document());
    with_admin(&["off", "web", "--wait"]).exits(0);
    wait_for_status(&proxy, 200);
    // Others who edit all the time win, and nothing is written.
    web.state.intruders.store(100, Ordering::SeqCst);
    with_admin(&["on", "web"]).exits(75).complains("was edited by others 6 times");
    assert!(!web.document().contains("web = \"offline\""));
    web.state.intruders.store(0, Ordering::SeqCst);
    // A deleted document is not an empty one: the proxy has flags that it lacks.
    with_admin(&["on", "web", "--wait"]).exits(0);
    web.set(None);
    wait("word of the deletion", || proxy.status()["fleet"]["deleted"] == true);
    with_admin(&["step", "M-1", "1", "done"]).exits(64);
    with_admin(&["on", "web", "--mode", "hold"]).exits(74).complains("has flags in force that it lacks");
    with_admin(&["off", "--all"]).exits(0);
    wait_for_status(&proxy, 200);
    web.behave(Behaviour::Error);
    with_admin(&["on", "web"]).exits(69).complains("answered 500");
}

#[test]
fn a_document_without_leave_is_not_edited() {
    let (web, upstream) = (Web::with(OPEN), Upstream::ok());
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[fleet]\nurl = \"http://{}/flags.toml\"\n",
        upstream.url(),
        web.address
    );
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    run(dir.path(), &["on", "web"]).exits(64).complains("`edits = true`");
    run(dir.path(), &["check"]).exits(0).says("no route is flagged now");
    web.set(Some("[routes]\nwob = \"offline\"\n"));
    run(dir.path(), &["check"]).exits(0).complains("did you mean").complains(&format!("{}:2:1", web.place()));
}
