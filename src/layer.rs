//! The same gate in-process: a tower layer for axum and hyper apps, fed by the same flag file.
//!
//! There is no proxy here: the app answers, unless the flag file says otherwise; then its clients get the finished page,
//! in their dialect, as they would from the proxy. A file that is wrong changes nothing, as there. `offline`, `read-only`
//! and `hold` mean the same; draining, checks, ramps and guards are a proxy's business and not done here. Neither are
//! shares of a hold: the layer knows no client's address, so one client may take all places.
//!
//! Nothing reaches a closed app that the proxy would not forward. A path without a normal form (`/100%`), a target of
//! another form than its method's, CONNECT, TRACE and all below `/.backsoon` get the page then. An open app gets them, but
//! for `/.backsoon/status`. Which methods a read-only app takes besides the safe ones cannot be said here.
//!
//! ```
//! use backsoon::layer::MaintenanceLayer;
//!
//! # let dir = tempfile::tempdir()?;
//! # let file = dir.path().join("maintenance.toml");
//! # std::fs::write(&file, "[routes]\nweb = \"offline\"\n")?;
//! // `web` is the name that the flag file has for this app.
//! let maintenance = MaintenanceLayer::builder("web", &file).brand("Example").always_open("/healthz").start()?;
//!
//! let app = axum::Router::new()
//!     .route("/", axum::routing::get(async || "hello"))
//!     .layer(maintenance);
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! use tower::ServiceExt as _;
//! let request = axum::extract::Request::get("/").body(axum::body::Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.status(), 503);
//! assert!(response.headers().contains_key("retry-after"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod body;
mod future;
mod queue;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::plan::answer::{MAINTENANCE_FIELD, Question, dress};
use crate::plan::config::{Exception, Hold, PageConfig, Policy};
use crate::plan::path::Prefix;
use crate::plan::problem::Problem;
use crate::plan::snapshot::{Closure, Route};
use crate::plan::verdict::Head;
use crate::plan::within::{Within, decide_within};

pub use body::MaintenanceBody;
pub use future::MaintenanceFuture;
use queue::Place;
use watch::{Live, Shared};

/// See the module's description. Clones share one watch of the file, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct MaintenanceLayer {
    shared: Arc<Shared>,
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub struct Maintenance<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// What a [`MaintenanceLayer`] is made of.
#[derive(Clone, Debug)]
pub struct Builder {
    route: String,
    flag_file: PathBuf,
    page: PageConfig,
    always_open: Vec<String>,
    hold: Hold,
}

/// Why a layer was not started. Each problem says what would be right.
#[derive(Debug)]
pub struct StartError {
    /// All that is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl MaintenanceLayer {
    /// A layer for the app that the flag file calls `route`. A flag file that is not there flags nothing.
    pub fn builder(route: impl Into<String>, flag_file: impl AsRef<Path>) -> Builder {
        Builder {
            route: route.into(),
            flag_file: flag_file.as_ref().to_owned(),
            page: PageConfig::default(),
            always_open: Vec::new(),
            hold: Hold::default(),
        }
    }
}

impl Builder {
    /// Whose page it is.
    #[must_use]
    pub fn brand(mut self, brand: impl Into<String>) -> Self {
        self.page.brand = Some(brand.into());
        self
    }

    /// How the page is given, in full. What refers to files (`dir`, `logo`) is not looked at.
    #[must_use]
    pub fn page(mut self, page: PageConfig) -> Self {
        self.page = PageConfig { dir: None, logo: None, ..page };
        self
    }

    /// A path that stays open with all below it, whatever is flagged.
    #[must_use]
    pub fn always_open(mut self, path: impl Into<String>) -> Self {
        self.always_open.push(path.into());
        self
    }

    /// How requests wait while the app is on hold.
    #[must_use]
    pub fn hold(mut self, hold: Hold) -> Self {
        self.hold = hold;
        self
    }

    /// Reads the flag file, and watches it from now on.
    ///
    /// # Errors
    /// If the file is there and wrong, the route's name is none, or a path is none.
    pub fn start(self) -> Result<MaintenanceLayer, StartError> {
        let wrong = |message: String, help: &str| Problem::error("the layer", message).help(help);
        let mut problems = Vec::new();
        let mut always_open = Vec::new();
        for path in &self.always_open {
            match Prefix::new(path) {
                Ok(path) => always_open.push(Exception { path, answer: None }),
                Err(_) => problems.push(wrong(format!("`{path}` is not a path"), "write one like `/healthz`")),
            }
        }
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if self.route.is_empty() || !self.route.chars().all(named) {
            let help = "a name is made of letters, digits, `_`, `.` and `-`";
            problems.push(wrong(format!("`{}` cannot be the name of a route", self.route), help));
        }
        if !problems.is_empty() {
            return Err(StartError { problems });
        }
        let policy = Policy { hold: self.hold, ..Policy::default() };
        let shared = watch::start(self.route, self.flag_file, self.page, always_open, policy);
        shared.map(|shared| MaintenanceLayer { shared }).map_err(|problems| StartError { problems })
    }
}

impl<S> Layer<S> for MaintenanceLayer {
    type Service = Maintenance<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Maintenance { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<S, B, R> Service<Request<B>> for Maintenance<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<MaintenanceBody<R>>;
    type Error = S::Error;
    type Future = MaintenanceFuture<S, B>;

    /// Ready when the app is: one that pushes back has its page wait, too.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let live = self.shared.live();
        match decide(&live, &request) {
            Decision::Pass(notice) => MaintenanceFuture::passed(self.inner.call(request), notice),
            Decision::Answer(answer) => MaintenanceFuture::answered(answer),
            Decision::Hold(page) => {
                match Place::take(&self.shared.holds, &live.route().config.name, self.shared.hold) {
                    // The service that is ready is the one that was asked: it goes along.
                    Some(place) => {
                        let fresh = self.inner.clone();
                        let ready = std::mem::replace(&mut self.inner, fresh);
                        MaintenanceFuture::held(ready, request, Arc::clone(&self.shared), place)
                    }
                    None => MaintenanceFuture::answered(page),
                }
            }
        }
    }
}

/// What becomes of a request.
enum Decision {
    /// The app answers, and this is told with its answer.
    Pass(Option<http::HeaderValue>),
    Answer(Response<Bytes>),
    /// It waits; in vain, this is its answer.
    Hold(Response<Bytes>),
}

fn decide<B>(live: &Live, request: &Request<B>) -> Decision {
    let (uri, headers) = (request.uri(), request.headers());
    let head = Head {
        method: request.method(),
        host: uri.authority().map_or("", http::uri::Authority::as_str),
        path: uri.path(),
        query: uri.query(),
        elapsed: live.published.elapsed(),
        ..Head::unknown(headers)
    };
    match decide_within(&live.snapshot, live.route(), uri, head) {
        Within::Pass(route) => Decision::Pass(route.notice.clone()),
        Within::Show(route, closure) => Decision::Answer(page(live, route, closure, request)),
        Within::Hold(route, closure) => Decision::Hold(page(live, route, closure, request)),
        Within::Status(route) => Decision::Answer(status(live, route, request)),
    }
}

/// The page of the closed app.
fn page<B>(live: &Live, route: &Route, closure: &Closure, request: &Request<B>) -> Response<Bytes> {
    let renderer = &live.snapshot.renderer;
    let (method, headers) = (request.method(), request.headers());
    let want = renderer.want(route.config.dialect, method, request.uri().query(), headers);
    let rendered = closure.page.rendered(want);
    let body = if *method == Method::HEAD { Bytes::new() } else { rendered.body.clone() };
    let mut response = Response::new(body);
    *response.status_mut() = rendered.status;
    response.headers_mut().clone_from(&rendered.head);
    let question = Question { method, headers, elapsed: live.published.elapsed() };
    let cors = &renderer.config.cors;
    dress(response.headers_mut(), rendered.status, closure, want, cors, question, |most| fastrand::u64(1..=most));
    if rendered.status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// The status of the app, for anybody: its page with status 200, or that it is open.
fn status<B>(live: &Live, route: &Route, request: &Request<B>) -> Response<Bytes> {
    let mut response = match &route.closure {
        Some(closure) => page(live, route, closure, request),
        None => Response::new(route.open.clone()),
    };
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.remove(RETRY_AFTER);
    headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if route.closure.is_none() {
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    }
    response
}

/// Tells a client that the app is read-only, or what is announced.
fn insert_notice<R>(response: &mut Response<R>, notice: Option<http::HeaderValue>) {
    if let Some(notice) = notice {
        response.headers_mut().insert(MAINTENANCE_FIELD, notice);
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests;
