//! Settings that take effect only at the start.

use std::path::{Path, PathBuf};

use crate::plan::config::{Address, Config, FleetConfig, Listen, SocketFile};
use crate::plan::problem::Problem;

/// Settings as they were at the start.
pub(super) struct StartupSettings {
    listen: Vec<(Listen, bool)>,
    admin: (Option<Address>, SocketFile),
    workers: Option<usize>,
    access_file: Option<PathBuf>,
    connections: Option<usize>,
    fleet: Option<FleetConfig>,
    /// The address at which the admin listener was bound.
    pub(super) bound: Option<String>,
}

impl StartupSettings {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listen: listeners(&config.listen),
            admin: (config.admin.clone(), config.admin_file.clone()),
            workers: config.workers,
            access_file: config.log.access_file.clone(),
            connections: config.limits.connections,
            fleet: config.fleet.clone(),
            bound: None,
        }
    }

    /// Keeps the source of the flags in a new config as it was at the start. Returns a warning if the config names
    /// another one.
    pub(super) fn keep_source(&self, config: &mut Config, in_force: &Config, config_file: &Path) -> Option<Problem> {
        if config.fleet == self.fleet {
            return None;
        }
        config.fleet.clone_from(&self.fleet);
        config.maintenance.clone_from(&in_force.maintenance);
        let still = format!("the flags still come from {}", config.maintenance.display());
        let message = format!("`fleet` has changed, which takes effect only with a restart; {still}");
        let problem = Problem::warning(&config_file.display().to_string(), message);
        Some(problem.help("the rest of the config is in force; restart backsoon when it suits"))
    }

    /// Returns a warning for each setting that a new config changes.
    pub(super) fn changed_by(&self, config: &Config, config_file: &Path) -> Vec<Problem> {
        let changed = [
            ("listen", listeners(&config.listen) != self.listen),
            ("admin", (&config.admin, &config.admin_file) != (&self.admin.0, &self.admin.1)),
            ("workers", config.workers != self.workers),
            ("access_file", config.log.access_file != self.access_file),
            ("connections", config.limits.connections != self.connections),
        ];
        let file = config_file.display().to_string();
        let warning = |key: &str| {
            let still = match (key, &self.bound) {
                ("admin", Some(bound)) => format!("; the admin listener is still {bound}"),
                ("admin", None) => "; there is no admin listener until then".to_owned(),
                (_, _) => String::new(),
            };
            Problem::warning(&file, format!("`{key}` has changed, which takes effect only with a restart{still}"))
                .help("the rest of the config is in force; restart backsoon when it suits")
        };
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| warning(key)).collect()
    }
}

/// Returns each listener, with true if it speaks TLS. The certificate itself may change at run time.
fn listeners(listen: &[Listen]) -> Vec<(Listen, bool)> {
    listen.iter().map(|listen| (Listen { tls: None, ..listen.clone() }, listen.tls.is_some())).collect()
}
