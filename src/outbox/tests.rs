//! Samples for the tests of the outbox.

#[path = "../../tests/postgres/server.rs"]
pub(super) mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::plan::flags::Mode;
use crate::plan::news::{Facts, Incident, Key, Kind, Stage, Trouble, Update, UpdateKind};

use super::notice::{Notice, Telling};
use super::subscription::{Channel, Order, Pace};

pub(super) fn at(text: &str) -> Timestamp {
    format!("2026-05-19T{text}Z").parse().unwrap()
}

/// Returns the update with a number of one incident.
pub(super) fn notice(sequence: u32) -> Notice {
    let update = Update {
        key: Key::of(&["update", &sequence.to_string()]),
        sequence,
        at: at("14:00:00"),
        kind: UpdateKind::Began,
        stage: Stage::InProgress,
        message: None,
    };
    let facts = Facts {
        kind: Kind::Planned,
        reference: Some("MNT-2026-0519-a".to_owned()),
        title: Some("Database".into()),
        summary: None,
        message: None,
        impact: None,
        mode: Mode::Offline,
        routes: BTreeSet::from(["secret-route".to_owned()]),
        services: Vec::new(),
        regions: BTreeSet::from(["eu-west".to_owned()]),
        starts: at("14:00:00"),
        ends: Some(at("15:00:00")),
        steps: Vec::new(),
        stage: Stage::InProgress,
        trouble: Trouble::None,
    };
    let telling = |language: &str, title: &str| Telling {
        language: language.to_owned(),
        title: title.to_owned(),
        stage: "in progress".to_owned(),
        paragraphs: vec!["Maintenance has begun.".to_owned()],
        letter: None,
        chat: None,
    };
    Notice {
        title: "Status".to_owned(),
        url: "https://status.example.com".to_owned(),
        incident: Incident { key: Key::of(&["incident"]), facts, updates: vec![update.clone()] },
        update,
        services: BTreeSet::from(["shop".to_owned()]),
        tellings: vec![telling("en", "Database"), telling("de", "Datenbank")],
    }
}

pub(super) fn order(address: &str) -> Order {
    Order {
        routes: BTreeSet::new(),
        pace: Pace::EachStep,
        channel: Channel::Webhook,
        address: address.to_owned(),
        language: "en".to_owned(),
        services: BTreeSet::new(),
        regions: BTreeSet::new(),
        kinds: BTreeSet::new(),
    }
}

/// Returns a configuration of TLS that trusts nobody.
pub(super) fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Request as an endpoint has seen it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) fields: BTreeMap<String, String>,
    pub(super) body: String,
}

/// Endpoint on loopback. A script answers its requests, by their number.
pub(super) struct Sink {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Sink {
    pub(super) async fn new(script: impl Fn(usize, &Seen) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (sink, script) = (Arc::clone(&seen), Arc::new(script));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, Arc::clone(&sink), Arc::clone(&script)));
            }
        });
        Self { url, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(mut stream: TcpStream, sink: Arc<Mutex<Vec<Seen>>>, script: Arc<impl Fn(usize, &Seen) -> String>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let text = {
        let mut seen = sink.lock().unwrap();
        seen.push(request.clone());
        script(seen.len(), &request)
    };
    // A client that has read enough closes.
    let _closed = stream.write_all(text.as_bytes()).await;
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16_384]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
            let fields: BTreeMap<String, String> = head.lines().filter_map(field).collect();
            let length: usize = fields["content-length"].parse().unwrap();
            if body.len() == length {
                return Some(Seen { fields, body: body.to_owned() });
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            Ok(0) | Err(_) => return None,
        }
    }
}

pub(super) fn plain(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}
