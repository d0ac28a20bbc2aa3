//! Beats of the replicas, over plain publish and subscribe: a beat is worthless a few seconds later, so none is stored.
//!
//! They have a connection of their own. However many come, the watch of the flags is not held up.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::plan::config::FleetNats;
use crate::status::beat::{Beat, Question};

use super::super::FleetError;
use super::super::peers::Wire;
use super::connection::Connection;
use super::protocol::{Message, Operation};

/// Subjects of a fleet: those who share a key are one.
struct Subjects {
    beat: String,
    ask: String,
    /// Beginning of the subjects to which answers go. Nothing else is answered: whoever may only ask could have us
    /// publish anywhere.
    answer: String,
}

impl Subjects {
    fn of(config: &FleetNats) -> Self {
        let all = format!("backsoon.{}.{}", config.bucket, config.key);
        Self { beat: format!("{all}.beat"), ask: format!("{all}.ask"), answer: format!("{all}.answer.") }
    }

    /// Returns true if an answer may be published to a subject.
    fn is_answer(&self, subject: &str) -> bool {
        let own = subject.strip_prefix(&self.answer);
        own.is_some_and(|own| (1..=64).contains(&own.len()) && own.bytes().all(|one| one.is_ascii_alphanumeric()))
    }

    /// Returns a subject for the answers to our own questions.
    fn own_answers(&self) -> String {
        format!("{}{:016x}{:016x}", self.answer, fastrand::u64(..), fastrand::u64(..))
    }
}

/// Carries beats, questions and answers until something fails.
pub(in super::super) async fn carry(config: &FleetNats, ca: Option<&Path>, wire: &mut Wire) -> FleetError {
    match carry_on(config, ca, wire).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn carry_on(config: &FleetNats, ca: Option<&Path>, wire: &mut Wire) -> Result<Infallible, FleetError> {
    let subjects = Subjects::of(config);
    let mut connection = Connection::open(config, ca).await?;
    connection.subscribe(&subjects.beat, BEATS).await?;
    connection.subscribe(&subjects.ask, QUESTIONS).await?;
    // A fresh replica does not wait for the next beat of each of the others.
    let own_answers = subjects.own_answers();
    connection.subscribe(&own_answers, ANSWERS).await?;
    connection.publish(&subjects.ask, &own_answers, b"{}").await?;
    // What is not allowed is told before the answer to this.
    connection.ping().await?;
    wire.begin();
    let mut life = Life::begin();
    loop {
        if let Some(beat) = wire.take_said() {
            connection.publish(&subjects.beat, "", &beat.to_bytes()).await?;
            wire.sent(&beat);
        }
        if let Some((beat, askers)) = wire.take_answer() {
            let bytes = beat.to_bytes();
            for asker in askers {
                connection.publish(&asker, "", &bytes).await?;
            }
        }
        let due = life.due();
        match connection.heard(due, wire.ready()).await? {
            Some(operation) => {
                life.word();
                match operation {
                    // Our own question.
                    Operation::Message(message) if message.reply.as_ref() == Some(&own_answers) => {}
                    Operation::Message(message) => take(message, &subjects, wire),
                    Operation::Fine => wire.fine(),
                    Operation::Info(_) | Operation::Ping | Operation::Error(_) => {}
                }
            }
            None if Instant::now() < due => {}
            None => life.ask(&mut connection).await?,
        }
    }
}

/// Takes in a message.
fn take(message: Message, subjects: &Subjects, wire: &mut Wire) {
    match (message.subscription.as_str(), message.reply) {
        (QUESTIONS, Some(reply)) if subjects.is_answer(&reply) => wire.ask(&message.payload, &reply),
        // A server that says that nobody answers has no payload.
        (BEATS | ANSWERS, _) => wire.hear(&message.payload),
        _ => {}
    }
}

/// Signs of life of a server, which is asked for one when it is silent.
struct Life {
    heard: Instant,
    asked: bool,
}

impl Life {
    fn begin() -> Self {
        Self { heard: Instant::now(), asked: false }
    }

    fn word(&mut self) {
        *self = Self::begin();
    }

    fn due(&self) -> Instant {
        self.heard + if self.asked { SILENCE + PATIENCE } else { SILENCE }
    }

    async fn ask(&mut self, connection: &mut Connection) -> Result<(), FleetError> {
        if std::mem::replace(&mut self.asked, true) {
            return Err(FleetError::Unreached("the server has fallen silent".to_owned()));
        }
        connection.ping().await
    }
}

/// Asker of all replicas, for a command.
pub(crate) struct Asker {
    connection: Connection,
    subjects: Subjects,
    /// Subject of the answers to the last question.
    answers: String,
    /// Number of questions.
    asked: u32,
    /// Instant of the last question.
    sent: Timestamp,
}

/// Word of a replica.
pub(crate) enum Reply {
    /// Answer to the last question, with the instants at which that was sent and this came.
    Answer(Box<Beat>, (Timestamp, Timestamp)),
    /// Beat that was not asked for.
    Beat(Box<Beat>),
    /// Nobody is there who could answer.
    Nobody,
}

impl Asker {
    /// Connects to the engine.
    ///
    /// # Errors
    /// If it does not answer as it should.
    pub(crate) async fn open(config: &FleetNats, ca: Option<&Path>) -> Result<Self, FleetError> {
        let subjects = Subjects::of(config);
        let mut connection = Connection::open(config, ca).await?;
        connection.subscribe(&subjects.beat, BEATS).await?;
        Ok(Self { connection, subjects, answers: String::new(), asked: 0, sent: Timestamp::now() })
    }

    /// Asks all replicas. Answers to an earlier question count no more.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(crate) async fn ask(&mut self, question: &Question) -> Result<(), FleetError> {
        if self.asked > 0 {
            // The server has its limits as well.
            self.connection.unsubscribe(&answers_of(self.asked)).await?;
        }
        self.asked += 1;
        self.answers = self.subjects.own_answers();
        self.connection.subscribe(&self.answers, &answers_of(self.asked)).await?;
        self.sent = Timestamp::now();
        let asked = serde_json::to_vec(question).unwrap_or_default();
        self.connection.publish(&self.subjects.ask, &self.answers, &asked).await
    }

    /// Returns the next word of a replica; `None` if there is none until an instant.
    ///
    /// # Errors
    /// If the connection is broken.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Option<Reply>, FleetError> {
        while let Some(operation) = self.connection.heard(until, std::future::pending()).await? {
            let Operation::Message(message) = operation else { continue };
            let is_answer = message.subject == self.answers;
            if is_answer && message.status == Some(NOBODY) {
                return Ok(Some(Reply::Nobody));
            }
            let Some(beat) = Beat::parse(&message.payload).map(Box::new) else { continue };
            if is_answer {
                return Ok(Some(Reply::Answer(beat, (self.sent, Timestamp::now()))));
            }
            if message.subscription == BEATS {
                return Ok(Some(Reply::Beat(beat)));
            }
        }
        Ok(None)
    }
}

/// Returns the subscription to the answers of a question.
fn answers_of(question: u32) -> String {
    format!("{ANSWERS}.{question}")
}

/// Subscriptions, beside those that each connection has.
const BEATS: &str = "3";
const QUESTIONS: &str = "4";
const ANSWERS: &str = "5";
/// Status of an answer that only says that nobody has subscribed to questions.
const NOBODY: u16 = 503;
/// Time without a word after which the server is asked for one.
const SILENCE: Duration = Duration::from_secs(15);
/// Time for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_cannot_have_a_replica_publish_elsewhere() {
        let all = "backsoon.b.k";
        let (beat, ask) = (format!("{all}.beat"), format!("{all}.ask"));
        let subjects = Subjects { beat, ask, answer: format!("{all}.answer.") };
        assert!(subjects.is_answer(&subjects.own_answers()));
        let long = format!("{all}.answer.{}", "a".repeat(65));
        let bad = ["$KV.b.k", "_INBOX.a", "backsoon.b.k.beat", "backsoon.b.k.answer.", "backsoon.b.k.answer.>", &long];
        bad.iter().for_each(|bad| assert!(!subjects.is_answer(bad), "{bad}"));
    }
}
