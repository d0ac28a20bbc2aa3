//! NATS: the text is a key of a bucket (JetStream KV), which is watched.
//!
//! A watch may fall silent without a word, so the key is read every 10 s as well. Reads go to the leader of the bucket's
//! stream: other nodes may lag. Every edit names the revision that it replaces, which the engine compares.

mod beats;
mod bucket;
mod connection;
mod login;
mod protocol;

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::plan::config::FleetNats;

use super::outlet::Seen;
use super::{Document, FleetError, Outlet, SignedText, Swapped};
pub(super) use beats::carry;
pub(crate) use beats::{Asker, Reply};
use bucket::{Bucket, Change, Put};
pub(super) use login::problem as bad_login;

/// Follows a key until something fails.
pub(super) async fn follow(config: &FleetNats, ca: Option<&Path>, outlet: &mut Outlet) -> FleetError {
    match follow_on(config, ca, outlet).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn follow_on(config: &FleetNats, ca: Option<&Path>, outlet: &mut Outlet) -> Result<Infallible, FleetError> {
    let mut bucket = Bucket::open(config, ca).await?;
    let mut reading = read_again(&mut bucket, outlet).await?;
    bucket.watch().await?;
    let mut heard = Instant::now();
    loop {
        match bucket.next(reading).await? {
            Some(Change::Entry(entry)) => {
                heard = Instant::now();
                if outlet.tell(entry.document()) == Seen::Suspect {
                    reading = Instant::now() + CONFIRM_AFTER;
                }
            }
            Some(Change::Beat) => heard = Instant::now(),
            None if heard.elapsed() > SILENCE => {
                return Err(FleetError::Wrong("the watch of the bucket has fallen silent".to_owned()));
            }
            None => reading = read_again(&mut bucket, outlet).await?,
        }
    }
}

/// Reads the key, and returns when it is to be read again.
async fn read_again(bucket: &mut Bucket, outlet: &mut Outlet) -> Result<Instant, FleetError> {
    let document = bucket.read().await?.and_then(|entry| entry.document());
    let after = if outlet.tell(document) == Seen::Suspect { CONFIRM_AFTER } else { READ_EVERY };
    Ok(Instant::now() + after)
}

/// Reads a key once.
pub(super) async fn read(config: &FleetNats, ca: Option<&Path>) -> Result<Option<Document>, FleetError> {
    let mut bucket = Bucket::open(config, ca).await?;
    Ok(bucket.read().await?.and_then(|entry| entry.document()))
}

/// Writes a key, unless somebody else has written it since it was read.
pub(super) async fn swap(
    config: &FleetNats,
    ca: Option<&Path>,
    before: Option<&Document>,
    SignedText { text, signature }: SignedText,
) -> Result<Swapped, FleetError> {
    let mut bucket = Bucket::open(config, ca).await?;
    let expected = match before {
        Some(before) => before.revision.clone(),
        // A deletion has a revision, too.
        None => match bucket.read().await? {
            Some(entry) if entry.text.is_some() => return Ok(Swapped::Conflict),
            Some(entry) => super::Revision::Number(entry.revision),
            None => super::Revision::Number(0),
        },
    };
    let put = Put { text: text.into(), expected: expected.to_string(), signature };
    Ok(match bucket.put(put).await? {
        Some(_) => Swapped::Done,
        None => Swapped::Conflict,
    })
}

/// Key of the sender's lease, beside that of the flags.
pub(super) struct LeaseKey(Bucket);

impl LeaseKey {
    /// Connects to the server of the bucket.
    pub(super) async fn open(config: &FleetNats, ca: Option<&Path>) -> Result<Self, FleetError> {
        let key = format!("{}{LEASE}", config.key);
        Bucket::open(&FleetNats { key, ..config.clone() }, ca).await.map(Self)
    }

    /// Reads its last revision and text; the text is `None` if it was deleted.
    pub(super) async fn read(&mut self) -> Result<Option<(u64, Option<Bytes>)>, FleetError> {
        Ok(self.0.read().await?.map(|entry| (entry.revision, entry.text)))
    }

    /// Writes a text, and returns its revision; `None` if somebody else has written since the expected one.
    pub(super) async fn write(&mut self, text: String, expected: u64) -> Result<Option<u64>, FleetError> {
        let put = Put { text: text.into(), expected: expected.to_string(), signature: None };
        self.0.put(put).await
    }
}

/// Ending of the lease's key.
const LEASE: &str = ".sender";
/// Time between two reads, beside the watch.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Time after which a revision that goes back is read again.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// Time without a beat after which the watch is made anew. The engine is asked for one every 5 s.
const SILENCE: Duration = Duration::from_secs(16);
