//! Edits of the flag file, for the command and for the write API of the admin listener.

pub(crate) mod calendar;
pub(crate) mod engine_failure;
pub(crate) mod failure;
pub(crate) mod flag_file;
pub(crate) mod moment;
pub(crate) mod place;
pub(crate) mod refusal;
pub(crate) mod routes;
pub(crate) mod steps;
pub(crate) mod text;
pub(crate) mod unseen;
pub(crate) mod windows;
pub(crate) mod words;
