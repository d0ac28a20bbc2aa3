//! `[status]`: the status site, its services, and how long the news are kept.

use std::time::Duration;

use super::super::path::Prefix;

/// Settings of the status site. By default the site is below the reserved prefix of each route alone.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusConfig {
    /// Host that is the site and nothing else, in lowercase.
    pub host: Option<String>,
    /// Prefix of the site on every host.
    pub prefix: Option<Prefix>,
    /// Public URL of the site, without a slash at its end. Feeds and mails link there.
    pub url: Option<String>,
    /// Name of the site; by default the brand of the page.
    pub title: Option<String>,
    /// Time for which incidents are kept after they are over.
    pub keep: Duration,
    /// Services; by default the routes.
    pub services: Vec<StatusService>,
}

/// Service of the status site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusService {
    /// Name.
    pub name: String,
    /// Second line.
    pub detail: Option<String>,
    /// Routes that it consists of.
    pub routes: Vec<String>,
    /// Regions that it is in.
    pub regions: Vec<String>,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self { host: None, prefix: None, url: None, title: None, keep: KEEP, services: Vec::new() }
    }
}

const KEEP: Duration = Duration::from_secs(90 * 86_400);
