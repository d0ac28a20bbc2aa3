use std::convert::Infallible;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::any;
use http::header::{ALLOW, CONTENT_TYPE, REFRESH, RETRY_AFTER};
use http_body::Body as _;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use crate::plan::target;
use crate::plan::verdict::{Verdict, decide};

use super::*;

/// App behind the layer, and the flag file that it follows.
struct App {
    file: PathBuf,
    layer: MaintenanceLayer,
    _dir: tempfile::TempDir,
}

impl App {
    fn new(flags: &str, hold: Hold) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("maintenance.toml");
        fs::write(&file, flags).unwrap();
        let layer = MaintenanceLayer::builder("app", &file).always_open("/healthz").hold(hold).start().unwrap();
        Self { file, layer, _dir: dir }
    }

    fn flag(&self, flags: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, flags).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    async fn ask(&self, method: Method, path: &str) -> Response<MaintenanceBody<axum::body::Body>> {
        // With an `async` closure here and below, incremental builds of rustc 1.95 fail.
        let app = service_fn(|_: Request<()>| {
            let mut response = Response::new(axum::body::Body::from("hello"));
            response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET"));
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let request = Request::builder().method(method).uri(path).header("accept", "text/html").body(()).unwrap();
        ServiceBuilder::new().layer(self.layer.clone()).service(app).oneshot(request).await.unwrap()
    }

    /// Asks until an answer has this status.
    async fn until(&self, status: u16) -> Response<MaintenanceBody<axum::body::Body>> {
        let asking = async {
            loop {
                let response = self.ask(Method::GET, "/").await;
                if response.status() == status {
                    return response;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking).await.expect("the file is watched")
    }
}

#[tokio::test]
async fn an_app_is_closed_and_opened_by_its_file() {
    let app = App::new("", Hold::default());
    assert_eq!(app.ask(Method::GET, "/").await.status(), 200);
    app.flag("[routes]\napp = \"offline\"\n");
    let response = app.until(503).await;
    assert!(response.headers().contains_key(RETRY_AFTER) && !response.headers().contains_key(ALLOW));
    assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    assert!(response.body().size_hint().exact().unwrap() > 1000);
    assert_eq!(app.ask(Method::GET, "/healthz").await.status(), 200);
    assert_eq!(app.ask(Method::HEAD, "/").await.body().size_hint().exact(), Some(0));
    // A file that is wrong changes nothing, nor does one that was emptied.
    for (count, text) in ["[routes]\napp = \"of\"\n", ""].into_iter().enumerate() {
        app.flag(text);
        while app.layer.shared.refused() == u64::try_from(count).unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(app.ask(Method::GET, "/").await.status(), 503, "{text:?}");
    }
    app.flag("# nothing\n");
    let response = app.until(200).await;
    assert_eq!(response.headers()[ALLOW], "GET");
}

#[tokio::test]
async fn a_read_only_app_can_be_read_and_says_so() {
    let app = App::new("[routes]\napp = \"read-only\"\n", Hold::default());
    let read = app.ask(Method::GET, "/").await;
    assert_eq!((read.status().as_u16(), read.headers()["maintenance"].to_str().unwrap()), (200, "read-only"));
    assert_eq!(app.ask(Method::POST, "/").await.status(), 503);
}

/// Fails where `read_only.allow` is the proxy's alone.
#[tokio::test]
async fn a_read_only_app_takes_what_is_allowed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("maintenance.toml");
    fs::write(&file, "[routes]\napp = \"read-only\"\n").unwrap();
    let layer = MaintenanceLayer::builder("app", &file).allow_in_read_only(Method::POST, "/login").start().unwrap();
    let app = App { file, layer, _dir: dir };
    for (method, path, status) in [
        (Method::POST, "/login", 200),
        (Method::POST, "/login/again", 200),
        (Method::PUT, "/login", 503),
        (Method::POST, "/loginx", 503),
        (Method::POST, "//login", 503),
        (Method::POST, "/login/../x", 503),
        (Method::POST, "/login%", 503),
    ] {
        assert_eq!(app.ask(method.clone(), path).await.status(), status, "{method} {path}");
    }
    app.flag("[routes]\napp = \"offline\"\n");
    app.until(503).await;
    assert_eq!(app.ask(Method::POST, "/login").await.status(), 503);
    let error = MaintenanceLayer::builder("app", &app.file).allow_in_read_only(Method::POST, "login").start();
    assert!(error.unwrap_err().to_string().contains("`login` is not a path"));
}

/// Fails where an answer of the layer has no id.
#[tokio::test]
async fn an_answer_of_the_layer_has_the_id_that_the_app_gave_or_a_new_one() {
    let app = App::new("[routes]\napp = \"offline\"\n", Hold::default());
    let ask = async |path: &str, given: Option<&str>| {
        let service = service_fn(|_: Request<()>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(axum::body::Body::empty())))
        });
        let mut request = Request::get(path);
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let service = ServiceBuilder::new().layer(app.layer.clone()).service(service);
        let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    let long = "x".repeat(129);
    for path in ["/", "/.backsoon/status", "/.backsoon/badge.svg"] {
        assert_eq!(ask(path, Some("abc-1")).await, "abc-1");
        for given in [None, Some(""), Some("a b"), Some(long.as_str())] {
            assert_eq!(ask(path, given).await.len(), 32, "{given:?}");
        }
        assert_ne!(ask(path, None).await, ask(path, None).await);
    }
}

/// Fails where the badge is a path of the app.
#[tokio::test]
async fn the_badge_says_whether_the_app_is_closed() {
    let app = App::new("[routes]\napp = \"offline\"\n", Hold::default());
    let badge = async || {
        let response = app.ask(Method::GET, "/.backsoon/badge.svg").await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["access-control-allow-origin"].as_bytes()),
            (200, &b"*"[..])
        );
        assert!(response.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("image/svg+xml"));
        axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await.unwrap()
    };
    let closed = badge().await;
    app.flag("[routes]\n");
    app.until(200).await;
    assert_ne!(badge().await, closed);
    assert_eq!(app.ask(Method::OPTIONS, "/.backsoon/badge.svg").await.status(), 204);
}

/// Fails where a page of the layer has to look for itself.
#[tokio::test]
async fn a_watcher_is_told_of_a_new_page_and_of_the_opening_and_streams_end_with_the_app() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("maintenance.toml");
    fs::write(&file, "[routes]\napp = \"offline\"\n").unwrap();
    let layer = MaintenanceLayer::builder("app", &file).events().start().unwrap();
    let app = App { file, layer, _dir: dir };
    let follow = async || {
        let response = app.ask(Method::GET, "/.backsoon/events/x").await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        Box::pin(response.into_body())
    };
    let next = async |stream: &mut std::pin::Pin<Box<MaintenanceBody<axum::body::Body>>>| {
        let frame = std::future::poll_fn(|cx| stream.as_mut().poll_frame(cx));
        let frame = tokio::time::timeout(Duration::from_secs(20), frame).await.expect("it is told");
        frame.map(|frame| String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    };
    let mut stream = follow().await;
    let first = next(&mut stream).await.unwrap();
    assert!(first.contains("event: clock") && first.contains("event: page"), "{first}");
    app.flag("[routes]\napp = { mode = \"offline\", message = \"Moving.\" }\n");
    let page = next(&mut stream).await.unwrap();
    assert!(page.starts_with("event: page\n") && !first.contains(page.trim()), "{page}");
    let mut other = follow().await;
    next(&mut other).await.unwrap();
    app.flag("[routes]\n");
    assert!(next(&mut stream).await.unwrap().starts_with("event: open\n"));
    assert_eq!(next(&mut stream).await, None);
    drop((stream, other));
    app.flag("[routes]\napp = \"offline\"\n");
    app.until(503).await;
    let mut stream = follow().await;
    next(&mut stream).await.unwrap();
    app.layer.end_events();
    assert_eq!(next(&mut stream).await, None);
    assert_eq!(next(&mut follow().await).await, None);
}

/// The layer around the whole app keeps axum from adding `Allow`, and the layer inside does not.
#[tokio::test]
async fn the_page_of_a_wrapped_router_has_no_allow() {
    let app = App::new("[routes]\napp = \"offline\"\n", Hold::default());
    let router = || axum::Router::new().route("/", axum::routing::get(async || "hello"));
    let ask = || Request::post("/").body(axum::body::Body::empty()).unwrap();
    let inside = router().layer(app.layer.clone()).oneshot(ask()).await.unwrap();
    assert!(inside.headers().contains_key(ALLOW), "axum adds it");
    let wrapped = axum::Router::new().fallback_service(router()).layer(app.layer.clone()).oneshot(ask()).await.unwrap();
    assert_eq!((wrapped.status().as_u16(), wrapped.headers().get(ALLOW)), (503, None));
}

#[tokio::test]
async fn requests_on_hold_wait_for_the_app_within_their_limits() {
    let hold = Hold { max_wait: Duration::from_secs(20), max_held: 2, release: 1000.0 };
    let app = App::new("[routes]\napp = \"hold\"\n", hold);
    let (one, two) = (app.ask(Method::GET, "/"), app.ask(Method::POST, "/"));
    let rest = async {
        while app.layer.shared.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        // There is no place left.
        assert_eq!(app.ask(Method::GET, "/").await.status(), 503);
        app.flag("[routes]\n");
    };
    let (one, two, ()) = tokio::join!(one, two, rest);
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    assert_eq!(app.layer.shared.waiting(), 0);
}

/// Fails where nobody can ask a layer: there was no status.
#[tokio::test]
async fn the_status_tells_when_the_app_has_drained_and_what_of_the_file_is_in_force() {
    let app = App::new("[routes]\n", Hold::default());
    let told = || serde_json::from_str::<serde_json::Value>(&app.layer.status_json()).unwrap();
    let route = |key: &str| told()["routes"][0][key].clone();
    assert_eq!((route("phase"), route("in_flight"), route("name")), ("open".into(), 0.into(), "app".into()));
    let (read, written) = (app.ask(Method::GET, "/").await, app.ask(Method::POST, "/").await);
    assert_eq!(route("in_flight"), 2, "a response counts until its body is dropped");
    let flags = "[routes]\napp = \"offline\"\n";
    app.flag(flags);
    app.until(503).await;
    assert_eq!((route("phase"), route("mode"), route("remaining")), ("draining".into(), "offline".into(), 2.into()));
    assert_eq!(route("source"), "flag");
    drop((read, written));
    assert_eq!((route("phase"), route("in_flight"), route("remaining")), ("closed".into(), 0.into(), ().into()));
    let until = async |what: &str, condition: &dyn Fn(&serde_json::Value) -> bool| {
        let met = async {
            while !condition(&told()["files"][0]) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), met).await.expect(what);
    };
    let hash = crate::files::source::Hash::of(flags.as_bytes()).to_string();
    until("the file in force", &|file| file["in_force"]["hash"] == hash).await;
    app.flag("[routes]\napp = \"of\"\n");
    until("the mistake", &|file| !file["problems"][0].is_null()).await;
    assert_eq!(told()["files"][0]["in_force"]["hash"], hash);
}

#[tokio::test]
async fn requests_on_hold_go_on_in_the_order_of_their_arrival() {
    let hold = Hold { release: 100.0, ..Hold::default() };
    let app = App::new("[routes]\napp = \"hold\"\n", hold);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut asked = Vec::new();
    for number in 0..30 {
        let order = Arc::clone(&order);
        let service = service_fn(move |_: Request<()>| {
            order.lock().unwrap().push(number);
            std::future::ready(Ok::<_, Infallible>(Response::new(axum::body::Body::empty())))
        });
        let service = ServiceBuilder::new().layer(app.layer.clone()).service(service);
        asked.push(tokio::spawn(service.oneshot(Request::new(()))));
        while app.layer.shared.waiting() <= number {
            tokio::task::yield_now().await;
        }
    }
    let began = std::time::Instant::now();
    app.flag("[routes]\n");
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
    assert!(began.elapsed() > Duration::from_millis(200), "at the rate, not all at once");
    assert_eq!(*order.lock().unwrap(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_on_hold_get_the_page_without_a_turn_when_the_app_goes_offline() {
    let hold = Hold { release: 1.0 / 60.0, ..Hold::default() };
    let app = App::new("[routes]\napp = \"hold\"\n", hold);
    let (one, two) = (app.ask(Method::GET, "/"), app.ask(Method::POST, "/"));
    let rest = async {
        while app.layer.shared.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        app.flag("[routes]\napp = \"offline\"\n");
    };
    let asked = async { tokio::join!(one, two, rest) };
    let (one, two, ()) = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("neither waits for a turn");
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (503, 503));
    assert_eq!(app.layer.shared.waiting(), 0);
}

#[tokio::test]
async fn who_waits_in_vain_gets_the_page_and_who_leaves_frees_the_place() {
    let hold = Hold { max_wait: Duration::from_millis(50), max_held: 10, release: 1000.0 };
    let app = App::new("[routes]\napp = \"hold\"\n", hold);
    assert_eq!(app.ask(Method::GET, "/").await.status(), 503);
    let left = tokio::time::timeout(Duration::from_millis(1), app.ask(Method::GET, "/")).await;
    assert!(left.is_err());
    assert_eq!(app.layer.shared.waiting(), 0);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("maintenance.toml");
    fs::write(&file, "[routes]\napp = \"of\"\n").unwrap();
    let error = MaintenanceLayer::builder("app", &file).start().unwrap_err();
    assert!(error.to_string().contains("unknown mode `of`"), "{error}");
    let error = MaintenanceLayer::builder("my app", &file).always_open("healthz").start().unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}

/// App that accepts every request reaching it, and counts.
struct Wildcard {
    app: App,
    router: axum::Router,
    calls: Arc<AtomicUsize>,
}

impl Wildcard {
    /// Returns an app in one of [`PHASES`]. Its queue has no places, so a request that would wait gets the page at once.
    fn new(phase: &str) -> Self {
        let flags = if phase == "open" { String::new() } else { format!("[routes]\napp = \"{phase}\"\n") };
        let app = App::new(&flags, Hold { max_held: 0, ..Hold::default() });
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let handler = async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            "the app"
        };
        let router = axum::Router::new().route("/", any(handler.clone())).route("/{*rest}", any(handler.clone()));
        Self { router: router.fallback(handler).layer(app.layer.clone()), app, calls }
    }

    /// Asks, and returns true if the app was reached, with the status of the answer.
    async fn ask(&self, method: &Method, target: &str) -> (bool, u16) {
        let before = self.calls.load(Ordering::SeqCst);
        let request = Request::builder().method(method).uri(target).header("host", "a").header("accept", "text/html");
        let response = self.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        (self.calls.load(Ordering::SeqCst) > before, response.status().as_u16())
    }

    /// Returns true if a proxy before the app would forward the request.
    fn proxy_forwards(&self, method: &Method, target: &str) -> bool {
        let live = self.app.layer.shared.live();
        let uri: http::Uri = target.parse().unwrap();
        let fields = http::HeaderMap::new();
        let head = Head { method, host: "a", path: uri.path(), query: uri.query(), ..Head::unknown(&fields) };
        target::check(method, &uri).is_ok() && matches!(decide(&live.snapshot, head), Verdict::Forward(..))
    }
}

#[tokio::test]
async fn nothing_reaches_a_closed_app_that_is_not_excepted() {
    let mut wrong = Vec::new();
    for phase in PHASES {
        let wildcard = Wildcard::new(phase);
        for method in METHODS.map(|name| Method::from_bytes(name.as_bytes()).unwrap()) {
            for target in targets() {
                let (reached, status) = wildcard.ask(&method, &target).await;
                let case = format!("{phase}: {method} {target:.80} => {status}");
                let readable = READABLE.contains(&target.as_str()) || target.starts_with("/x/x/x");
                let is_read = matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "QUERY");
                let tunnels = matches!(method.as_str(), "CONNECT" | "TRACE");
                let excepted =
                    EXCEPTED.contains(&target.as_str()) && !tunnels || WELL_KNOWN.contains(&target.as_str()) && is_read;
                let is_propfind = method.as_str() == "PROPFIND";
                let asks_star = target == "*" && method == Method::OPTIONS;
                let expected = match phase {
                    "open" => {
                        !(OWN.contains(&target.as_str()) && matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS"))
                    }
                    "read-only" => {
                        let readable = readable || WELL_KNOWN.contains(&target.as_str());
                        excepted || (is_read || is_propfind) && readable || asks_star
                    }
                    _ => excepted,
                };
                let agrees = phase == "open" || reached == wildcard.proxy_forwards(&method, &target);
                if reached != expected || !agrees {
                    wrong.push(format!("{case}: reached {reached}, expected {expected}, as the proxy {agrees}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_the_page_while_the_app_is_closed() {
    for phase in ["offline", "read-only", "hold"] {
        let app = App::new(&format!("[routes]\napp = \"{phase}\"\n"), Hold::default());
        for target in ["/100%", "/a/..;/b", "/x%00", "/.backsoon/events/", "/.backsoon/none"] {
            let response = app.ask(Method::POST, target).await;
            assert_eq!(response.status(), 503, "{phase} {target}");
            assert!(response.headers().contains_key(RETRY_AFTER), "{phase} {target}");
            assert!(!response.headers().contains_key(REFRESH), "a form is not sent again: {phase} {target}");
        }
    }
}

/// The page of such a path asks for its status as well, and learns that the app is open.
#[tokio::test]
async fn the_status_is_told_whatever_path_follows() {
    let app = App::new("[routes]\napp = \"offline\"\n", Hold::default());
    let paths = ["/.backsoon/status", "/.backsoon/status/100%", "/.backsoon/status/a/..;/b"];
    for path in paths {
        assert_eq!(app.ask(Method::GET, path).await.status(), 200, "{path}");
    }
    app.flag("[routes]\n");
    app.until(200).await;
    for path in paths {
        let response = app.ask(Method::GET, path).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        let page = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&page).contains("data-phase=\"open\""), "{path}");
    }
}

const PHASES: [&str; 4] = ["open", "offline", "read-only", "hold"];

/// Methods of HTTP, of its extensions, and lookalikes that are neither.
const METHODS: [&str; 14] = [
    "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "QUERY", "get", "GETX",
    "M-SEARCH",
];

const EXCEPTED: [&str; 4] = ["/healthz", "/healthz/", "/healthz/deep", "http://a/healthz"];
const WELL_KNOWN: [&str; 2] = ["/robots.txt", "/.well-known/acme-challenge/token"];
const OWN: [&str; 4] = ["/.backsoon/status", "/.backsoon/status/", "//.backsoon/status/x", "/.backsoon/badge.svg"];

/// Targets with a normal form, outside the layer's own paths.
const READABLE: [&str; 34] = [
    "/",
    "/x",
    "//",
    "/x//y",
    "/?q=%",
    "/x?a=/../b",
    "/x;v=1",
    "/;",
    "/x\\y",
    "/%2f",
    "/x%2fy",
    "/a/./b",
    "/a/../b",
    "/a/%2e%2e/b",
    "/%2561dmin",
    "/%25",
    "/%25%32%66",
    "/healthzz",
    "/healthz;x",
    "/healthz/../x",
    "/healthz%2fx",
    "//healthz",
    "/%68ealthz",
    "/healthz/..%2fx",
    "/HEALTHZ",
    "/robots.txt;x",
    "http://a/",
    "http://a/x",
    "https://a/x",
    "http://a",
    "http://a?q",
    "http://b.example:81/x",
    "/.backsoonish",
    "/%ff",
];

/// Returns all targets above, and others: without a normal form, of the layer's own, or in a form of another method.
fn targets() -> Vec<String> {
    let others = [
        "/100%",
        "/%",
        "/%zz",
        "/%4",
        "/a/..;/b",
        "/a/.;x/b",
        "/../x",
        "/..",
        "/x/../../y",
        "/%2e%2e/x",
        "/x%00",
        "/x%0a",
        "/x%0d%0aa:b",
        "/x%7f",
        "/%1b",
        "/healthz/../../x",
        "/healthz/..;/x",
        "/healthz%00",
        "/healthz%",
        "/.backsoon",
        "/.backsoon/",
        "/.backsoon/none",
        "/.backsoon/events",
        "/.backsoon/events/x",
        "/.backsoon/bypass?token=x",
        "/.BACKSOON/../.backsoon/x",
        "/%2ebacksoon/x",
        "*",
        "a:80",
        "a",
        "ftp://a/x",
        "ws://a/x",
        "http://a/100%",
    ];
    let long = ["/x".repeat(10_000), format!("/{}%", "x".repeat(20_000)), format!("/{}", "%2e%2e/".repeat(5_000))];
    let all = READABLE.iter().chain(&EXCEPTED).chain(&WELL_KNOWN).chain(&OWN).chain(&others);
    all.map(|target| (*target).to_owned()).chain(long).collect()
}
