use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http_body::Body as _;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::*;

/// An app behind the gate, and the flag file that it follows.
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
        let app = service_fn(async |_: Request<()>| {
            let mut response = Response::new(axum::body::Body::from("hello"));
            response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET"));
            Ok::<_, Infallible>(response)
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
    // A file that is wrong changes nothing.
    app.flag("[routes]\napp = \"of\"\n");
    while app.layer.shared.refused() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(app.ask(Method::GET, "/").await.status(), 503);
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

#[tokio::test]
async fn requests_on_hold_wait_for_the_app_within_their_limits() {
    let hold = Hold { max_wait: Duration::from_secs(20), max_held: 2, release: 1000.0 };
    let app = App::new("[routes]\napp = \"hold\"\n", hold);
    let (one, two) = (app.ask(Method::GET, "/"), app.ask(Method::POST, "/"));
    let rest = async {
        while app.layer.shared.queue.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        // There is no place left.
        assert_eq!(app.ask(Method::GET, "/").await.status(), 503);
        app.flag("");
    };
    let (one, two, ()) = tokio::join!(one, two, rest);
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    assert_eq!(app.layer.shared.queue.waiting(), 0);
}

#[tokio::test]
async fn who_waits_in_vain_gets_the_page_and_who_leaves_frees_the_place() {
    let hold = Hold { max_wait: Duration::from_millis(50), max_held: 10, release: 1000.0 };
    let app = App::new("[routes]\napp = \"hold\"\n", hold);
    assert_eq!(app.ask(Method::GET, "/").await.status(), 503);
    let left = tokio::time::timeout(Duration::from_millis(1), app.ask(Method::GET, "/")).await;
    assert!(left.is_err());
    assert_eq!(app.layer.shared.queue.waiting(), 0);
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
