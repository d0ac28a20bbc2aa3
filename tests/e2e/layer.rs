//! The gate in an app beside the proxy: over real sockets and with one flag file, both admit the same requests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backsoon::layer::MaintenanceLayer;
use backsoon::plan::config::Hold;
use tokio::runtime::Runtime;

use crate::command::run;
use crate::support::{Backsoon, Client, Upstream};
use crate::wire::alone;

/// App behind the gate that accepts every request reaching it.
struct App {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl App {
    fn start(flag_file: &Path) -> Self {
        // The queue has no places, so a request that would wait gets the page at once.
        let hold = Hold { max_held: 0, ..Hold::default() };
        let layer = MaintenanceLayer::builder("web", flag_file).always_open("/healthz").hold(hold).start().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let app = axum::Router::new().fallback(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app.layer(layer)).await });
        Self { address, calls, _runtime: runtime }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Fails where an app with the layer cannot be asked, and where a command needs a config of the proxy.
#[test]
fn the_commands_work_for_an_app_without_a_proxy() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("maintenance.toml");
    std::fs::write(&file, "[routes]\n").unwrap();
    let layer = MaintenanceLayer::builder("app", &file).start().unwrap();
    let (entered, arrived) = std::sync::mpsc::channel();
    let release = Arc::new(tokio::sync::Notify::new());
    let released = Arc::clone(&release);
    let slow = axum::routing::get(async move || {
        entered.send(()).unwrap();
        released.notified().await;
    });
    let status = layer.clone();
    let app = axum::Router::new().route("/", slow).layer(layer);
    let admin = axum::Router::new().route("/status", axum::routing::get(async move || status.status_json()));
    let runtime = Runtime::new().unwrap();
    let [app, admin] = [app, admin].map(|router| {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        address
    });
    let admin = admin.to_string();
    let command =
        |args: &[&str]| run(place.path(), &[args, &["--flags", "maintenance.toml", "--admin", &admin]].concat());
    let mut client = Client::connect(app);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    arrived.recv().unwrap();
    let late = command(&["on", "app", "--wait", "--timeout", "2s"]).exits(3).complains("not drained: app (1 request)");
    late.keeps_quiet_of("backsoon.toml");
    assert_eq!(ask(app, "GET", "/"), Some(503));
    release.notify_one();
    assert_eq!(client.response().status, 200);
    command(&["on", "app", "--wait"]).exits(0).says("nothing is in flight at this proxy that began before\n");
    run(place.path(), &["status", &admin]).exits(0).says("app    closed  offline").says("no errors");
    command(&["on", "apt"]).exits(64).complains("apt");
    command(&["off", "app"]).exits(0).says("lifted the flag of app");
    run(place.path(), &["on", "app", "--flags", "maintenance.toml"]).exits(0).tells("not confirmed");
}

/// Sends a request line and returns the status of the answer, if there is one.
fn ask(address: SocketAddr, method: &str, target: &str) -> Option<u16> {
    let mut client = Client::connect(address);
    client.send(format!("{method} {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    client.try_head()?.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_closed_app_is_reached_by_nothing_that_the_proxy_would_not_forward() {
    let upstream = Upstream::ok();
    let backsoon: Backsoon =
        alone(&upstream.url(), "always_open = [\"/healthz\"]\nhold = { max_wait = \"1ms\", release = \"1000/s\" }\n");
    for phase in ["offline", "read-only", "hold"] {
        backsoon.flag(&format!("[routes]\nweb = \"{phase}\"\n"));
        let app = App::start(&backsoon.path("maintenance.toml"));
        let mut wrong = Vec::new();
        for method in METHODS {
            for target in TARGETS {
                let before = app.calls();
                let status = ask(app.address, method, target);
                let reached = app.calls() > before;
                upstream.forget();
                let proxied = ask(backsoon.address(), method, target);
                let forwarded = !upstream.seen_bytes().is_empty();
                if reached != forwarded {
                    wrong.push(format!("{method} {target}: {status:?} {reached}, the proxy {proxied:?} {forwarded}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{phase}: {} differ\n{}", wrong.len(), wrong.join("\n"));
        let odd = ask(app.address, "POST", "/100%");
        assert_eq!((odd, ask(app.address, "GET", "/healthz")), (Some(503), Some(200)), "{phase}");
    }
}

const METHODS: [&str; 10] =
    ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE", "CONNECT", "PROPFIND", "QUERY", "get"];

const TARGETS: [&str; 42] = [
    "/",
    "/x",
    "//x//y",
    "/x;v=1",
    "/x\\y",
    "/x%2fy",
    "/a/%2e%2e/b",
    "/%2561dmin",
    "/100%",
    "/%zz",
    "/%4",
    "/a/..;/b",
    "/a/.;x/b",
    "/../x",
    "/%2e%2e/x",
    "/x%00",
    "/x%0a",
    "/x%7f",
    "/healthz",
    "/healthz/deep",
    "/healthz/../x",
    "/healthz;x",
    "/healthz%2f..%2fx",
    "/healthz%",
    "//healthz",
    "/robots.txt",
    "/.well-known/acme-challenge/t",
    "/.backsoon",
    "/.backsoon/none",
    "/.backsoon/status/x",
    "/.backsoon/badge.svg",
    "/.backsoon/bypass?token=x",
    "/%2ebacksoon/x",
    "*",
    "a",
    "a:80",
    "ftp://a/x",
    "http://a",
    "http://a?q",
    "http://a/100%",
    "https://b.example/x",
    "/?q=%",
];
