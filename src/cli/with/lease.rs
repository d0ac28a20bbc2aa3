//! Flags that belong to a running command: written, renewed, and lifted only while they are as they were written.

use std::fmt;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::files::write::Emptied;
use crate::plan::flags::{Flag, Flags, Lift, OnOverrun, Pace};

use super::super::confirm::{Confirmation, Goal, Wish};
use super::super::edit::{self, EditError, Entry, Selection};
use super::super::failure::Failure;
use super::super::flag_file::Edited;
use super::super::remains::{self, Asked};
use super::super::site::Site;
use super::super::streams::Streams;
use super::super::words;
use super::say;

/// Flags of a command.
pub(super) struct Lease<'s> {
    site: &'s Site,
    routes: Vec<String>,
    /// Content of the flags.
    entry: Entry,
    span: SignedDuration,
    /// Flags as they were written last, without those that somebody else has changed since.
    held: Vec<Flag>,
    /// Text that was written last.
    text: String,
    /// Instant of the next renewal.
    due: Timestamp,
    /// Failure of the last renewal, in words.
    trouble: Option<String>,
}

/// Result of the attempt to flag the routes.
pub(super) enum Taken {
    /// The flags are written.
    Ours,
    /// Flags of others are in the way, in words. Nothing was written.
    Others(Vec<String>),
}

/// Flag that is not as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lost {
    route: String,
    /// Flag that is there in its place.
    flag: Option<Flag>,
    /// Author of the last edit, in words.
    by: String,
}

impl Lost {
    /// Returns true if a flag of somebody else closes the route now.
    pub(super) fn is_flagged(&self) -> bool {
        self.flag.as_ref().is_some_and(|flag| flag.acts(Timestamp::now()))
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, flag, by } = self;
        match flag {
            None => write!(f, "the flag of {route} is gone: somebody lifted it meanwhile; {by}"),
            Some(_) => write!(f, "the flag of {route} was changed meanwhile, and is left as it is; {by}"),
        }
    }
}

impl<'s> Lease<'s> {
    /// Creates a lease that is not written yet.
    pub(super) fn new(site: &'s Site, routes: Vec<String>, entry: Entry, span: SignedDuration) -> Self {
        let mut lease = Self {
            site,
            routes,
            entry,
            span,
            held: Vec::new(),
            text: String::new(),
            due: Timestamp::MAX,
            trouble: None,
        };
        lease.prolong(Timestamp::now());
        lease
    }

    /// Moves the end to where it is after a renewal.
    fn prolong(&mut self, now: Timestamp) {
        let until = words::whole_seconds(now).checked_add(self.span).unwrap_or(words::last_instant());
        self.entry.until = Some(self.entry.until.map_or(until, |known| known.max(until)));
    }

    /// Describes the flags of others that are in the way.
    pub(super) fn others(&self, flags: &Flags) -> Vec<String> {
        let now = Timestamp::now();
        let others = flags
            .routes
            .iter()
            .filter(|flag| self.routes.iter().any(|route| route == flag.route.key()) && flag.acts(now));
        others.map(|flag| describe(flag, now)).collect()
    }

    /// Returns a text with the flags.
    pub(super) fn flagged(&self, text: &str) -> Result<String, EditError> {
        let text = edit::on(text, &self.routes, &self.entry)?;
        edit::forget_lifted(&text, &self.routes, Timestamp::now())
    }

    /// Writes the flags, unless others are in the way. With `steals`, others do not matter.
    pub(super) fn take(&mut self, steals: bool) -> Result<Taken, Failure> {
        self.prolong(Timestamp::now());
        let edited = self.site.edit(Emptied::Refused, |text| {
            // A text with errors is refused after the edit.
            let flags = self.site.parse(text).filter(|_| !steals).unwrap_or_default();
            let others = self.others(&flags);
            if others.is_empty() { Ok((self.flagged(text)?, others)) } else { Ok((text.to_owned(), others)) }
        })?;
        if !edited.report.is_empty() {
            return Ok(Taken::Others(edited.report));
        }
        let routes = self.routes.clone();
        self.written(edited, &routes);
        Ok(Taken::Ours)
    }

    /// Remembers what was written for routes.
    fn written<T>(&mut self, edited: Edited<T>, routes: &[String]) {
        let of_route = |flag: &Flag| routes.iter().any(|route| route == flag.route.key());
        self.held = edited.flags.routes.into_iter().filter(of_route).collect();
        self.text = edited.text;
        let third = SignedDuration::from_secs(self.span.as_secs() / 3);
        let due = self.entry.until.and_then(|until| until.checked_sub(third).ok());
        self.due = due.filter(|_| !self.held.is_empty()).unwrap_or(Timestamp::MAX);
    }

    /// Changes the flags that are as they were written, and returns those that are not.
    fn change(&mut self, edit: impl Fn(&str, &[String]) -> Result<String, EditError>) -> Result<Vec<Lost>, Failure> {
        let edited = self.site.edit(Emptied::Refused, |text| {
            // A text with errors is refused after the edit.
            let Some(flags) = self.site.parse(text) else { return Ok((text.to_owned(), (Vec::new(), Vec::new()))) };
            let (own, lost) = compare(&self.held, &flags);
            let text = if own.is_empty() { text.to_owned() } else { edit(text, &own)? };
            Ok((text, (own, lost)))
        })?;
        let (own, mut lost) = edited.report.clone();
        if !lost.is_empty() {
            let by = last_writer(self.site);
            lost.iter_mut().for_each(|lost| lost.by.clone_from(&by));
        }
        self.written(edited, &own);
        self.routes = own;
        Ok(lost)
    }

    /// Renews the flags if less than a third of their time is left. If that fails, it is tried again soon.
    pub(super) fn renew_if_due(&mut self) {
        let now = Timestamp::now();
        if now < self.due {
            return;
        }
        let before = self.entry.until;
        if before.is_some_and(|until| until <= now) && self.trouble.is_none() {
            let fate = if self.entry.on_overrun == OnOverrun::Stay { "stayed closed" } else { "may have been open" };
            say(format_args!("the end of the flag had passed before it could be renewed: the routes {fate}"));
        }
        self.prolong(now);
        let entry = self.entry.clone();
        match self.change(|text, own| edit::on(text, own, &entry)) {
            Ok(lost) => {
                lost.iter().for_each(|lost| say(format_args!("{lost}; the command goes on")));
                if self.trouble.take().is_some() {
                    say(format_args!("the flag is renewed again"));
                }
            }
            Err(failure) => {
                self.entry.until = before;
                let words = failure.to_string();
                if self.trouble.as_ref() != Some(&words) {
                    // If the stream is closed, nobody can be told.
                    let _ = failure.report(&mut Streams::of_process());
                    say(format_args!("the flag is not renewed, which is tried again; {}", self.outlook()));
                    self.trouble = Some(words);
                }
                let pause = SignedDuration::from_secs((self.span.as_secs() / 30).clamp(1, 30));
                self.due = now.checked_add(pause).unwrap_or(Timestamp::MAX);
            }
        }
    }

    /// Lifts the flags.
    ///
    /// # Errors
    /// If the file cannot be edited, after some attempts.
    pub(super) fn lift(&mut self) -> Result<Vec<Lost>, Failure> {
        self.finally(|text, own| {
            let lifted = edit::off(text, Selection::Routes(own))?;
            edit::note_lifted(&lifted.text, own, Lift { at: Timestamp::now(), pace: Pace::Ramp })
        })
    }

    /// Takes the end from the flags, so that they stay until somebody lifts them.
    ///
    /// # Errors
    /// As [`Lease::lift`].
    pub(super) fn keep(&mut self, how: &str) -> Result<Vec<Lost>, Failure> {
        let holder = self.entry.held_by.clone().unwrap_or_default();
        let entry = Entry {
            until: None,
            held_by: Some(format!("{holder}, {how}")),
            on_overrun: OnOverrun::Open,
            ..self.entry.clone()
        };
        self.finally(|text, own| edit::on(text, own, &entry))
    }

    /// Makes the last change. A file that another writer is at work on may be good again soon.
    fn finally(&mut self, edit: impl Fn(&str, &[String]) -> Result<String, EditError>) -> Result<Vec<Lost>, Failure> {
        for _ in 1..ATTEMPTS {
            if let Ok(lost) = self.change(&edit) {
                return Ok(lost);
            }
            thread::sleep(PAUSE);
        }
        self.change(&edit)
    }

    /// Prepares to ask the proxies whether the routes are closed.
    pub(super) fn confirmation(&self) -> Result<Confirmation, Failure> {
        let wish = Wish::Closed(self.entry.mode, self.entry.until);
        self.site.confirmation(self.text.clone(), Asked(self.routes.clone()), wish)
    }

    /// Waits until the lifting is in force, and tells what else closes the routes.
    ///
    /// # Errors
    /// If it is not in force in time.
    pub(super) fn opened(&self, timeout: Duration) -> Result<(), Failure> {
        let asked = Asked(self.routes.clone());
        let confirmation = self.site.confirmation(self.text.clone(), asked.clone(), Wish::Lifted)?;
        confirmation.reach(Goal::InForce, timeout, &mut Streams::of_process())?;
        let (flags, now) = (self.site.parse(&self.text).unwrap_or_default(), Timestamp::now());
        let facts = self.site.facts(&flags, now);
        remains::causes(&flags, &asked, &facts, now).iter().for_each(say);
        if !self.routes.is_empty() {
            say(format_args!("the flag of {} is lifted", words::list(&self.routes)));
        }
        Ok(())
    }

    /// Describes the flags.
    pub(super) fn summary(&self) -> String {
        let routes = words::list(&self.routes);
        let until = remains::until(self.entry.until, Timestamp::now());
        format!("{routes} flagged {}{until}, renewed while the command runs", self.entry.mode.as_str())
    }

    /// Tells what becomes of the routes if nobody acts.
    pub(super) fn outlook(&self) -> String {
        let until = self.entry.until.map_or_else(String::new, |until| words::instant(until, Timestamp::now()));
        match self.entry.on_overrun {
            OnOverrun::Open => format!("their flag ends by itself at {until}"),
            OnOverrun::Stay => format!("they stay closed after {until} until somebody lifts the flag"),
        }
    }

    /// Describes the routes that stay closed after a failure.
    pub(super) fn kept(&self) -> Vec<String> {
        let of_route = |route: &String| {
            let typed = if route == "*" { "'*'" } else { route };
            format!("{route} stays {}; backsoon off {typed} opens it", words::being(self.entry.mode))
        };
        self.routes.iter().map(of_route).collect()
    }
}

/// Returns the routes whose flag is as it was written, and those whose flag is not.
fn compare(held: &[Flag], flags: &Flags) -> (Vec<String>, Vec<Lost>) {
    let (mut own, mut lost) = (Vec::new(), Vec::new());
    for flag in held {
        let (route, found) = (flag.route.key().to_owned(), flags.routes.iter().find(|it| it.route == flag.route));
        match found {
            Some(found) if found == flag => own.push(route),
            _ => lost.push(Lost { route, flag: found.cloned(), by: String::new() }),
        }
    }
    (own, lost)
}

/// Describes the flag of somebody else.
fn describe(flag: &Flag, now: Timestamp) -> String {
    let route = flag.route.key();
    let by = flag.held_by.as_ref().map(|holder| format!(", held by {holder}")).unwrap_or_default();
    format!("{route} is flagged already: {}{}{by}", words::being(flag.mode), remains::until(flag.end(now), now))
}

/// Tells who wrote the file last.
fn last_writer(site: &Site) -> String {
    let Ok(content) = site.place().read() else { return "who did it is not known".to_owned() };
    match content.trace.author(content.hash) {
        Some(by) => format!("the last edit is {}", words::author(&by)),
        None => "nothing says by whom".to_owned(),
    }
}

/// Attempts at the last change.
const ATTEMPTS: usize = 5;
/// Time between two of them.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Flags {
        crate::plan::flags::parse("maintenance.toml", text).0.unwrap().flags
    }

    #[test]
    fn a_flag_is_ours_while_nobody_has_changed_it() {
        let ours = "[routes]\nweb = { mode = \"offline\", until = 2026-05-19T15:00:00Z, held_by = \"anna@ci\" }\n";
        let held = flags(ours).routes;
        let told = |text: &str| {
            let (own, lost) = compare(&held, &flags(text));
            (own.len(), lost.iter().map(|lost| lost.flag.is_some()).collect::<Vec<_>>())
        };
        assert_eq!(told(&format!("# a comment\n{ours}api = \"hold\"\n")), (1, vec![]));
        assert_eq!(told("[routes]\n"), (0, vec![false]));
        assert_eq!(told("[routes]\nweb = \"offline\"\n"), (0, vec![true]));
        assert_eq!(told(&ours.replace("15:00", "15:30")), (0, vec![true]));
        assert_eq!(told(&ours.replace("anna", "bert")), (0, vec![true]));
    }
}
