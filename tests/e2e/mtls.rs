//! Certificates of clients, towards this proxy and from it; the oldest version; and faults of files in plain words.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::DnType;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Identity, connect};
use crate::command::{Done, command};
use crate::support::{Backsoon, LISTEN, Upstream, get, replace, wait};

/// Returns a config with one listener whose `tls` has these keys besides its certificate.
fn config(more: &str, upstream: &str) -> String {
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\"{more} }}\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[routes.web]\nupstream = \"{upstream}\"\n"
    )
}

/// Issues a certificate for a client of this name.
fn person(authority: &Authority, name: &str) -> Identity {
    authority.issue(&[&format!("{name}.example")], |params| params.distinguished_name.push(DnType::CommonName, name))
}

/// Asks with curl, with the certificate in `NAME.crt` if there is one. Returns `None` without curl.
fn curl(backsoon: &Backsoon, name: Option<&str>) -> Option<Output> {
    let port = backsoon.address().port();
    let mut curl = Command::new("curl");
    curl.current_dir(backsoon.dir.path()).args(["-sS", "--max-time", "20", "--cacert", "ca.pem", "--resolve"]);
    curl.arg(format!("localhost:{port}:127.0.0.1")).args(["-H", "X-Forwarded-Client-Cert: Hash=forged"]);
    if let Some(name) = name {
        curl.args(["--cert", &format!("{name}.crt"), "--key", &format!("{name}.key")]);
    }
    curl.arg(format!("https://localhost:{port}/")).output().ok()
}

fn put(dir: &Path, name: &str, identity: &Identity) {
    replace(&dir.join(format!("{name}.crt")), &identity.cert);
    replace(&dir.join(format!("{name}.key")), &identity.key);
}

#[test]
fn a_client_without_a_valid_certificate_is_refused_and_the_upstream_is_told_of_the_others() {
    let [servers, clients, strangers] = [(); 3].map(|()| Authority::new());
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    servers.identity(&["localhost"]).write(dir.path());
    fs::write(dir.path().join("ca.pem"), servers.pem()).unwrap();
    fs::write(dir.path().join("clients.pem"), clients.pem()).unwrap();
    put(dir.path(), "alice", &person(&clients, "alice"));
    put(dir.path(), "mallory", &person(&strangers, "mallory"));
    let backsoon = Backsoon::start_in(dir, &config(", client_ca = \"clients.pem\"", &upstream.url()));
    let Some(answer) = curl(&backsoon, Some("alice")) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: certificates of clients by curl: curl is not installed");
        return;
    };
    assert_eq!(answer.stdout, b"hello", "{answer:?}");
    let seen = upstream.seen();
    assert!(seen.contains("x-forwarded-client-cert: Hash="), "{seen}");
    assert!(seen.contains(";Subject=\"CN=alice\";DNS=alice.example\r\n"), "{seen}");
    assert!(!seen.contains("forged"), "{seen}");
    for refused in [Some("mallory"), None] {
        let answer = curl(&backsoon, refused).unwrap();
        assert!(!answer.status.success() && answer.stdout.is_empty(), "{refused:?}: {answer:?}");
    }
    wait("both to be counted", || backsoon.metric("backsoon_tls_failures_total", "") == 2.0);
    assert_eq!(upstream.seen(), seen, "no request of theirs is forwarded");

    // Another authority: alice has no session that would let her in.
    replace(&backsoon.path("clients.pem"), &strangers.pem());
    backsoon.wait_for_file("clients.pem", &strangers.pem());
    assert!(!curl(&backsoon, Some("alice")).unwrap().status.success());
    assert_eq!(curl(&backsoon, Some("mallory")).unwrap().stdout, b"hello");

    // Those without one are let in, and nothing is said of them.
    let optional = ", client_ca = \"clients.pem\", client_auth = \"optional\"";
    backsoon.config(&config(optional, &upstream.url()));
    let before = upstream.seen().len();
    assert_eq!(curl(&backsoon, None).unwrap().stdout, b"hello");
    assert!(!upstream.seen()[before..].contains("client-cert"), "{}", upstream.seen());
    assert!(!curl(&backsoon, Some("alice")).unwrap().status.success(), "a bad one is refused");
    // A bad file changes nothing.
    replace(&backsoon.path("clients.pem"), "broken");
    wait("the problem", || backsoon.status().to_string().contains("no certificate in this file"));
    assert_eq!(curl(&backsoon, Some("mallory")).unwrap().stdout, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_oldest_version_is_held_and_changes_while_running() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    authority.identity(&["localhost"]).write(dir.path());
    let backsoon = Backsoon::start_in(dir, &config(", min_version = \"1.3\"", "http://127.0.0.1:1"));
    assert!(connect(backsoon.address(), &authority.client(&[], &[&TLS12])).await.is_err());
    assert!(connect(backsoon.address(), &authority.client(&[], &[&TLS13])).await.is_ok());
    backsoon.config(&config("", "http://127.0.0.1:1"));
    assert!(connect(backsoon.address(), &authority.client(&[], &[&TLS12])).await.is_ok());
}

/// Starts an upstream that serves clients of an authority alone.
async fn strict_upstream(identity: &Identity, clients: &Authority) -> u16 {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(vec![identity.der()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upstream_is_shown_a_certificate_by_requests_and_checks_alike() {
    let [authority, clients] = [(); 2].map(|()| Authority::new());
    let port = strict_upstream(&authority.identity(&["localhost"]), &clients).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    put(dir.path(), "own", &person(&clients, "proxy"));
    let route =
        |more: &str| format!("{LISTEN}[routes.web]\nupstream = \"https://localhost:{port}\"\nca = \"ca.pem\"\n{more}");
    let check = "verify = [{ get = \"/\", expect = 200 }]\n";
    let shown = route(&format!("client_cert = {{ cert = \"own.crt\", key = \"own.key\" }}\n{check}"));
    let backsoon = Backsoon::start_in(dir, &route(""));
    assert_eq!(get(backsoon.address(), "/").status, 502, "it demands a certificate");
    backsoon.config(&shown);
    assert_eq!(get(backsoon.address(), "/").body, "hello");
    let verified = command(backsoon.dir.path(), &["verify", "--config", "backsoon.toml", "web"]).output().unwrap();
    Done::from(verified).exits(0);
    // Replaced by one that the upstream refuses, and by a good one again.
    for (identity, status) in [(person(&authority, "proxy"), 502), (person(&clients, "proxy"), 200)] {
        put(backsoon.dir.path(), "own", &identity);
        backsoon.wait_for_file("own.key", &identity.key);
        wait("the new one to be shown", || get(backsoon.address(), "/").status == status);
    }
    let labels = format!("file=\"{}\",name=\"proxy.example\"", backsoon.path("own.crt").display());
    assert!(backsoon.metric("backsoon_certificate_expiry_timestamp_seconds", &labels) > 0.0);
}

#[test]
fn faults_of_files_are_told_in_plain_words_with_what_to_do() {
    let authority = Authority::new();
    let good = authority.identity(&["localhost"]);
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n";
    let der = good.der().to_vec();
    for (cert, key, said, help) in [
        (good.key.as_bytes(), good.cert.as_bytes(), "a private key in this file and no certificate", "may be swapped"),
        (good.cert.as_bytes(), good.cert.as_bytes(), "a certificate in this file and no private key", "may be swapped"),
        (good.cert.as_bytes(), encrypted.as_bytes(), "the private key is encrypted", "openssl pkey -in"),
        (&der, good.key.as_bytes(), "this is a certificate in DER", "openssl x509 -inform der"),
        (request.as_bytes(), good.key.as_bytes(), "the request for a certificate", "give it to the authority"),
        (good.cert.as_bytes(), authority.identity(&["a"]).key.as_bytes(), "the key does not belong", "renew both"),
        (b"", good.key.as_bytes(), "no certificate in this file", "a PEM file begins with"),
    ] {
        checked(cert, key).exits(64).tells(said).tells(help);
    }
    // Editors of Windows write a mark before the text.
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    checked(&marked(&good.cert), &marked(&good.key)).exits(0);
}

/// Checks a config with this pair.
fn checked(cert: &[u8], key: &[u8]) -> Done {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cert.pem"), cert).unwrap();
    fs::write(dir.path().join("key.pem"), key).unwrap();
    fs::write(dir.path().join("backsoon.toml"), config("", "http://127.0.0.1:1")).unwrap();
    Done::from(command(dir.path(), &["check", "--config", "backsoon.toml"]).output().unwrap())
}

#[test]
fn a_certificate_of_version_1_is_refused_with_how_to_make_another() {
    let dir = tempfile::tempdir().unwrap();
    // As a recipe on the web has it: no extension, so no version 3.
    let recipe = "openssl req -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=localhost -out request.pem && \
                  openssl x509 -req -in request.pem -signkey key.pem -out cert.pem -days 365 && \
                  openssl x509 -in cert.pem -noout -text | grep -q 'Version: 1 '";
    let made = Command::new("sh").args(["-c", recipe]).current_dir(dir.path()).output().unwrap();
    if !made.status.success() {
        let why = "openssl is not installed, or makes no such certificate";
        let _ = writeln!(std::io::stderr(), "SKIPPED: a certificate of version 1 is told: {why}");
        return;
    }
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let done = checked(&read("cert.pem"), &read("key.pem")).exits(64);
    done.tells("this is a certificate of X.509 version 1").tells("-extfile names.ext");
}

#[test]
fn certbots_hook_hands_a_renewal_over_while_the_proxy_runs() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live/www.example.com");
    fs::create_dir_all(&live).unwrap();
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/certbot/deploy-hook");
    let group = Command::new("id").arg("-gn").output().unwrap().stdout;
    let group = String::from_utf8(group).unwrap();
    let renew = |to: &Path| {
        let identity = authority.identity(&["www.example.com"]);
        fs::write(live.join("fullchain.pem"), &identity.cert).unwrap();
        fs::write(live.join("privkey.pem"), &identity.key).unwrap();
        let mut hook = Command::new(&hook);
        hook.env("RENEWED_LINEAGE", &live).env("BACKSOON_TLS", to).env("BACKSOON_GROUP", group.trim());
        let done = hook.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        identity
    };
    let to = dir.path().join("tls");
    let first = renew(&to);
    let mode = fs::metadata(to.join("www.example.com/privkey.pem")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o640);
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ dir = \"{}\" }}\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [routes.web]\nupstream = \"http://127.0.0.1:1\"\n",
        to.display()
    );
    let backsoon = Backsoon::start(&text);
    backsoon.wait_for_file("privkey.pem", &first.key);
    let second = renew(&to);
    backsoon.wait_for_file("privkey.pem", &second.key);
    backsoon.wait_for_file("fullchain.pem", &second.cert);
    let settled = || backsoon.status()["files"].as_array().unwrap().iter().all(|file| file["pending"].is_null());
    wait("the pair to be taken", settled);
    assert!(!backsoon.log_text().contains("ERROR"), "{}", backsoon.log_text());
}
