//! The making of an edit, on the thread of the desk: by the same rules and locks as a command.

use std::path::Path;

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::control::edit::failure::{EditFailure, Force, Unmade};
use crate::control::edit::flag_file::{self, Edited, Manner};
use crate::control::edit::place::Place;
use crate::control::edit::refusal::Refusal as NoSense;
use crate::control::edit::routes::{self, Lifting};
use crate::control::edit::steps::StepMove;
use crate::control::edit::text::{self as edit, Entry, NewWindow, Selection, TableRef};
use crate::control::edit::unseen::{self, Seen};
use crate::control::edit::{windows, words};
use crate::files::author::Signer;
use crate::files::source::Hash;
use crate::files::write::Emptied;
use crate::plan::encoding;
use crate::plan::flags::{Flag, Flags};
use crate::plan::problem::quoted;
use crate::status::FileStatus;

use super::access::Grant;
use super::refusal::Refusal;
use super::wish::{Condition, End, Planned, Wish};

/// Order for the desk.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) place: Place,
    /// Word of this proxy on the flag file.
    pub(super) told: Option<FileStatus>,
    /// Names of the routes.
    pub(super) known: Vec<String>,
    pub(super) grant: Grant,
    pub(super) signer: Signer,
    pub(super) condition: Condition,
    pub(super) wish: Wish,
    pub(super) now: Timestamp,
}

/// Outcome of an order that was not refused.
pub(super) enum Outcome {
    /// Edit that was made.
    Made(Made),
    /// Reason for which the proxy waits to see if the file stays as it is.
    Pending(String),
}

/// Edit that was made, as the answer tells it.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    /// True if the text is another than before.
    pub(super) changed: bool,
    /// Entity tag of the text.
    pub(super) etag: String,
    /// The flag of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flag: Option<FlagTold>,
    /// The window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<WindowTold>,
}

/// Flag of a route.
#[derive(Debug, Serialize)]
pub(super) struct FlagTold {
    route: String,
    flagged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
}

/// Window that was planned, moved or cancelled.
#[derive(Debug, Serialize)]
pub(super) struct WindowTold {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
}

impl WindowTold {
    fn of(id: &str) -> Self {
        Self { id: id.to_owned(), starts: None, ends: None }
    }
}

impl FlagTold {
    fn of(route: &str, flags: &Flags) -> Self {
        let flag = own(flags, route);
        Self {
            route: route.to_owned(),
            flagged: flag.is_some(),
            mode: flag.map(|flag| flag.mode.as_str()),
            until: flag.and_then(|flag| flag.until),
            message: flag.and_then(|flag| Some(flag.message.as_ref()?.plain.clone())),
            held_by: flag.and_then(|flag| flag.held_by.clone()),
        }
    }
}

/// Returns the flag that a route has by its own name.
fn own<'f>(flags: &'f Flags, route: &str) -> Option<&'f Flag> {
    flags.routes.iter().find(|flag| flag.route.key() == route)
}

/// Returns the entity tag of a text.
pub(super) fn etag(text: &[u8]) -> String {
    format!("\"{}\"", Hash::of(text))
}

#[cfg(test)]
impl Made {
    /// Returns one with everything that an answer may have.
    pub(super) fn sample() -> Self {
        let at = || Some(Timestamp::UNIX_EPOCH);
        let words = || Some("words".to_owned());
        let flag = FlagTold {
            route: "web".to_owned(),
            flagged: true,
            mode: Some("offline"),
            until: at(),
            message: words(),
            held_by: words(),
        };
        let window = WindowTold { id: "M".to_owned(), starts: at(), ends: at() };
        Self { changed: true, etag: etag(b""), flag: Some(flag), window: Some(window) }
    }
}

impl Order {
    /// Does it.
    ///
    /// # Errors
    /// If it is refused; nothing is written then.
    pub(super) fn make(&self) -> Result<Outcome, Refusal> {
        if let Wish::Look(route) = &self.wish {
            return self.look(route).map(Outcome::Made);
        }
        if let Wish::Close { route, .. } = &self.wish {
            self.check_route(route)?;
        }
        if let Wish::Plan(planned) = &self.wish {
            planned.routes.iter().try_for_each(|route| self.check_route(route))?;
        }
        match self.told.as_ref().map_or(Seen::Whole, |told| unseen::seen(&self.place, told)) {
            Seen::Whole => {}
            Seen::Pending(why) => return Ok(Outcome::Pending(why)),
            Seen::Refused(why) => return Err(self.unseen(&why)),
        }
        let manner = Manner { emptied: Emptied::Refused, by: &self.signer, waiting: |_| {} };
        let Edited { report, text, flags, changed } = flag_file::edit(&self.place, &manner, |text| self.edited(text))?;
        let window = report?;
        let flag = match &self.wish {
            Wish::Close { route, .. } | Wish::Open { route, .. } => Some(FlagTold::of(route, &flags)),
            Wish::Look(_) | Wish::Plan(_) | Wish::Cancel { .. } | Wish::Extend { .. } | Wish::Step { .. } => None,
        };
        Ok(Outcome::Made(Made { changed, etag: etag(text.as_bytes()), flag, window }))
    }

    /// Returns the refusal of an edit that would drop flags which this proxy has in force.
    pub(super) fn unseen(&self, why: &str) -> Refusal {
        let file = self.place.path.display();
        let detail = format!("`{file}` was not edited, because this proxy has flags in force that it lacks: {why}");
        let help = "nothing was written; write the whole file first, or lift everything: `backsoon off --all`";
        Refusal::new(StatusCode::CONFLICT, detail).help(help)
    }

    fn look(&self, route: &str) -> Result<Made, Refusal> {
        let file: &Path = &self.place.path;
        let content = self.place.content()?;
        let bytes = content.as_ref().map(|content| &content.bytes[..]).unwrap_or_default();
        let text = encoding::decode(file, bytes).map_err(|problem| EditFailure::Problems(vec![problem]))?;
        let flags = flag_file::flags_of(file, text)?;
        if own(&flags, route).is_none() {
            self.check_route(route)?;
        }
        Ok(Made { changed: false, etag: etag(bytes), flag: Some(FlagTold::of(route, &flags)), window: None })
    }

    /// Refuses a route that the config does not have.
    fn check_route(&self, route: &str) -> Result<(), EditFailure> {
        if route == "*" || self.known.iter().any(|known| known == route) {
            return Ok(());
        }
        Err(EditFailure::NoRoute { name: route.to_owned(), known: self.known.clone(), force: Force::Impossible })
    }

    /// Returns the text after the edit with its report. A refusal leaves the text as it was.
    #[allow(clippy::type_complexity, reason = "the text, and the report of an edit that may be refused")]
    fn edited(&self, text: &str) -> Result<(String, Result<Option<WindowTold>, Refusal>), Unmade> {
        let flags = flag_file::flags_of(&self.place.path, text)?;
        if let Err(refusal) = self.admitted(text, &flags) {
            return Ok((text.to_owned(), Err(refusal)));
        }
        let (text, window) = self.changed(text, &flags)?;
        Ok((text, Ok(window)))
    }

    /// Refuses an edit whose condition is not met, or of routes that may not be changed.
    fn admitted(&self, text: &str, flags: &Flags) -> Result<(), Refusal> {
        self.check_grant(flags)?;
        let exists = match &self.wish {
            Wish::Close { route, .. } | Wish::Open { route, .. } | Wish::Look(route) => own(flags, route).is_some(),
            Wish::Plan(_) => false,
            Wish::Cancel { .. } | Wish::Extend { .. } | Wish::Step { .. } => true,
        };
        self.condition.check(&etag(text.as_bytes()), exists)
    }

    fn check_grant(&self, flags: &Flags) -> Result<(), Refusal> {
        let id = match &self.wish {
            Wish::Close { route, .. } | Wish::Open { route, .. } | Wish::Look(route) => return self.grant.check(route),
            Wish::Plan(planned) => return planned.routes.iter().try_for_each(|route| self.grant.check(route)),
            Wish::Cancel { id, .. } | Wish::Extend { id, .. } | Wish::Step { window: id, .. } => id,
        };
        let window = windows::window(flags, id)?;
        window.routes.iter().try_for_each(|(target, _)| self.grant.check(target.key()))?;
        let Wish::Step { route, .. } = &self.wish else { return Ok(()) };
        if window.routes.iter().any(|(target, _)| target.is(route)) {
            return Ok(());
        }
        let detail = format!("window {} is none of the route {}", quoted(id), quoted(route));
        Err(Refusal::new(StatusCode::NOT_FOUND, detail))
    }

    fn changed(&self, text: &str, flags: &Flags) -> Result<(String, Option<WindowTold>), Unmade> {
        let now = self.now;
        Ok(match &self.wish {
            Wish::Look(_) => (text.to_owned(), None),
            Wish::Close { route, mode, end, message } => {
                let (until, length) = match end {
                    End::At(until) => (Some(*until), None),
                    End::After(length) => (None, Some(*length)),
                    End::Lifted => (None, None),
                };
                let until = routes::end(until, length, words::whole_seconds(now))?;
                let entry = Entry { until, message: message.clone(), ..Entry::of(*mode) };
                (routes::flag(text, std::slice::from_ref(route), &entry, now)?, None)
            }
            Wish::Open { route, pace } => {
                let which = Selection::Routes(std::slice::from_ref(route));
                let lifted = edit::off(text, which)?;
                if !lifted.absent.is_empty() {
                    self.check_route(route)?;
                }
                (Lifting { which, pace: *pace, force: false, at: now }.apply(&lifted)?, None)
            }
            Wish::Plan(planned) => self.planned(text, flags, planned)?,
            Wish::Cancel { id, series } => {
                let window = windows::window(flags, id)?;
                if let Some(refusal) = windows::kept(window, *series, now) {
                    return Err(EditFailure::Refused(refusal).into());
                }
                (edit::remove(text, id)?, Some(WindowTold::of(id)))
            }
            Wish::Extend { id, by } => {
                let window = windows::window(flags, id)?;
                let new = windows::new_end(window, *by, words::whole_seconds(now)).map_err(EditFailure::Refused)?;
                let text = edit::set(text, TableRef::Window(id), &[(new.key, Some(new.to.to_string()))])?;
                (text, Some(WindowTold { ends: Some(new.to), ..WindowTold::of(id) }))
            }
            Wish::Step { window, step, what, .. } => {
                let step = StepMove::new(flags, (window, step), what, now)?;
                (step.apply(text)?, Some(WindowTold::of(window)))
            }
        })
    }

    fn planned(&self, text: &str, flags: &Flags, planned: &Planned) -> Result<(String, Option<WindowTold>), Unmade> {
        let Planned { routes, at, length, every, announce, mode, title, message, id } = planned.clone();
        if let Some(id) = id.as_ref().filter(|id| flags.window(id).is_some()) {
            return Err(EditFailure::Refused(NoSense::Taken(id.clone())).into());
        }
        let when = windows::span(at.as_ref(), length, every.as_deref()).ok_or(EditFailure::Past)?;
        let id = id.unwrap_or_default();
        let announce = announce.map(windows::spelled);
        let draft = NewWindow { id, title, message, when, announce, routes, mode };
        let draft = windows::checked(draft, at.as_ref(), self.now)?;
        let zone = at.map_or(jiff::tz::TimeZone::UTC, |at| at.zone);
        let window = windows::with_id(&draft, &zone, flags);
        let text = edit::add(text, &window)?;
        let made = flag_file::flags_of(&self.place.path, &text).ok();
        let made = made.as_ref().and_then(|flags| flags.window(&window.id));
        let next = made.and_then(|window| window.occurrences(self.now, Timestamp::MAX).next());
        let (starts, ends) = (next.as_ref().map(|next| next.starts), next.as_ref().map(|next| next.ends));
        Ok((text, Some(WindowTold { starts, ends, ..WindowTold::of(&window.id) })))
    }
}
