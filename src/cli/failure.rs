//! Failures of commands, with their exit codes.

use std::error::Error;
use std::fmt;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::plan::problem::{Problem, did_you_mean, quoted};

use super::admin::{self, Endpoint};
use super::edit::EditError;
use super::engine_failure::EngineFailure;
use super::refusal::Refusal;
use super::streams::{ERROR, Streams, styled};
use super::subscriber_error::SubscriberError;
use super::{exit, words};
use crate::files::source::ReadError;
use crate::files::write::WriteError;

/// Failure of a command.
#[derive(Debug)]
pub(super) enum Failure {
    /// The config, or a file that it names, has problems. At least one is an error.
    Problems(Vec<Problem>),
    /// The config has problems, and nothing else tells which flag file is meant.
    NoSite(Vec<Problem>),
    /// An admin listener cannot be asked, and only it could tell which flag file is meant.
    Unreachable { endpoint: Endpoint, source: admin::Error },
    /// A proxy that was named does not try its checks. Those that answer are shown.
    Silent { endpoint: Endpoint, source: admin::Error },
    /// The flag file had errors before the edit. Nothing was written.
    WrongBefore { file: PathBuf, problems: Vec<Problem> },
    /// The flag file would have errors after the edit. Nothing was written.
    WrongAfter { file: PathBuf, problems: Vec<Problem> },
    /// The flag file cannot be edited.
    Edit { file: PathBuf, source: EditError },
    /// The flag file cannot be read or replaced.
    Write(WriteError),
    /// A page cannot be written.
    Page(WriteError),
    /// A file of the demo cannot be written.
    Demo(WriteError),
    /// The config does not have this listener.
    NoListener { name: String, known: Vec<String> },
    /// The config does not have this route.
    NoRoute { name: String, known: Vec<String>, force: Force },
    /// The page is not offered in this language.
    NoLanguage { tag: String, known: Vec<String> },
    /// The flag file does not have this window.
    NoWindow { id: String, known: Vec<String> },
    /// Nothing tells of this window: neither the history nor the flag file, if that can be read.
    Untold { id: String, known: Vec<String>, flag_file: FlagFileSeen },
    /// The window is over.
    WindowOver { id: String },
    /// The window has no such step.
    NoStep { id: String, step: String, known: Vec<String> },
    /// The step follows the proxy's own state (`auto`).
    MovesByItself { step: usize, auto: &'static str },
    /// The route has no secret to sign with.
    NoSecret { route: String },
    /// No link has this name.
    NoLink { name: String, known: Vec<String> },
    /// A link of this name is for another route.
    OtherLink { name: String, route: String },
    /// The route keeps its cookies over HTTPS alone.
    NotHttps { route: String },
    /// The config does not tell at which URL a browser reaches the route.
    NoUrl { route: String },
    /// The window, or the clock, does not allow what was asked for. Nothing was written.
    Refused(Refusal),
    /// The route has no checks, or no route has; its name.
    NoChecks(Option<String>),
    /// The end is not in the future.
    Past,
    /// The config has no admin listener.
    NoAdmin(PathBuf),
    /// More or fewer admin listeners than can be asked, or are wanted. Nothing was written.
    Number(admin::WrongNumber),
    /// An admin listener did not confirm. The flag file is written.
    NotConfirmed { endpoint: Endpoint, source: admin::Error },
    /// The proxy read the file and refused it, because its config differs.
    Rejected { endpoint: Endpoint, problems: Vec<String> },
    /// A proxy has flags in force that an edit of the file would drop. Nothing was written.
    Unseen { endpoint: Endpoint, file: PathBuf, why: String },
    /// The edit is not in force, for these reasons. The file is written.
    NotLive { endpoint: Endpoint, waited: Duration, reasons: Vec<String> },
    /// The flag is live, but requests of these routes are still in flight; their number, if known.
    NotDrained { endpoint: Endpoint, waited: Duration, routes: Vec<(String, Option<u64>)> },
    /// The flags are lifted there, but the routes are not open, for these reasons.
    NotOpen { endpoint: Endpoint, waited: Duration, reasons: Vec<String> },
    /// A port is taken, or may not be bound.
    Port { port: u16, option: &'static str, source: io::Error },
    /// The demo's directory has a config that the demo did not write.
    NotTheDemos(PathBuf),
    /// A file cannot be read, written or made.
    File { verb: &'static str, path: PathBuf, source: io::Error },
    /// The text of the flags, which an engine keeps, cannot be read or edited.
    Engine(EngineFailure),
    /// `backsoon subscribers` has failed.
    Subscribers(SubscriberError),
    /// The system refused a basic resource.
    Internal(io::Error),
    /// The output cannot be written.
    Output(io::Error),
}

/// Ability of a command to accept routes that the config does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Accepted with `--force`.
    Possible,
    /// Never accepted.
    Impossible,
}

/// Part of the flag file in a look for a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagFileSeen {
    /// Read, so that its windows are known.
    Read,
    /// With errors, or not to be found.
    Unreadable,
}

impl FlagFileSeen {
    /// Tells that nothing tells of a window.
    fn untold(self, id: &str) -> String {
        match self {
            Self::Read => format!("neither the history nor the flag file has a window {}", quoted(id)),
            Self::Unreadable => format!("the history has no window {}, and the flag file cannot be read", quoted(id)),
        }
    }
}

impl Failure {
    /// Returns the failure of a file that cannot be read.
    pub(super) fn unreadable(file: &Path, error: ReadError) -> Self {
        Self::Problems(vec![Problem::in_file(file, error)])
    }

    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Problems(_)
            | Self::NoSite(_)
            | Self::WrongBefore { .. }
            | Self::WrongAfter { .. }
            | Self::Edit { .. }
            | Self::NoListener { .. }
            | Self::NoRoute { .. }
            | Self::NoWindow { .. }
            | Self::Untold { .. }
            | Self::WindowOver { .. }
            | Self::NoLanguage { .. }
            | Self::NoStep { .. }
            | Self::MovesByItself { .. }
            | Self::NoSecret { .. }
            | Self::NoUrl { .. }
            | Self::Refused(_)
            | Self::NotHttps { .. }
            | Self::NoChecks(_)
            | Self::NoLink { .. }
            | Self::OtherLink { .. }
            | Self::Past
            | Self::NoAdmin(_)
            | Self::NotTheDemos(_) => exit::USAGE,
            Self::Number(error) => error.code(),
            Self::Rejected { .. } => exit::REFUSED,
            Self::Write(error) | Self::Page(error) | Self::Demo(error) => match error {
                WriteError::Io { .. } | WriteError::Locked(_) | WriteError::Busy(..) | WriteError::Contended(_) => {
                    exit::IO
                }
                WriteError::NotAFile(_)
                | WriteError::NoTarget(_)
                | WriteError::NotText(_)
                | WriteError::TooLarge(_) => exit::USAGE,
            },
            Self::NotConfirmed { .. } | Self::Unreachable { .. } | Self::Silent { .. } | Self::Port { .. } => {
                exit::UNAVAILABLE
            }
            Self::NotLive { .. } => exit::TEMPFAIL,
            Self::Unseen { .. } => exit::IO,
            Self::NotDrained { .. } => exit::NOT_DRAINED,
            Self::NotOpen { .. } => exit::NOT_OPEN,
            Self::File { .. } | Self::Output(_) => exit::IO,
            Self::Engine(error) => error.code(),
            Self::Subscribers(error) => error.code(),
            Self::Internal(_) => exit::INTERNAL,
        }
    }

    /// Writes the failure with its causes and a hint.
    pub(super) fn report(&self, streams: &mut Streams) -> io::Result<()> {
        if let Self::Problems(problems) | Self::NoSite(problems) = self {
            streams.problems(problems)?;
            writeln!(streams.err, "{}", summary(problems))?;
            return self.help().map_or(Ok(()), |help| writeln!(streams.err, "  = help: {help}"));
        }
        if let Self::WrongBefore { problems, .. } | Self::WrongAfter { problems, .. } = self {
            streams.problems(problems)?;
        }
        write!(streams.err, "{} {self}", styled(ERROR, "error:"))?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(streams.err, ": {error}")?;
            source = error.source();
        }
        writeln!(streams.err)?;
        self.help().map_or(Ok(()), |help| writeln!(streams.err, "  = help: {help}"))
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoSite(_) => {
                "name the running proxy with `--admin ADDRESS`, or its flag file with `--flags FILE`".to_owned()
            }
            Self::Unreachable { .. } => "nothing was written; name the flag file with `--flags FILE`".to_owned(),
            Self::Silent { .. } => "start that proxy, or leave it out by naming the others with `--admin`".to_owned(),
            Self::Write(WriteError::Locked(_) | WriteError::Busy(..) | WriteError::Contended(_)) => {
                "nothing was written; try again".to_owned()
            }
            Self::WrongBefore { .. } => "correct it by hand first; what is live stays live meanwhile".to_owned(),
            Self::NoListener { known, .. } => one_of("listeners", known),
            Self::NoRoute { name, known, force } => no_route_help(name, known, *force),
            Self::NoLanguage { known, .. } => one_of("languages", known),
            Self::NoWindow { known, .. } if known.is_empty() => "the flag file has no window".to_owned(),
            Self::Untold { known, .. } if known.is_empty() => "there is no other window either".to_owned(),
            Self::NoWindow { id, known } | Self::Untold { id, known, .. } => {
                match did_you_mean(id, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => one_of("windows", known),
                }
            }
            Self::NoLink { name, known } => no_link_help(name, known),
            Self::OtherLink { name, .. } => {
                format!("choose another name, or revoke that one: `backsoon bypass --revoke {name}`")
            }
            Self::NotHttps { .. } => {
                "write the URL with `https:`, or allow plain HTTP for the route: `cookie_secure = false`".to_owned()
            }
            Self::WindowOver { .. } => "name one that is still to begin, or leave `--window` out".to_owned(),
            Self::NoStep { known, .. } if known.is_empty() => "add one under a `[[windows.steps]]` line".to_owned(),
            Self::NoStep { step, known, .. } => match did_you_mean(step, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => one_of("steps", known),
            },
            Self::MovesByItself { .. } => "remove its `auto` to move it by hand".to_owned(),
            Self::NoSecret { route } => format!(
                "make one, `openssl rand -hex 32 > key && chmod 600 key`, and name it in the config:\n\
                 [routes.{}]\nbypass = {{ secret_file = \"key\" }}",
                if route.contains('.') { format!("\"{route}\"") } else { route.clone() }
            ),
            Self::NoUrl { .. } => "name it: `--url https://www.example.com/`".to_owned(),
            Self::Refused(refusal) => refusal.help(),
            Self::NoChecks(_) => "write some into the config: `verify = [{ get = \"/healthz\" }]`".to_owned(),
            Self::Past => "leave `--until` out, or name an instant that is still to come".to_owned(),
            Self::NoAdmin(_) => "add `[admin]` with `address = \"127.0.0.1:9901\"`, or name the address".to_owned(),
            Self::Number(error) => error.help().to_owned(),
            Self::NotConfirmed { .. } => "the flag file is written; is the proxy running?".to_owned(),
            Self::Unseen { .. } => {
                "nothing was written; write the whole file first, or lift everything: `backsoon off --all`".to_owned()
            }
            Self::NotLive { .. } => "the flag file is written; `backsoon status` says what is live".to_owned(),
            Self::NotDrained { .. } => {
                "the rest is cut when the route's `drain` time is over; `backsoon status` counts them".to_owned()
            }
            Self::NotOpen { .. } => "the flag file is written; `backsoon status` follows the rest".to_owned(),
            Self::Rejected { .. } => "the flag file is written, and what was live before stays live".to_owned(),
            Self::Port { option, .. } => format!("stop what listens there, or choose another port with `{option}`"),
            Self::NotTheDemos(_) => "choose another directory with `--dir`".to_owned(),
            Self::Engine(error) => return error.help(),
            Self::Subscribers(error) => return error.help(),
            Self::Problems(_)
            | Self::WrongAfter { .. }
            | Self::Edit { .. }
            | Self::Write(_)
            | Self::Page(_)
            | Self::Demo(_)
            | Self::File { .. }
            | Self::Internal(_)
            | Self::Output(_) => return None,
        })
    }
}

fn no_route_help(name: &str, known: &[String], force: Force) -> String {
    let near = did_you_mean(name, known.iter().map(String::as_str));
    let near = near.map_or_else(|| one_of("routes", known), |near| format!("did you mean `{near}`?"));
    match force {
        Force::Possible => format!("{near} (for a proxy that shares the file: --force)"),
        Force::Impossible => near,
    }
}

fn no_link_help(name: &str, known: &[String]) -> String {
    if name.is_empty() {
        return "name the route, `backsoon bypass web --revoke`, or a link, `backsoon bypass --revoke ann`".to_owned();
    }
    match known {
        [] => "no link has a name".to_owned(),
        names => format!("the names are {}", words::list(&names.iter().map(|name| quoted(name)).collect::<Vec<_>>())),
    }
}

/// Formats an error with its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Returns the names that would have been right: "its routes are `api` and `web`".
fn one_of(what: &str, known: &[String]) -> String {
    let shown = known.iter().take(MOST_LISTED).map(|name| quoted(name));
    match known.len().saturating_sub(MOST_LISTED) {
        0 => format!("its {what} are {}", words::list(&shown.collect::<Vec<_>>())),
        more => format!("its {what} are {} and {more} more", shown.collect::<Vec<_>>().join(", ")),
    }
}

/// Tells why a link over plain HTTP would not work.
fn https_alone(route: &str) -> String {
    format!("browsers keep the cookie of the route {} over HTTPS alone", quoted(route))
}

/// Counts problems, such as `2 errors, 1 warning`.
pub(super) fn summary(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    match problems.len() - errors {
        0 => words::count(errors, "error"),
        warnings => format!("{}, {}", words::count(errors, "error"), words::count(warnings, "warning")),
    }
}

/// Lists routes with their requests in flight, as far as these are known.
fn in_flight(routes: &[(String, Option<u64>)]) -> String {
    let left = routes.iter().map(|(name, left)| match left {
        Some(left) => format!("{name} ({})", words::count(usize::try_from(*left).unwrap_or(0), "request")),
        None => name.clone(),
    });
    words::list(&left.collect::<Vec<_>>())
}

/// Says that the config does not tell where a route is.
fn no_url(route: &str) -> String {
    format!("the config does not say where the route {} is: an exact `host`, a `listen` with TLS", quoted(route))
}

/// Says that a link is for another route.
fn other_link(name: &str, route: &str) -> String {
    format!("the link {} is for the route {}", quoted(name), quoted(route))
}

/// Says how long something was waited for, and why it did not come.
fn after(waited: &Duration, reasons: &[String]) -> String {
    format!("after {} s: {}", waited.as_secs_f64().round(), reasons.join("; "))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) | Self::NoSite(problems) => f.write_str(&summary(problems)),
            Self::WrongBefore { file, .. } => {
                write!(f, "`{}` has errors already, so it was not edited", file.display())
            }
            Self::WrongAfter { file, .. } => {
                write!(f, "`{}` would have errors then, so it was not edited", file.display())
            }
            Self::Edit { file, .. } => write!(f, "`{}` was not edited", file.display()),
            Self::Write(_) => f.write_str("the flag file was not changed"),
            Self::Page(_) => f.write_str("the page was not written"),
            Self::Demo(_) => f.write_str("the demo cannot write its files"),
            Self::NoListener { name, .. } => write!(f, "the config has no listener {}", quoted(name)),
            Self::NoRoute { name, .. } => write!(f, "the config has no route {}", quoted(name)),
            Self::NoLanguage { tag, .. } => write!(f, "the page is not offered in {}", quoted(tag)),
            Self::NoWindow { id, .. } => write!(f, "the flag file has no window {}", quoted(id)),
            Self::Untold { id, flag_file, .. } => f.write_str(&flag_file.untold(id)),
            Self::WindowOver { id } => write!(f, "window {} is over", quoted(id)),
            Self::NoStep { id, step, .. } => write!(f, "window {} has no step {}", quoted(id), quoted(step)),
            Self::MovesByItself { step, auto } => write!(f, "step {step} moves by itself (`auto = \"{auto}\"`)"),
            Self::NoSecret { route } => write!(f, "the route {} has no secret to sign a link with", quoted(route)),
            Self::NoLink { name, .. } if name.is_empty() => write!(f, "it is not said what to revoke"),
            Self::NoLink { name, .. } => write!(f, "the flag file has no link {}", quoted(name)),
            Self::OtherLink { name, route } => f.write_str(&other_link(name, route)),
            Self::NotHttps { route } => f.write_str(&https_alone(route)),
            Self::NoUrl { route } => f.write_str(&no_url(route)),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NoChecks(Some(route)) => write!(f, "the route {} has no checks", quoted(route)),
            Self::NoChecks(None) => f.write_str("no route has checks"),
            Self::Past => f.write_str("the end is in the past"),
            Self::NoAdmin(config) => write!(f, "`{}` has no admin listener to ask", config.display()),
            Self::Number(error) => error.fmt(f),
            Self::NotConfirmed { endpoint, .. } => write!(f, "{endpoint} did not confirm it"),
            Self::Unreachable { endpoint, .. } | Self::Silent { endpoint, .. } => {
                write!(f, "{endpoint} cannot be asked")
            }
            Self::Rejected { endpoint, problems } => {
                write!(f, "{endpoint} refuses the flag file: {}", problems.join("; "))
            }
            Self::Unseen { endpoint, file, why } => write!(
                f,
                "`{}` was not edited, because {endpoint} has flags in force that it lacks: {why}",
                file.display()
            ),
            Self::NotLive { endpoint, waited, reasons } => {
                write!(f, "it is not in force at {endpoint} {}", after(waited, reasons))
            }
            Self::NotDrained { endpoint, waited, routes } => {
                let (waited, left) = (waited.as_secs_f64().round(), in_flight(routes));
                write!(f, "it is live at {endpoint}, but after {waited} s not drained: {left}")
            }
            Self::NotOpen { endpoint, waited, reasons } => {
                write!(f, "not open at {endpoint} {}", after(waited, reasons))
            }
            Self::Port { port, .. } => write!(f, "port {port} cannot be listened on"),
            Self::NotTheDemos(path) => write!(f, "`{}` is not one that the demo wrote, so it stays", path.display()),
            Self::File { verb, path, .. } => write!(f, "cannot {verb} `{}`", path.display()),
            Self::Engine(error) => error.fmt(f),
            Self::Subscribers(error) => error.fmt(f),
            Self::Internal(_) => f.write_str("cannot start"),
            Self::Output(_) => f.write_str("cannot write"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Edit { source, .. } => Some(source),
            Self::Engine(error) => error.source(),
            Self::Subscribers(error) => error.source(),
            Self::Write(source) | Self::Page(source) | Self::Demo(source) => Some(source),
            Self::NotConfirmed { source, .. } | Self::Unreachable { source, .. } | Self::Silent { source, .. } => {
                Some(source)
            }
            Self::Port { source, .. } | Self::File { source, .. } | Self::Internal(source) | Self::Output(source) => {
                Some(source)
            }
            Self::Problems(_)
            | Self::NoSite(_)
            | Self::WrongBefore { .. }
            | Self::WrongAfter { .. }
            | Self::NoListener { .. }
            | Self::NoRoute { .. }
            | Self::NoWindow { .. }
            | Self::Untold { .. }
            | Self::WindowOver { .. }
            | Self::NoLanguage { .. }
            | Self::NoStep { .. }
            | Self::MovesByItself { .. }
            | Self::NoSecret { .. }
            | Self::NoUrl { .. }
            | Self::Refused(_)
            | Self::NotHttps { .. }
            | Self::NoChecks(_)
            | Self::NoLink { .. }
            | Self::OtherLink { .. }
            | Self::Past
            | Self::NoAdmin(_)
            | Self::Number(_)
            | Self::Rejected { .. }
            | Self::NotLive { .. }
            | Self::Unseen { .. }
            | Self::NotDrained { .. }
            | Self::NotOpen { .. }
            | Self::NotTheDemos(_) => None,
        }
    }
}

impl From<admin::WrongNumber> for Failure {
    fn from(error: admin::WrongNumber) -> Self {
        Self::Number(error)
    }
}

/// Converts an error of a write to the output. A bare `?` means such an error; all others are mapped explicitly.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Most names that an advice lists.
const MOST_LISTED: usize = 16;
