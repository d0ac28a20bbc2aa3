use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::plan::config::{MailServer, MailTls, Mailbox};
use crate::plan::news::Key;
use crate::plan::news::mail::{Action, Direction, Envelope, Letter, Links, Mail, Thread};

use super::compose::{Ready, Sender};
use super::dkim::Dkim;
use super::smtp::{Login, Relay};

fn mail() -> Mail {
    let letter = Letter {
        language: "de".to_owned(),
        direction: Direction::Ltr,
        site: "Beispiel".to_owned(),
        subject: "[Beispiel] Größere Arbeiten an der Datenbank, die auch eine lange Überschrift haben".to_owned(),
        stage: Some("Läuft".to_owned()),
        heading: "Datenbank".to_owned(),
        paragraphs: vec!["Die Wartung hat begonnen.\n.\n..".to_owned(), "日本語 ".repeat(200)],
        facts: vec![("Zeit".to_owned(), "14:00 UTC".to_owned())],
        action: Some(Action { label: "Alles".to_owned(), url: "https://status.example.com/incidents/x".to_owned() }),
        daily: None,
        calendar: Some("BEGIN:VCALENDAR\r\nMETHOD:PUBLISH\r\nSUMMARY:Größere Arbeiten\r\nEND:VCALENDAR\r\n".to_owned()),
        reason: "Abonniert.".to_owned(),
        manage: "Ändern".to_owned(),
        unsubscribe: "Abbestellen".to_owned(),
    };
    let links = Links {
        manage: Some("https://status.example.com/manage/T".to_owned()),
        unsubscribe: Some("https://status.example.com/u/T".to_owned()),
        mailto: Some("mailto:unsubscribe@example.com?subject=T".to_owned()),
    };
    let (incident, update) = (Key::of(&["incident"]), Key::of(&["update"]));
    let thread = Some(Thread { incident: Some(&incident), update: &update, subscription: Some(7) });
    Mail::new(&letter, &Envelope { host: "status.example.com", thread, links, at: Timestamp::now() })
}

fn ready(dkim: Option<Dkim>) -> Ready {
    let from = Mailbox { name: Some("Beispiel, Störungen".to_owned()), address: "status@example.com".to_owned() };
    let reply_to = Mailbox { name: None, address: "help@example.com".to_owned() };
    Sender::new(&from, Some(&reply_to), dkim).unwrap().compose(&mail(), "reader@example.org").unwrap()
}

fn relay(port: u16, tls: MailTls) -> Relay {
    Relay::new(MailServer { host: "127.0.0.1".to_owned(), port, tls }, None, None).unwrap()
}

/// Mail server that answers as it is told.
struct Scripted {
    port: u16,
    /// Commands that came, with the number of their connection.
    seen: Arc<Mutex<Vec<(usize, String)>>>,
}

/// Answer to a command of a connection; `None` for the usual one, an empty one to end the connection.
type Answer = fn(connection: usize, command: &str) -> Option<&'static str>;

impl Scripted {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<(usize, String)>>>::default();
        let notes = Arc::clone(&seen);
        tokio::spawn(async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Self::serve(stream, number, answer, Arc::clone(&notes)));
            }
        });
        Self { port, seen }
    }

    /// Starts a server that speaks TLS from the first byte.
    async fn start_with_tls(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<(usize, String)>>>::default();
        let notes = Arc::clone(&seen);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust the certificate ends here.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(Self::serve(stream, number, |_, _| None, Arc::clone(&notes)));
            }
        });
        Self { port, seen }
    }

    async fn serve(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite,
        number: usize,
        answer: Answer,
        seen: Arc<Mutex<Vec<(usize, String)>>>,
    ) {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut lines = tokio::io::BufReader::new(reader).lines();
        let mut is_data = false;
        let mut command = "HELLO".to_owned();
        loop {
            seen.lock().unwrap().push((number, command.clone()));
            let usual = match command.as_str() {
                "HELLO" => "220 ready",
                "EHLO" => "250 8BITMIME",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            let said = answer(number, &command).unwrap_or(usual);
            if said.is_empty() || writer.write_all(format!("{said}\r\n").as_bytes()).await.is_err() {
                return;
            }
            is_data |= said.starts_with("354");
            loop {
                let Ok(Some(line)) = lines.next_line().await else { return };
                match (is_data, line.as_str()) {
                    (true, ".") => command = "END".to_owned(),
                    (true, _) => continue,
                    (false, line) => command = line.split([' ', ':']).next().unwrap_or_default().to_owned(),
                }
                is_data = false;
                break;
            }
        }
    }

    fn count(&self, command: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(_, own)| own == command).count()
    }
}

#[tokio::test]
async fn each_answer_of_a_server_has_a_meaning() {
    let table: [(&str, Answer, &str, bool, usize); 9] = [
        ("all is fine", |_, _| None, "", false, 1),
        ("an unknown recipient", |_, c| (c == "RCPT").then_some("550 5.1.1 nobody"), "the recipient", true, 1),
        ("a full mailbox", |_, c| (c == "RCPT").then_some("452 full"), "not take the mail now", false, 1),
        ("a refused sender", |_, c| (c == "MAIL").then_some("550 who are you"), "not take the mail now", false, 1),
        ("a refused text", |_, c| (c == "END").then_some("554 spam"), "refuses the mail", true, 1),
        ("a greylist", |_, c| (c == "END").then_some("451 later"), "not take the mail now", false, 1),
        ("a server that ends once", |n, c| (n == 1 && c == "MAIL").then_some("421 bye"), "", false, 2),
        ("a connection that ends once", |n, c| (n == 1 && c == "RCPT").then_some(""), "", false, 2),
        ("a server that is closed", |_, c| (c == "HELLO").then_some("554 closed"), "lets nobody in", false, 1),
    ];
    for (name, answer, error, is_final, connections) in table {
        let server = Scripted::start(answer).await;
        let result = relay(server.port, MailTls::Off).send(&ready(None)).await;
        let said = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(said.contains(error) && said.is_empty() == error.is_empty(), "{name}: {said}");
        assert_eq!(result.is_err_and(|error| error.is_final()), is_final, "{name}");
        assert_eq!(server.count("HELLO"), connections, "{name}: connections");
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_no_mail() {
    let server = Scripted::start(|_, _| None).await;
    let error = relay(server.port, MailTls::StartTls).send(&ready(None)).await.unwrap_err();
    assert_eq!(error.to_string(), "the mail server offers no STARTTLS");
    assert_eq!(server.count("MAIL"), 0);
    let gone = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port() };
    let error = relay(gone, MailTls::Off).send(&ready(None)).await.unwrap_err();
    assert!(!error.is_final() && error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_batch_shares_few_connections_and_leaves_none_behind() {
    let server = Scripted::start(|_, _| None).await;
    let relay = relay(server.port, MailTls::Off);
    let message = ready(None);
    let all = (0..100).map(|_| {
        let (relay, message) = (relay.clone(), message.clone());
        tokio::spawn(async move { relay.send(&message).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(server.count("END"), 100);
    assert!((1..=8).contains(&server.count("HELLO")), "{} connections", server.count("HELLO"));
    assert_eq!(server.count("QUIT"), server.count("HELLO"), "each connection has ended");
}

#[tokio::test]
async fn a_server_with_tls_from_the_first_byte_is_believed_by_its_certificate_alone() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Scripted::start_with_tls(config).await;
    let at = |host: &str| MailServer { host: host.to_owned(), port: server.port, tls: MailTls::Implicit };
    let roots = made.cert.pem();
    for (name, host, roots) in
        [("an unknown certificate", "localhost", None), ("another name", "127.0.0.1", Some(roots.as_str()))]
    {
        let error = Relay::new(at(host), None, roots.map(str::as_bytes)).unwrap().send(&ready(None)).await.unwrap_err();
        assert!(error.to_string().contains("lets nobody in") && !error.is_final(), "{name}: {error}");
    }
    assert_eq!(server.count("MAIL"), 0);
    Relay::new(at("localhost"), None, Some(roots.as_bytes())).unwrap().send(&ready(None)).await.unwrap();
    assert_eq!(server.count("END"), 1);
}

/// Server of PyPI's `aiosmtpd`, with STARTTLS and a password.
struct Aiosmtpd {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Aiosmtpd {
    fn start(python: &Path, folder: &Path) -> Self {
        let mut child = Command::new(python)
            .args(["-c", SERVER])
            .args([folder.join("cert.pem"), folder.join("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its complaints about the refused connections are part of the test.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Self { child, lines, port: port.trim().parse().unwrap() }
    }

    fn received(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Aiosmtpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a Python with the packages of `tests/requirements.txt`.
fn python(claim: &str) -> Option<PathBuf> {
    let python = std::env::var_os("BACKSOON_TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    if python.is_none() {
        eprintln!("SKIPPED: {claim}: BACKSOON_TEST_PYTHON names no Python; tests/all makes one");
    }
    python
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// Makes a key of each kind, and the record of its public half.
fn keys() -> [(&'static str, String, String); 2] {
    let der = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    let ed25519 = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(pair.public_key().as_ref()));
    let rsa_pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let rsa_der: Pkcs8V1Der<'_> = rsa_pair.as_der().unwrap();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = rsa_pair.public_key().as_der().unwrap();
    let rsa = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref()));
    [("ed", pem(der.as_ref()), ed25519), ("rsa", pem(rsa_der.as_ref()), rsa)]
}

#[tokio::test]
async fn a_real_server_takes_mails_whose_signatures_a_library_verifies() {
    let Some(python) = python("mails taken by `aiosmtpd` and verified by `dkimpy` of PyPI") else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut server = Aiosmtpd::start(&python, folder.path());
    let at = |host: &str| MailServer { host: host.to_owned(), port: server.port, tls: MailTls::StartTls };
    let login = |password: &str| Some(Login::new("status".to_owned(), password.to_owned()));
    let roots = made.cert.pem();
    let relay = Relay::new(at("localhost"), login("right"), Some(roots.as_bytes())).unwrap();
    let wrong = Relay::new(at("localhost"), login("wrong"), Some(roots.as_bytes())).unwrap();
    let unknown = Relay::new(at("localhost"), login("right"), None).unwrap();
    for (name, refused) in [("a wrong password", wrong), ("a certificate of nobody", unknown)] {
        let error = refused.send(&ready(None)).await.unwrap_err();
        assert!(error.to_string().contains("lets nobody in") && !error.is_final(), "{name}: {error}");
    }
    let mut mails = Vec::new();
    for (selector, key, record) in keys() {
        let dkim = Dkim::new("example.com", selector, key.as_bytes()).unwrap();
        relay.send(&ready(Some(dkim))).await.unwrap();
        let received = server.received();
        assert_eq!(received["from"], "status@example.com");
        assert_eq!(received["to"], json!(["reader@example.org"]));
        mails.push(json!({ "mail": received["mail"], "name": format!("{selector}._domainkey.example.com."),
            "record": record }));
    }
    let all = verified(&python, &json!(mails));
    for (seen, algorithm) in all.as_array().unwrap().iter().zip(["ed25519-sha256", "rsa-sha256"]) {
        assert_eq!(seen["verified"], true, "{seen:#}");
        assert_eq!(seen["changed"], json!([false, false, false]), "{algorithm}: a changed mail");
        assert_eq!(seen["algorithm"], algorithm);
        assert_eq!(seen["types"], json!(["text/plain", "text/html", "text/calendar"]));
        let covered = seen["covered"].as_str().unwrap();
        assert!(covered.contains("list-unsubscribe:") && covered.contains("list-unsubscribe-post"), "{covered}");
        assert_eq!(seen["fields"]["Subject"], mail().subject.as_str());
        assert_eq!(seen["fields"]["From"], "\"Beispiel, Störungen\" <status@example.com>");
        assert_eq!(seen["fields"]["Reply-To"], "help@example.com");
        assert_eq!(seen["fields"]["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
        assert_eq!(seen["counts"], json!([1, 1, 1]), "Date, Message-ID and From stand there once");
        assert_eq!(seen["text"].as_str().unwrap().replace("\r\n", "\n"), mail().text);
    }
}

/// Has mails read and verified by the libraries of others.
fn verified(python: &Path, mails: &Value) -> Value {
    let mut child =
        Command::new(python).args(["-c", VERIFIER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(mails.to_string().as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

const SERVER: &str = r#"
import base64, json, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
class Handler:
    async def handle_DATA(self, server, session, envelope):
        assert session.ssl and session.authenticated
        mail = base64.b64encode(envelope.original_content).decode()
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "mail": mail}), flush=True)
        return "250 taken"
def login(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"status" and data.password == b"right", handled=False)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[1], sys.argv[2])
controller = Controller(Handler(), hostname="127.0.0.1", port=0, tls_context=context, require_starttls=True,
                        authenticator=login, auth_required=True)
trigger = controller._trigger_server
def with_port():
    controller.port = controller.server.sockets[0].getsockname()[1]
    trigger()
controller._trigger_server = with_port
controller.start()
print(controller.port, flush=True)
sys.stdin.read()
"#;

const VERIFIER: &str = r#"
import base64, dkim, email, email.policy, json, sys
def read(one):
    mail = base64.b64decode(one["mail"])
    records = {one["name"].encode(): one["record"].encode()}
    verify = lambda mail: dkim.verify(mail, dnsfunc=lambda name, timeout=5: records.get(name))
    parsed = email.message_from_bytes(mail, policy=email.policy.default)
    tags = {k.strip(): v.strip() for k, v in (t.split("=", 1) for t in str(parsed["DKIM-Signature"]).split(";") if "=" in t)}
    parts = [part for part in parsed.walk() if not part.is_multipart()]
    changed = [mail.replace(b"List-Unsubscribe=One-Click", b"List-Unsubscribe=One-Clock"), b"From: a@b.c\r\n" + mail,
               mail[:-9] + b"x" + mail[-9:]]
    return {"verified": verify(mail), "changed": [verify(other) for other in changed], "algorithm": tags["a"],
            "covered": "".join(tags["h"].split()), "types": [part.get_content_type() for part in parts],
            "fields": {name: str(value) for name, value in parsed.items()},
            "counts": [len(parsed.get_all(name)) for name in ("Date", "Message-ID", "From")],
            "text": parts[0].get_content()}
json.dump([read(one) for one in json.load(sys.stdin)], sys.stdout)
"#;
