//! Roll call: asks all replicas of a fleet at once, through the engine that they follow.
//!
//! Each answer was made after the question came. A replica that another one has heard of lately, and that does not answer,
//! is missing. One that has said farewell is not.

mod members;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::control::fleet::{Asker, FleetError, Reply};
use crate::plan::config::{FleetConfig, FleetNats};
use crate::status::beat::Question;

use super::admin::Offset;
use super::failure::Failure;

pub(super) use members::{Members, Told};

/// Roll call of a fleet.
pub(super) struct Roll {
    config: FleetNats,
    ca: Option<PathBuf>,
    /// Connection to the engine, until it breaks.
    asker: Option<Asker>,
    pub(super) members: Members,
    runtime: Runtime,
}

/// Time that a question is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// Time for all answers, however many come.
    pub(super) whole: Duration,
    /// Time for the first answer.
    pub(super) first: Duration,
    /// Time after each answer for those that are missing.
    pub(super) more: Duration,
}

impl Wait {
    /// Time for one look at who is there.
    pub(super) const CALL: Self =
        Self { whole: Duration::from_secs(30), first: Duration::from_millis(1500), more: Duration::from_secs(1) };
    /// Time to see if anybody is there.
    pub(super) const GLANCE: Self =
        Self { whole: Duration::from_millis(1500), first: Duration::from_millis(1500), more: Duration::ZERO };
}

impl Roll {
    /// Prepares to ask; `None` if the engine carries no beats.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(super) fn of(fleet: &FleetConfig) -> Result<Option<Self>, Failure> {
        let Some(config) = fleet.nats().cloned() else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Internal)?;
        let ca = fleet.ca.clone();
        Ok(Some(Self { config, ca, asker: None, members: Members::default(), runtime }))
    }

    /// Asks all once, and takes in the answers.
    ///
    /// # Errors
    /// If the engine does not answer as it should. It can be asked again.
    pub(super) fn call(&mut self, routes: &[String], wait: Wait) -> Result<(), FleetError> {
        let Self { config, ca, asker, members, runtime } = self;
        let question = Question { routes: routes.to_vec() };
        let called = runtime.block_on(async {
            let mut open = match asker.take() {
                Some(open) => open,
                None => {
                    let opening = Asker::open(config, ca.as_deref());
                    let late = |_| Err(FleetError::Unreached("no connection in time".to_owned()));
                    tokio::time::timeout(wait.whole.max(LEAST_OPENING), opening).await.unwrap_or_else(late)?
                }
            };
            gather(&mut open, members, &question, wait).await?;
            Ok(open)
        });
        called.map(|open| *asker = Some(open))
    }

    /// Waits, and takes in the beats that come meanwhile.
    pub(super) fn pause(&mut self, time: Duration) {
        let Self { asker, members, runtime, .. } = self;
        runtime.block_on(async {
            let until = Instant::now() + time;
            if let Some(open) = asker {
                while Instant::now() < until
                    && let Ok(Some(reply)) = open.next(until).await
                {
                    take(members, reply);
                }
            }
            // A connection that is broken is told by the next question.
            tokio::time::sleep_until(until).await;
        });
    }

    /// Returns the runtime that questions are asked in.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// Asks, and takes in answers until all known replicas have answered, or waiting is of no use any more.
async fn gather(asker: &mut Asker, members: &mut Members, question: &Question, wait: Wait) -> Result<(), FleetError> {
    members.begin_round();
    asker.ask(question).await?;
    let begun = Instant::now();
    let (last, mut until) = (begun + wait.whole, begun + wait.first);
    let mut complete_since = None;
    loop {
        let complete = members.is_complete();
        let since = complete.then(|| *complete_since.get_or_insert_with(Instant::now));
        complete_since = since;
        // One that nobody has heard of yet may answer a moment later.
        let due = since.map_or(until, |since| since + GRACE).min(last);
        if Instant::now() >= due {
            // Beats that do not end must not keep the command.
            return Ok(());
        }
        match asker.next(due).await? {
            Some(Reply::Nobody) if !members.has_answer() => return Ok(()),
            Some(reply) => {
                let is_answer = matches!(reply, Reply::Answer(..));
                take(members, reply);
                if is_answer {
                    until = Instant::now() + wait.more;
                }
            }
            None => return Ok(()),
        }
    }
}

fn take(members: &mut Members, reply: Reply) {
    match reply {
        Reply::Answer(beat, (sent, received)) => {
            let clock = beat.at.map(|theirs| Offset::between(sent, theirs, received));
            members.answered(Told { beat: *beat, clock });
        }
        Reply::Beat(beat) => members.heard(&beat),
        Reply::Nobody => {}
    }
}

/// Time for those that nobody has heard of yet.
const GRACE: Duration = Duration::from_millis(30);
const LEAST_OPENING: Duration = Duration::from_secs(2);
