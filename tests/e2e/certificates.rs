//! Certificates of listeners: several of them, directories of them, and the time that they have left.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, Identity, connect_to};
use crate::command::{Done, command};
use crate::support::{Backsoon, Upstream, get, replace, wait};
use crate::two::patiently;

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Returns a config with one listener whose `tls` is this.
fn config(tls: &str, upstream: &str) -> String {
    format!("[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {tls}\n{ADMIN}[routes.web]\nupstream = \"{upstream}\"\n")
}

/// Writes a pair as `NAME.crt` and `NAME.key`.
fn put(dir: &Path, name: &str, identity: &Identity) {
    replace(&dir.join(format!("{name}.crt")), &identity.cert);
    replace(&dir.join(format!("{name}.key")), &identity.key);
}

/// Returns the certificate that is served for a name.
async fn served(address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let stream = connect_to(address, &anything(), name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Checks what is served for some names.
#[track_caller]
fn assert_served(found: &CertificateDer<'_>, wanted: &Identity, name: &str) {
    assert_eq!(*found, wanted.der(), "{name}");
}

/// Returns a client that takes every certificate.
fn anything() -> TlsConnector {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.unwrap().dangerous().with_custom_certificate_verifier(Arc::new(Anything(provider)));
    TlsConnector::from(Arc::new(builder.with_no_client_auth()))
}

#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Returns a file in `/status`.
fn file(backsoon: &Backsoon, name: &str) -> Option<Value> {
    let status = backsoon.status();
    let mut files = status["files"].as_array().unwrap().iter();
    files.find(|file| file["path"].as_str().unwrap().ends_with(name)).cloned()
}

fn problems(backsoon: &Backsoon, name: &str) -> String {
    file(backsoon, name).map(|file| file["problems"].to_string()).unwrap_or_default()
}

/// Returns the date in some days.
fn date(days: i64) -> jiff::civil::Date {
    jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date() + jiff::SignedDuration::from_hours(24 * days)
}

/// Issues a certificate that ends at the beginning of a day.
fn ending(authority: &Authority, names: &[&str], days: i64) -> Identity {
    let date = date(days);
    authority.issue(names, |params| {
        params.not_after =
            rcgen::date_time_ymd(i32::from(date.year()), date.month().cast_unsigned(), date.day().cast_unsigned());
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_name_gets_its_own_certificate_then_a_wildcards_then_the_default() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let [one, wild, two] =
        [&["one.test", "www.one.test"][..], &["*.wild.test", "exact.one.test"], &["own.wild.test", "two.test"]]
            .map(|names| authority.identity(names));
    for (name, identity) in [("1", &one), ("2", &wild), ("3", &two)] {
        put(dir.path(), name, identity);
    }
    let pairs = "[{ cert = \"1.crt\", key = \"1.key\" }, { cert = \"2.crt\", key = \"2.key\" }, \
                 { cert = \"3.crt\", key = \"3.key\" }]";
    let backsoon = Backsoon::start_in(dir, &config(pairs, "http://127.0.0.1:1"));
    for (name, wanted) in [
        ("one.test", &one),
        ("WWW.one.test", &one),
        ("exact.one.test", &wild),
        ("a.wild.test", &wild),
        ("own.wild.test", &two),
        ("two.test", &two),
        // One label and no more; not the domain itself.
        ("a.b.wild.test", &one),
        ("wild.test", &one),
        ("unknown.test", &one),
        // No name.
        ("127.0.0.1", &one),
    ] {
        assert_served(&served(backsoon.address(), name).await, wanted, name);
    }
    backsoon.config(&config(&format!("{{ certificates = {pairs}, default = \"two.test\" }}"), "http://127.0.0.1:1"));
    assert_served(&served(backsoon.address(), "unknown.test").await, &two, "the default");
    assert_served(&served(backsoon.address(), "one.test").await, &one, "one.test");
    backsoon.config(&config(&format!("{{ certificates = {pairs}, default = \"no.test\" }}"), "http://127.0.0.1:1"));
    wait("the warning", || problems(&backsoon, "backsoon.toml").contains("no certificate is for no.test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pair_is_replaced_alone_while_connections_are_open_and_go_on() {
    let authority = Authority::new();
    let upstream = Upstream::ok();
    let dir = tempfile::tempdir().unwrap();
    let [one, two, new] = [&["one.test"][..], &["two.test"], &["two.test"]].map(|names| authority.identity(names));
    put(dir.path(), "1", &one);
    put(dir.path(), "2", &two);
    let pairs = "[{ cert = \"1.crt\", key = \"1.key\" }, { cert = \"2.crt\", key = \"2.key\" }]";
    let backsoon = Backsoon::start_in(dir, &config(pairs, &upstream.url()));
    let mut open = connect_to(backsoon.address(), &anything(), "two.test").await.unwrap();
    replace(&backsoon.path("2.crt"), &new.cert);
    wait("the half to be noticed", || !problems(&backsoon, "2.key").is_empty());
    assert_served(&served(backsoon.address(), "two.test").await, &two, "half a pair is not served");
    replace(&backsoon.path("2.key"), &new.key);
    backsoon.wait_for_file("2.key", &new.key);
    assert_served(&served(backsoon.address(), "two.test").await, &new, "the new pair");
    assert_served(&served(backsoon.address(), "one.test").await, &one, "the other pair");
    patiently(open.write_all(b"GET / HTTP/1.1\r\nhost: two.test\r\nconnection: close\r\n\r\n")).await.unwrap();
    let mut answer = String::new();
    patiently(open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sessions_are_resumed_over_a_new_certificate() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "1", &authority.identity(&["localhost"]));
    let upstream = Upstream::ok();
    let backsoon = Backsoon::start_in(dir, &config("[{ cert = \"1.crt\", key = \"1.key\" }]", &upstream.url()));
    let client = authority.client(&["http/1.1"], &[&TLS13]);
    let mut kinds = Vec::new();
    for round in 0..3 {
        let mut stream = connect_to(backsoon.address(), &client, "localhost").await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        patiently(stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await.unwrap();
        let mut answer = Vec::new();
        patiently(stream.read_to_end(&mut answer)).await.unwrap();
        if round == 1 {
            let new = authority.identity(&["localhost"]);
            put(backsoon.dir.path(), "1", &new);
            backsoon.wait_for_file("1.key", &new.key);
            wait("the pair to be taken", || file(&backsoon, "1.crt").unwrap()["pending"].is_null());
        }
    }
    let [first, rest @ ..] = kinds.as_slice() else { panic!("three rounds") };
    assert_eq!(*first, rustls::HandshakeKind::Full);
    assert!(rest.iter().all(|kind| *kind == rustls::HandshakeKind::Resumed), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_directory_is_followed_as_files_come_change_and_go() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    fs::create_dir_all(certs.join("live")).unwrap();
    let [first, both] = [&["a.test"][..], &["both.test"]].map(|names| authority.identity(names));
    put(&certs, "a", &first);
    fs::write(certs.join("both.pem"), format!("{}{}", both.cert, both.key)).unwrap();
    let backsoon = Backsoon::start_in(dir, &config("{ dir = \"certs\" }", "http://127.0.0.1:1"));
    let address = backsoon.address();
    assert_served(&served(address, "a.test").await, &first, "a.test");
    assert_served(&served(address, "both.test").await, &both, "both.test");

    // One more, key first, as files of a listing; and certbot's: a directory with links to an archive.
    let [more, certbot] = [&["more.test"][..], &["*.certbot.test"]].map(|names| authority.identity(names));
    replace(&certs.join("more.key"), &more.key);
    replace(&certs.join("more.crt"), &more.cert);
    let archive = backsoon.path("archive");
    fs::create_dir(&archive).unwrap();
    fs::write(archive.join("cert1.pem"), &certbot.cert).unwrap();
    fs::write(archive.join("key1.pem"), &certbot.key).unwrap();
    let live = certs.join("certbot.test");
    fs::create_dir(&live).unwrap();
    std::os::unix::fs::symlink(archive.join("cert1.pem"), live.join("fullchain.pem")).unwrap();
    std::os::unix::fs::symlink(archive.join("key1.pem"), live.join("privkey.pem")).unwrap();
    wait("both to be found", || {
        ["more.crt", "certbot.test/fullchain.pem"]
            .iter()
            .all(|name| file(&backsoon, name).is_some_and(|file| !file["certificate"]["ends"].is_null()))
    });
    assert_served(&served(address, "more.test").await, &more, "more.test");
    assert_served(&served(address, "www.certbot.test").await, &certbot, "www.certbot.test");

    // A renewal by certbot: new files in the archive, and the links are replaced.
    let renewed = authority.identity(&["*.certbot.test"]);
    fs::write(archive.join("cert2.pem"), &renewed.cert).unwrap();
    fs::write(archive.join("key2.pem"), &renewed.key).unwrap();
    for (link, file) in [("fullchain.pem", "cert2.pem"), ("privkey.pem", "key2.pem")] {
        std::os::unix::fs::symlink(archive.join(file), live.join("next")).unwrap();
        fs::rename(live.join("next"), live.join(link)).unwrap();
    }
    backsoon.wait_for_file("privkey.pem", &renewed.key);
    assert_served(&served(address, "www.certbot.test").await, &renewed, "www.certbot.test");

    // One goes, and the default serves its name.
    for name in ["more.crt", "more.key"] {
        fs::remove_file(certs.join(name)).unwrap();
    }
    wait("it to be forgotten", || file(&backsoon, "more.crt").is_none());
    assert_served(&served(address, "more.test").await, &first, "more.test");
    assert_eq!(problems(&backsoon, "a.crt"), "[]");
    assert!(!backsoon.log_text().contains("ERROR"), "{}", backsoon.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_file_in_a_directory_costs_itself_alone_and_is_told() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    fs::create_dir(&certs).unwrap();
    let [good, other] = [&["good.test"][..], &["other.test"]].map(|names| authority.identity(names));
    put(&certs, "good", &good);
    put(&certs, "other", &other);
    fs::write(certs.join("bad.crt"), "no certificate").unwrap();
    fs::write(certs.join("bad.key"), &good.key).unwrap();
    fs::write(certs.join("half.crt"), &good.cert).unwrap();
    fs::write(certs.join("lonely.key"), &good.key).unwrap();
    let text = config("{ dir = \"certs\" }", "http://127.0.0.1:1");
    fs::write(dir.path().join("backsoon.toml"), &text).unwrap();
    check(dir.path())
        .exits(0)
        .tells("warning: no certificate in this file: it is left out")
        .tells("warning: there is no key for this certificate: it is left out")
        .tells("warning: there is no certificate for this key");
    let backsoon = Backsoon::start_in(dir, &text);
    assert!(
        problems(&backsoon, "bad.crt").contains("no certificate in this file"),
        "{}",
        problems(&backsoon, "bad.crt")
    );
    // A good one turns bad: what it was stays.
    replace(&certs.join("other.crt"), "broken");
    wait("the problem", || problems(&backsoon, "other.crt").contains("the last good one is served"));
    assert_served(&served(backsoon.address(), "other.test").await, &other, "other.test");
    assert_served(&served(backsoon.address(), "good.test").await, &good, "good.test");
    assert_eq!(get(backsoon.admin, "/readyz").status, 200);
    // Mended, and told no more.
    replace(&certs.join("other.crt"), &other.cert);
    wait("the end of the problem", || problems(&backsoon, "other.crt") == "[]");
    // All go: what was served is served, and told.
    for entry in fs::read_dir(&certs).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    wait("the problem", || problems(&backsoon, "backsoon.toml").contains("the last good ones are served"));
    assert_served(&served(backsoon.address(), "other.test").await, &other, "other.test");
    put(&certs, "good", &good);
    wait("the end of the problem", || problems(&backsoon, "backsoon.toml") == "[]");
    assert_served(&served(backsoon.address(), "other.test").await, &good, "the default");
}

#[test]
fn a_directory_without_a_good_pair_is_refused_at_the_start_with_the_reasons() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let text = config("{ dir = \"certs\" }", "http://127.0.0.1:1");
    fs::write(dir.path().join("backsoon.toml"), text).unwrap();
    check(dir.path()).exits(64).tells("there is no directory ").tells("help: put one there");
    let certs = dir.path().join("certs");
    fs::create_dir(&certs).unwrap();
    check(dir.path()).exits(64).tells("no certificate in ").tells("can be served");
    fs::write(certs.join("a.crt"), authority.identity(&["a.test"]).cert).unwrap();
    check(dir.path()).exits(64).tells("a.crt: there is no key for this certificate");
}

fn check(dir: &Path) -> Done {
    Done::from(command(dir, &["check", "--config", "backsoon.toml"]).output().unwrap())
}

#[test]
fn a_name_in_two_certificates_is_told_with_the_one_that_is_served() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "1", &authority.identity(&["a.test", "b.test"]));
    put(dir.path(), "2", &authority.identity(&["b.test", "a.test", "c.test"]));
    let pairs = "[{ cert = \"1.crt\", key = \"1.key\" }, { cert = \"2.crt\", key = \"2.key\" }]";
    fs::write(dir.path().join("backsoon.toml"), config(pairs, "http://127.0.0.1:1")).unwrap();
    let said = "warning: b.test and 1 more name are in the certificate of 1.crt as well, which is served";
    check(dir.path()).exits(0).tells(said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_certificate_that_ended_or_ends_soon_is_told_everywhere() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "ended", &ending(&authority, &["ended.test"], -3));
    put(dir.path(), "soon", &ending(&authority, &["soon.test", "www.soon.test"], 10));
    put(dir.path(), "good", &ending(&authority, &["good.test"], 16));
    put(
        dir.path(),
        "early",
        &authority.issue(&["early.test"], |params| {
            params.not_before = rcgen::date_time_ymd(4000, 1, 1);
        }),
    );
    let pairs: Vec<String> = ["ended", "soon", "good", "early"]
        .iter()
        .map(|name| format!("{{ cert = \"{name}.crt\", key = \"{name}.key\" }}"))
        .collect();
    let text = config(&format!("[{}]", pairs.join(", ")), "http://127.0.0.1:1");
    fs::write(dir.path().join("backsoon.toml"), &text).unwrap();
    check(dir.path())
        .exits(0)
        .tells("warning: the certificate for ended.test ended 3 days ago, at ")
        .tells("warning: the certificate for soon.test and 1 more name ends in 9 days, at ")
        .tells("warning: the certificate for early.test is not valid yet: it begins in ")
        .keeps_quiet_of("good.crt");
    let backsoon = Backsoon::start_in(dir, &text);
    assert!(problems(&backsoon, "ended.crt").contains("ended 3 days ago"));
    let told = |backsoon: &Backsoon, name: &str| {
        let lines = backsoon.log_lines();
        lines.iter().filter(|line| line["level"] == "WARN" && line["problem"].to_string().contains(name)).count()
    };
    wait("it in the log", || told(&backsoon, "ended.test ended 3 days ago") == 1 && told(&backsoon, "soon.test") == 1);
    let end = jiff::tz::TimeZone::UTC.to_timestamp(date(16).at(0, 0, 0, 0)).unwrap();
    let labels = format!("file=\"{}\",name=\"good.test\"", backsoon.path("good.crt").display());
    let metric = backsoon.metric("backsoon_certificate_expiry_timestamp_seconds", &labels);
    assert!((metric - end.as_duration().as_secs_f64()).abs() < 1.0, "{metric} {end}");
    let good = file(&backsoon, "good.crt").unwrap();
    assert_eq!(good["certificate"]["names"][0], "good.test");
    assert_eq!(good["certificate"]["ends"], end.to_string());
    // A renewal ends the warning.
    let renewed = authority.identity(&["ended.test"]);
    put(backsoon.dir.path(), "ended", &renewed);
    wait("the end of the warning", || problems(&backsoon, "ended.crt") == "[]");
    assert!(problems(&backsoon, "soon.crt").contains("ends in 9 days"));
    // One that is nearly over is told when it comes.
    put(backsoon.dir.path(), "good", &ending(&authority, &["good.test"], 2));
    wait("the warning", || problems(&backsoon, "good.crt").contains("the certificate for good.test ends in"));
    wait("it in the log", || told(&backsoon, "good.test") == 1);
    assert_eq!(told(&backsoon, "soon.test"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_listener_of_the_status_site_takes_all_forms_of_tls() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let [one, two, three] = [&["one.test"][..], &["two.test"], &["three.test"]].map(|names| authority.identity(names));
    fs::create_dir(dir.path().join("certs")).unwrap();
    put(&dir.path().join("certs"), "1", &one);
    put(&dir.path().join("certs"), "2", &two);
    fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    // Another address: a listener is known by it when the config changes.
    let config = |tls: &str| {
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n{ADMIN}[status]\nlisten = \"127.0.0.2:0\"\ntls = {tls}\n\
             [routes.web]\nupstream = \"http://127.0.0.1:1\"\n"
        )
    };
    let backsoon = Backsoon::start_in(dir, &config("{ dir = \"certs\" }"));
    let site = backsoon.listen[1];
    for (name, wanted) in [("one.test", &one), ("two.test", &two)] {
        assert_served(&served(site, name).await, wanted, name);
    }
    put(&backsoon.path("certs"), "3", &three);
    wait("it to be found", || file(&backsoon, "3.crt").is_some_and(|file| !file["certificate"]["ends"].is_null()));
    assert_served(&served(site, "three.test").await, &three, "three.test");
    let pairs = "{ cert = \"certs/1.crt\", key = \"certs/1.key\" }, { cert = \"certs/2.crt\", key = \"certs/2.key\" }";
    backsoon.config(&config(&format!("{{ certificates = [{pairs}], default = \"two.test\" }}")));
    wait("the directory to be forgotten", || file(&backsoon, "3.crt").is_none());
    assert_served(&served(site, "unknown.test").await, &two, "the default");
    // Clients without a certificate are refused: their first read fails, after a handshake of TLS 1.3.
    let asked = async || {
        let mut stream = connect_to(site, &anything(), "one.test").await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        patiently(stream.read_to_end(&mut answer)).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    assert!(asked().await.unwrap().starts_with("HTTP/1.1 200"));
    let client_ca = |more: &str| {
        config(&format!("{{ cert = \"certs/1.crt\", key = \"certs/1.key\", client_ca = \"ca.pem\"{more} }}"))
    };
    backsoon.config(&client_ca(""));
    assert!(asked().await.is_err());
    backsoon.config(&client_ca(", client_auth = \"optional\", min_version = \"1.3\""));
    assert!(asked().await.unwrap().starts_with("HTTP/1.1 200"));
}
