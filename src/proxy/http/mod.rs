//! The fields of a message's head: found, checked, and rewritten for the next hop. Values only.

pub(crate) mod check;
pub(crate) mod fields;
pub(crate) mod headers;
pub(crate) mod words;
