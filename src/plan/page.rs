//! The page: what a closed route's clients are shown, finished, in each dialect.

/// The finished page of one closure.
#[derive(Debug)]
pub struct Page;
