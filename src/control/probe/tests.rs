//! Tests of checks against small servers in this process, and of the schedule by itself.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::control::tests::Routes;
use crate::plan::snapshot::Phase;

use super::*;

/// Runs a test the way control runs: one thread with local tasks.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// A server that gives a fixed answer over HTTP/1.1, and records the requests.
struct Server {
    address: String,
    answer: Rc<RefCell<String>>,
    asked: Rc<RefCell<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn tcp(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        Self::over(address, answer, async move || listener.accept().await.map(|(stream, _)| stream))
    }

    fn over<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        address: String,
        answer: &str,
        accept: impl AsyncFn() -> io::Result<S> + 'static,
    ) -> Self {
        let answer = Rc::new(RefCell::new(answer.to_owned()));
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (shared, log) = (Rc::clone(&answer), Rc::clone(&asked));
        let task = spawn_local(async move {
            loop {
                let Ok(stream) = accept().await else { continue };
                let answer = shared.borrow().clone();
                spawn_local(serve(stream, answer, Rc::clone(&log)));
            }
        });
        Self { address, answer, asked, task }
    }

    fn answers(&self, answer: &str) {
        self.answer.replace(answer.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers, and waits for the client to close, as both have announced. `""` stays silent.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String, asked: Rc<RefCell<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    asked.borrow_mut().push(String::from_utf8(head).unwrap());
    if answer.is_empty() {
        drop(stream.read_u8().await);
        return;
    }
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
    drop(stream.read_u8().await);
}

/// A route `web` that is closed for good, or verifying.
struct Web {
    routes: Routes,
    probes: Probes,
    begin: Instant,
}

const DOWN: &str = "[routes]\nweb = \"offline\"\n";

impl Web {
    /// Lifts the flag.
    fn verifying(routes: &str, tls: Option<Arc<ClientConfig>>) -> Self {
        let (begin, began) = (Instant::now(), Timestamp::now());
        let mut routes = Routes::begin(routes, began, tls);
        let mut probes = Probes::new(Timestamp::now);
        // Drains at once: nothing is in flight, but no worker says so.
        routes.compile(DOWN, Duration::ZERO);
        probes.on_publish(&routes.live);
        assert!(probes.results("web").is_none());
        let mut web = Self { routes, probes, begin };
        web.is(DOWN, Phase::Closed);
        web.is("", Phase::Verifying);
        web
    }

    /// Compiles for now, and tells the probes.
    fn is(&mut self, flags: &str, phase: Phase) {
        self.routes.compile(flags, self.begin.elapsed());
        self.probes.on_publish(&self.routes.live);
        assert_eq!(self.phase(), phase);
    }

    fn phase(&self) -> Phase {
        self.routes.live.snapshot.route("web").unwrap().phase()
    }

    /// Returns the worst result of each check over all upstreams.
    fn checks(&self) -> Vec<CheckResult> {
        let upstreams = self.probes.results("web").unwrap().upstreams;
        let worst = |index: usize| {
            let results = upstreams.iter().map(move |upstream| upstream.checks[index].clone());
            results.min_by_key(|result| (result.failure.is_none(), result.passed)).unwrap()
        };
        (0..upstreams[0].checks.len()).map(worst).collect()
    }

    /// Waits until the results satisfy a condition.
    async fn until(&self, what: impl Fn(&[CheckResult]) -> bool) -> Vec<CheckResult> {
        let waiting = async {
            while !what(&self.checks()) {
                self.probes.changed().await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "{:?}", self.checks());
        self.checks()
    }

    /// Returns the failure of the only check.
    async fn failure(&self) -> String {
        let checks = self.until(|checks| checks[0].failure.is_some()).await;
        assert_eq!((checks[0].passed, checks[0].at), (0, None));
        checks[0].failure.clone().unwrap()
    }
}

/// Configures a `drain` so short that the next publication finds the route closed.
fn route(upstream: &str, more: &str, check: &str) -> String {
    format!(
        "[routes.web]\nhost = [\"*.b.example\", \"www.example.com\"]\nupstream = {upstream}\ndrain = \"1ms\"\n{more}\nverify = [{check}]\n"
    )
}

fn quoted(server: &Server) -> String {
    format!("\"{}\"", server.address)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";
const OFTEN: &str = "{ get = \"/healthz?deep=1\", times = 3, every = \"20ms\" }";
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_route_opens_when_its_upstreams_have_passed_often_enough() {
    run(async {
        let server = Server::tcp(OK).await;
        let mut web = Web::verifying(&route(&quoted(&server), "", OFTEN), None);
        let began = web.routes.live.snapshot.route("web").unwrap().state.began();
        assert_eq!(web.probes.results("web").unwrap().began, began);
        let checks = web.until(|checks| checks[0].passed == 3).await;
        let at = checks[0].at.unwrap();
        let grid = at.duration_since(began).as_nanos();
        assert!(grid % 20_000_000 == 0 && grid >= 40_000_000, "{grid}");
        let asked = server.asked.borrow()[0].to_ascii_lowercase();
        assert!(asked.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("\r\nhost: www.example.com\r\n") && asked.contains("\r\nconnection: close\r\n"),
            "{asked}"
        );
        let agent = format!("\r\nuser-agent: backsoon/{} (verify)\r\n", env!("CARGO_PKG_VERSION"));
        assert!(asked.contains(&agent), "{asked}");
        // Checks go on as long as the phase does, without news.
        let so_far = server.asked();
        assert!(timeout(Duration::from_millis(300), web.probes.changed()).await.is_err());
        assert!(server.asked() > so_far && web.checks() == checks);
        web.routes.verify("web", web.probes.results("web"));
        web.is("", Phase::Open);
        assert_eq!(web.routes.live.snapshot.route("web").unwrap().since(), at);
        assert!(web.probes.results("web").is_none());
    });
}

#[test]
fn a_failure_sets_the_count_back_and_says_what_came() {
    run(async {
        let server = Server::tcp(OK).await;
        let mut web = Web::verifying(&route(&quoted(&server), "", OFTEN), None);
        web.until(|checks| checks[0].passed == 3).await;
        server.answers(BROKEN);
        let failure = web.failure().await;
        assert_eq!(failure, format!("GET /healthz?deep=1 on {} answered 500, expected 200", server.address));
        web.routes.verify("web", web.probes.results("web"));
        web.is("", Phase::Verifying);
        let why = web.routes.live.snapshot.route("web").unwrap().state.reason().to_string();
        assert_eq!(*why, format!("a check fails: {failure}"));
        server.answers(OK);
        web.until(|checks| checks[0].passed == 3 && checks[0].failure.is_none()).await;
    });
}

#[test]
fn every_upstream_must_pass_and_the_first_that_does_not_is_named() {
    run(async {
        let (good, bad, worse) = (Server::tcp(OK).await, Server::tcp(BROKEN).await, Server::tcp(BROKEN).await);
        let upstreams = format!("[{}, {}, {}]", quoted(&good), quoted(&bad), quoted(&worse));
        let web = Web::verifying(&route(&upstreams, "keep_host = false", OFTEN), None);
        assert!(web.failure().await.starts_with(&format!("GET /healthz?deep=1 on {} ", bad.address)));
        bad.answers(OK);
        let worst = format!("GET /healthz?deep=1 on {} ", worse.address);
        web.until(|checks| checks[0].failure.as_ref().is_some_and(|failure| failure.starts_with(&worst))).await;
        worse.answers(OK);
        web.until(|checks| checks[0].passed == 3).await;
        let authority = good.address.strip_prefix("http://").unwrap();
        assert!(good.asked.borrow()[0].contains(&format!("host: {authority}\r\n")));
    });
}

#[test]
fn after_the_opening_only_who_is_left_out_is_asked_until_it_passes() {
    run(async {
        let (good, bad, fine) = (Server::tcp(OK).await, Server::tcp(BROKEN).await, Server::tcp(OK).await);
        let upstreams = format!("[{}, {}, {}]", quoted(&good), quoted(&bad), quoted(&fine));
        let mut web = Web::verifying(&route(&upstreams, "keep_host = false", OFTEN), None);
        let passed = |web: &Web| {
            let upstreams = web.probes.results("web").unwrap().upstreams;
            upstreams.iter().filter(|upstream| upstream.checks[0].passed == 3).count()
        };
        while passed(&web) < 2 {
            web.probes.changed().await;
        }
        web.routes.verify("web", web.probes.results("web"));
        web.is("", Phase::Open);
        let is_used = |web: &Web| web.routes.live.snapshot.route("web").unwrap().in_use.len();
        assert_eq!((is_used(&web), web.probes.has("web")), (2, true));
        let (so_far, asked) = (good.asked(), bad.asked());
        while bad.asked() < asked + 3 {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(good.asked() <= so_far + 1, "who passed is left alone");
        bad.answers(OK);
        while passed(&web) < 3 {
            web.probes.changed().await;
        }
        web.routes.verify("web", web.probes.results("web"));
        web.is("", Phase::Open);
        assert_eq!((is_used(&web), web.probes.has("web")), (3, false));
    });
}

#[test]
fn who_does_not_answer_in_time_fails() {
    run(async {
        let check = "{ get = \"/\", within = \"80ms\", every = \"10ms\" }";
        let server = Server::tcp("").await;
        let web = Web::verifying(&route(&quoted(&server), "", check), None);
        assert_eq!(web.failure().await, format!("GET / on {} did not answer within 80 ms", server.address));
        // An answer that stops in the middle does not count.
        let server = Server::tcp("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await;
        let web = Web::verifying(&route(&quoted(&server), "", check), None);
        let failure = web.failure().await;
        assert!(failure.contains(" broke off: "), "{failure}");
    });
}

#[test]
fn a_long_answer_is_not_read_to_its_end() {
    run(async {
        let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}", "x".repeat(200_000));
        let server = Server::tcp(&endless).await;
        let web = Web::verifying(&route(&quoted(&server), "", OFTEN), None);
        web.until(|checks| checks[0].passed == 3).await;
    });
}

#[test]
fn where_nobody_listens_the_reason_is_told() {
    run(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let web = Web::verifying(&route(&format!("\"http://{closed}\""), "", OFTEN), None);
        let expected = format!("GET /healthz?deep=1 on http://{closed} got no connection: Connection refused");
        assert_eq!(web.failure().await, expected);
    });
}

#[test]
fn another_status_than_200_can_be_what_is_expected() {
    run(async {
        let server = Server::tcp("HTTP/1.1 401 Who\r\ncontent-length: 0\r\n\r\n").await;
        let check = "{ get = \"/private\", expect = 401 }, { get = \"/\", every = \"20ms\" }";
        let web = Web::verifying(&route(&quoted(&server), "", check), None);
        let checks = web.until(|checks| checks[0].passed == 1 && checks[1].failure.is_some()).await;
        assert!(checks[1].failure.as_ref().unwrap().ends_with(" answered 401, expected 200"));
    });
}

#[test]
fn a_unix_socket_is_asked_and_a_name_is_looked_up() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let address = format!("unix:{}", path.display());
        let server = Server::over(address, OK, async move || listener.accept().await.map(|(stream, _)| stream));
        let named = Server::tcp(OK).await;
        let upstreams = format!("[{}, {}]", quoted(&server), quoted(&named).replace("127.0.0.1", "localhost"));
        let web = Web::verifying(&route(&upstreams, "keep_host = false", OFTEN), None);
        web.until(|checks| checks[0].passed == 3).await;
        assert!(server.asked.borrow()[0].contains("host: localhost\r\n"));
        assert!(named.asked.borrow()[0].contains("host: localhost:"));
    });
}

/// Makes a certificate for a server, and the client that trusts it.
fn trust(name: &str, alpn: &str) -> (TlsAcceptor, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    server.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(server)), Arc::new(client))
}

#[test]
fn tls_is_spoken_where_the_upstream_does_and_its_certificate_is_checked() {
    run(async {
        let (acceptor, client) = trust("localhost", "http/1.1");
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let accept = async move || acceptor.accept(listener.accept().await?.0).await;
        let server = Server::over(address, OK, accept);
        let web = Web::verifying(&route(&quoted(&server), "", OFTEN), Some(client));
        web.until(|checks| checks[0].passed == 3).await;
        let (_, stranger) = trust("localhost", "http/1.1");
        let web = Web::verifying(&route(&quoted(&server), "", OFTEN), Some(Arc::clone(&stranger)));
        let failure = web.failure().await;
        assert!(failure.contains(" got no connection: invalid peer certificate"), "{failure}");
        // HTTP/2 is asked for, and the server does not have it.
        let web = Web::verifying(&route(&quoted(&server), "http2 = true", OFTEN), Some(stranger));
        assert!(web.failure().await.contains(" got no connection: "));
    });
}

/// Answers every HTTP/2 stream with a status, and sends on what was asked.
async fn serve_two(stream: impl AsyncRead + AsyncWrite + Unpin, status: u16, asked: Rc<RefCell<Vec<String>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        asked.borrow_mut().push(format!(
            "{} {} {:?}",
            request.method(),
            request.uri(),
            request.headers()["user-agent"]
        ));
        let response = Response::builder().status(status).body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    }
}

#[test]
fn http2_is_spoken_in_clear_text_and_over_tls() {
    run(async {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (acceptor, client) = trust("localhost", "h2");
        let (clear, tls) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (port, secure) = (clear.local_addr().unwrap().port(), tls.local_addr().unwrap().port());
        let status = Rc::new(Cell::new(200));
        let (log, answers) = (Rc::clone(&asked), Rc::clone(&status));
        let serving = spawn_local(async move {
            loop {
                tokio::select! {
                    Ok((stream, _)) = clear.accept() => drop(spawn_local(serve_two(stream, answers.get(), Rc::clone(&log)))),
                    Ok((stream, _)) = tls.accept() => {
                        let stream = acceptor.accept(stream).await.unwrap();
                        drop(spawn_local(serve_two(stream, answers.get(), Rc::clone(&log))));
                    }
                }
            }
        });
        let upstreams = format!("[\"http://127.0.0.1:{port}\", \"https://localhost:{secure}\"]");
        let web = Web::verifying(&route(&upstreams, "http2 = true", OFTEN), Some(client));
        web.until(|checks| checks[0].passed == 3).await;
        let agent = format!("\"backsoon/{} (verify)\"", env!("CARGO_PKG_VERSION"));
        for scheme in ["http", "https"] {
            let expected = format!("GET {scheme}://www.example.com/healthz?deep=1 {agent}");
            assert!(asked.borrow().contains(&expected), "{asked:?}");
        }
        status.set(503);
        assert!(web.failure().await.ends_with(" answered 503, expected 200"));
        serving.abort();
    });
}

#[test]
fn a_route_that_is_flagged_again_is_left_alone_at_once() {
    run(async {
        let server = Server::tcp("").await;
        let mut web = Web::verifying(&route(&quoted(&server), "", OFTEN), None);
        while server.asked() == 0 {
            tokio::task::yield_now().await;
            sleep(Duration::from_millis(1)).await;
        }
        web.is(DOWN, Phase::Closed);
        assert!(web.probes.results("web").is_none());
        let asked = server.asked();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(server.asked(), asked);
    });
}

#[test]
fn what_passed_counts_only_for_these_upstreams_and_checks_and_this_beginning() {
    run(async {
        let (first, second) = (Server::tcp(OK).await, Server::tcp(BROKEN).await);
        let mut web = Web::verifying(&route(&quoted(&first), "", OFTEN), None);
        web.until(|checks| checks[0].passed == 3).await;
        // Another publication changes nothing.
        web.is("", Phase::Verifying);
        assert_eq!(web.checks()[0].passed, 3);
        web.routes.configure(&route(&quoted(&second), "", OFTEN));
        web.is("", Phase::Verifying);
        assert_eq!(web.checks(), [CheckResult::default()]);
        assert!(web.failure().await.contains(&second.address));
        second.answers(OK);
        web.until(|checks| checks[0].passed == 3).await;
        web.routes.configure(&route(&quoted(&second), "", &format!("{OFTEN}, {{ get = \"/\" }}")));
        web.is("", Phase::Verifying);
        assert_eq!(web.checks(), [CheckResult::default(), CheckResult::default()]);
        web.until(|checks| checks[0].passed == 3 && checks[1].passed == 1).await;
        web.is(DOWN, Phase::Closed);
        sleep(Duration::from_millis(2)).await;
        web.is("", Phase::Verifying);
        assert_eq!(web.checks(), [CheckResult::default(), CheckResult::default()]);
    });
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn later(millis: i64) -> Timestamp {
    instant("2026-05-19T14:00:00Z") + SignedDuration::from_millis(millis)
}

const GRID: Duration = Duration::from_secs(5);

fn grid() -> Schedule {
    Schedule { began: later(0), every: GRID }
}

#[test]
fn attempts_are_due_on_the_grid() {
    let next = |last, millis| grid().next(last, later(millis));
    // The first attempt: at the beginning, or the one due last.
    assert_eq!([0, 4999, 5000, 12_345].map(|millis| next(None, millis)), [0, 0, 1, 2]);
    assert_eq!(next(None, -1000), 0, "a clock behind the beginning waits for it");
    // The one after it, however late or early.
    assert_eq!([0, 20, 4999, 5000].map(|millis| next(Some(0), millis)), [1, 1, 1, 1]);
    // Attempts that came due during another are skipped.
    assert_eq!([5001, 10_000, 10_001].map(|millis| next(Some(0), millis)), [2, 2, 3]);
    assert_eq!(grid().due(3), later(15_000));
}

#[test]
fn a_clock_that_is_set_does_not_stop_the_attempts() {
    let next = |last, millis| grid().next(last, later(millis));
    // A small correction back does not repeat an attempt.
    assert_eq!(next(Some(100), 499_000), 101);
    // An hour back: the schedule continues from there.
    assert_eq!(next(Some(1000), 1_400_000), 280);
    assert_eq!(next(Some(1000), -5_000_000), 0);
    // An hour ahead.
    assert_eq!(next(Some(1), 3_600_001), 721);
}

#[test]
fn the_end_of_time_is_no_trouble() {
    assert_eq!(grid().due(u64::MAX), Timestamp::MAX);
    let hours = Schedule { began: Timestamp::MIN, every: Duration::MAX };
    assert_eq!((hours.next(None, Timestamp::MAX), hours.due(1)), (0, Timestamp::MAX));
    let none = Schedule { began: later(0), every: Duration::ZERO };
    assert!(none.next(Some(0), later(1)) >= 1);
}

#[test]
fn a_late_start_makes_up_for_the_last_attempt_at_once_and_then_keeps_to_the_grid() {
    run(async {
        let (start, due) = (Instant::now(), RefCell::new(Vec::new()));
        let schedule = Schedule { began: later(0), every: Duration::from_millis(50) };
        // Starts fifteen attempts late.
        let clock = Clock(Rc::new(move || later(752) + SignedDuration::try_from(start.elapsed()).unwrap()));
        // Each attempt takes longer than the interval.
        let attempt = async || {
            sleep(Duration::from_millis(60)).await;
            None
        };
        let note = |at: Timestamp, _| due.borrow_mut().push(at.duration_since(later(0)).as_millis());
        drop(timeout(Duration::from_millis(600), schedule.repeat(&clock, attempt, note)).await);
        let due = due.into_inner();
        assert_eq!(due[0], 750, "{due:?}");
        assert!(due.len() >= 2 && due.iter().all(|due| due % 50 == 0), "{due:?}");
        assert!(due.windows(2).all(|pair| pair[1] >= pair[0] + 100), "what came due meanwhile is left out: {due:?}");
    });
}

#[test]
fn passes_are_counted_in_a_row_and_no_further_than_needed() {
    let failed = |_: &CheckResult| CheckResult { passed: 0, at: None, failure: Some("no".to_owned()) };
    let one = after(&CheckResult::default(), 2, later(0), None);
    assert_eq!(one, CheckResult { passed: 1, at: Some(later(0)), failure: None });
    let two = after(&one, 2, later(5), None);
    assert_eq!(two, CheckResult { passed: 2, at: Some(later(5)), failure: None });
    assert_eq!(after(&two, 2, later(10), None), two);
    assert_eq!(after(&two, 2, later(10), Some("no".to_owned())), failed(&two));
    assert_eq!(after(&failed(&two), 2, later(15), None), CheckResult { passed: 1, at: Some(later(15)), failure: None });
}

#[test]
fn an_upstream_is_called_by_its_address() {
    let named = |text: &str| {
        let routes = Routes::new(&format!("[routes.web]\nupstream = \"{text}\"\n"));
        routes.live.snapshot.upstreams[0].address.authority()
    };
    let v6: SocketAddr = "[::1]:3000".parse().unwrap();
    assert_eq!(named(&format!("http://{v6}")), "[::1]:3000");
    assert_eq!((named("http://app"), named("unix:/run/a.sock")), ("app:80".to_owned(), "localhost".to_owned()));
}
