//! Cuts of the status site: documents as visitors of a host may see them, which one worker keeps until the news or the routes
//! change. Nothing is shared between workers, and a document is filtered once for all hosts with the same routes.

use std::collections::HashMap;

use crate::plan::news::document::Selected;

/// Cuts of one rendering of the site for one generation.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    of: Edition,
    /// Cuts by the indexes of the routes, and by the address of the document, which is no other's in one rendering.
    cuts: HashMap<Box<[usize]>, HashMap<usize, Selected>>,
    bytes: usize,
}

/// Rendering of the site and generation of the routes that cuts are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edition {
    /// Number of the rendering.
    pub site: u64,
    /// Number of the generation.
    pub generation: u64,
}

impl Cuts {
    /// Returns the cut of a document for some routes, which `make` makes the first time.
    pub(crate) fn get<D>(
        &mut self,
        of: Edition,
        routes: &[usize],
        document: &D,
        make: impl FnOnce() -> Selected,
    ) -> Selected {
        let address = std::ptr::from_ref(document).addr();
        if self.of != of {
            *self = Self { of, ..Self::default() };
        }
        if let Some(known) = self.cuts.get(routes).and_then(|cuts| cuts.get(&address)) {
            return known.clone();
        }
        let made = make();
        if self.bytes.saturating_add(made.bytes.len()) > MOST_BYTES {
            *self = Self { of, ..Self::default() };
        }
        // A head and an entity tag have their size as well.
        self.bytes = self.bytes.saturating_add(made.bytes.len()).saturating_add(BESIDES);
        self.cuts.entry(routes.into()).or_default().insert(address, made.clone());
        made
    }
}

/// Bytes that one worker keeps. All documents of some tenants fit.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that a cut takes besides its own.
const BESIDES: usize = 512;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_document_is_cut_once_for_each_audience_until_something_changes() {
        let (mut cuts, made) = (Cuts::default(), Cell::new(0_usize));
        let documents = [0_u8, 1];
        let mut get = |site: u64, routes: &[usize], document: usize, size: usize| {
            let make = || {
                made.set(made.get() + 1);
                Selected { bytes: vec![b'x'; size].into(), etag: HeaderValue::from_static("\"\""), modified: None }
            };
            cuts.get(Edition { site, generation: 1 }, routes, &documents[document], make).bytes
        };
        let first: Bytes = get(1, &[0, 1], 0, 10);
        assert_eq!(get(1, &[0, 1], 0, 99).as_ptr(), first.as_ptr(), "the same bytes");
        for (site, routes, document) in [(1, &[0][..], 0), (1, &[0, 1], 1), (2, &[0, 1], 0)] {
            let before = made.get();
            get(site, routes, document, 10);
            assert_eq!(made.get(), before + 1);
        }
        for index in 0..100 {
            get(2, &[index], 0, MOST_BYTES / 10);
        }
        assert!(cuts.bytes <= MOST_BYTES + BESIDES && cuts.cuts.len() <= 10, "{} of {}", cuts.bytes, cuts.cuts.len());
    }
}
