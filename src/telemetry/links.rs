//! Uses of the named links of testers: of one route, on one worker.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Uses of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkUse {
    /// Times that it was opened.
    pub count: u64,
    /// Instant of the last time, in the unit of tokens.
    pub last: u64,
}

/// Uses by link. The flag file bounds the number of names, and a limit those that have left it.
#[derive(Clone, Debug, Default)]
struct LinkUses(HashMap<(String, u64), LinkUse>);

impl LinkUses {
    /// Counts a use of the link with this name and instant of issue.
    fn count(&mut self, name: &str, issued: u64, now: u64) {
        let link = (name.to_owned(), issued);
        if self.0.len() >= MOST_LINKS
            && !self.0.contains_key(&link)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, used)| used.last).map(|(link, _)| link.clone())
        {
            self.0.remove(&oldest);
        }
        let used = self.0.entry(link).or_default();
        *used = LinkUse { count: used.count + 1, last: used.last.max(now) };
    }

    /// Returns the uses of a link.
    fn of(&self, name: &str, issued: u64) -> LinkUse {
        self.0.get(&(name.to_owned(), issued)).copied().unwrap_or_default()
    }
}

impl LinkUse {
    /// Adds the uses on another worker.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, last: self.last.max(other.last) }
    }
}

/// Uses of the links of a route on one worker. Only that worker and control take the lock, and control only to read.
#[derive(Debug, Default)]
pub struct LinkCell(OnceLock<Box<Mutex<LinkUses>>>);

impl LinkCell {
    /// Records that a named link was opened. Only the owning worker may call this.
    pub fn record(&self, name: &str, issued: u64, now: u64) {
        lock(self.0.get_or_init(Box::default)).count(name, issued, now);
    }

    /// Returns the uses of a link on all these workers.
    pub fn sum<'c>(cells: impl Iterator<Item = &'c Self>, name: &str, issued: u64) -> LinkUse {
        let uses = cells.filter_map(|cell| Some(lock(cell.0.get()?).of(name, issued)));
        uses.fold(LinkUse::default(), LinkUse::and)
    }
}

fn lock(uses: &Mutex<LinkUses>) -> MutexGuard<'_, LinkUses> {
    uses.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most links that are counted.
const MOST_LINKS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_made_anew_counts_anew_and_the_oldest_give_way() {
        let mut uses = LinkUses::default();
        uses.count("ann", 1, 10);
        uses.count("ann", 1, 30);
        uses.count("ann", 2, 20);
        assert_eq!((uses.of("ann", 1), uses.of("ann", 2).count), (LinkUse { count: 2, last: 30 }, 1));
        assert_eq!(uses.of("ann", 1).and(uses.of("ann", 2)), LinkUse { count: 3, last: 30 });
        for n in 0..2000 {
            uses.count("bob", n, 100 + n);
        }
        assert_eq!((uses.0.len(), uses.of("ann", 1).count, uses.of("bob", 1999).count), (MOST_LINKS, 0, 1));
    }
}
