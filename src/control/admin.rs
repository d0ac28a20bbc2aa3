//! The admin listener: `/livez`, `/readyz`, `/metrics`, `/status`. Operators and probes use it, never visitors, and it
//! works whatever is flagged.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::live::{Reader, Stage};
use crate::status::Status;
use crate::telemetry::Meters;

use super::metrics::{self, Scraped};
use super::observe::Observations;
use super::report::{self, Report};

/// The socket of the admin listener.
#[derive(Debug)]
pub(crate) enum AdminListener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// State that the answers are made from.
pub(super) struct Shared {
    pub reader: Reader,
    pub meters: Arc<Meters>,
    pub report: RefCell<Report>,
    pub observations: RefCell<Observations>,
    pub stage: Cell<Stage>,
    pub started: Timestamp,
}

/// Serves until the process ends.
pub(super) async fn serve(listener: AdminListener, shared: Rc<Shared>) {
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
            Ok((stream, _)) => spawn(stream, &shared, &open),
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
            Ok((stream, _)) => spawn(stream, &shared, &open),
            Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
        }
    }
}

/// Serves one connection in a task of its own, unless too many are open.
fn spawn(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, shared: &Rc<Shared>, open: &Rc<Cell<usize>>) {
    if open.get() >= MOST_CONNECTIONS {
        return;
    }
    open.set(open.get() + 1);
    let (shared, open) = (Rc::clone(shared), Rc::clone(open));
    tokio::task::spawn_local(async move {
        let service = service_fn(|request| {
            let response = answer(&shared, &request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_header_size(HEAD_SIZE);
        // A probe that disconnects early is not worth a log line.
        let _ = tokio::time::timeout(LONGEST_CONNECTION, builder.serve_connection(TokioIo::new(stream), service)).await;
        open.set(open.get().saturating_sub(1));
    });
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready(shared),
        "/metrics" => metrics(shared),
        "/status" => status(shared),
        "/" => text(
            StatusCode::OK,
            "backsoon\n\n/livez    is the process alive\n/readyz   should it get traffic\n/metrics  for Prometheus\n/status   what is live, as JSON\n",
        ),
        _ => text(StatusCode::NOT_FOUND, "not found; there is /livez /readyz /metrics /status\n"),
    }
}

/// Returns ready until the process ends. A bad file does not make it unready, because the last good one is live.
fn ready(shared: &Shared) -> Response<Full<Bytes>> {
    let report = shared.report.borrow();
    let ready = shared.stage.get() == Stage::Running;
    let bad: Vec<&str> = report.files.iter().filter(|file| !file.is_good()).map(|file| file.path.as_str()).collect();
    let generation = shared.reader.current().snapshot.generation;
    let body = serde_json::json!({
        "ready": ready, "stage": stage(shared), "generation": generation, "files_not_in_force": bad,
    });
    json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

fn status(shared: &Shared) -> Response<Full<Bytes>> {
    let live = shared.reader.current();
    let report = shared.report.borrow();
    let observations = shared.observations.borrow();
    let now = Instant::now();
    let ago = now.saturating_duration_since(live.published);
    let routes = live.snapshot.routes.iter().map(|route| {
        let traffic = observations.traffic(&route.config.name, LATELY, now);
        report::route(route, &live, traffic)
    });
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: Some(shared.started),
        generation: live.snapshot.generation,
        published: Some(Timestamp::now().checked_sub(ago).unwrap_or(shared.started)),
        stage: stage(shared).to_owned(),
        workers: shared.meters.workers.len(),
        watching: Some(report.watching.clone()),
        problems: report.problems.clone(),
        files: report.files.clone(),
        routes: routes.collect(),
        ..Status::default()
    };
    json(StatusCode::OK, &status)
}

fn metrics(shared: &Shared) -> Response<Full<Bytes>> {
    let live = shared.reader.current();
    let report = shared.report.borrow();
    let scraped = Scraped { live: &live, meters: &shared.meters, report: &report, started: shared.started };
    let mut response = text(StatusCode::OK, metrics::text(&scraped));
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
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
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The period whose traffic `/status` reports.
const LATELY: Duration = Duration::from_secs(60);

/// Connections that may be open at once. A handful of probes and scrapers is normal; more is a mistake or an attack.
const MOST_CONNECTIONS: usize = 64;

const HEAD_SIZE: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_CONNECTION: Duration = Duration::from_secs(600);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
