//! The demo's upstream: serves a page, some JSON and a stream, on its own thread and port.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::{Interval, interval};

/// Starts the app and returns its address. The app ends with the process.
///
/// # Errors
/// If no port or no thread is available.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || runtime.block_on(serve(listener));
    std::thread::Builder::new().name("demo-app".to_owned()).spawn(serve)?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the demo app cannot start"),
    };
    let requests = Arc::new(AtomicU64::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Probably out of descriptors, which passes.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let requests = Arc::clone(&requests);
        let service = service_fn(move |request| {
            let requests = Arc::clone(&requests);
            async move { Ok::<_, Infallible>(answer(&request, requests)) }
        });
        // Not joined, because the app ends with the process.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(request: &Request<Incoming>, requests: Arc<AtomicU64>) -> Response<AppBody> {
    let path = request.uri().path();
    // A reader of the page would not count health checks and the page's own stream as requests.
    if request.method() != Method::HEAD && path != "/events" && path != "/healthz" {
        requests.fetch_add(1, Ordering::Relaxed);
    }
    let count = requests.load(Ordering::Relaxed);
    match (request.method(), path) {
        (&Method::GET | &Method::HEAD, "/") => {
            let page = PAGE.replace("{time}", &time()).replace("{requests}", &count.to_string());
            full(StatusCode::OK, "text/html; charset=utf-8", page)
        }
        (&Method::GET | &Method::HEAD, "/events") => response(StatusCode::OK, "text/event-stream", events(requests)),
        (&Method::GET | &Method::HEAD, "/healthz") => full(StatusCode::OK, TEXT, "ok\n".to_owned()),
        (_, "/" | "/events" | "/healthz") => {
            let mut refused = full(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
        (method, path) if path == "/api" || path.starts_with("/api/") => {
            let json =
                serde_json::json!({ "method": method.as_str(), "path": path, "time": time(), "requests": count });
            full(StatusCode::OK, "application/json", format!("{json}\n"))
        }
        _ => full(StatusCode::NOT_FOUND, TEXT, "the demo app has /, /api, /events and /healthz\n".to_owned()),
    }
}

/// Returns the time of day, such as `14:03:22`.
fn time() -> String {
    Timestamp::now().strftime("%H:%M:%S").to_string()
}

fn full(status: StatusCode, content_type: &'static str, text: String) -> Response<AppBody> {
    response(status, content_type, AppBody::Full(Some(text.into())))
}

fn response(status: StatusCode, content_type: &'static str, body: AppBody) -> Response<AppBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn events(requests: Arc<AtomicU64>) -> AppBody {
    AppBody::Events { every: interval(EVERY), requests }
}

/// Body of the app's responses.
enum AppBody {
    /// One chunk of bytes.
    Full(Option<Bytes>),
    /// One event per second, until the client disconnects.
    Events { every: Interval, requests: Arc<AtomicU64> },
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events { every, requests } => {
                ready!(every.poll_tick(cx));
                let data = serde_json::json!({ "time": time(), "requests": requests.load(Ordering::Relaxed) });
                Poll::Ready(Some(Ok(Frame::data(format!("data: {data}\n\n").into()))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

const PAGE: &str = include_str!("app.html");
const TEXT: &str = "text/plain; charset=utf-8";

/// Time between two events.
const EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
