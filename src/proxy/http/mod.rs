//! The fields of a message's head: found, checked, and rewritten for the next hop. Values only.

pub(crate) mod check;
pub(crate) mod fields;
pub(crate) mod headers;
pub(crate) mod spoofable;
pub(crate) mod trace;

/// hyper keeps room for this many fields on the stack; another number costs an allocation.
pub(crate) const HYPER_HEAD_FIELDS: usize = 100;
