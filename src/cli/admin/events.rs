//! The event stream of an admin listener: the whole status first, and then its changes.

use std::time::Duration;

use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::status::counts;

use super::{Endpoint, Error, LARGEST_ANSWER, PATIENCE, frame, request};

/// The status of a proxy as its events tell it.
#[derive(Default)]
struct Followed {
    latest: Option<Value>,
}

/// Follows an admin listener, and hands on each status. Ends when the stream does.
///
/// # Errors
/// If there is no stream, if it breaks, or if it is silent for too long.
pub(in crate::cli) async fn follow(endpoint: &Endpoint, on: impl FnMut(&Value)) -> Result<(), Error> {
    request(endpoint, "/events", PATIENCE, |response| read(response.into_body(), on)).await
}

async fn read(mut body: Incoming, mut on: impl FnMut(&Value)) -> Result<(), Error> {
    let (mut events, mut followed) = (Parser::default(), Followed::default());
    loop {
        let next = tokio::time::timeout(SILENCE, frame(&mut body)).await.map_err(|_| Error::Timeout(SILENCE))?;
        let Some(bytes) = next? else { return Ok(()) };
        for (name, data) in events.push(&bytes)? {
            if let Some(status) = followed.take(&name, &data)? {
                on(status);
            }
        }
    }
}

impl Followed {
    /// Takes in an event. Returns the status if the event changes it.
    fn take(&mut self, name: &str, data: &str) -> Result<Option<&Value>, Error> {
        match name {
            "status" => self.latest = Some(serde_json::from_str(data).map_err(Error::Json)?),
            "counts" => {
                let fresh: Vec<Map<String, Value>> = serde_json::from_str(data).map_err(Error::Json)?;
                self.latest.iter_mut().for_each(|latest| counts::apply(latest, &fresh));
            }
            // A heartbeat, the end, or an event of a newer version.
            _ => return Ok(None),
        }
        Ok(self.latest.as_ref())
    }
}

/// Divides a stream into events.
#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
}

impl Parser {
    /// Takes in bytes. Returns the events that are whole: their names and data.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut from = 0;
        // Only the new bytes can complete an event, together with the end of the bytes before.
        let mut at = (self.rest.len() - bytes.len()).saturating_sub(1);
        while let Some(end) = self.rest.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair == b"\n\n")) {
            let block = self.rest.get(from..at + end).unwrap_or_default();
            events.extend(event(&String::from_utf8_lossy(block)));
            from = at + end + 2;
            at = from;
        }
        self.rest.drain(..from);
        if self.rest.len() > LARGEST_ANSWER { Err(Error::TooLarge) } else { Ok(events) }
    }
}

/// Reads one event. A comment alone is none.
fn event(block: &str) -> Option<(String, String)> {
    let field = |name: &str| {
        block.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start().to_owned()))
    };
    Some((field("event")?, field("data").unwrap_or_default()))
}

/// Time without a word after which a connection counts as dead. A heartbeat comes every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = "retry: 1000\n\nevent: status\ndata: {\"a\":1}\n\n: beat\nevent: beat\ndata: {}\n\nevent: end\n\n";
        let expected = [("status", "{\"a\":1}"), ("beat", "{}"), ("end", "")];
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let chunks = stream.as_bytes().chunks(size);
            let found: Vec<_> = chunks.flat_map(|chunk| parser.push(chunk).unwrap()).collect();
            let found: Vec<_> = found.iter().map(|(name, data)| (name.as_str(), data.as_str())).collect();
            assert_eq!(found, expected, "{size}");
        }
    }
}
