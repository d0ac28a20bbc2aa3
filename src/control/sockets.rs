//! Owners of unix sockets: whether the system knows them.

use std::path::Path;

use crate::net::accounts;
use crate::plan::config::{Account, Config, Listen};
use crate::plan::problem::{Problem, quoted};

/// Returns a problem for each user or group of a listener that the system does not know.
pub(super) fn unowned(config_file: &Path, config: &Config) -> Vec<Problem> {
    let unknown = config.listen.iter().flat_map(|listen| {
        let owner = listen.file.owner.as_ref().filter(|owner| accounts::user(owner).is_none());
        let group = listen.file.group.as_ref().filter(|group| accounts::group(group).is_none());
        let owner = owner.map(|name| (listen, "owner", "user", name));
        owner.into_iter().chain(group.map(|name| (listen, "group", "group", name)))
    });
    let problem = |(listen, key, what, name): (&Listen, &str, &str, &Account)| {
        let message = format!("`{key}` of {}: there is no {what} {}", listen.address, quoted(&name.to_string()));
        let help = "make it, or write its number: names are looked up in /etc/passwd and /etc/group";
        Problem::error(&config_file.display().to_string(), message).help(help)
    };
    unknown.map(problem).collect()
}
