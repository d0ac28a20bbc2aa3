//! Pieces: parts of feeds that tell of one incident, written once and kept as long as it does not change.

use bytes::Bytes;

/// Parts of feeds that tell of one incident.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) incident: Forms,
    /// Updates, newest first.
    pub(super) updates: Vec<UpdatePieces>,
}

/// Entry in each format of entries.
#[derive(Debug, Default)]
pub(super) struct Forms {
    pub(super) atom: Bytes,
    pub(super) rss: Bytes,
}

/// Parts of feeds that tell of one update.
#[derive(Debug)]
pub(super) struct UpdatePieces {
    pub(super) forms: Forms,
    pub(super) json: Bytes,
}

/// Format of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Atom.
    Atom,
    /// RSS.
    Rss,
}

impl Forms {
    pub(super) fn bytes(&self, form: Form) -> Bytes {
        match form {
            Form::Atom => self.atom.clone(),
            Form::Rss => self.rss.clone(),
        }
    }
}
