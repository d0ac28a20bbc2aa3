//! The number of fields of an answer that the connections to an upstream read.

use std::cell::Cell;

use crate::plan::limits::Limits;
use crate::proxy::http::HYPER_HEAD_FIELDS;

/// Knowledge whether an upstream has answers with more fields than hyper reads without buffers on the heap.
///
/// hyper fills these buffers for every answer, as long as the limit is. With a thousand fields, a request takes a sixth
/// more instructions than with a hundred. So connections allow many fields only once an answer has had many.
#[derive(Default)]
pub(crate) struct AnswerFields {
    has_many: Cell<bool>,
}

impl AnswerFields {
    /// Returns the number of fields that a new connection allows.
    pub(super) fn allowed(&self, limits: &Limits) -> usize {
        let most = limits.upstream_head_fields;
        if self.has_many.get() { most } else { most.min(HYPER_HEAD_FIELDS) }
    }

    /// Returns true if a connection that allows this number reads all that the upstream is known to send.
    pub(super) fn suits(&self, allowed: usize) -> bool {
        !self.has_many.get() || allowed > HYPER_HEAD_FIELDS
    }

    /// Returns true if an answer may turn out to have too many fields for its connection and not for the limit.
    pub(super) fn may_exceed(&self) -> bool {
        !self.has_many.get()
    }

    /// Notes the fields of an answer. One that has nearly too many may be followed by one that has.
    pub(crate) fn note(&self, fields: usize) {
        if fields > MANY {
            self.has_many.set(true);
        }
    }

    /// Notes an answer with more fields than its connection allowed. Returns true if a new connection allows them.
    pub(crate) fn exceeded(&self, limits: &Limits) -> bool {
        limits.upstream_head_fields > HYPER_HEAD_FIELDS && !self.has_many.replace(true)
    }
}

/// More fields than this are many.
const MANY: usize = HYPER_HEAD_FIELDS / 2;
