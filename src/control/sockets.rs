//! Owners of unix sockets: whether the system knows them.

use std::path::Path;

use crate::net::accounts;
use crate::plan::config::{Account, Address, Config};
use crate::plan::problem::{Problem, quoted};

/// Returns a problem for each user or group of a listener that the system does not know.
pub(super) fn unowned(config_file: &Path, config: &Config) -> Vec<Problem> {
    let listeners = config.listen.iter().map(|listen| (&listen.address, &listen.file));
    let admin = config.admin.iter().map(|address| (address, &config.admin_file));
    let unknown = listeners.chain(admin).flat_map(|(address, file)| {
        let owner = file.owner.as_ref().filter(|owner| accounts::user(owner).is_none());
        let group = file.group.as_ref().filter(|group| accounts::group(group).is_none());
        let owner = owner.map(|name| (address, "owner", "user", name));
        owner.into_iter().chain(group.map(|name| (address, "group", "group", name)))
    });
    let problem = |(address, key, what, name): (&Address, &str, &str, &Account)| {
        let message = format!("`{key}` of {address}: there is no {what} {}", quoted(&name.to_string()));
        let help = "make it, or write its number: names are looked up in /etc/passwd and /etc/group";
        Problem::error(&config_file.display().to_string(), message).help(help)
    };
    unknown.map(problem).collect()
}
