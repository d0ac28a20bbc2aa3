//! Flags that a proxy has in force and the file on disk has no more.
//!
//! A proxy refuses a file that was emptied or cut off, and keeps its flags while the file is gone. To the proxy,
//! an edit of such a file would be a whole new file without those flags.

use jiff::Timestamp;

use crate::files::source::ReadError;
use crate::plan::flags;
use crate::status::FileStatus;

use super::place::Place;
use super::words::harmless;

/// Relation of the file on disk to the flags that a proxy has in force.
pub(crate) enum Seen {
    /// An edit of the file drops nothing unseen.
    Whole,
    /// The proxy waits to see if the file stays as it is, for this reason.
    Pending(String),
    /// The proxy goes by an earlier content, for this reason.
    Refused(String),
}

/// Judges an edit of a place by what a proxy tells of the file in it.
pub(crate) fn seen(place: &Place, told: &FileStatus) -> Seen {
    let Some(in_force) = &told.in_force else { return Seen::Whole };
    let pending = told.pending.as_ref().map(|pending| Seen::Pending(harmless(&pending.why)));
    match place.read() {
        Ok(content) if content.hash.to_string() == in_force.hash => Seen::Whole,
        // The edit itself refuses an emptied file. For a text that cannot be parsed, its mistakes are the better
        // message.
        Ok(content) if content.is_blank() || !is_valid(&content.bytes) => Seen::Whole,
        Ok(content) => pending.or_else(|| refused(told, &content.hash.to_string())).unwrap_or(Seen::Whole),
        // A proxy that polls notices it later.
        Err(ReadError::Missing) => pending.or_else(|| trouble(told)).unwrap_or_else(|| Seen::Pending(gone())),
        Err(ReadError::NotAFile(_) | ReadError::TooLarge(_) | ReadError::Changing | ReadError::Unreadable(_)) => {
            Seen::Whole
        }
    }
}

/// Returns true if there is nothing in a place.
pub(crate) fn is_missing(place: &Place) -> bool {
    matches!(place.read(), Err(ReadError::Missing))
}

/// Describes a missing file, as a proxy does.
pub(crate) fn gone() -> String {
    ReadError::Missing.to_string()
}

fn is_valid(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| flags::parse_at("", text, Timestamp::now()).0.is_some())
}

fn refused(told: &FileStatus, hash: &str) -> Option<Seen> {
    told.error()?;
    Some(match told.error_of(hash) {
        Some(error) => Seen::Refused(harmless(&error.message)),
        None => Seen::Pending("it has not read the file as it is now".to_owned()),
    })
}

fn trouble(told: &FileStatus) -> Option<Seen> {
    Some(Seen::Refused(harmless(told.trouble.as_deref()?)))
}
