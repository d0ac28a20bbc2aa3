//! `template` of a route: the form of its answers to programs, beside the dialects that every route has.

use super::super::dialect::Dialect;
use super::super::problem::quoted;
use super::super::read::{Report, Value};

/// Template of a route's answers to programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramTemplate {
    /// Name of the file in `programs/`: `openai.json`.
    pub name: String,
    /// Form of what it renders.
    pub format: ProgramFormat,
    /// Index in [`super::PageConfig::programs`].
    pub index: usize,
}

/// Form of an answer that a template renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramFormat {
    /// In the place of the dialects `json` and `problem`.
    Json,
    /// In the place of the dialect `xml`.
    Xml,
}

impl ProgramFormat {
    /// Returns the format of a template by the end of its name.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')? {
            (_, "json") => Some(Self::Json),
            (_, "xml") => Some(Self::Xml),
            _ => None,
        }
    }

    /// Returns the dialect that a client gets which names none.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Json => Dialect::Json,
            Self::Xml => Dialect::Xml,
        }
    }

    /// Returns true if the template takes the place of a dialect.
    pub fn replaces(self, dialect: Dialect) -> bool {
        match self {
            Self::Json => matches!(dialect, Dialect::Json | Dialect::Problem),
            Self::Xml => dialect == Dialect::Xml,
        }
    }
}

/// Reads the name of a template. Whether there is one is known when the page is made.
pub(super) fn template(value: &Value<'_>, report: &mut Report<'_>) -> Option<ProgramTemplate> {
    let name = value.string("openai.json", report)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let plain = name.chars().all(allowed) && name.len() <= LONGEST_NAME && !name.starts_with('.');
    let format = ProgramFormat::of(name).filter(|_| plain);
    if format.is_none() {
        let help = "name a built-in one like `openai.json`, or a file of your own in `programs/` of `pages`, \
                    which ends in `.json` or `.xml`";
        report.wrong(value.span.clone(), format!("{} is not the name of a template", quoted(name)), help);
    }
    Some(ProgramTemplate { name: name.to_owned(), format: format?, index: 0 })
}

const LONGEST_NAME: usize = 64;
