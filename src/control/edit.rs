//! Edits of the flag file, for the command and for the write API of the admin listener.

pub(crate) mod calendar;
pub(crate) mod moment;
pub(crate) mod refusal;
pub(crate) mod text;
pub(crate) mod words;
