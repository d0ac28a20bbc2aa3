//! Failures of edits. Nothing was written.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::source::ReadError;
use crate::files::write::WriteError;
use crate::plan::problem::{Problem, did_you_mean, quoted};

use super::engine_failure::EngineFailure;
use super::refusal::Refusal;
use super::text::EditError;
use super::words;

/// Failure of an edit.
#[derive(Debug)]
pub(crate) enum EditFailure {
    /// A file has problems. At least one is an error.
    Problems(Vec<Problem>),
    /// The flag file had errors before the edit.
    WrongBefore { file: PathBuf, problems: Vec<Problem> },
    /// The flag file would have errors after the edit.
    WrongAfter { file: PathBuf, problems: Vec<Problem> },
    /// The flag file has a form that cannot be edited.
    Text { file: PathBuf, source: EditError },
    /// The flag file cannot be read or replaced.
    Write(WriteError),
    /// The config does not have this route.
    NoRoute { name: String, known: Vec<String>, force: Force },
    /// The flag file does not have this window.
    NoWindow { id: String, known: Vec<String> },
    /// The window has no such step.
    NoStep { id: String, step: String, known: Vec<String> },
    /// The step follows the proxy's own state (`auto`).
    MovesByItself { step: usize, auto: &'static str },
    /// The window, or the clock, does not allow what was asked for.
    Refused(Refusal),
    /// The end is not in the future.
    Past,
    /// The text of the flags, which an engine keeps, cannot be read or edited.
    Engine(EngineFailure),
}

/// Reason why a text was not edited.
#[derive(Debug)]
pub(crate) enum Unmade {
    /// The text does not allow it.
    Text(EditError),
    /// Something else does not.
    Failure(EditFailure),
}

/// Ability to accept routes that the config does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// Accepted with `--force`.
    Possible,
    /// Never accepted.
    Impossible,
}

impl EditFailure {
    /// Returns the failure of a file that cannot be read.
    pub(crate) fn unreadable(file: &Path, error: ReadError) -> Self {
        Self::Problems(vec![Problem::in_file(file, error)])
    }

    /// Returns the problems of a file, with their places.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Self::Problems(problems) | Self::WrongBefore { problems, .. } | Self::WrongAfter { problems, .. } => {
                problems
            }
            Self::Text { .. }
            | Self::Write(_)
            | Self::NoRoute { .. }
            | Self::NoWindow { .. }
            | Self::NoStep { .. }
            | Self::MovesByItself { .. }
            | Self::Refused(_)
            | Self::Past
            | Self::Engine(_) => &[],
        }
    }

    /// Returns advice.
    pub(crate) fn help(&self) -> Option<String> {
        Some(match self {
            Self::Write(WriteError::Locked(_) | WriteError::Busy(..) | WriteError::Contended(_)) => {
                "nothing was written; try again".to_owned()
            }
            Self::WrongBefore { .. } => "correct it by hand first; what is live stays live meanwhile".to_owned(),
            Self::NoRoute { name, known, force } => no_route_help(name, known, *force),
            Self::NoWindow { id, known } => no_window_help(id, known),
            Self::NoStep { known, .. } if known.is_empty() => "add one under a `[[windows.steps]]` line".to_owned(),
            Self::NoStep { step, known, .. } => match did_you_mean(step, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => one_of("steps", known),
            },
            Self::MovesByItself { .. } => "remove its `auto` to move it by hand".to_owned(),
            Self::Refused(refusal) => refusal.help(),
            Self::Past => "leave `--until` out, or name an instant that is still to come".to_owned(),
            Self::Engine(error) => return error.help(),
            Self::Problems(_) | Self::WrongAfter { .. } | Self::Text { .. } | Self::Write(_) => return None,
        })
    }
}

/// Advises on a window that the flag file does not have.
pub(crate) fn no_window_help(id: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "the flag file has no window".to_owned();
    }
    match did_you_mean(id, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => one_of("windows", known),
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

/// Returns the names that would have been right: "its routes are `api` and `web`".
pub(crate) fn one_of(what: &str, known: &[String]) -> String {
    let shown = known.iter().take(MOST_LISTED).map(|name| quoted(name));
    match known.len().saturating_sub(MOST_LISTED) {
        0 => format!("its {what} are {}", words::list(&shown.collect::<Vec<_>>())),
        more => format!("its {what} are {} and {more} more", shown.collect::<Vec<_>>().join(", ")),
    }
}

/// Counts problems, such as `2 errors, 1 warning`.
pub(crate) fn summary(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    match problems.len() - errors {
        0 => words::count(errors, "error"),
        warnings => format!("{}, {}", words::count(errors, "error"), words::count(warnings, "warning")),
    }
}

/// Formats an error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

impl fmt::Display for EditFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => f.write_str(&summary(problems)),
            Self::WrongBefore { file, .. } => {
                write!(f, "`{}` has errors already, so it was not edited", file.display())
            }
            Self::WrongAfter { file, .. } => {
                write!(f, "`{}` would have errors then, so it was not edited", file.display())
            }
            Self::Text { file, .. } => write!(f, "`{}` was not edited", file.display()),
            Self::Write(_) => f.write_str("the flag file was not changed"),
            Self::NoRoute { name, .. } => write!(f, "the config has no route {}", quoted(name)),
            Self::NoWindow { id, .. } => write!(f, "the flag file has no window {}", quoted(id)),
            Self::NoStep { id, step, .. } => write!(f, "window {} has no step {}", quoted(id), quoted(step)),
            Self::MovesByItself { step, auto } => write!(f, "step {step} moves by itself (`auto = \"{auto}\"`)"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Past => f.write_str("the end is in the past"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl Error for EditFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Text { source, .. } => Some(source),
            Self::Engine(error) => error.source(),
            Self::Write(source) => Some(source),
            Self::Problems(_)
            | Self::WrongBefore { .. }
            | Self::WrongAfter { .. }
            | Self::NoRoute { .. }
            | Self::NoWindow { .. }
            | Self::NoStep { .. }
            | Self::MovesByItself { .. }
            | Self::Refused(_)
            | Self::Past => None,
        }
    }
}

impl From<EditError> for Unmade {
    fn from(error: EditError) -> Self {
        Self::Text(error)
    }
}

impl From<EditFailure> for Unmade {
    fn from(failure: EditFailure) -> Self {
        Self::Failure(failure)
    }
}

/// Most names that an advice lists.
const MOST_LISTED: usize = 16;
