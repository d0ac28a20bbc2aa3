//! Maintenance inside an app: a [tower](https://docs.rs/tower) layer for axum and hyper, driven by the proxy's flag file.
//!
//! The layer watches the flag file. While the file says nothing about the app, every request reaches it. Once the file
//! flags the app, the layer answers with the finished maintenance page, in the form that each client understands.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! backsoon = { version = "0.1", default-features = false, features = ["layer"] }
//! ```
//!
//! ```
//! use backsoon::layer::MaintenanceLayer;
//!
//! # let dir = tempfile::tempdir()?;
//! # let file = dir.path().join("maintenance.toml");
//! # std::fs::write(&file, "[routes]\nweb = \"offline\"\n")?;
//! // `file` is the path of the flag file, and `web` is the app's name in it.
//! let maintenance = MaintenanceLayer::builder("web", &file).brand("Example").always_open("/healthz").start()?;
//!
//! let app = axum::Router::new()
//!     .route("/", axum::routing::get(async || "hello"))
//!     .layer(maintenance);
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//!
//! // With `web = "offline"` below `[routes]` in the file, a request gets the page:
//! use tower::ServiceExt as _;
//! let request = axum::extract::Request::get("/").body(axum::body::Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.status(), 503);
//! assert!(response.headers().contains_key("retry-after"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! [`MaintenanceLayer::builder`] begins, [`Builder`] has the options, and [`Builder::start`] returns the layer. The layer
//! works under any tokio runtime with time enabled. A thread of its own reads the file and makes the pages.
//!
//! # The flag file
//!
//! | in the file, below `[routes]` | effect |
//! |---|---|
//! | nothing, or no file | the app answers |
//! | `web = "offline"` | every request gets the page, with status 503 |
//! | `web = "read-only"` | GET, HEAD and other safe methods reach the app |
//! | `web = "hold"` | requests wait for the app, in the order of their arrival |
//! | a table `[[windows]]` instead | the same, planned for a time |
//!
//! An edit is live within milliseconds. When an app on hold goes offline, the waiting requests get the page at once. A
//! file with a mistake changes nothing and is logged through `tracing`.
//!
//! # Differences from the proxy
//!
//! Draining, checks, ramps, guards and bypass belong to the proxy alone. The layer knows no client's
//! address, so a hold has no shares: one client may take all places.
//!
//! A closed app receives nothing that the proxy would not forward. The page answers paths without a normal form
//! (`/100%`), CONNECT, TRACE, targets in a form of another method, and everything below `/.backsoon`. An open app
//! receives all of these, except for `/.backsoon/status` and `/.backsoon/badge.svg`.
//!
//! `Router::layer` of axum puts the layer behind axum's choice of a route, and axum adds `Allow` to the page then. Wrap
//! the whole app instead: `Router::new().fallback_service(app).layer(maintenance)`.

mod body;
mod events;
mod flights;
mod future;
mod queue;
mod report;
mod respond;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::plan::app::{AppResource, AppVerdict, decide_in_app};
use crate::plan::config::{Allowed, Exception, Policy};
use crate::plan::path::PathPattern;
use crate::plan::verdict::Head;

/// Limits of a hold, for [`Builder::hold`].
///
#[doc(inline)]
pub use crate::plan::config::Hold;
/// Options of the page, for [`Builder::page`].
///
#[doc(inline)]
pub use crate::plan::config::PageConfig;
#[doc(inline)]
pub use crate::plan::problem::Problem;
pub use body::MaintenanceBody;
use events::{Events, Telling};
pub use future::MaintenanceFuture;
use queue::Place;
use respond::{badge, events_head, page, preflight, status};
use watch::{Live, Shared};

/// Layer that answers for an app under maintenance; see the [module's description](self).
///
/// Clones share one watch of the flag file, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct MaintenanceLayer {
    shared: Arc<Shared>,
}

/// Service of an app behind a [`MaintenanceLayer`].
#[derive(Clone, Debug)]
pub struct Maintenance<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Options of a [`MaintenanceLayer`], from [`MaintenanceLayer::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    route: String,
    flag_file: PathBuf,
    page: PageConfig,
    always_open: Vec<String>,
    writable: Vec<(Method, String)>,
    hold: Hold,
    telling: Telling,
}

/// Problems that kept a layer from starting. Each says what would be right.
#[derive(Debug)]
pub struct StartError {
    /// All problems found; never empty.
    pub problems: Vec<Problem>,
}

impl MaintenanceLayer {
    /// Begins a layer for the app that the flag file calls `route`. A missing flag file flags nothing.
    pub fn builder(route: impl Into<String>, flag_file: impl AsRef<Path>) -> Builder {
        Builder {
            route: route.into(),
            flag_file: flag_file.as_ref().to_owned(),
            page: PageConfig::default(),
            always_open: Vec::new(),
            writable: Vec::new(),
            hold: Hold::default(),
            telling: Telling::default(),
        }
    }

    /// Ends all event streams, and those to come, so that a graceful shutdown does not wait for open pages. See
    /// [`Builder::events`].
    pub fn end_events(&self) {
        self.shared.watchers.end();
    }

    /// Returns the state of the app and of the flag file as JSON, in the form of the proxy's `/status`.
    ///
    /// Serve it as `/status` on an address for operators, and the commands can ask it: `backsoon status 127.0.0.1:9901`,
    /// and `backsoon on web --flags maintenance.toml --admin 127.0.0.1:9901 --wait`. Nobody else should see it.
    ///
    /// ```
    /// # use backsoon::layer::MaintenanceLayer;
    /// # fn admin(maintenance: MaintenanceLayer) -> axum::Router {
    /// axum::Router::new().route("/status", axum::routing::get(async move || maintenance.status_json()))
    /// # }
    /// ```
    pub fn status_json(&self) -> String {
        serde_json::to_string_pretty(&report::status(&self.shared)).unwrap_or_default()
    }
}

impl Builder {
    /// Sets the name above the page.
    #[must_use]
    pub fn brand(mut self, brand: impl Into<String>) -> Self {
        self.page.brand = Some(brand.into());
        self
    }

    /// Sets all options of the page, the brand included. Those that refer to files (`dir`, `logo`) are ignored.
    ///
    /// ```
    /// # use backsoon::layer::{MaintenanceLayer, PageConfig};
    /// # let builder = MaintenanceLayer::builder("web", "maintenance.toml");
    /// let page = PageConfig { brand: Some("Example".into()), language: "de".into(), ..PageConfig::default() };
    /// let builder = builder.page(page);
    /// ```
    #[must_use]
    pub fn page(mut self, page: PageConfig) -> Self {
        self.page = PageConfig { dirs: Vec::new(), logo: None, programs: Vec::new(), ..page };
        self
    }

    /// Keeps a path open, with everything below it, whatever is flagged.
    #[must_use]
    pub fn always_open(mut self, path: impl Into<String>) -> Self {
        self.always_open.push(path.into());
        self
    }

    /// Lets a method reach a path, with everything below it, while the app is read-only. Safe methods always may.
    ///
    /// ```
    /// # use backsoon::layer::MaintenanceLayer;
    /// # let builder = MaintenanceLayer::builder("web", "maintenance.toml");
    /// let builder = builder.allow_in_read_only(http::Method::POST, "/login");
    /// ```
    #[must_use]
    pub fn allow_in_read_only(mut self, method: Method, path: impl Into<String>) -> Self {
        self.writable.push((method, path.into()));
        self
    }

    /// Sets how many requests wait while the app is on hold, for how long, and how fast they return.
    ///
    /// ```
    /// # use backsoon::layer::{Hold, MaintenanceLayer};
    /// # let builder = MaintenanceLayer::builder("web", "maintenance.toml");
    /// let builder = builder.hold(Hold { max_held: 100, ..Hold::default() });
    /// ```
    #[must_use]
    pub fn hold(mut self, hold: Hold) -> Self {
        self.hold = hold;
        self
    }

    /// Tells open pages at once when they change, and when the app is back. Without it a page looks every half minute.
    ///
    /// Each open page holds a connection then, and a response that does not end while the app is closed. An app that waits
    /// for its connections before it exits has to call [`MaintenanceLayer::end_events`].
    #[must_use]
    pub fn events(mut self) -> Self {
        self.telling = Telling::AtOnce;
        self
    }

    /// Reads the flag file, and watches it from now on.
    ///
    /// # Errors
    /// If the flag file has an error, the route's name is not a name, or an open path is not a path.
    pub fn start(self) -> Result<MaintenanceLayer, StartError> {
        let wrong = |message: String, help: &str| Problem::error("the layer", message).help(help);
        let mut problems = Vec::new();
        let mut pattern = |path: &str| match PathPattern::new(path) {
            Ok(path) => Some(path),
            Err(_) => {
                problems.push(wrong(format!("`{path}` is not a path"), "write one like `/healthz`"));
                None
            }
        };
        let always_open =
            self.always_open.iter().filter_map(|path| Some(Exception { path: pattern(path)?, answer: None }));
        let always_open: Vec<Exception> = always_open.collect();
        let allowed =
            |(method, path): &(Method, String)| Some(Allowed { method: Some(method.clone()), path: pattern(path)? });
        let read_only: Vec<Allowed> = self.writable.iter().filter_map(allowed).collect();
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if self.route.is_empty() || !self.route.chars().all(named) {
            let help = "a name is made of letters, digits, `_`, `.` and `-`";
            problems.push(wrong(format!("`{}` cannot be the name of a route", self.route), help));
        }
        if !problems.is_empty() {
            return Err(StartError { problems });
        }
        let policy = Policy { hold: self.hold, read_only, ..Policy::default() };
        let shared =
            watch::start(self.flag_file, self.page, self.telling, watch::config(self.route, always_open, policy));
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

    /// Ready when the app is: while the app pushes back, its page waits as well.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (live, flight) = self.shared.enter(request.method());
        match decide(&live, &request) {
            Decision::Pass(notice) => MaintenanceFuture::passed(self.inner.call(request), notice, flight),
            Decision::Answer(answer) => MaintenanceFuture::answered(answer),
            Decision::Watch(head) => match Events::begin(&self.shared) {
                Some(events) => MaintenanceFuture::watching(head, events),
                None => MaintenanceFuture::answered(head.map(|_| events::once(&live))),
            },
            Decision::Hold(page) => {
                match Place::take(&self.shared.holds, &live.route().config.name, self.shared.hold) {
                    // Only the service that was polled is ready, so it travels with the request.
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

/// Decision about a request.
enum Decision {
    /// The app answers, and its answer gets this notice.
    Pass(Option<http::HeaderValue>),
    Answer(Response<Bytes>),
    /// A stream of events answers, with this head.
    Watch(Response<Bytes>),
    /// The request waits. This is the answer if the wait is in vain.
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
    match decide_in_app(&live.snapshot, live.route(), uri, head) {
        AppVerdict::Pass(route) => Decision::Pass(route.notice.clone()),
        AppVerdict::Show(route, closure) => Decision::Answer(page(live, route, closure, request)),
        AppVerdict::Hold(route, closure) => Decision::Hold(page(live, route, closure, request)),
        AppVerdict::Own(AppResource::Events, route) if live.telling == Telling::Never => match &route.closure {
            Some(closure) => Decision::Answer(page(live, route, closure, request)),
            None => Decision::Pass(route.notice.clone()),
        },
        AppVerdict::Own(..) if *request.method() == Method::OPTIONS => Decision::Answer(preflight(request)),
        AppVerdict::Own(AppResource::Status, route) => Decision::Answer(status(live, route, request)),
        AppVerdict::Own(AppResource::Badge, route) => Decision::Answer(badge(route, request)),
        AppVerdict::Own(AppResource::Events, _) if *request.method() == Method::HEAD => {
            Decision::Answer(events_head(request))
        }
        AppVerdict::Own(AppResource::Events, _) => Decision::Watch(events_head(request)),
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
