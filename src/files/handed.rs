//! Contents that do not come from the disk: a source hands them over whole.

use std::path::Path;

use super::debounce::Hint;
use super::source::{Content, ReadError};
use super::{Change, Entry, Files, Kind};

impl Files {
    /// Takes the content of a path that nothing on the disk has, or the reason why there is none. It is whole, so it
    /// counts at once.
    pub(crate) fn hand(&mut self, path: &Path, content: Result<Content, ReadError>) -> Option<Change> {
        let timing = self.options.timing;
        let entry = self.entries.entry(path.to_owned()).or_insert_with(|| Entry::new(path, Kind::Handed, timing));
        // Nothing is half of what is handed over.
        entry.take(path, Hint::Renamed, content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Options;

    #[test]
    fn what_is_handed_over_counts_at_once_and_is_never_looked_for_on_the_disk() {
        let mut files = Files::new(Options::default());
        let path = Path::new("nats://127.0.0.1/flags/web");
        let content = |text: &str| Ok(Content::handed(text.as_bytes().to_vec(), None));
        let accepted = Some(Change::Accepted(path.to_owned()));
        assert_eq!(files.hand(path, content("[routes]\nweb = \"offline\"\n")), accepted);
        assert_eq!(files.hand(path, content("[routes]\nweb = \"offline\"\n")), None);
        // A shorter text would be doubted on a disk.
        assert_eq!(files.hand(path, content("[routes]\n")), accepted);
        assert_eq!(files.hand(path, Err(ReadError::Missing)), Some(Change::Missing(path.to_owned())));
        assert_eq!(files.hand(path, Err(ReadError::Missing)), None);
        assert!(files.get(path).unwrap().content.is_some(), "the last content stays");
        assert_eq!(files.force(), Vec::new());
        assert_eq!(files.hand(path, content("[routes]\n")), Some(Change::Restored(path.to_owned())));
        assert!(!files.is_missing(path) && files.real(path).is_none());
    }
}
