//! `[links]`: links of testers that have a name. One that is taken out of the file is void.

use jiff::Timestamp;

/// Link with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name, unique in the file.
    pub name: String,
    /// Name of the route.
    pub route: String,
    /// Instant of issue. It tells the link from earlier ones of its name.
    pub issued: Timestamp,
    /// Instant from which it is void.
    pub expires: Timestamp,
}
