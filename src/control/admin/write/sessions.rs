//! Sessions of people who have typed a token into the page. They are in memory alone, and end with the process.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ctutils::CtEq as _;
use sha2::{Digest, Sha256};

/// Sessions by the hash of their ids, so that the time of a search tells nothing.
#[derive(Default)]
pub(super) struct Sessions(HashMap<[u8; 32], Session>);

/// Session of somebody.
#[derive(Clone)]
pub(super) struct Session {
    /// Hash of the token that was typed. The session is void once the token is.
    pub(super) token: [u8; 32],
    /// Word that requests of the page carry, and that no other site knows.
    pub(super) csrf: String,
    ends: Instant,
}

impl Session {
    /// Returns true for the word of this session.
    pub(super) fn is_own(&self, csrf: &[u8]) -> bool {
        self.csrf.len() == csrf.len() && bool::from(self.csrf.as_bytes().ct_eq(csrf))
    }
}

impl Sessions {
    /// Begins a session, and returns its id. If there are too many, the one that ends first makes room.
    pub(super) fn begin(&mut self, token: [u8; 32], now: Instant) -> Option<(String, Session)> {
        self.0.retain(|_, session| session.ends > now);
        if self.0.len() >= MOST
            && let Some(first) = self.0.iter().min_by_key(|(_, session)| session.ends).map(|(id, _)| *id)
        {
            self.0.remove(&first);
        }
        let (id, csrf) = (random()?, random()?);
        let session = Session { token, csrf, ends: now + LENGTH };
        self.0.insert(Sha256::digest(&id).into(), session.clone());
        Some((id, session))
    }

    /// Finds a session that goes on.
    pub(super) fn find(&self, id: &str, now: Instant) -> Option<&Session> {
        let hash: [u8; 32] = Sha256::digest(id).into();
        self.0.get(&hash).filter(|session| session.ends > now)
    }

    /// Ends a session.
    pub(super) fn end(&mut self, id: &str) {
        let hash: [u8; 32] = Sha256::digest(id).into();
        self.0.remove(&hash);
    }
}

/// Returns 64 random hexadecimal digits; `None` if the system gives no random bytes.
fn random() -> Option<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Sessions at once.
const MOST: usize = 64;
/// Length of a session.
pub(super) const LENGTH: Duration = Duration::from_secs(8 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_time_by_wish_or_for_others() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let (id, session) = sessions.begin([1; 32], now).unwrap();
        assert!(session.is_own(session.csrf.as_bytes()) && !session.is_own(b"") && !session.is_own(id.as_bytes()));
        assert!(sessions.find(&id, now + LENGTH - Duration::from_secs(1)).is_some());
        assert!(sessions.find(&id, now + LENGTH).is_none() && sessions.find("", now).is_none());
        for later in 1..=MOST as u64 {
            assert!(sessions.begin([2; 32], now + Duration::from_secs(later)).is_some());
        }
        assert!(sessions.find(&id, now).is_none() && sessions.0.len() == MOST);
        let (id, _) = sessions.begin([3; 32], now).unwrap();
        sessions.end(&id);
        assert!(sessions.find(&id, now).is_none());
    }
}
