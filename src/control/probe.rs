//! The smoke tests of a route that is to open: asked of every upstream, on a grid of the wall clock, so that replicas that
//! ask the same come to the same end at the same instant.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::live::Generation;
use crate::plan::config::{Check, HostPattern, RouteConfig, Upstream, UpstreamAddress};
use crate::plan::lifecycle::{Checked, Phase, Verification};
use crate::plan::snapshot::Route;

/// The checks that run.
#[derive(Default)]
pub(super) struct Probes {
    running: HashMap<String, Running>,
    news: Rc<Notify>,
}

/// The checks of one route.
struct Running {
    began: Timestamp,
    config: Arc<RouteConfig>,
    results: Rc<RefCell<Vec<Checked>>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Probes {
    /// Starts the checks of routes that are verified now, and ends all others. To be called after each publication.
    pub(super) fn follow(&mut self, live: &Generation) {
        let verifying = || live.snapshot.routes.iter().filter(|route| route.phase() == Phase::Verifying);
        self.running
            .retain(|name, running| verifying().any(|route| route.config.name == *name && running.is_of(route)));
        for route in verifying() {
            if !self.running.contains_key(&route.config.name) {
                let running = Running::start(route, live, &self.news);
                self.running.insert(route.config.name.clone(), running);
            }
        }
    }

    /// Waits until a check has come to something. Cancel safe.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    /// What the checks of a route have come to.
    pub(super) fn results(&self, route: &str) -> Option<Verification> {
        let running = self.running.get(route)?;
        Some(Verification { began: running.began, checks: running.results.borrow().clone() })
    }
}

impl Running {
    fn is_of(&self, route: &Route) -> bool {
        self.began == route.life.began && *self.config == *route.config
    }

    fn start(route: &Route, live: &Generation, news: &Rc<Notify>) -> Self {
        let checks = &route.config.policy.verify;
        let results = Rc::new(RefCell::new(vec![Checked::default(); checks.len()]));
        let upstreams = route.upstreams.iter().map(|&index| {
            let upstream = live.snapshot.upstreams[index].clone();
            let tls = live.upstreams[index].tls.clone();
            Target { host: host_of(&route.config, &upstream), upstream, tls }
        });
        let upstreams: Rc<[Target]> = upstreams.collect();
        let began = route.life.began;
        let task = |(index, check): (usize, &Check)| {
            let (check, upstreams) = (check.clone(), Rc::clone(&upstreams));
            let (results, news) = (Rc::clone(&results), Rc::clone(news));
            let repeated = async move {
                let told = |outcome: Result<(), Failure>, due| {
                    if let Some(result) = results.borrow_mut().get_mut(index) {
                        note(result, outcome.map_err(|failure| failure.to_string()), due);
                    }
                    news.notify_one();
                };
                repeat(&check, &upstreams, began, told).await;
            };
            tokio::task::spawn_local(repeated).abort_handle()
        };
        let tasks = checks.iter().enumerate().map(task).collect();
        Self { began, config: Arc::clone(&route.config), results, tasks }
    }
}

/// Takes in the outcome of an attempt that was due at an instant.
fn note(result: &mut Checked, outcome: Result<(), String>, due: Timestamp) {
    match outcome {
        Ok(()) => *result = Checked { passed: result.passed.saturating_add(1), at: Some(due), failure: None },
        Err(failure) => *result = Checked { passed: 0, at: None, failure: Some(failure) },
    }
}

/// Asks again and again, at the instants of the check's grid.
async fn repeat(check: &Check, upstreams: &[Target], began: Timestamp, told: impl Fn(Result<(), Failure>, Timestamp)) {
    let mut due = last_due(check, began, Timestamp::now());
    loop {
        let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        sleep(left).await;
        told(attempt(check, upstreams).await, due);
        due = next_due(check, due, Timestamp::now());
    }
}

/// The latest instant of the grid that is not in the future: a check that begins late begins at once.
fn last_due(check: &Check, began: Timestamp, now: Timestamp) -> Timestamp {
    if now <= began {
        return began;
    }
    later(began, check.every, elapsed(began, now) / check.every.as_nanos().max(1))
}

/// The next instant of the grid behind one that was taken; those that were missed meanwhile are left out.
fn next_due(check: &Check, taken: Timestamp, now: Timestamp) -> Timestamp {
    let next = later(taken, check.every, 1);
    if now <= next {
        return next;
    }
    later(next, check.every, elapsed(next, now).div_ceil(check.every.as_nanos().max(1)))
}

fn elapsed(from: Timestamp, to: Timestamp) -> u128 {
    to.duration_since(from).unsigned_abs().as_nanos()
}

fn later(instant: Timestamp, every: Duration, times: u128) -> Timestamp {
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    let duration = SignedDuration::try_from(every.saturating_mul(times)).unwrap_or(SignedDuration::MAX);
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// An upstream to be asked.
struct Target {
    upstream: Upstream,
    tls: Option<Arc<ClientConfig>>,
    /// The `Host` of a request to it.
    host: String,
}

/// What a client of the route would ask for, as far as the config knows.
fn host_of(route: &RouteConfig, upstream: &Upstream) -> String {
    let exact = route.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(host.clone()),
        HostPattern::Below(_) => None,
    });
    let own = match &upstream.address {
        UpstreamAddress::Host(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        UpstreamAddress::Host(host, port) => format!("{host}:{port}"),
        UpstreamAddress::Unix(_) => "localhost".to_owned(),
    };
    exact.filter(|_| route.keep_host).unwrap_or(own)
}

/// Why a check did not pass.
#[derive(Debug)]
struct Failure {
    get: String,
    upstream: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Status(StatusCode, u16),
    Late(Duration),
    Connect(io::Error),
    Http(hyper::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {} on {} ", self.get, self.upstream)?;
        match &self.what {
            What::Status(status, expected) => write!(f, "answered {}, expected {expected}", status.as_u16()),
            What::Late(within) => write!(f, "did not answer within {within:?}"),
            What::Connect(error) => write!(f, "could not be asked: {error}"),
            What::Http(error) => write!(f, "broke off: {error}"),
        }
    }
}

/// One attempt: every upstream must answer as expected.
async fn attempt(check: &Check, upstreams: &[Target]) -> Result<(), Failure> {
    for target in upstreams {
        let failed = |what| Failure { get: check.get.clone(), upstream: target.upstream.to_string(), what };
        let status = match timeout(check.within, ask(target, &check.get)).await {
            Ok(status) => status.map_err(failed)?,
            Err(_) => return Err(failed(What::Late(check.within))),
        };
        if status.as_u16() != check.expect {
            return Err(failed(What::Status(status, check.expect)));
        }
    }
    Ok(())
}

async fn ask(target: &Target, path: &str) -> Result<StatusCode, What> {
    match &target.upstream.address {
        UpstreamAddress::Unix(socket) => {
            speak(UnixStream::connect(socket).await.map_err(What::Connect)?, target, path).await
        }
        UpstreamAddress::Host(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(What::Connect)?;
            match &target.tls {
                None => speak(stream, target, path).await,
                Some(config) => {
                    let name =
                        ServerName::try_from(host.clone()).map_err(|error| What::Connect(io::Error::other(error)))?;
                    let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                    speak(stream.map_err(What::Connect)?, target, path).await
                }
            }
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    path: &str,
) -> Result<StatusCode, What> {
    let request = request(target, path);
    if target.upstream.http2 {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(What::Http)?;
        let answer = async { told(sender.send_request(request).await).await };
        driven(connection, answer).await
    } else {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(What::Http)?;
        let answer = async { told(sender.send_request(request).await).await };
        driven(connection, answer).await
    }
}

/// Drives a connection for as long as its one answer is waited for.
async fn driven(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = Result<StatusCode, What>>,
) -> Result<StatusCode, What> {
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(What::Http(error)),
        },
    }
}

/// The status, once a little of the body was read: what breaks off at once is no answer.
async fn told(response: hyper::Result<Response<Incoming>>) -> Result<StatusCode, What> {
    let (head, mut body) = response.map_err(What::Http)?.into_parts();
    let mut left = MOST_BODY;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let length = frame.map_err(What::Http)?.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(length);
        if left == 0 {
            break;
        }
    }
    Ok(head.status)
}

fn request(target: &Target, path: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if target.upstream.http2 {
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::try_from(format!("{scheme}://{}{path}", target.host)).unwrap_or_default();
        return request;
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(host) = HeaderValue::try_from(&target.host) {
        headers.insert(HOST, host);
    }
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    request
}

const AGENT: &str = concat!("backsoon/", env!("CARGO_PKG_VERSION"), " (verify)");
/// Bytes of an answer that are read.
const MOST_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn check(every: u64) -> Check {
        Check {
            get: "/healthz?deep".to_owned(),
            expect: 200,
            within: Duration::from_millis(500),
            times: 3,
            every: Duration::from_secs(every),
            region: None,
        }
    }

    #[test]
    fn attempts_are_due_on_a_grid_and_those_that_were_missed_are_left_out() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = check(5);
        assert_eq!(last_due(&check, at(100), at(90)), at(100));
        assert_eq!(last_due(&check, at(100), at(112)), at(110));
        assert_eq!(next_due(&check, at(110), at(111)), at(115));
        assert_eq!(next_due(&check, at(110), at(115)), at(115));
        assert_eq!(next_due(&check, at(110), at(121)), at(125));
        assert_eq!(next_due(&check, at(110), at(125)), at(125));
    }

    #[test]
    fn passes_are_counted_in_a_row() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut result = Checked::default();
        note(&mut result, Ok(()), at(1));
        note(&mut result, Ok(()), at(2));
        assert_eq!((result.passed, result.at), (2, Some(at(2))));
        note(&mut result, Err("no".to_owned()), at(3));
        assert_eq!((result.passed, result.at, result.failure.as_deref()), (0, None, Some("no")));
    }

    /// Answers one request with these bytes, and tells what it read.
    async fn upstream(answer: Option<&'static str>) -> (Target, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let upstream =
            Upstream { tls: None, address: UpstreamAddress::Host("127.0.0.1".to_owned(), port), http2: false };
        (Target { upstream, tls: None, host: "www.example.com".to_owned() }, served)
    }

    #[tokio::test]
    async fn a_check_passes_if_every_upstream_answers_as_expected() {
        let (one, first) = upstream(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await;
        let (two, _) = upstream(Some("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")).await;
        let name = two.upstream.to_string();
        let failure = attempt(&check(1), &[one, two]).await.unwrap_err().to_string();
        assert_eq!(failure, format!("GET /healthz?deep on {name} answered 500, expected 200"));
        let head = first.await.unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /healthz?deep http/1.1\r\n") && head.contains("host: www.example.com"), "{head}");
    }

    #[tokio::test]
    async fn who_is_silent_breaks_off_or_is_not_there_has_not_passed() {
        let (silent, _served) = upstream(None).await;
        let failure = attempt(&check(1), &[silent]).await.unwrap_err().to_string();
        assert!(failure.ends_with("did not answer within 500ms"), "{failure}");
        let (broken, _) = upstream(Some("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nok")).await;
        let failure = attempt(&check(1), &[broken]).await.unwrap_err().to_string();
        assert!(failure.contains("broke off"), "{failure}");
        let (gone, served) = upstream(None).await;
        served.abort();
        let _ = served.await;
        let failure = attempt(&check(1), &[gone]).await.unwrap_err().to_string();
        assert!(failure.contains("could not be asked"), "{failure}");
    }
}
