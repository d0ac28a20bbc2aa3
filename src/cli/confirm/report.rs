//! Report of a confirmation: where an edit is in force and where not, for people and as an exit code.

use std::io::Write as _;
use std::time::Duration;

use crate::plan::snapshot::Phase;
use crate::status::Status;

use super::super::exit;
use super::super::failure::{Failure, chain};
use super::super::remains;
use super::super::streams::{GOOD, Streams, styled};
use super::super::whom::Whom;
use super::{Confirmation, Objection, Patience, Refused, Until, Word, judge};

/// End of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Goal {
    /// The edit is in force.
    InForce,
    /// The edit is in force, and no request from before is in flight.
    Drained,
    /// The edit is in force, and the routes are open.
    Open,
}

impl Confirmation {
    /// Tells what the proxies said so far. An edit that is not confirmed is noted.
    pub(in crate::cli) fn tell(&self, streams: &mut Streams) -> Result<(), Failure> {
        self.notes.iter().try_for_each(|note| streams.note(note))?;
        if self.asked.is_empty() {
            let nobody = if self.engine.is_some() { "no replica answers" } else { "no admin listener to ask" };
            streams.note(format_args!("not confirmed: {nobody}"))?;
        }
        let mut live = 0;
        for (endpoint, word) in &self.asked {
            match word {
                Some(Word::InForce(status)) => {
                    live += 1;
                    if live <= MOST_LIVE {
                        self.live(endpoint, status, "", streams)?;
                    }
                }
                Some(Word::Not(objections)) => {
                    streams.note(format_args!("not confirmed: {endpoint}: {}", list(objections)))?
                }
                Some(Word::Silent(error)) => {
                    streams.note(format_args!("not confirmed: {endpoint}: {}", chain(error)))?
                }
                None => {}
            }
        }
        if live > MOST_LIVE {
            writeln!(streams.out, "{live} of {} asked confirm it", self.asked.len())?;
        }
        Ok(())
    }

    /// Waits for the goal, and tells what the proxies said then.
    ///
    /// # Errors
    /// The failure of the proxy that is furthest from the goal.
    pub(in crate::cli) fn conclude(
        mut self,
        goal: Goal,
        timeout: Duration,
        streams: &mut Streams,
    ) -> Result<u8, Failure> {
        self.wait(timeout, streams)?;
        self.check_anybody()?;
        let confirmed = self.asked.iter().filter(|(_, word)| matches!(word, Some(Word::InForce(_)))).count();
        let of = self.asked.len();
        let alone = of == 1;
        let aside = if alone { " (1 of 1 asked)" } else { "" };
        let live = self.asked.iter().filter_map(|(whom, word)| match word {
            Some(Word::InForce(status)) => Some((whom, status)),
            Some(Word::Not(_) | Word::Silent(_)) | None => None,
        });
        live.take(MOST_LIVE).try_for_each(|(whom, status)| self.live(whom, status, aside, streams))?;
        if !alone && confirmed > 0 {
            writeln!(streams.out, "{confirmed} of {of} asked confirm it")?;
        }
        streams.out.flush()?;
        match goal {
            Goal::InForce => {}
            Goal::Drained => self.drain(timeout),
            Goal::Open => self.open(timeout),
        }
        // Replicas that have left meanwhile do not count, and new ones do.
        self.check_anybody()?;
        let (of, alone) = (self.asked.len(), self.asked.len() == 1);
        let this = if self.engine.is_some() { "the only replica that is heard of" } else { "this proxy" };
        let reached = match goal {
            Goal::InForce => None,
            Goal::Drained => {
                let place = if alone { this.to_owned() } else { format!("any of the {of} replicas") };
                Some(format!("nothing is in flight at {place} that began before"))
            }
            Goal::Open => {
                let place = if alone { this.to_owned() } else { format!("all {of} replicas") };
                Some(format!("{} open at {place}", self.claim.asked.be()))
            }
        };
        self.fail(goal, timeout, streams)?;
        reached.iter().try_for_each(|line| writeln!(streams.out, "{line}"))?;
        Ok(exit::OK)
    }

    /// Waits for the goal, and tells only of the proxies that do not reach it.
    ///
    /// # Errors
    /// As [`Confirmation::conclude`].
    pub(in crate::cli) fn reach(mut self, goal: Goal, timeout: Duration, streams: &mut Streams) -> Result<(), Failure> {
        self.wait(timeout, streams)?;
        self.check_anybody()?;
        match goal {
            Goal::InForce => {}
            Goal::Drained => self.drain(timeout),
            Goal::Open => self.open(timeout),
        }
        self.check_anybody()?;
        self.fail(goal, timeout, streams)
    }

    /// Asks until the edit is in force everywhere, or the time since the edit is over.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub(in crate::cli) fn wait(&mut self, timeout: Duration, streams: &mut Streams) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.waited, true) {
            self.tell_waiting(timeout, streams)?;
        }
        self.poll(Patience { within: timeout, refused: Refused::Retry, until: Until::InForce });
        Ok(())
    }

    /// Fails if all replicas have left meanwhile: nobody is no word about all.
    fn check_anybody(&self) -> Result<(), Failure> {
        match &self.engine {
            Some(engine) if self.asked.is_empty() => Err(Failure::Nobody(engine.place().into())),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes why the command does not return yet.
    fn tell_waiting(&self, timeout: Duration, streams: &mut Streams) -> Result<(), Failure> {
        streams.out.flush()?;
        self.notes.iter().try_for_each(|note| streams.note(note))?;
        for (endpoint, word) in &self.asked {
            let why = match word {
                Some(Word::Not(objections)) => list(objections),
                Some(Word::Silent(error)) => chain(error),
                Some(Word::InForce(_)) | None => continue,
            };
            let left = timeout.saturating_sub(self.begun.elapsed()).as_secs_f64().ceil();
            streams.note(format_args!("waiting up to {left} s for {endpoint}: {why}"))?;
        }
        Ok(())
    }

    fn live(&self, endpoint: &Whom, status: &Status, aside: &str, streams: &mut Streams) -> Result<(), Failure> {
        writeln!(streams.out, "{} at {endpoint}, generation {}{aside}", styled(GOOD, "live"), status.generation)?;
        if judge::config_differs(&self.claim.config, status) == Some(true) {
            streams.note(format_args!("{endpoint}: its config is not the one on disk; `backsoon status` says why"))?;
        }
        Ok(())
    }

    /// Reports every proxy that has not reached the goal, except the furthest one, which is returned.
    fn fail(self, goal: Goal, timeout: Duration, streams: &mut Streams) -> Result<(), Failure> {
        let waited = timeout.min(self.begun.elapsed());
        let mut failures = Vec::new();
        for (endpoint, word) in self.asked {
            failures.extend(match word {
                Some(Word::InForce(status)) if goal == Goal::Drained => {
                    let draining = status.routes.iter().filter(|route| route.is(Phase::Draining));
                    let draining = draining.filter(|route| self.claim.asked.has(&route.name));
                    let routes: Vec<_> = draining.map(|route| (route.name.clone(), route.remaining)).collect();
                    (!routes.is_empty()).then_some(Failure::NotDrained { endpoint, waited, routes })
                }
                Some(Word::InForce(status)) if goal == Goal::Open => {
                    let reasons = remains::unopened_reasons(&self.claim.flags(), &self.claim.asked, &status);
                    (!reasons.is_empty()).then_some(Failure::NotOpen { endpoint, waited, reasons })
                }
                Some(Word::InForce(_)) | None => None,
                Some(Word::Not(objections)) => Some(denied(endpoint, &objections, waited)),
                Some(Word::Silent(source)) => Some(Failure::NotConfirmed { endpoint, source }),
            });
        }
        failures.sort_by_key(|failure| ORDER.iter().position(|code| *code == failure.code()));
        let Some(worst) = failures.pop() else { return Ok(()) };
        failures.iter().try_for_each(|failure| failure.report(streams))?;
        Err(worst)
    }
}

fn denied(endpoint: Whom, objections: &[Objection], waited: Duration) -> Failure {
    for objection in objections {
        if let Objection::Refused(problems) = objection {
            return Failure::Rejected { endpoint, problems: problems.clone() };
        }
    }
    Failure::NotLive { endpoint, waited, reasons: objections.iter().map(ToString::to_string).collect() }
}

fn list(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Replicas that are named one by one when they confirm.
const MOST_LIVE: usize = 20;
/// Codes of the failures of a wait, the furthest from the goal last.
const ORDER: [u8; 5] = [exit::NOT_DRAINED, exit::NOT_OPEN, exit::UNAVAILABLE, exit::TEMPFAIL, exit::REFUSED];
