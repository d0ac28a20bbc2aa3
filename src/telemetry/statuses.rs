//! Statuses of a route's answers, each counted by itself, for a guard that names some.

use crate::plan::config::Statuses;

use super::cell::Cell;

/// Counts of each status from 100 to 599, on one worker. Takes 4 KiB.
#[derive(Debug)]
pub struct StatusCells([Cell; STATUSES]);

impl StatusCells {
    /// Counts an answer. Statuses beyond 599 belong to no class and are not counted. Only the owning worker may call
    /// this.
    pub fn count(&self, status: u16) {
        let index = usize::from(status).checked_sub(FIRST);
        index.and_then(|index| self.0.get(index)).into_iter().for_each(Cell::increment);
    }

    /// Returns the answers with a status, or with one of a class.
    pub fn of(&self, status: Statuses) -> u64 {
        let (first, count) = match status {
            Statuses::One(one) => (one, 1),
            Statuses::Class(digit) => (digit.saturating_mul(CLASS), CLASS),
        };
        let before = usize::from(first).saturating_sub(FIRST);
        self.0.iter().skip(before).take(count.into()).map(Cell::get).sum()
    }
}

impl Default for StatusCells {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

const FIRST: usize = 100;
const STATUSES: usize = 500;

/// Statuses of a class.
const CLASS: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_counted_by_itself_and_in_its_class() {
        let cells = StatusCells::default();
        [99, 100, 199, 200, 401, 401, 404, 499, 599, 600, 999].into_iter().for_each(|status| cells.count(status));
        let of = |name| cells.of(Statuses::parse(name).unwrap());
        assert_eq!((of("1xx"), of("2xx"), of("3xx"), of("4xx"), of("5xx")), (2, 1, 0, 4, 1));
        assert_eq!((of("100"), of("401"), of("404"), of("403"), of("599")), (1, 2, 1, 0, 1));
    }
}
