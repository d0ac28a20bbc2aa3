//! TLS towards clients and towards upstreams, and sockets with a file instead of a port.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use bytes::Bytes;
use http::Response;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Identity, connect};
use crate::support::{Backsoon, Client, LISTEN, Upstream, get, replace, run_to_end, wait};
use crate::two::{Two, TwoUpstream, patiently, request};

const TLS: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n\
                   [admin]\naddress = \"127.0.0.1:0\"\n";

/// Starts a proxy with one listener that speaks TLS as `identity`, and one route for everything.
fn secured(identity: &Identity, upstream: &str, more: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    identity.write(dir.path());
    Backsoon::start_in(dir, &format!("{TLS}[routes.web]\nupstream = \"{upstream}\"\n{more}"))
}

/// Asks over HTTP/1.1 and reads the answer up to the end of its body.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    patiently(stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("hello") {
        let mut some = [0; 4096];
        let read = patiently(stream.read(&mut some)).await.unwrap();
        assert!(read > 0, "the connection ended behind {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    answer
}

fn served(stream: &TlsStream<TcpStream>) -> Bytes {
    Bytes::copy_from_slice(&stream.get_ref().1.peer_certificates().unwrap()[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_versions_of_http_and_both_of_tls_are_spoken() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let backsoon = secured(&authority.identity(&["localhost"]), &upstream.url(), "");
    for version in [&TLS12, &TLS13] {
        for (offered, chosen) in [
            (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
            (&["http/1.1", "h2"], Some(b"h2")),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let mut stream = connect(backsoon.address(), &authority.client(offered, &[version])).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.alpn_protocol(), chosen);
            assert_eq!(session.protocol_version(), Some(version.version));
            if chosen == Some(b"h2") {
                let mut two = Two::over(stream, &mut h2::client::Builder::new()).await;
                assert_eq!(two.get("/").await.unwrap().body, "hello");
            } else {
                assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
            }
        }
    }
    assert!(upstream.seen().contains("x-forwarded-proto: https\r\n"), "{}", upstream.seen());
    // Without ALPN a client may still know that the server speaks HTTP/2.
    let stream = connect(backsoon.address(), &authority.client(&[], &[&TLS13])).await.unwrap();
    let mut two = Two::over(stream, &mut h2::client::Builder::new()).await;
    assert_eq!(two.get("/").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_protocol_that_is_not_spoken_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let backsoon = secured(&authority.identity(&["localhost"]), "http://127.0.0.1:1", "");
    let refused = connect(backsoon.address(), &authority.client(&["h3", "spdy/1"], &[&TLS13])).await;
    assert!(refused.is_err());
    wait("the failure to be counted", || backsoon.metric("backsoon_tls_failures_total", "") == 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_certificate_is_served_to_the_next_connection_and_no_open_one_is_dropped() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let (old, new) = (authority.identity(&["localhost"]), authority.identity(&["localhost"]));
    let backsoon = secured(&old, &upstream.url(), "");
    // A new client each time, because a resumed session comes without a certificate.
    let client = || authority.client(&["http/1.1"], &[&TLS13]);
    let mut open = connect(backsoon.address(), &client()).await.unwrap();
    assert_eq!(served(&open), &old.der()[..]);
    ask(&mut open).await;
    // One file after the other: the state in between does not match, and changes nothing.
    replace(&backsoon.path("cert.pem"), &new.cert);
    wait("the misfit to be noticed", || !problems(&backsoon, "key.pem").is_empty());
    let between = connect(backsoon.address(), &client()).await.unwrap();
    assert_eq!(served(&between), &old.der()[..]);
    replace(&backsoon.path("key.pem"), &new.key);
    backsoon.wait_for_file("key.pem", &new.key);
    let mut next = connect(backsoon.address(), &client()).await.unwrap();
    assert_eq!(served(&next), &new.der()[..]);
    ask(&mut next).await;
    ask(&mut open).await;
    assert!(problems(&backsoon, "key.pem").is_empty() && problems(&backsoon, "cert.pem").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_that_follows_its_certificate_is_pending_and_no_alarm() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let [old, new] = [(); 2].map(|()| authority.identity(&["localhost"]));
    let backsoon = secured(&old, &upstream.url(), "");
    replace(&backsoon.path("cert.pem"), &new.cert);
    wait("the key to be waited for", || {
        let status = backsoon.status();
        let files = status["files"].as_array().unwrap();
        let key = files.iter().find(|file| file["role"] == "key").unwrap();
        key["pending"]["why"].as_str().is_some_and(|why| why.contains("does not belong"))
    });
    replace(&backsoon.path("key.pem"), &new.key);
    backsoon.wait_for_file("key.pem", &new.key);
    let stream = connect(backsoon.address(), &authority.client(&[], &[&TLS13])).await.unwrap();
    assert_eq!(served(&stream), &new.der()[..]);
    assert!(backsoon.metric("backsoon_refused_inputs_total", "") < 0.5);
    assert!(!backsoon.log_lines().iter().any(|line| line["level"] == "ERROR"), "{}", backsoon.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_config_with_another_fault_no_longer_waits_for_the_other_half_of_a_pair() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let [old, new] = [(); 2].map(|()| authority.identity(&["localhost"]));
    let backsoon = secured(&old, &upstream.url(), "");
    std::fs::write(backsoon.path("new.pem"), &new.cert).unwrap();
    let route = format!("[routes.web]\nupstream = \"{}\"\n", upstream.url());
    let unpaired = TLS.replace("cert.pem", "new.pem");
    replace(&backsoon.path("backsoon.toml"), &format!("{unpaired}{route}"));
    let pending = || {
        let status = backsoon.status();
        status["files"].as_array().unwrap().iter().any(|file| !file["pending"].is_null())
    };
    wait("the key to be waited for", pending);
    // The same pair, and one more fault.
    replace(&backsoon.path("backsoon.toml"), &format!("maintenance = \"gone.toml\"\n{unpaired}{route}"));
    wait("the refusal", || problems(&backsoon, "backsoon.toml").iter().any(|problem| problem.contains("gone.toml")));
    wait("the end of the wait", || !pending());
    replace(&backsoon.path("backsoon.toml"), &format!("{TLS}{route}"));
    wait("the config to be mended", || problems(&backsoon, "backsoon.toml").is_empty());
    assert!(backsoon.metric("backsoon_refused_inputs_total", "") < 1.5, "one edit was refused once");
}

/// Returns the problems of a file in `/status`.
fn problems(backsoon: &Backsoon, name: &str) -> Vec<String> {
    let status = backsoon.status();
    let files = status["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap();
    let problems = file["problems"].as_array().unwrap().iter();
    problems.map(|problem| problem["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_that_does_not_fit_keeps_the_old_pair_and_is_shown() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let old = authority.identity(&["localhost"]);
    let backsoon = secured(&old, &upstream.url(), "");
    for (wrong, said) in [
        (authority.identity(&["localhost"]).key, "the key does not belong to the certificate"),
        ("not a key at all".to_owned(), "no private key"),
    ] {
        replace(&backsoon.path("key.pem"), &wrong);
        wait("the problem to be shown", || {
            let problems = problems(&backsoon, "key.pem");
            problems.len() == 1 && problems[0].contains(said)
        });
        let stream = connect(backsoon.address(), &authority.client(&[], &[&TLS13])).await.unwrap();
        assert_eq!(served(&stream), &old.der()[..]);
        let ready = get(backsoon.admin, "/readyz");
        assert_eq!(ready.status, 200, "what is live is good");
        assert!(ready.body.contains("key.pem"), "{}", ready.body);
    }
    assert!(backsoon.metric("backsoon_refused_inputs_total", "") >= 2.0);
    replace(&backsoon.path("key.pem"), &old.key);
    wait("the problem to go", || problems(&backsoon, "key.pem").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_listener_that_the_config_has_no_more_keeps_its_certificate_until_the_restart() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let identity = authority.identity(&["localhost"]);
    let backsoon = secured(&identity, &upstream.url(), "");
    backsoon.config(&format!(
        "{LISTEN}[routes.web]\nupstream = \"{}\"\n[routes.new]\npath = \"/new\"\nupstream = \"{}\"\n",
        upstream.url(),
        upstream.url()
    ));
    wait("the config to be live", || backsoon.status()["routes"].as_array().unwrap().len() == 2);
    let mut stream = connect(backsoon.address(), &authority.client(&[], &[&TLS13])).await.unwrap();
    assert_eq!(served(&stream), &identity.der()[..]);
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[test]
fn bad_certificates_at_the_start_are_exit_64_with_the_file() {
    let authority = Authority::new();
    let (one, other) = (authority.identity(&["localhost"]), authority.identity(&["localhost"]));
    for (cert, key, said) in [
        (Some(&one.cert), Some(&other.key), "key.pem: error: the key does not belong to the certificate"),
        (Some(&one.key), Some(&one.key), "cert.pem"),
        (Some(&one.cert), None, "key.pem"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cert.pem"), cert.unwrap()).unwrap();
        if let Some(key) = key {
            std::fs::write(dir.path().join("key.pem"), key).unwrap();
        }
        let config = format!("{TLS}[routes.web]\nupstream = \"http://127.0.0.1:1\"\n");
        std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
        let (code, printed) = run_to_end(backsoon_run(dir.path()));
        assert_eq!(code, Some(64), "{printed}");
        assert!(printed.contains(said.split(": error").next().unwrap()), "{printed}");
    }
}

fn backsoon_run(directory: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(["run", "--config"]).arg(directory.join("backsoon.toml"));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_handshake_that_does_not_end_is_freed_after_head_read() {
    let authority = Authority::new();
    let backsoon = secured(&authority.identity(&["localhost"]), "http://127.0.0.1:1", "[limits]\nhead_read = \"1s\"\n");
    // Nothing at all, and the beginning of a handshake.
    for begun in [&[][..], &[0x16, 3, 1, 2, 0, 1, 0, 1]] {
        let mut client = Client::connect(backsoon.address());
        client.send(begun);
        assert!(client.is_closed());
    }
    let reached = || backsoon.metric("backsoon_limit_reached_total", "limit=\"head_read\"");
    wait("both to be counted", || reached() == 2.0);
    wait("both to be counted out", || backsoon.metric("backsoon_client_connections", "") == 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn clear_text_on_a_tls_port_is_no_request() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let backsoon = secured(&authority.identity(&["localhost"]), &upstream.url(), "");
    for sent in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = Client::connect(backsoon.address());
        client.send(sent);
        let mut answer = Vec::new();
        let _ = client.stream.read_to_end(&mut answer);
        // At most a TLS alert.
        assert!(answer.is_empty() || answer[0] == 0x15, "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(upstream.seen(), "");
    wait("both to be counted", || backsoon.metric("backsoon_tls_failures_total", "") == 2.0);
}

/// Stream that sends a request in clear text right behind its ClientHello.
struct Injecting {
    stream: TcpStream,
    injected: bool,
}

impl tokio::io::AsyncRead for Injecting {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Injecting {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if self.injected {
            return std::pin::Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.injected = true;
        let both = [buf, b"GET /injected HTTP/1.1\r\nhost: a\r\n\r\n"].concat();
        // A fresh socket has room for both.
        let wrote = std::task::ready!(std::pin::Pin::new(&mut self.stream).poll_write(cx, &both))?;
        assert_eq!(wrote, both.len());
        std::task::Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_between_the_messages_of_a_handshake_are_never_a_request() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let backsoon = secured(&authority.identity(&["localhost"]), &upstream.url(), "");
    let stream = Injecting { stream: TcpStream::connect(backsoon.address()).await.unwrap(), injected: false };
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let handshake = patiently(authority.client(&[], &[&TLS13]).connect(name, stream)).await;
    if let Ok(mut stream) = handshake {
        // The client's side may be done before it learns that the server gave up.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut answer = Vec::new();
        let _ = patiently(stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    wait("the failure to be counted", || backsoon.metric("backsoon_tls_failures_total", "") == 1.0);
    assert_eq!(upstream.seen(), "");
}

/// Starts an upstream that speaks TLS as `identity` and answers every request with `hello`.
async fn tls_upstream(identity: &Identity) -> u16 {
    let acceptor = identity.server(&["http/1.1"]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut head = Vec::new();
                loop {
                    head.push(stream.read_u8().await.ok()?);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.ok()?;
                    }
                }
                #[allow(unreachable_code, reason = "names the type")]
                Some(())
            });
        }
    });
    port
}

/// Starts a proxy with one route to an `https://` upstream of this name, and the roots in `ca.pem`.
fn trusting(roots: &str, name: &str, port: u16, more: &str) -> Backsoon {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), roots).unwrap();
    let upstream = format!("upstream = \"https://{name}:{port}\"\nca = \"ca.pem\"\n");
    Backsoon::start_in(dir, &format!("{LISTEN}[routes.web]\n{upstream}{more}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_https_upstream_is_trusted_by_its_own_authority_by_name_and_by_address() {
    let authority = Authority::new();
    let port = tls_upstream(&authority.identity(&["localhost", "127.0.0.1"])).await;
    for name in ["localhost", "127.0.0.1"] {
        let backsoon = trusting(&authority.pem(), name, port, "");
        let mut client = Client::connect(backsoon.address());
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            assert_eq!(client.response().body, "hello", "{name}");
        }
        assert_eq!(
            backsoon.metric("backsoon_upstream_connects_total", &format!("upstream=\"https://{name}:{port}\"")),
            1.0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_of_another_authority_or_another_name_is_a_bad_gateway() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for identity in [stranger.identity(&["localhost"]), authority.identity(&["elsewhere.example"])] {
        let port = tls_upstream(&identity).await;
        let backsoon = trusting(&authority.pem(), "localhost", port, "");
        let response = get(backsoon.address(), "/");
        assert_eq!(response.status, 502);
        assert_eq!(response.field("proxy-status"), Some("backsoon; error=tls_certificate_error"));
        assert_eq!(backsoon.route("web")["upstreams"][0]["connect_failures"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn new_roots_are_trusted_without_a_restart() {
    let (authority, other) = (Authority::new(), Authority::new());
    let port = tls_upstream(&other.identity(&["localhost"])).await;
    let backsoon = trusting(&authority.pem(), "localhost", port, "");
    assert_eq!(get(backsoon.address(), "/").status, 502);
    replace(&backsoon.path("ca.pem"), &other.pem());
    backsoon.wait_for_file("ca.pem", &other.pem());
    assert_eq!(get(backsoon.address(), "/").status, 200);
    // The old roots no longer count, although a connection that they admitted is still open.
    replace(&backsoon.path("ca.pem"), &authority.pem());
    backsoon.wait_for_file("ca.pem", &authority.pem());
    assert_eq!(get(backsoon.address(), "/").status, 502);
}

/// CVE-2026-1642: clear text before the handshake is no response.
#[test]
fn an_upstream_that_answers_before_the_handshake_is_a_bad_gateway() {
    let authority = Authority::new();
    let upstream = Upstream::handling(|connection| {
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ninjected");
        while connection.byte().is_some() {}
    });
    let backsoon = trusting(&authority.pem(), "127.0.0.1", upstream.address.port(), "");
    let response = get(backsoon.address(), "/");
    assert_eq!(response.status, 502);
    assert_eq!(response.field("proxy-status"), Some("backsoon; error=tls_protocol_error"));
    assert!(!upstream.seen().contains("GET / HTTP"), "the request left before the handshake");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_http_2_upstream_over_tls_is_negotiated_and_nothing_else_is_taken_for_it() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let upstream = TwoUpstream::start(
        |_, mut respond| async move {
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(Bytes::from_static(b"two"), true).unwrap();
        },
        Some(identity.server(&["h2"])),
        h2::server::Builder::new(),
    )
    .await;
    let backsoon = trusting(&authority.pem(), "localhost", upstream.address.port(), "http2 = true\n");
    let mut client = Two::connect(backsoon.address()).await;
    assert_eq!(client.get("/").await.unwrap().body, "two");
    assert_eq!(upstream.heads()[0].uri().scheme_str(), Some("https"));
    let one = tls_upstream(&identity).await;
    let backsoon = trusting(&authority.pem(), "localhost", one, "http2 = true\n");
    let answer = Two::connect(backsoon.address()).await.ask(request("GET", "/"), "").await.unwrap();
    assert_eq!((answer.status, answer.field("proxy-status")), (502, Some("backsoon; error=tls_protocol_error")));
}

#[test]
fn an_https_upstream_without_ca_needs_the_systems_roots_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{LISTEN}[routes.web]\nupstream = \"https://localhost:1\"\n");
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    std::fs::create_dir(dir.path().join("none")).unwrap();
    let mut command = backsoon_run(dir.path());
    command.env_remove("SSL_CERT_FILE").env("SSL_CERT_DIR", dir.path().join("none"));
    let (code, printed) = run_to_end(command);
    assert_eq!(code, Some(64), "{printed}");
    assert!(printed.contains("system's root certificates") && printed.contains("ca-certificates"), "{printed}");
}

#[test]
fn an_upstream_and_a_listener_may_be_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app.sock");
    let listener = UnixListener::bind(&app).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
                        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&head));
                        head.clear();
                    }
                }
            });
        }
    });
    let front = dir.path().join("front.sock");
    // A socket file left over from a killed process.
    drop(UnixListener::bind(&front).unwrap());
    let admin = dir.path().join("admin.sock");
    let config = format!(
        "{LISTEN}[[listen]]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"unix:{}\"\n",
        front.display(),
        app.display()
    );
    let mut backsoon = Backsoon::start_in(dir, &config);
    assert!(get(backsoon.address(), "/over-tcp").body.starts_with("GET /over-tcp HTTP/1.1\r\nhost: test\r\n"));
    let seen = over_unix(&front, "/over-unix");
    assert!(seen.contains("GET /over-unix HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("x-forwarded-for: unknown\r\n") && seen.contains("forwarded: for=unknown;"), "{seen}");
    backsoon.signal("TERM");
    assert_eq!(backsoon.wait_for_exit().code(), Some(0));
    assert!(!front.exists(), "the socket's file is left over");
    assert!(app.exists() && !admin.exists());
}

fn over_unix(path: &std::path::Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_admin_listener_may_be_a_unix_socket_whose_file_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let admin = dir.path().join("admin.sock");
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n",
        admin.display()
    );
    let mut backsoon = Backsoon::start_in(dir, &config);
    assert!(over_unix(&admin, "/livez").ends_with("\r\n\r\nok\n"));
    backsoon.signal("TERM");
    backsoon.wait_for_exit();
    assert!(!admin.exists(), "the socket's file is left over");
}

#[test]
fn a_socket_file_that_somebody_listens_on_is_not_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let front = dir.path().join("front.sock");
    let listener = UnixListener::bind(&front).unwrap();
    let config = format!(
        "[[listen]]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n",
        front.display()
    );
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let (code, printed) = run_to_end(backsoon_run(dir.path()));
    assert_eq!(code, Some(69), "{printed}");
    assert!(printed.contains(&format!("unix:{} is in use", front.display())), "{printed}");
    assert!(UnixStream::connect(&front).is_ok());
    drop(listener);
}

#[test]
fn what_is_no_socket_is_not_taken_away_either() {
    let dir = tempfile::tempdir().unwrap();
    let front = dir.path().join("notes.txt");
    std::fs::write(&front, "precious").unwrap();
    let config = format!(
        "[[listen]]\naddress = \"unix:{}\"\n[routes.web]\nupstream = \"http://127.0.0.1:1\"\n",
        front.display()
    );
    std::fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let (code, printed) = run_to_end(backsoon_run(dir.path()));
    assert_eq!(code, Some(69), "{printed}");
    assert_eq!(std::fs::read_to_string(&front).unwrap(), "precious");
}
