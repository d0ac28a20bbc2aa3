//! Failures of commands, with their exit codes.

use std::error::Error;
use std::fmt;
use std::io;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::edit::engine_failure::EngineFailure;
use crate::control::edit::failure::{no_window_help, one_of};
use crate::control::fleet::FleetError;
use crate::files::write::WriteError;
use crate::plan::problem::{Problem, quoted};

use super::admin::{self, Endpoint};
use super::streams::{ERROR, Streams, styled};
use super::subscriber_error::SubscriberError;
use super::whom::Whom;
use super::{exit, words};

pub(super) use crate::control::edit::failure::{EditFailure, Force, chain, summary};

/// Failure of a command.
#[derive(Debug)]
pub(super) enum Failure {
    /// The config, or a file that it names, has problems. At least one is an error.
    Problems(Vec<Problem>),
    /// The config has problems, and nothing else tells which flag file is meant.
    NoSite(Vec<Problem>),
    /// The flag file was not edited, or could not be read to be edited.
    Edit(EditFailure),
    /// An admin listener cannot be asked, and only it could tell which flag file is meant.
    Unreachable { endpoint: Endpoint, source: admin::Error },
    /// A proxy that was named does not try its checks. Those that answer are shown.
    Silent { endpoint: Endpoint, source: admin::Error },
    /// A page cannot be written.
    Page(WriteError),
    /// A file of the demo cannot be written.
    Demo(WriteError),
    /// The config does not have this listener.
    NoListener { name: String, known: Vec<String> },
    /// The page is not offered in this language.
    NoLanguage { tag: String, known: Vec<String> },
    /// Nothing tells of this window: neither the history nor the flag file, if that can be read.
    Untold { id: String, known: Vec<String>, flag_file: FlagFileSeen },
    /// The window is over.
    WindowOver { id: String },
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
    /// The route has no checks, or no route has; its name.
    NoChecks(Option<String>),
    /// The config has no admin listener.
    NoAdmin(PathBuf),
    /// More or fewer admin listeners than can be asked, or are wanted. Nothing was written.
    Number(admin::WrongNumber),
    /// An admin listener did not confirm. The flag file is written.
    NotConfirmed { endpoint: Whom, source: admin::Error },
    /// The replicas that were to be asked through the engine of this text have all left. It is written.
    Nobody(PathBuf),
    /// The proxy read the file and refused it, because its config differs.
    Rejected { endpoint: Whom, problems: Vec<String> },
    /// A proxy has flags in force that an edit of the file would drop. Nothing was written.
    Unseen { endpoint: Endpoint, file: PathBuf, why: String },
    /// The edit is not in force, for these reasons. The file is written.
    NotLive { endpoint: Whom, waited: Duration, reasons: Vec<String> },
    /// The flag is live, but requests of these routes are still in flight; their number, if known.
    NotDrained { endpoint: Whom, waited: Duration, routes: Vec<(String, Option<u64>)> },
    /// The flags are lifted there, but the routes are not open, for these reasons.
    NotOpen { endpoint: Whom, waited: Duration, reasons: Vec<String> },
    /// A port is taken, or may not be bound.
    Port { port: u16, option: &'static str, source: io::Error },
    /// The demo's directory has a config that the demo did not write.
    NotTheDemos(PathBuf),
    /// A file cannot be read, written or made.
    File { verb: &'static str, path: PathBuf, source: io::Error },
    /// `backsoon subscribers` has failed.
    Subscribers(SubscriberError),
    /// The system refused a basic resource.
    Internal(io::Error),
    /// The output cannot be written.
    Output(io::Error),
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
    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Problems(_)
            | Self::NoSite(_)
            | Self::NoListener { .. }
            | Self::Untold { .. }
            | Self::WindowOver { .. }
            | Self::NoLanguage { .. }
            | Self::NoSecret { .. }
            | Self::NoUrl { .. }
            | Self::NotHttps { .. }
            | Self::NoChecks(_)
            | Self::NoLink { .. }
            | Self::OtherLink { .. }
            | Self::NoAdmin(_)
            | Self::NotTheDemos(_) => exit::USAGE,
            Self::Number(error) => error.code(),
            Self::Rejected { .. } => exit::REFUSED,
            Self::Edit(error) => edit_code(error),
            Self::Page(error) | Self::Demo(error) => write_code(error),
            Self::NotConfirmed { .. }
            | Self::Nobody(_)
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Port { .. } => exit::UNAVAILABLE,
            Self::NotLive { .. } => exit::TEMPFAIL,
            Self::Unseen { .. } => exit::IO,
            Self::NotDrained { .. } => exit::NOT_DRAINED,
            Self::NotOpen { .. } => exit::NOT_OPEN,
            Self::File { .. } | Self::Output(_) => exit::IO,
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
        if let Self::Edit(failure) = self {
            streams.problems(failure.problems())?;
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
            Self::NoListener { known, .. } => one_of("listeners", known),
            Self::NoLanguage { known, .. } => one_of("languages", known),
            Self::Untold { known, .. } if known.is_empty() => "there is no other window either".to_owned(),
            Self::Untold { id, known, .. } => no_window_help(id, known),
            Self::NoLink { name, known } => no_link_help(name, known),
            Self::OtherLink { name, .. } => {
                format!("choose another name, or revoke that one: `backsoon bypass --revoke {name}`")
            }
            Self::NotHttps { .. } => {
                "write the URL with `https:`, or allow plain HTTP for the route: `cookie_secure = false`".to_owned()
            }
            Self::WindowOver { .. } => "name one that is still to begin, or leave `--window` out".to_owned(),
            Self::NoSecret { route } => format!(
                "make one, `openssl rand -hex 32 > key && chmod 600 key`, and name it in the config:\n\
                 [routes.{}]\nbypass = {{ secret_file = \"key\" }}",
                if route.contains('.') { format!("\"{route}\"") } else { route.clone() }
            ),
            Self::NoUrl { .. } => "name it: `--url https://www.example.com/`".to_owned(),
            Self::NoChecks(_) => "write some into the config: `verify = [{ get = \"/healthz\" }]`".to_owned(),
            Self::NoAdmin(_) => "add `[admin]` with `address = \"127.0.0.1:9901\"`, or name the address".to_owned(),
            Self::Number(error) => error.help().to_owned(),
            Self::NotConfirmed { .. } => "the flag file is written; is the proxy running?".to_owned(),
            Self::Unseen { .. } => {
                "nothing was written; write the whole file first, or lift everything: `backsoon off --all`".to_owned()
            }
            Self::Nobody(_) => "the flags are written; `backsoon status` says who is there".to_owned(),
            Self::NotLive { .. } => "the flag file is written; `backsoon status` says what is live".to_owned(),
            Self::NotDrained { .. } => {
                "the rest is cut when the route's `drain` time is over; `backsoon status` counts them".to_owned()
            }
            Self::NotOpen { .. } => "the flag file is written; `backsoon status` follows the rest".to_owned(),
            Self::Rejected { .. } => "the flag file is written, and what was live before stays live".to_owned(),
            Self::Port { option, .. } => format!("stop what listens there, or choose another port with `{option}`"),
            Self::NotTheDemos(_) => "choose another directory with `--dir`".to_owned(),
            Self::Edit(error) => return error.help(),
            Self::Subscribers(error) => return error.help(),
            Self::Problems(_)
            | Self::Page(_)
            | Self::Demo(_)
            | Self::File { .. }
            | Self::Internal(_)
            | Self::Output(_) => return None,
        })
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

/// Tells why a link over plain HTTP would not work.
fn https_alone(route: &str) -> String {
    format!("browsers keep the cookie of the route {} over HTTPS alone", quoted(route))
}

/// Returns the exit code of an edit that was not made.
fn edit_code(failure: &EditFailure) -> u8 {
    match failure {
        EditFailure::Problems(_)
        | EditFailure::WrongBefore { .. }
        | EditFailure::WrongAfter { .. }
        | EditFailure::Text { .. }
        | EditFailure::NoRoute { .. }
        | EditFailure::NoWindow { .. }
        | EditFailure::NoStep { .. }
        | EditFailure::MovesByItself { .. }
        | EditFailure::Refused(_)
        | EditFailure::Past => exit::USAGE,
        EditFailure::Write(error) => write_code(error),
        EditFailure::Engine(EngineFailure::Engine { source, .. }) => match source {
            FleetError::ReadOnly(_) => exit::USAGE,
            FleetError::Unreached(_) | FleetError::Wrong(_) => exit::UNAVAILABLE,
        },
        EditFailure::Engine(EngineFailure::Outrun { .. }) => exit::TEMPFAIL,
    }
}

/// Returns the exit code of a file that was not written.
fn write_code(error: &WriteError) -> u8 {
    match error {
        WriteError::Io { .. } | WriteError::Locked(_) | WriteError::Busy(..) | WriteError::Contended(_) => exit::IO,
        WriteError::NotAFile(_) | WriteError::NoTarget(_) | WriteError::NotText(_) | WriteError::TooLarge(_) => {
            exit::USAGE
        }
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
            Self::Page(_) => f.write_str("the page was not written"),
            Self::Demo(_) => f.write_str("the demo cannot write its files"),
            Self::NoListener { name, .. } => write!(f, "the config has no listener {}", quoted(name)),
            Self::NoLanguage { tag, .. } => write!(f, "the page is not offered in {}", quoted(tag)),
            Self::Untold { id, flag_file, .. } => f.write_str(&flag_file.untold(id)),
            Self::WindowOver { id } => write!(f, "window {} is over", quoted(id)),
            Self::NoSecret { route } => write!(f, "the route {} has no secret to sign a link with", quoted(route)),
            Self::NoLink { name, .. } if name.is_empty() => write!(f, "it is not said what to revoke"),
            Self::NoLink { name, .. } => write!(f, "the flag file has no link {}", quoted(name)),
            Self::OtherLink { name, route } => f.write_str(&other_link(name, route)),
            Self::NotHttps { route } => f.write_str(&https_alone(route)),
            Self::NoUrl { route } => f.write_str(&no_url(route)),
            Self::NoChecks(Some(route)) => write!(f, "the route {} has no checks", quoted(route)),
            Self::NoChecks(None) => f.write_str("no route has checks"),
            Self::NoAdmin(config) => write!(f, "`{}` has no admin listener to ask", config.display()),
            Self::Number(error) => error.fmt(f),
            Self::Nobody(place) => write!(f, "no replica that follows `{}` answers", place.display()),
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
            Self::Edit(error) => error.fmt(f),
            Self::Subscribers(error) => error.fmt(f),
            Self::Internal(_) => f.write_str("cannot start"),
            Self::Output(_) => f.write_str("cannot write"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Edit(error) => error.source(),
            Self::Subscribers(error) => error.source(),
            Self::Page(source) | Self::Demo(source) => Some(source),
            Self::NotConfirmed { source, .. } | Self::Unreachable { source, .. } | Self::Silent { source, .. } => {
                Some(source)
            }
            Self::Port { source, .. } | Self::File { source, .. } | Self::Internal(source) | Self::Output(source) => {
                Some(source)
            }
            Self::Problems(_)
            | Self::NoSite(_)
            | Self::NoListener { .. }
            | Self::Untold { .. }
            | Self::WindowOver { .. }
            | Self::NoLanguage { .. }
            | Self::NoSecret { .. }
            | Self::NoUrl { .. }
            | Self::NotHttps { .. }
            | Self::NoChecks(_)
            | Self::NoLink { .. }
            | Self::OtherLink { .. }
            | Self::NoAdmin(_)
            | Self::Nobody(_)
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

impl From<EditFailure> for Failure {
    fn from(failure: EditFailure) -> Self {
        if let EditFailure::Problems(problems) = failure { Self::Problems(problems) } else { Self::Edit(failure) }
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
