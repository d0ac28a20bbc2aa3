//! Author of an edit by command, written into an extended attribute of the file, so that the history can name who edited.
//!
//! The attribute goes with the content: it holds the content's hash, and says nothing about any other content. A file
//! system without such attributes loses nothing but the name.

use std::fs::{self, File};

use rustix::fs::{XattrFlags, fsetxattr};
use sha2::{Digest, Sha256};

use super::source::Hash;

/// Name of the attribute.
pub(super) const ATTRIBUTE: &str = "user.backsoon.edit";

/// Signs a file's content with the user, the host and the command of this process. A failure is no reason not to edit.
pub(super) fn sign(file: &File, content: &[u8]) {
    let signature = serde_json::json!({
        "sha256": Hash(Sha256::digest(content).into()).to_string(),
        "user": user(),
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "command": command(std::env::args().skip(1)),
    });
    let _ = fsetxattr(file, ATTRIBUTE, signature.to_string().as_bytes(), XattrFlags::empty());
}

/// Returns the name of the user, or the number where it has none. Whoever became root by `sudo` is named.
fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let by_sudo = std::env::var("SUDO_USER").ok().filter(|name| uid == 0 && !name.is_empty());
    let named = || name_of(uid, &fs::read_to_string("/etc/passwd").ok()?);
    by_sudo.or_else(named).unwrap_or_else(|| uid.to_string())
}

/// Finds the name of a user in the text of `/etc/passwd`.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Joins the words of a command, as far as an attribute has room for them.
fn command(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    words.join(" ").chars().take(LONGEST_COMMAND).collect()
}

/// Characters of a command that are kept. An attribute has about 4,000 bytes on the usual file systems.
const LONGEST_COMMAND: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_in_the_list_of_users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n#x\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("anna"));
        assert_eq!(name_of(0, passwd).as_deref(), Some("root"));
        assert_eq!(name_of(7, passwd), None);
    }

    #[test]
    fn a_long_command_is_cut() {
        let words = ["on".to_owned(), "web".to_owned(), "ä".repeat(2000)];
        let command = command(words.into_iter());
        assert!(command.starts_with("on web ä") && command.chars().count() == LONGEST_COMMAND);
    }
}
