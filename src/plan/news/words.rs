//! Words for the news, in one language.

use jiff::Timestamp;

use super::super::flags::Mode;
use super::super::page::{Language, Renderer};
use super::super::text::Text;
use super::{Facts, Incident, Kind, Stage, Trouble, Update, UpdateKind};

/// Words for the news, in one language.
#[derive(Clone, Copy)]
pub struct Words<'l>(&'l Language);

/// Label of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Id that people quote.
    Reference,
    /// Planned time.
    Window,
    /// Affected services.
    Services,
    /// Link to the status site.
    Status,
}

impl<'l> Words<'l> {
    /// Returns the words in every language that is offered, the default one first.
    pub fn all(renderer: &'l Renderer) -> impl Iterator<Item = Self> {
        renderer.languages().iter().map(Self)
    }

    /// Returns the tag of the language (BCP 47).
    pub fn tag(self) -> &'l str {
        &self.0.tag
    }

    /// Returns the word for a label.
    pub fn label(self, label: Label) -> String {
        let key = match label {
            Label::Reference => "reference",
            Label::Window => "window",
            Label::Services => "services",
            Label::Status => "status",
        };
        self.0.own(key, &[])
    }

    /// Returns an operator's text in the language.
    pub fn text(self, text: &'l Text) -> &'l str {
        text.in_language(&self.0.tag)
    }

    /// Returns a message of the page's own.
    pub(super) fn own(self, key: &str) -> String {
        self.0.own(key, &[])
    }

    /// Returns a message with its placeholders filled in.
    pub(super) fn with(self, key: &str, arguments: &[(&str, String)]) -> String {
        self.0.own(key, arguments)
    }

    /// Returns a length of time.
    pub(super) fn span(self, seconds: u64) -> String {
        self.0.span(seconds)
    }

    /// Returns a date in UTC.
    pub(super) fn date(self, instant: Timestamp) -> String {
        self.0.date(instant)
    }

    /// Joins a list.
    pub(super) fn list(self, items: &[String]) -> String {
        self.0.list(items)
    }

    /// Returns the heading of an incident: the operator's, or the general one.
    pub fn title(self, facts: &Facts) -> String {
        self.heading(facts.title.as_ref(), facts.kind)
    }

    /// Returns the operator's heading, or the general one.
    pub(super) fn heading(self, own: Option<&Text>, kind: Kind) -> String {
        let general = match kind {
            Kind::Planned => "news-untitled",
            Kind::Unplanned => "news-unplanned",
        };
        own.map_or_else(|| self.0.own(general, &[]), |title| title.in_language(&self.0.tag).to_owned())
    }

    /// Returns the word for a stage.
    pub fn stage(self, stage: Stage) -> String {
        let key = match stage {
            Stage::Scheduled => "stage-scheduled",
            Stage::InProgress => "stage-in-progress",
            Stage::Checking => "stage-checking",
            Stage::Returning => "stage-returning",
            Stage::Over => "stage-over",
            Stage::Cancelled => "stage-cancelled",
        };
        self.0.own(key, &[])
    }

    /// Returns a date and a time in UTC.
    pub fn instant(self, instant: Timestamp) -> String {
        self.0.date_time(instant)
    }

    /// Returns true if the language is written from right to left.
    pub fn is_right_to_left(self) -> bool {
        self.0.right_to_left
    }

    /// Returns what an update says, in plain paragraphs: the sentence for its kind, and the operator's message if the
    /// update is about it.
    pub fn paragraphs(self, incident: &Incident, update: &Update) -> Vec<String> {
        let message = || update.message.as_ref().map(|message| message.in_language(&self.0.tag).to_owned());
        let sentence = self.sentence(&incident.facts, update);
        match update.kind {
            // The words themselves are the news.
            UpdateKind::Reworded => vec![message().unwrap_or(sentence)],
            UpdateKind::Announced { .. } | UpdateKind::Began => std::iter::once(sentence).chain(message()).collect(),
            UpdateKind::Moved { .. }
            | UpdateKind::Extended { .. }
            | UpdateKind::Expected { .. }
            | UpdateKind::StepDone { .. }
            | UpdateKind::Overrun
            | UpdateKind::Checking
            | UpdateKind::Returning
            | UpdateKind::ClosedAgain { .. }
            | UpdateKind::Over
            | UpdateKind::Cancelled => vec![sentence],
        }
    }

    /// Returns the sentence for an update.
    fn sentence(self, facts: &Facts, update: &Update) -> String {
        let span = |key: &str, open: &str, starts: Timestamp, ends: Option<Timestamp>| match ends {
            Some(ends) => self.0.own(key, &[("starts", self.instant(starts)), ("ends", self.instant(ends))]),
            None => self.0.own(open, &[("starts", self.instant(starts))]),
        };
        let plain = |key: &str| self.0.own(key, &[]);
        match &update.kind {
            UpdateKind::Announced { starts, ends } => span("news-announced", "news-announced-open", *starts, *ends),
            UpdateKind::Reworded => plain("news-reworded"),
            UpdateKind::Moved { starts, ends } => span("news-moved", "news-moved-open", *starts, *ends),
            UpdateKind::Extended { ends: Some(ends) } => self.0.own("news-extended", &[("ends", self.instant(*ends))]),
            UpdateKind::Extended { ends: None } => plain("news-extended-open"),
            UpdateKind::Expected { ends } => self.0.own("news-expected", &[("ends", self.instant(*ends))]),
            UpdateKind::Began => plain(match (facts.kind, facts.mode) {
                (_, Mode::ReadOnly) => "news-began-read-only",
                (Kind::Planned, Mode::Hold | Mode::Offline) => "news-began",
                (Kind::Unplanned, Mode::Hold | Mode::Offline) => "news-began-unplanned",
            }),
            UpdateKind::StepDone { title, done, total } => {
                let number = |number: u32| self.0.number(number.into());
                let title = title.in_language(&self.0.tag).to_owned();
                self.0.own("news-step", &[("title", title), ("done", number(*done)), ("total", number(*total))])
            }
            UpdateKind::Overrun => plain("news-overrun"),
            UpdateKind::Checking => plain("news-checking"),
            UpdateKind::Returning => plain("news-returning"),
            UpdateKind::ClosedAgain { trouble: Trouble::Found } => plain("news-closed-again-problem"),
            UpdateKind::ClosedAgain { trouble: Trouble::None | Trouble::Overrun } => plain("news-closed-again"),
            UpdateKind::Over => plain("news-over"),
            UpdateKind::Cancelled => plain("news-cancelled"),
        }
    }
}
