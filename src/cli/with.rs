//! `backsoon with`: closes routes for as long as a command runs, and opens them when it has succeeded.

mod child;
mod holder;
mod lease;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::files::write::Emptied;
use crate::plan::flags::OnOverrun;

use self::child::Child;
use self::lease::{Lease, Lost, Taken};
use super::confirm::Goal;
use super::edit::{self, Entry};
use super::failure::Failure;
use super::on::ModeWord;
use super::site::{Site, SiteArgs};
use super::streams::Streams;
use super::{WaitFor, dry_run, exit, words};

/// The arguments of `with`.
#[derive(Args, Debug)]
pub(super) struct With {
    /// Routes by their names in the config; '*' is every route
    #[arg(required = true, value_name = "ROUTE")]
    routes: Vec<String>,
    /// Effect of the flag on the routes
    #[arg(short, long, value_enum, default_value_t = ModeWord::Offline)]
    mode: ModeWord,
    /// Time that the command is expected to take, which the page tells; the flag ends by itself this long after its last
    /// renewal, so a runner that dies does not leave the routes closed for ever
    #[arg(long = "for", value_name = "TIME", value_parser = parse_lease, default_value = "30m")]
    span: SignedDuration,
    /// Say this on the page, in place of the built-in words
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Fate of the routes if the command fails, or is ended by a signal
    #[arg(long, value_enum, value_name = "FATE", default_value_t = Fate::Keep)]
    on_failure: Fate,
    /// Fate of the routes if nobody renews the flag, because the runner has died
    #[arg(long, value_enum, value_name = "FATE", default_value_t = Fate::Open)]
    on_lost: Fate,
    /// If a route is flagged already, wait for the end of that flag, at most this long
    #[arg(long, value_name = "TIME", value_parser = words::parse_span, conflicts_with = "steal")]
    wait_for_holder: Option<SignedDuration>,
    /// Take a route over although somebody else has flagged it
    #[arg(long)]
    steal: bool,
    /// Give up if the routes are not closed and drained after this time; nothing is run then
    #[arg(long, value_name = "TIME", value_parser = words::parse_span, default_value = "1m")]
    timeout: SignedDuration,
    /// Run nothing if fewer proxies than this can be asked
    #[arg(long, value_name = "NUMBER", value_parser = super::number_of_replicas)]
    replicas: Option<usize>,
    /// Kill the command if it has not ended this long after a signal that was passed on to it
    #[arg(long, value_name = "TIME", value_parser = words::parse_span, default_value = "30s")]
    grace: SignedDuration,
    /// Accept a route that the config does not have, because one flag file can serve several proxies
    #[arg(long)]
    force: bool,
    /// Show the edit and the command, write nothing and run nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    site: SiteArgs,
    /// The command, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Fate of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fate {
    /// Stay closed until somebody opens them
    Keep,
    /// Open, through their checks and their ramp
    Open,
}

/// Help text below the options.
pub(super) const AFTER_HELP: &str = "\
The routes are closed, and the command begins once nothing is in flight that began before. It has the streams of the \
terminal; what backsoon says goes to the error stream. When it exits with 0, the flags are lifted. Otherwise the routes \
stay closed by default: nobody knows what a command left behind that ended half way. SIGINT, SIGTERM, SIGHUP and SIGQUIT \
are passed on to the command and waited for.

The flag says who holds the route (`held_by`), and until when: before a third of --for is left, it is renewed while the \
command runs. Only flags that are still as they were written are lifted or renewed: one that somebody else has changed \
is theirs. A route that is flagged already is refused with its holder. After a failure that left a route closed, \
--steal runs the next attempt behind the same closed route.

Examples:
  backsoon with web -- ./migrate.sh
  backsoon with web api --for 10m --message \"A new version is on its way.\" -- make deploy
  backsoon with web --mode read-only --on-failure open -- pg_dump -f backup.sql app
  backsoon with '*' --for 1h --on-lost keep -- ansible-playbook site.yml
  backsoon with web --wait-for-holder 15m -- ./deploy.sh
  backsoon with web --dry-run -- ./migrate.sh

Exit codes:
  that of the command, or 128 and the number of the signal that ended it or was passed on to it; our own are:
  123  the command exited with 0, and a route could not be opened, or is flagged by somebody else
  124  the routes were not drained in time; nothing was run, and they are opened again
  125  nothing was run: wrong arguments or files, a route that is flagged already, or a flag that was not in force in time
  126  the command cannot be run; the routes are opened again
  127  the command was not found; the routes are opened again";

/// Runs the command while the routes are closed. No failure of its own has another exit code than those of the help.
pub(super) fn run(args: &With, streams: &mut Streams) -> Result<u8, Failure> {
    match attempt(args, streams) {
        Ok(code) => Ok(code),
        Err(failure) => {
            // If the stream is closed, only the exit code is left.
            let _ = failure.report(streams);
            say(format_args!("nothing was run"));
            Ok(exit::NOT_RUN)
        }
    }
}

/// Event that the command waits for.
#[derive(Debug)]
enum Event {
    /// A signal has come.
    Signal(i32),
    /// The routes are closed and drained, or will not be in time.
    Drained(Result<(), Failure>),
    /// The process of the command has ended.
    Ended,
}

/// Closes the routes and runs the command. An error means that nothing was run, and no flag is left.
fn attempt(args: &With, streams: &mut Streams) -> Result<u8, Failure> {
    let site = Site::find(&args.site)?;
    site.note(streams)?;
    let routes = edit::deduplicated(&args.routes);
    if !args.force {
        routes.iter().try_for_each(|route| site.check_route(route))?;
    }
    site.check_wait(&WaitFor { wait: true, timeout: args.timeout, replicas: args.replicas, dry_run: false })?;
    let mut lease = Lease::new(&site, routes, entry(args), args.span);
    if args.dry_run {
        return show(args, &site, &lease, streams);
    }
    let (sender, events) = sync_channel(MOST_EVENTS);
    child::watch_signals(&sender).map_err(Failure::Internal)?;
    if let Some(code) = take(args, &mut lease, &events)? {
        return Ok(code);
    }
    Ok(Closed { args, lease, events, sender }.run())
}

fn entry(args: &With) -> Entry {
    let on_overrun = match args.on_lost {
        Fate::Keep => OnOverrun::Stay,
        Fate::Open => OnOverrun::Open,
    };
    let held_by = Some(holder::of_process());
    Entry { message: args.message.clone(), held_by, on_overrun, ..Entry::of(args.mode.into()) }
}

/// Shows what would be done.
fn show(args: &With, site: &Site, lease: &Lease<'_>, streams: &mut Streams) -> Result<u8, Failure> {
    let others = if args.steal { Vec::new() } else { lease.others(&site.flags()?) };
    if !others.is_empty() {
        refuse(&others);
        return Ok(exit::NOT_RUN);
    }
    dry_run::show(site, Emptied::Refused, |text| Ok((lease.flagged(text)?, ())), streams)?;
    let command: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    streams.note(format_args!("it would run: {}", command.join(" ")))?;
    Ok(exit::OK)
}

/// Writes the flags, and waits for those of others if that is wanted. Returns an exit code if there is nothing to do.
fn take(args: &With, lease: &mut Lease<'_>, events: &Receiver<Event>) -> Result<Option<u8>, Failure> {
    let patience = args.wait_for_holder.map_or(Duration::ZERO, SignedDuration::unsigned_abs);
    let begun = Instant::now();
    let mut told = false;
    loop {
        let others = match lease.take(args.steal)? {
            Taken::Ours => return Ok(None),
            Taken::Others(others) => others,
        };
        if begun.elapsed() >= patience {
            refuse(&others);
            return Ok(Some(exit::NOT_RUN));
        }
        if !std::mem::replace(&mut told, true) {
            others.iter().for_each(say);
            let now = Timestamp::now();
            let end = SignedDuration::try_from(patience).ok().and_then(|patience| now.checked_add(patience).ok());
            say(format_args!("waiting up to {} for that", words::span(now, end.unwrap_or(words::last_instant()))));
        }
        if let Ok(Event::Signal(number)) = events.recv_timeout(LOOK) {
            say(format_args!("ended by a signal; nothing was run"));
            return Ok(Some(child::code_of_signal(number)));
        }
    }
}

fn refuse(others: &[String]) {
    others.iter().for_each(say);
    say(format_args!("nothing was run; --wait-for-holder TIME waits for that, and --steal takes the route over"));
}

/// Routes that were flagged, until the command has ended.
struct Closed<'s> {
    args: &'s With,
    lease: Lease<'s>,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
}

impl Closed<'_> {
    /// Waits for the drain, runs the command, and leaves the routes as its end asks for.
    fn run(mut self) -> u8 {
        say(format_args!("{}", self.lease.summary()));
        if let Err(code) = self.drain() {
            self.open();
            return code;
        }
        let child = match Child::start(&self.args.command, &self.sender) {
            Ok(child) => child,
            Err(error) => {
                let name = self.args.command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
                say(format_args!("cannot run `{name}`: {error}"));
                self.open();
                return if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::CANNOT_RUN };
            }
        };
        match self.accompany(child) {
            Ok((status, passed_on)) => self.conclude(status, passed_on),
            Err(error) => {
                say(format_args!("the end of the command cannot be learnt: {error}"));
                self.fail("whose end is not known", exit::INTERNAL)
            }
        }
    }

    /// Waits until the routes are closed and drained. An error is the exit code.
    fn drain(&mut self) -> Result<(), u8> {
        let confirmation = self.lease.confirmation().map_err(|failure| reported(&failure))?;
        let (timeout, sender) = (self.args.timeout.unsigned_abs(), self.sender.clone());
        thread::spawn(move || {
            let reached = confirmation.reach(Goal::Drained, timeout, &mut Streams::of_process());
            // Without a receiver the process is at its end.
            let _ = sender.send(Event::Drained(reached));
        });
        loop {
            match self.next() {
                Some(Event::Drained(Ok(()))) => return Ok(()),
                Some(Event::Drained(Err(failure))) => {
                    let code = reported(&failure);
                    say(format_args!("nothing was run"));
                    return Err(code);
                }
                Some(Event::Signal(number)) => {
                    say(format_args!("ended by a signal; nothing was run"));
                    return Err(child::code_of_signal(number));
                }
                Some(Event::Ended) | None => {}
            }
        }
    }

    /// Waits for the end of the command. Returns its status, and the last signal that was passed on.
    fn accompany(&mut self, child: Child) -> io::Result<(ExitStatus, Option<i32>)> {
        let (mut passed_on, mut deadline) = (None, None);
        loop {
            match self.next() {
                Some(Event::Ended) => return Ok((child.status()?, passed_on)),
                Some(Event::Signal(number)) if child.has_from_terminal(number) => {}
                Some(Event::Signal(number)) => {
                    child.pass_on(number);
                    passed_on = Some(number);
                    deadline = deadline.or_else(|| Instant::now().checked_add(self.args.grace.unsigned_abs()));
                }
                Some(Event::Drained(_)) | None => {}
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                say(format_args!("the command has not ended in time after the signal, and is killed"));
                child.kill();
                deadline = None;
            }
        }
    }

    /// Returns the next event, if there is one soon. Renews the flags when that is due.
    fn next(&mut self) -> Option<Event> {
        let event = self.events.recv_timeout(TICK).ok();
        self.lease.renew_if_due();
        event
    }

    fn conclude(&mut self, status: ExitStatus, passed_on: Option<i32>) -> u8 {
        let code = child::code(status);
        match passed_on {
            None if status.success() => {
                if self.open() {
                    exit::OK
                } else {
                    exit::NOT_OPENED
                }
            }
            Some(number) if status.success() => {
                self.fail("which was interrupted, although it exited with 0", child::code_of_signal(number))
            }
            Some(_) | None => self.fail(&format!("which ended with exit code {code}"), code),
        }
    }

    /// Leaves the routes as a failure asks for, and returns the exit code.
    fn fail(&mut self, how: &str, code: u8) -> u8 {
        match self.args.on_failure {
            Fate::Open => {
                self.open();
            }
            Fate::Keep => self.keep(how),
        }
        code
    }

    /// Lifts the flags, and returns true if that is in force and no flag of somebody else is in the way.
    fn open(&mut self) -> bool {
        let lost = match self.lease.lift() {
            Ok(lost) => lost,
            Err(failure) => {
                reported(&failure);
                say(format_args!("the routes are not opened; {}", self.lease.outlook()));
                return false;
            }
        };
        lost.iter().for_each(say);
        let reached = self.lease.opened(self.args.timeout.unsigned_abs());
        reached.map_err(|failure| reported(&failure)).is_ok() && !lost.iter().any(Lost::is_flagged)
    }

    fn keep(&mut self, how: &str) {
        match self.lease.keep(how) {
            Ok(lost) => {
                lost.iter().for_each(say);
                self.lease.kept().iter().for_each(say);
            }
            Err(failure) => {
                reported(&failure);
                say(format_args!("the flags cannot be kept; {}", self.lease.outlook()));
            }
        }
    }
}

/// Reports a failure, and returns the exit code for a command that was not run.
fn reported(failure: &Failure) -> u8 {
    // If the stream is closed, only the exit code is left.
    let _ = failure.report(&mut Streams::of_process());
    if failure.code() == exit::NOT_DRAINED { exit::UNDRAINED } else { exit::NOT_RUN }
}

/// Writes a line to the error stream, told apart from those of the command. What others wrote into the flag file is not
/// obeyed by the terminal.
fn say(what: impl fmt::Display) {
    exit::say(format_args!("backsoon: {}", words::harmless(&what.to_string())));
}

/// Parses the length of a lease, which must leave time for a renewal.
fn parse_lease(text: &str) -> Result<SignedDuration, String> {
    let span = words::parse_span(text)?;
    if span < SHORTEST { Err("it must be 3 seconds or more".to_owned()) } else { Ok(span) }
}

/// Shortest lease: it is renewed every two seconds.
const SHORTEST: SignedDuration = SignedDuration::from_secs(3);
/// Time between two looks at whether a renewal is due.
const TICK: Duration = Duration::from_millis(200);
/// Time between two looks at the flags of others.
const LOOK: Duration = Duration::from_millis(500);
/// Events that wait. Further signals wait in the system.
const MOST_EVENTS: usize = 64;

#[cfg(test)]
mod tests;
