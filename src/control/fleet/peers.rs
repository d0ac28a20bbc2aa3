//! Peers: the other replicas, as far as their beats tell, and what this one says to them.
//!
//! Control says what is to be told, and reads what was heard. It never waits for the transport, which is a task on the
//! thread of the engine. Without an engine that carries beats, nothing is heard, and what is said is lost.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::plan::units::millis;
use crate::status::beat::{Acquaintance, Beat, Question};
use crate::status::fleet::{PeerStatus, PeersStatus};

/// View of the other replicas, for all threads. Copies are cheap, and share everything.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<Inner>);

/// Replica of which a beat was heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Last beat.
    pub beat: Arc<Beat>,
    /// Time since that came.
    pub age: Duration,
    /// True if three beats in a row are missing.
    pub late: bool,
    /// Time by which its clock is ahead of ours, less the time that the beat was on its way.
    pub ahead: SignedDuration,
}

/// Wish of others, for which control is woken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Number of the last question; an answer names the one before which it was not made.
    pub number: u64,
    /// Routes that the answer is to have.
    pub routes: BTreeSet<String>,
    /// True if somebody asks.
    pub is_asked: bool,
    /// True if the transport has begun, so that a beat is due.
    pub is_begun: bool,
}

#[derive(Debug)]
struct Inner {
    /// Id of this process.
    boot: String,
    state: Mutex<State>,
    /// Number of wishes.
    wishes: watch::Sender<u64>,
    /// Last beat to tell to all.
    said: watch::Sender<Option<Arc<Beat>>>,
    /// Last answer, with the number of the question that it was made after.
    answered: watch::Sender<Option<(Arc<Beat>, u64)>>,
    /// Number of the last beat that was sent to all.
    sent: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Replicas by the id of their process.
    known: HashMap<String, Peer>,
    /// Processes that have said farewell. A beat that comes out of turn does not bring them back.
    gone: HashMap<String, Instant>,
    /// Bytes of all beats.
    bytes: usize,
    /// Beats of replicas for which there was no room.
    refused: usize,
    /// Time of the last look for those that are to be forgotten.
    looked: Option<Instant>,
    wish: Wish,
    /// Reason why nothing can be heard, and since when.
    trouble: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Peer {
    beat: Arc<Beat>,
    /// Bytes of the beat.
    bytes: usize,
    at: Instant,
    ahead: SignedDuration,
    /// True if a process with the same name has begun since. Two that live tell so by their next beats.
    replaced: bool,
}

impl Default for Peers {
    fn default() -> Self {
        let boot = format!("{:016x}", fastrand::u64(..));
        Self(Arc::new(Inner {
            boot,
            state: Mutex::default(),
            wishes: watch::channel(0).0,
            said: watch::channel(None).0,
            answered: watch::channel(None).0,
            sent: watch::channel(0).0,
        }))
    }
}

impl Peers {
    /// Returns the id of this process.
    pub(crate) fn boot(&self) -> &str {
        &self.0.boot
    }

    /// Tells a beat to all others. A later one replaces one that is not sent yet.
    pub(crate) fn say(&self, beat: Beat) {
        self.0.said.send_replace(Some(Arc::new(beat)));
    }

    /// Tells the last beat, and waits until it is sent, for a moment at most.
    pub(crate) async fn leave(&self, beat: Beat) {
        let number = beat.number;
        let mut sent = self.0.sent.subscribe();
        self.say(Beat { leaving: true, ..beat });
        let _ = tokio::time::timeout(FAREWELL, sent.wait_for(|sent| *sent >= number)).await;
    }

    /// Answers everybody who has asked up to a wish with a beat that was made after it was taken.
    pub(crate) fn answer(&self, beat: Beat, wish: &Wish) {
        self.0.answered.send_replace(Some((Arc::new(beat), wish.number)));
    }

    /// Returns a receiver that is told of wishes.
    pub(crate) fn wishes(&self) -> watch::Receiver<u64> {
        self.0.wishes.subscribe()
    }

    /// Takes all wishes together.
    pub(crate) fn take_wish(&self) -> Wish {
        let mut state = self.lock();
        let number = state.wish.number;
        std::mem::replace(&mut state.wish, Wish { number, ..Wish::default() })
    }

    /// Returns the other replicas, sorted by name. Those that have left or fallen silent long ago are forgotten.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let mut state = self.lock();
        let now = Instant::now();
        state.forget(now);
        let known = state.known.values().filter(|peer| !peer.replaced);
        let mut heard: Vec<Heard> = known.map(|peer| peer.told(now)).collect();
        heard.sort_unstable_by(|one, other| {
            (&one.beat.replica, &one.beat.boot).cmp(&(&other.beat.replica, &other.beat.boot))
        });
        heard
    }

    /// Returns the number of other replicas, and how many of them are late.
    pub(crate) fn count(&self) -> (usize, usize) {
        let mut state = self.lock();
        let now = Instant::now();
        state.forget(now);
        let known = state.known.values().filter(|peer| !peer.replaced);
        known.fold((0, 0), |(all, late), peer| (all + 1, late + usize::from(peer.is_late(now))))
    }

    /// Returns some others for an answer: all of a small fleet, and as many of a large one that all answers together
    /// name each one several times.
    pub(crate) fn acquaintances(&self) -> Vec<Acquaintance> {
        let mut heard = self.heard();
        let room = (ALL_MENTIONS / heard.len().max(1)).clamp(LEAST_MENTIONS, MOST_MENTIONS);
        if heard.len() > room {
            fastrand::shuffle(&mut heard);
            heard.truncate(room);
        }
        let told = heard.into_iter().map(|one| Acquaintance {
            replica: one.beat.replica.clone(),
            boot: one.beat.boot.clone(),
            ago_ms: millis(one.age),
        });
        told.collect()
    }

    /// Returns the number of beats for which there was no room.
    pub(crate) fn refused(&self) -> usize {
        self.lock().refused
    }

    /// Returns the reason why nothing can be heard, once that has lasted.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        let (why, since) = state.trouble.as_ref()?;
        (since.elapsed() >= LASTING).then(|| why.clone())
    }

    /// Describes the others for `/status`.
    pub(crate) fn status(&self) -> PeersStatus {
        let mut heard = self.heard();
        let late = heard.iter().filter(|one| one.late).count();
        // The order by name stays.
        heard.sort_by_key(|one| !one.late);
        let told = heard.iter().take(MOST_TOLD).map(|one| PeerStatus {
            name: one.beat.replica.clone(),
            version: one.beat.version.clone(),
            generation: one.beat.generation,
            revision: one.beat.revision.clone(),
            late: one.late,
            clock_ahead_ms: i64::try_from(one.ahead.as_millis()).unwrap_or_default(),
        });
        PeersStatus { heard: heard.len(), late, trouble: self.trouble(), replicas: told.collect() }
    }

    /// Takes in a beat of these many bytes, which came now.
    pub(super) fn hear(&self, beat: Beat, bytes: usize) {
        if beat.boot == self.0.boot {
            return;
        }
        self.lock().hear(beat, bytes, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is changed by steps that cannot fail half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.lock().wish);
        self.0.wishes.send_modify(|wishes| *wishes = wishes.wrapping_add(1));
    }
}

impl State {
    /// Takes in a beat. Returns false if it is left out.
    fn hear(&mut self, beat: Beat, bytes: usize, now: Instant) -> bool {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY) {
            self.looked = Some(now);
            self.forget(now);
        }
        if self.gone.contains_key(&beat.boot) {
            return false;
        }
        if beat.leaving {
            if self.gone.len() < MOST_PEERS {
                self.gone.insert(beat.boot.clone(), now);
            }
            return self.remove(&beat.boot);
        }
        let known = self.known.get(&beat.boot);
        if known.is_some_and(|known| known.beat.number > beat.number) {
            return false;
        }
        if known.is_none() {
            if self.known.len() >= MOST_PEERS {
                self.refused = self.refused.wrapping_add(1);
                return false;
            }
            let namesakes = self.known.values_mut().filter(|peer| peer.beat.replica == beat.replica);
            namesakes.for_each(|peer| peer.replaced = true);
        }
        self.remove(&beat.boot);
        let (beat, bytes) = self.fitting(beat, bytes);
        let ahead = beat.at.map(|at| at.duration_since(Timestamp::now())).unwrap_or_default();
        self.bytes += bytes;
        self.known.insert(beat.boot.clone(), Peer { beat: Arc::new(beat), bytes, at: now, ahead, replaced: false });
        true
    }

    /// Leaves out the routes of a beat for which there is no room.
    fn fitting(&self, mut beat: Beat, bytes: usize) -> (Beat, usize) {
        if self.bytes + bytes <= MOST_BYTES {
            return (beat, bytes);
        }
        beat.omitted = beat.omitted.saturating_add(beat.routes.len() as u64);
        (beat.routes, beat.heard, beat.concerns) = (Vec::new(), Vec::new(), Vec::new());
        (beat, BARE_BYTES)
    }

    fn remove(&mut self, boot: &str) -> bool {
        let removed = self.known.remove(boot);
        self.bytes -= removed.as_ref().map_or(0, |peer| peer.bytes);
        removed.is_some()
    }

    /// Forgets those that have been silent for too long.
    fn forget(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.known.retain(|_, peer| {
            let stays = now.saturating_duration_since(peer.at) < peer.memory();
            *bytes -= if stays { 0 } else { peer.bytes };
            stays
        });
        self.gone.retain(|_, at| now.saturating_duration_since(*at) < FORGOTTEN);
    }
}

impl Peer {
    fn told(&self, now: Instant) -> Heard {
        let age = now.saturating_duration_since(self.at);
        Heard { beat: Arc::clone(&self.beat), age, late: self.is_late(now), ahead: self.ahead }
    }

    fn every(&self) -> Duration {
        Duration::from_millis(self.beat.every_ms).clamp(SHORTEST, LONGEST)
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > self.every().mul_f64(LATE_BEATS)
    }

    /// Returns the time for which it is remembered. A large fleet has long pauses between beats.
    fn memory(&self) -> Duration {
        FORGOTTEN.max(self.every().mul_f64(LATE_BEATS + 1.0))
    }
}

/// Time between two beats of each of these many replicas: as asked for in a small fleet, and longer in a large one, where
/// each beat is heard by all.
pub(crate) fn pause_for(replicas: usize, wanted: Duration) -> Duration {
    spread_for(replicas).max(wanted).min(LONGEST.max(wanted))
}

/// Time over which beats are spread that all replicas have a reason for at the same instant.
pub(crate) fn spread_for(replicas: usize) -> Duration {
    let hearers = u32::try_from(replicas).unwrap_or(u32::MAX);
    let heard = f64::from(hearers) * f64::from(hearers) / f64::from(MOST_HEARD_PER_SECOND);
    Duration::from_secs_f64(heard).min(LONGEST)
}

/// End of the peers at the transport.
#[derive(Debug)]
pub(super) struct Wire {
    peers: Peers,
    said: watch::Receiver<Option<Arc<Beat>>>,
    answered: watch::Receiver<Option<(Arc<Beat>, u64)>>,
    /// Subjects of those who have asked, each with the number of the question.
    asked: VecDeque<(u64, String)>,
    questions: u64,
}

impl Wire {
    pub(super) fn new(peers: Peers) -> Self {
        let (said, answered) = (peers.0.said.subscribe(), peers.0.answered.subscribe());
        Self { peers, said, answered, asked: VecDeque::new(), questions: 0 }
    }

    /// Begins anew, with a connection that was just made. What was said before is out of date.
    pub(super) fn begin(&mut self) {
        self.asked.clear();
        let left = self.said.borrow_and_update().as_ref().is_some_and(|beat| beat.leaving);
        if left {
            // The last word is told all the same.
            self.said.mark_changed();
        }
        self.answered.mark_unchanged();
        self.peers.wish(|wish| wish.is_begun = true);
    }

    /// Notes that the engine carries beats.
    pub(super) fn fine(&mut self) {
        self.peers.lock().trouble = None;
    }

    /// Notes that nothing can be heard.
    pub(super) fn away(&mut self, why: String) {
        let mut state = self.peers.lock();
        let since = state.trouble.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        state.trouble = Some((why, since));
    }

    /// Takes in a message of a replica.
    pub(super) fn hear(&mut self, payload: &[u8]) {
        if let Some(beat) = Beat::parse(payload) {
            self.peers.hear(beat, payload.len());
        }
    }

    /// Takes in a question. One too many is left out, and its asker asks again.
    pub(super) fn ask(&mut self, payload: &[u8], reply: &str) {
        if self.asked.len() >= MOST_ASKED {
            return;
        }
        self.questions += 1;
        self.asked.push_back((self.questions, reply.to_owned()));
        let question: Question = serde_json::from_slice(payload).unwrap_or_default();
        let number = self.questions;
        self.peers.wish(|wish| {
            (wish.number, wish.is_asked) = (number, true);
            let room = MOST_WANTED.saturating_sub(wish.routes.len());
            wish.routes.extend(question.routes.into_iter().take(room));
        });
    }

    /// Waits until there is something to send. Cancel safe.
    pub(super) async fn ready(&mut self) {
        tokio::select! {
            // The other ends live as long as the peers. What was only looked at is still to be taken.
            _ = self.said.changed() => self.said.mark_changed(),
            _ = self.answered.changed() => self.answered.mark_changed(),
        }
    }

    /// Takes the beat that is to be told to all, if there is a new one.
    pub(super) fn take_said(&mut self) -> Option<Arc<Beat>> {
        let is_new = self.said.has_changed().unwrap_or(false);
        is_new.then(|| self.said.borrow_and_update().clone()).flatten()
    }

    /// Notes that a beat was sent to all.
    pub(super) fn sent(&self, beat: &Beat) {
        self.peers.0.sent.send_replace(beat.number);
    }

    /// Takes the answer, if there is a new one, with the subjects that it is for.
    pub(super) fn take_answer(&mut self) -> Option<(Arc<Beat>, Vec<String>)> {
        if !self.answered.has_changed().unwrap_or(false) {
            return None;
        }
        let (beat, number) = self.answered.borrow_and_update().clone()?;
        let mut subjects = Vec::new();
        while self.asked.front().is_some_and(|(asked, _)| *asked <= number) {
            subjects.extend(self.asked.pop_front().map(|(_, subject)| subject));
        }
        Some((beat, subjects))
    }
}

/// Replicas that are kept. More are counted.
pub(crate) const MOST_PEERS: usize = 16_384;
/// Bytes of all beats together, as they came.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that a beat without its routes counts as.
const BARE_BYTES: usize = 512;
/// Time after which a silent replica is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Time between two looks for those that are to be forgotten, while beats come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Beats that must be missing, and a little, for a replica to be late.
const LATE_BEATS: f64 = 3.2;
/// Bounds of the time between two beats that is believed.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// Beats that all replicas together may hear each second, if all is calm.
const MOST_HEARD_PER_SECOND: u32 = 200_000;
/// Questions that wait for an answer.
const MOST_ASKED: usize = 256;
/// Routes that questions may name.
const MOST_WANTED: usize = 500;
/// Acquaintances in all answers of a fleet together, divided by the number of replicas.
const ALL_MENTIONS: usize = 20_000;
const MOST_MENTIONS: usize = 200;
const LEAST_MENTIONS: usize = 8;
/// Replicas that `/status` lists.
const MOST_TOLD: usize = 100;
/// Time for the last word to be sent.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time after which it is told that nothing can be heard.
const LASTING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(replica: &str, boot: &str, number: u64) -> Beat {
        let (replica, boot) = (replica.to_owned(), boot.to_owned());
        Beat { replica, boot, number, every_ms: 5000, at: Some(Timestamp::now()), ..Beat::default() }
    }

    fn names(state: &State) -> Vec<&str> {
        let mut names: Vec<_> =
            state.known.values().filter(|peer| !peer.replaced).map(|peer| peer.beat.boot.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_replica_is_late_then_forgotten_and_a_farewell_ends_it_at_once() {
        let (mut state, begun) = (State::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(state.hear(beat("a", "1", 1), 100, begun));
        assert!(state.hear(beat("b", "2", 1), 100, begun));
        assert!(!state.known["1"].is_late(at(15)) && state.known["1"].is_late(at(17)));
        assert!(state.hear(Beat { leaving: true, ..beat("b", "2", 2) }, 100, at(1)));
        assert!(!state.hear(beat("b", "2", 3), 100, at(2)), "a beat after the farewell");
        assert!(!state.hear(beat("a", "1", 0), 100, at(3)), "an earlier beat");
        state.forget(at(59));
        assert_eq!((names(&state), state.bytes), (vec!["1"], 100));
        assert_eq!(state.gone.len(), 1);
        state.forget(at(61));
        assert_eq!((names(&state), state.bytes, state.gone.len()), (vec![], 0, 0));
    }

    #[test]
    fn a_process_begun_anew_replaces_the_one_before_but_not_a_namesake_that_lives() {
        let (mut state, now) = (State::default(), Instant::now());
        state.hear(beat("a", "1", 1), 1, now);
        state.hear(beat("a", "2", 1), 1, now);
        assert_eq!(names(&state), ["2"]);
        state.hear(beat("a", "2", 2), 1, now);
        state.hear(beat("a", "1", 2), 1, now);
        assert_eq!(names(&state), ["1", "2"], "both live");
        state.hear(beat("a", "2", 3), 1, now);
        assert_eq!(names(&state), ["1", "2"]);
    }

    #[test]
    fn ten_thousand_replicas_have_room_and_more_than_that_are_counted() {
        let (mut state, now) = (State::default(), Instant::now());
        for number in 0..MOST_PEERS + 10 {
            // A new replica is compared with all names, so that the state is filled by hand.
            let one = beat(&format!("host-{number}:9901"), &number.to_string(), 1);
            if number < MOST_PEERS {
                let peer =
                    Peer { beat: Arc::new(one), bytes: 400, at: now, ahead: SignedDuration::ZERO, replaced: false };
                state.known.insert(number.to_string(), peer);
            } else {
                assert!(!state.hear(one, 400, now));
            }
        }
        assert_eq!((state.known.len(), state.refused), (MOST_PEERS, 10));
        state.bytes = MOST_BYTES - 10;
        let routes = vec![crate::status::beat::BeatRoute::default(); 3];
        assert!(state.hear(Beat { routes, ..beat("host-1:9901", "1", 2) }, 5000, now));
        let kept = &state.known["1"];
        assert_eq!((kept.beat.routes.len(), kept.beat.omitted, kept.bytes), (0, 3, BARE_BYTES));
    }

    #[test]
    fn a_large_fleet_beats_slower_so_that_its_beats_stay_bounded() {
        let (calm, busy) = (Duration::from_secs(5), Duration::from_secs(1));
        let heard = |replicas: u32, wanted| {
            let pause = pause_for(replicas as usize, wanted);
            (pause.as_secs_f64(), f64::from(replicas) * f64::from(replicas) / pause.as_secs_f64())
        };
        assert_eq!(heard(3, calm).0, 5.0);
        assert_eq!(heard(1000, calm).0, 5.0);
        assert_eq!(heard(100, busy), (1.0, 10_000.0));
        assert!((heard(1000, busy).1 - 200_000.0).abs() < 1.0);
        // Beyond this, a minute is the longest pause.
        assert_eq!(heard(10_000, calm).0, 60.0);
        assert!(heard(10_000, calm).1 < 1_700_000.0);
    }

    #[test]
    fn a_question_is_answered_by_a_beat_that_was_made_after_it() {
        let peers = Peers::default();
        let mut wire = Wire::new(peers.clone());
        wire.ask(br#"{"routes":["web"]}"#, "one");
        let wish = peers.take_wish();
        assert!(wish.is_asked && wish.routes.contains("web"));
        // The second question comes while the answer is being made.
        wire.ask(b"", "two");
        peers.answer(beat("a", "1", 1), &wish);
        assert_eq!(wire.take_answer().unwrap().1, ["one"]);
        assert!(wire.take_answer().is_none());
        let wish = peers.take_wish();
        assert!(wish.is_asked && wish.routes.is_empty());
        peers.answer(beat("a", "1", 2), &wish);
        assert_eq!(wire.take_answer().unwrap().1, ["two"]);
        (0..MOST_ASKED + 5).for_each(|_| wire.ask(b"no JSON", "many"));
        assert_eq!(wire.asked.len(), MOST_ASKED);
    }

    #[test]
    fn trouble_lasts_until_the_engine_carries_beats() {
        let peers = Peers::default();
        let mut wire = Wire::new(peers.clone());
        wire.away("refused".to_owned());
        assert_eq!(peers.trouble(), None, "it may be over soon");
        if let Some((_, since)) = &mut peers.lock().trouble {
            *since -= LASTING;
        }
        wire.begin();
        wire.away("not allowed".to_owned());
        assert_eq!(peers.trouble().as_deref(), Some("not allowed"));
        wire.fine();
        assert_eq!(peers.trouble(), None);
    }

    #[test]
    fn what_is_said_is_sent_once_and_the_last_word_survives_a_new_connection() {
        let peers = Peers::default();
        let mut wire = Wire::new(peers.clone());
        assert!(wire.take_said().is_none());
        peers.say(beat("a", "1", 1));
        peers.say(beat("a", "1", 2));
        assert_eq!(wire.take_said().map(|beat| beat.number), Some(2));
        assert!(wire.take_said().is_none());
        peers.say(beat("a", "1", 3));
        wire.begin();
        assert!(wire.take_said().is_none(), "it is out of date");
        assert!(peers.take_wish().is_begun);
        peers.say(Beat { leaving: true, ..beat("a", "1", 4) });
        wire.begin();
        assert_eq!(wire.take_said().map(|beat| beat.leaving), Some(true));
    }

    #[test]
    fn own_beats_are_no_others() {
        let peers = Peers::default();
        peers.hear(beat("me", peers.boot(), 1), 10);
        assert_eq!(peers.count(), (0, 0));
        peers.hear(beat("b", "2", 1), 10);
        assert_eq!((peers.count(), peers.heard()[0].late), ((1, 0), false));
        assert_eq!(peers.acquaintances()[0].replica, "b");
    }
}
