//! Users and groups by name, from the files of the system.
//!
//! Names that only a directory service knows are not found: the config takes their numbers.

use std::fs;

use rustix::fs::{Gid, Uid};

use crate::plan::config::Account;

/// Finds the number of a user; `None` if no user has the name.
pub(crate) fn user(account: &Account) -> Option<Uid> {
    number(account, USERS).map(Uid::from_raw)
}

/// Finds the number of a group; `None` if no group has the name.
pub(crate) fn group(account: &Account) -> Option<Gid> {
    number(account, GROUPS).map(Gid::from_raw)
}

fn number(account: &Account, file: &str) -> Option<u32> {
    match account {
        Account::Id(id) => Some(*id),
        // The file need not be UTF-8 as a whole.
        Account::Name(name) => find(name, &String::from_utf8_lossy(&fs::read(file).ok()?)),
    }
}

/// Finds the number in a line such as `name:x:33:…` (passwd(5), group(5)).
fn find(name: &str, file: &str) -> Option<u32> {
    let mut lines = file.lines().map(|line| line.split(':'));
    lines.find_map(|mut parts| (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok()).flatten())
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole() {
        let file = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbad\nwww:x:nan:\nwww-data:x:33:33::/:/bin/false\n";
        assert_eq!(find("www-data", file), Some(33));
        assert_eq!((find("www", file), find("ww", file), find("", file), find("bad", file)), (None, None, None, None));
        assert_eq!(user(&Account::Name("root".to_owned())), Some(Uid::ROOT));
        assert_eq!(group(&Account::Id(7)), Some(Gid::from_raw(7)));
    }
}
