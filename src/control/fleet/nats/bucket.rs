//! Key of a JetStream KV bucket: reads, watches and compare-and-set (ADR-8 of NATS).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::files::author;
use crate::files::source::Hash;
use crate::plan::config::FleetNats;

use super::super::{Document, FleetError, Revision};
use super::connection::Connection;
use super::protocol::{Message, fields};

/// Bucket, with a connection to its server.
pub(super) struct Bucket {
    connection: Connection,
    /// Name of the stream that holds the bucket.
    stream: String,
    /// Subject of the key.
    subject: String,
}

/// Entry of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Revision.
    pub revision: u64,
    /// Text; `None` if the key was deleted.
    pub text: Option<Bytes>,
    /// Signature of the edit.
    signature: Option<String>,
}

/// News of a watch.
pub(super) enum Change {
    /// Entry that was written.
    Entry(Entry),
    /// Sign of life.
    Beat,
}

/// Text to write.
pub(super) struct Put {
    /// Text.
    pub text: Bytes,
    /// Revision that it replaces.
    pub expected: String,
    /// Signature of the edit.
    pub signature: Option<String>,
}

impl Entry {
    /// Returns the document; `None` if the key was deleted.
    pub(super) fn document(self) -> Option<Document> {
        let text = self.text?;
        let by = self.signature.and_then(|signature| author::signed(signature.as_bytes(), Hash::of(&text)));
        Some(Document { text, revision: Revision::Number(self.revision), by })
    }

    fn new(revision: u64, fields: &[(String, String)], text: Bytes) -> Self {
        let field = |name: &str| fields.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let is_deleted = field("KV-Operation").is_some_and(|operation| operation == "DEL" || operation == "PURGE")
            || field("Nats-Marker-Reason").is_some();
        Self { revision, text: (!is_deleted).then_some(text), signature: field(EDIT).cloned() }
    }
}

impl Bucket {
    /// Connects to the server of a bucket.
    pub(super) async fn open(config: &FleetNats, ca: Option<&Path>) -> Result<Self, FleetError> {
        let connection = Connection::open(config, ca).await?;
        let FleetNats { bucket, key, .. } = config;
        let (stream, subject) = (format!("KV_{bucket}"), format!("$KV.{bucket}.{key}"));
        Ok(Self { connection, stream, subject })
    }

    /// Reads the last entry of the key, from the leader; `None` if there never was one.
    pub(super) async fn read(&mut self) -> Result<Option<Entry>, FleetError> {
        let api = format!("$JS.API.STREAM.MSG.GET.{}", self.stream);
        let asked = json!({ "last_by_subj": self.subject }).to_string();
        let answer = self.connection.request(&api, &[], asked.as_bytes()).await?;
        let answer = parsed(&answer)?;
        if code(&answer) == Some(NO_MESSAGE) {
            return Ok(None);
        }
        self.check(&answer)?;
        let message = &answer["message"];
        let decoded = |key: &str| STANDARD.decode(message[key].as_str().unwrap_or_default());
        let (Some(revision), Ok(head), Ok(text)) = (message["seq"].as_u64(), decoded("hdrs"), decoded("data")) else {
            return Err(FleetError::Wrong("the answer of JetStream has no message".to_owned()));
        };
        Ok(Some(Entry::new(revision, &fields(&head).1, text.into())))
    }

    /// Begins to watch the key. The engine forgets the watch soon after the connection ends.
    pub(super) async fn watch(&mut self) -> Result<(), FleetError> {
        let name = format!("backsoon-{:016x}", fastrand::u64(..));
        let asked = json!({
            "stream_name": self.stream,
            "config": {
                "name": name, "deliver_subject": self.connection.watch(), "deliver_policy": "last_per_subject", "ack_policy": "none",
                "max_deliver": 1, "filter_subject": self.subject, "replay_policy": "instant", "flow_control": true,
                "idle_heartbeat": BEAT_NANOS, "inactive_threshold": FORGOTTEN_NANOS, "mem_storage": true, "num_replicas": 1,
            },
        });
        let api = format!("$JS.API.CONSUMER.CREATE.{}.{name}.{}", self.stream, self.subject);
        let answer = self.connection.request(&api, &[], asked.to_string().as_bytes()).await?;
        self.check(&parsed(&answer)?)
    }

    /// Returns the next news of the watch; `None` if there are none until an instant.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Change>, FleetError> {
        let Some(message) = self.connection.next(until).await? else { return Ok(None) };
        if message.status.is_some() {
            // A request of flow control wants an answer, or deliveries stop.
            let asked = message.reply.as_deref().or_else(|| message.field("Nats-Consumer-Stalled"));
            if let Some(asked) = asked.map(str::to_owned) {
                self.connection.send(&asked).await?;
            }
            return match message.status {
                Some(100) => Ok(Some(Change::Beat)),
                Some(_) | None => Err(FleetError::Wrong("the watch of the bucket was ended by the server".to_owned())),
            };
        }
        let revision = message.reply.as_deref().and_then(sequence);
        let revision = revision.ok_or_else(|| FleetError::Wrong("a delivery has no revision".to_owned()))?;
        Ok(Some(Change::Entry(Entry::new(revision, &message.fields, message.payload))))
    }

    /// Writes the key, if its last revision is the expected one. Returns its new revision; `None` if others have written.
    pub(super) async fn put(&mut self, put: Put) -> Result<Option<u64>, FleetError> {
        let mut fields = vec![("Nats-Expected-Last-Subject-Sequence", put.expected.as_str())];
        fields.extend(put.signature.as_deref().map(|signature| (EDIT, signature)));
        let answer = self.connection.request(&self.subject, &fields, &put.text).await?;
        let answer = parsed(&answer)?;
        if code(&answer) == Some(WRONG_SEQUENCE) {
            return Ok(None);
        }
        self.check(&answer)?;
        let revision = answer["seq"].as_u64();
        Ok(Some(revision.ok_or_else(|| FleetError::Wrong("the answer of JetStream has no revision".to_owned()))?))
    }

    /// Demands an answer without an error.
    fn check(&self, answer: &Value) -> Result<(), FleetError> {
        checked(&self.stream, answer)
    }
}

fn checked(stream: &str, answer: &Value) -> Result<(), FleetError> {
    let Some(error) = answer.get("error") else { return Ok(()) };
    let bucket = stream.trim_start_matches("KV_");
    let why = match code(answer) {
        Some(NO_STREAM) => format!("there is no bucket `{bucket}`: make it with `nats kv add {bucket} --history 16`"),
        _ => error["description"].as_str().unwrap_or("an error without words").chars().take(200).collect(),
    };
    // A cluster without a leader or a majority says so. It may have one again at any moment.
    let is_away = error["code"].as_u64() == Some(UNAVAILABLE);
    Err(if is_away { FleetError::Unreached(why) } else { FleetError::Wrong(why) })
}

fn parsed(message: &Message) -> Result<Value, FleetError> {
    serde_json::from_slice(&message.payload).map_err(|_| FleetError::Wrong("the answer is not of JetStream".to_owned()))
}

fn code(answer: &Value) -> Option<u64> {
    answer.get("error")?.get("err_code")?.as_u64()
}

/// Returns the revision in the subject of an acknowledgement: `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.…`, with two
/// words more in front of the stream in its second version.
fn sequence(reply: &str) -> Option<u64> {
    let words: Vec<&str> = reply.split('.').collect();
    let place = match words.len() {
        9 => 5,
        11.. => 7,
        _ => return None,
    };
    words.get(place)?.parse().ok()
}

/// Field of an edit that says who made it.
const EDIT: &str = "Backsoon-Edit";
/// Codes of errors.
const NO_MESSAGE: u64 = 10037;
const NO_STREAM: u64 = 10059;
const WRONG_SEQUENCE: u64 = 10071;
/// Class of errors that are over once the cluster has a leader, as of HTTP.
const UNAVAILABLE: u64 = 503;
const BEAT_NANOS: u64 = 5_000_000_000;
const FORGOTTEN_NANOS: u64 = 30_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_a_leader_is_asked_again_soon_and_a_missing_bucket_later() {
        let error = |code: u16, kind: u16| json!({ "error": { "code": code, "err_code": kind, "description": "why" } });
        assert_eq!(checked("KV_b", &error(503, 10008)), Err(FleetError::Unreached("why".to_owned())));
        assert_eq!(checked("KV_b", &error(400, 10003)), Err(FleetError::Wrong("why".to_owned())));
        assert!(
            matches!(checked("KV_b", &error(404, 10059)), Err(FleetError::Wrong(why)) if why.contains("kv add b "))
        );
        assert_eq!(checked("KV_b", &json!({ "seq": 7 })), Ok(()));
    }

    #[test]
    fn a_revision_is_read_from_both_versions_of_an_acknowledgement() {
        assert_eq!(sequence("$JS.ACK.KV_b.c.1.42.7.1700000000.0"), Some(42));
        assert_eq!(sequence("$JS.ACK._.hash.KV_b.c.1.42.7.1700000000.0"), Some(42));
        assert_eq!(sequence("$JS.ACK._.hash.KV_b.c.1.42.7.1700000000.0.token"), Some(42));
        assert_eq!(sequence("_INBOX.x"), None);
    }
}
