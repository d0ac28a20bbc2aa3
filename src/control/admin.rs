//! The admin listener: a page for people, `/livez`, `/readyz`, `/metrics`, `/status`, `/events` and `/verify`. Operators
//! and probes use the listener, never visitors. Flags do not matter to it, and nothing can be changed through it unless
//! the config says who may ([`write`]).

mod followers;
mod page;
mod verify;
mod write;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::live::{Reader, Stage};
use crate::status::{RouteStatus, Status};
use crate::telemetry::Meters;

use super::fleet::FleetReport;
use super::lookout::Lookout;
use super::metrics::{self, MetricsFormat, Scraped};
use super::observe::Observations;
use super::report::{self, Report};
use super::subscribers::OutboxView;
use followers::{Connection, Events};
use write::Caller;

pub(super) use followers::Followers;
pub(super) use page::Page;
pub(super) use write::{Write, unusable};

/// The socket of the admin listener.
#[derive(Debug)]
pub(crate) enum AdminListener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl AdminListener {
    /// Returns the address as a command writes it: `127.0.0.1:9901` or `unix:/run/backsoon/admin.sock`.
    pub(crate) fn address(&self) -> Option<String> {
        match self {
            Self::Tcp(listener) => Some(listener.local_addr().ok()?.to_string()),
            Self::Unix(listener) => Some(format!("unix:{}", listener.local_addr().ok()?.as_pathname()?.display())),
        }
    }
}

/// State that the answers are made from.
pub(super) struct Shared {
    pub followers: Followers,
    pub page: Page,
    pub write: Write,
    pub reader: Reader,
    pub meters: Arc<Meters>,
    pub report: RefCell<Report>,
    pub observations: RefCell<Observations>,
    pub lookout: Lookout,
    pub outbox: OutboxView,
    pub stage: Cell<Stage>,
    pub started: Timestamp,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: AdminListener, shared: Rc<Shared>) {
    tokio::task::spawn_local(followers::serve(Rc::clone(&shared)));
    let served = match listener {
        AdminListener::Tcp(listener) => tcp(listener, shared).await,
        AdminListener::Unix(listener) => unix(listener, shared).await,
    };
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener is closed");
    }
}

async fn tcp(listener: std::net::TcpListener, shared: Rc<Shared>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => spawn(stream, Caller::Tcp(peer.ip().to_canonical()), &shared, &open),
            Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
        }
    }
}

async fn unix(listener: std::os::unix::net::UnixListener, shared: Rc<Shared>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                spawn(stream, Caller::Unix(user), &shared, &open);
            }
            Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
        }
    }
}

/// Serves one connection in a task of its own, unless too many are open.
fn spawn(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    caller: Caller,
    shared: &Rc<Shared>,
    open: &Rc<Cell<usize>>,
) {
    if open.get() >= MOST_CONNECTIONS {
        return;
    }
    open.set(open.get() + 1);
    let (shared, open) = (Rc::clone(shared), Rc::clone(open));
    tokio::task::spawn_local(async move {
        let connection = Rc::new(Connection::default());
        let service = service_fn(|request| {
            let (shared, connection) = (Rc::clone(&shared), Rc::clone(&connection));
            async move { Ok::<_, Infallible>(harden(answer(&shared, &connection, (request, caller)).await)) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_header_size(HEAD_SIZE);
        // A probe that disconnects early is not worth a log line.
        tokio::select! {
            _ = builder.serve_connection(TokioIo::new(stream), service) => {}
            () = connection.over(LONGEST_CONNECTION) => {}
        }
        open.set(open.get().saturating_sub(1));
    });
}

/// An answer, or the stream of a follower.
type Answer = Response<Either<Full<Bytes>, Events>>;

async fn answer(
    shared: &Rc<Shared>,
    connection: &Rc<Connection>,
    (request, caller): (Request<Incoming>, Caller),
) -> Answer {
    if write::is_on(shared, request.uri().path()) {
        return write::answer(shared, caller, request).await.map(Either::Left);
    }
    if request.uri().path() == "/verify" {
        return verify::answer(shared, &request).await.map(Either::Left);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response.map(Either::Left);
    }
    let whole = match request.uri().path() {
        "/events" if request.method() == Method::GET => return events(shared, connection),
        "/events" => stream_head(Full::default()),
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(shared),
        "/metrics" => metrics(shared, request.headers()),
        "/status" => json(StatusCode::OK, &Status { now: Some(Timestamp::now()), ..status_of(shared) }),
        "/" => index(shared, request.headers()),
        _ => text(StatusCode::NOT_FOUND, "not found; there is / /livez /readyz /metrics /status /events /verify\n"),
    };
    whole.map(Either::Left)
}

/// Returns the page for a browser, and a list of the paths for everything else.
fn index(shared: &Shared, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let mut response = if accept.into_iter().any(|accept| accept.contains("text/html")) {
        let (told, now, buttons) = (shared.followers.look(shared), Timestamp::now(), write::has_buttons(shared));
        let html = told.page((now, buttons), |status| shared.page.render(status, now, buttons));
        shared.page.response(html, buttons)
    } else {
        text(StatusCode::OK, INDEX)
    };
    response.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT));
    response
}

/// Begins a stream of events.
fn events(shared: &Shared, connection: &Rc<Connection>) -> Answer {
    match shared.followers.follow(shared, connection) {
        Some(events) => stream_head(Either::Right(events)),
        None => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many follow already\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            response.map(Either::Left)
        }
    }
}

fn stream_head<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Adds the fields that keep an answer out of caches, frames and other sites.
fn harden<B>(mut response: Response<B>) -> Response<B> {
    let fields = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    response.headers_mut().entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    response
}

/// Returns ready until the process ends. A bad file does not make it unready, because the last good one is live.
fn ready(shared: &Shared) -> Response<Full<Bytes>> {
    let report = shared.report.borrow();
    let live = shared.reader.current();
    let shut: Vec<&str> = live
        .snapshot
        .routes
        .iter()
        .filter(|route| route.ends_readiness())
        .map(|route| route.config.name.as_str())
        .collect();
    let ready = shared.stage.get() == Stage::Running && shut.is_empty();
    let bad: Vec<&str> = report.files.iter().filter(|file| !file.is_good()).map(|file| file.path.as_str()).collect();
    let generation = live.snapshot.generation;
    let mut body = serde_json::json!({
        "ready": ready, "stage": stage(shared), "generation": generation, "files_not_in_force": bad,
    });
    if !shut.is_empty() {
        body["closed_by_guard"] = shut.into();
    }
    if let Some(since) = report.fleet.as_ref().and_then(|fleet| fleet.status().stale_since) {
        body["flags_stale_since"] = since.to_string().into();
    }
    json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// Describes the present state.
pub(super) fn status_of(shared: &Shared) -> Status {
    let live = shared.reader.current();
    let report = shared.report.borrow();
    let observations = shared.observations.borrow();
    let now = Instant::now();
    let ago = now.saturating_duration_since(live.published);
    let routes = live.snapshot.routes.iter().map(|route| {
        let traffic = observations.traffic(&route.config.name, LATELY, now);
        let outlook = shared.lookout.outlook(route, &live.snapshot);
        let judged = observations.judged(&route.config.name);
        let unjudged = route.unjudged_by(observations.baseline_of(route)).iter().map(ToString::to_string).collect();
        RouteStatus { outlook, judged, unjudged, ..report::route(route, &live, traffic) }
    });
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: Some(shared.started),
        generation: live.snapshot.generation,
        published: Some(Timestamp::now().checked_sub(ago).unwrap_or(shared.started)),
        now: None,
        stage: stage(shared).to_owned(),
        workers: shared.meters.workers.len(),
        admin: report.admin.clone(),
        watching: Some(report.watching.clone()),
        outbox: shared.outbox.report(),
        fleet: report.fleet.as_ref().map(FleetReport::status),
        problems: report.problems.clone(),
        files: report.files.clone(),
        routes: routes.collect(),
    }
}

fn metrics(shared: &Shared, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let live = shared.reader.current();
    let report = shared.report.borrow();
    let scraped = Scraped {
        live: &live,
        meters: &shared.meters,
        report: &report,
        lookout: &shared.lookout,
        outbox: shared.outbox.report(),
        started: shared.started,
    };
    let format = MetricsFormat::accepted(headers);
    let mut response = text(StatusCode::OK, metrics::text(&scraped, format));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    headers.insert(VARY, HeaderValue::from_name(ACCEPT));
    response
}

fn stage(shared: &Shared) -> &'static str {
    match shared.stage.get() {
        Stage::Running => "running",
        Stage::Draining { .. } => "draining",
    }
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_vec_pretty(body).unwrap_or_default();
    body.push(b'\n');
    let mut response = text(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

const INDEX: &str = "\
backsoon

/livez    is the process alive
/readyz   should it get traffic
/metrics  for Prometheus
/status   what is live, as JSON
/events   the same whenever it changes, as server-sent events
/verify   POST: do the checks of routes pass now, as JSON

In a browser this is a page.
";

/// The period whose traffic `/status` reports.
const LATELY: Duration = Duration::from_secs(60);

/// Connections that may be open at once. A handful of probes and scrapers is normal; more is a mistake or an attack.
const MOST_CONNECTIONS: usize = 64;

const HEAD_SIZE: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
