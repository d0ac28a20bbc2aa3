//! Author of a content. An edit by command writes its author into an extended attribute of the file, for the history.
//! For any other content only the owner of the file is known.
//!
//! The attribute holds the hash of the content, and says nothing about any other content. On a file system without such
//! attributes, only the name of the author is lost.

#![cfg_attr(not(feature = "proxy"), allow(dead_code, unreachable_pub, reason = "the layer has no history"))]

use std::ffi::OsString;
use std::fs::{self, File};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use serde::{Deserialize, Serialize};

use super::source::Hash;

/// Name of the attribute.
pub(super) const ATTRIBUTE: &str = "user.backsoon.edit";

/// Author of a content, as far as the file tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Author {
    /// A command of backsoon.
    Command {
        /// Name of the user who ran it, or the number of a user without a name.
        user: String,
        /// Name of the host that it ran on.
        host: String,
        /// Words of the command, such as `on web`.
        command: String,
    },
    /// A program that an engine names, such as `kubectl-edit`.
    Tool {
        /// Name of the program.
        tool: String,
    },
    /// Anything else: only the owner of the file is known.
    Owner {
        /// Name of the owner, or the number of an owner without a name.
        owner: String,
    },
}

/// Content of the attribute.
#[derive(Serialize, Deserialize)]
struct Signature {
    /// The SHA-256 of the content that it is about.
    sha256: String,
    user: String,
    host: String,
    command: String,
}

/// Traces that the author of a content has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// On the file.
    File {
        /// Attribute of the file.
        attribute: Option<Vec<u8>>,
        /// Number of its owner.
        owner: u32,
    },
    /// By the word of the source, if it tells.
    Told(Option<Author>),
}

impl Default for Trace {
    fn default() -> Self {
        Self::File { attribute: None, owner: 0 }
    }
}

impl Trace {
    /// Takes the traces from an open file.
    pub(super) fn of(file: &File, owner: u32) -> Self {
        let mut bytes = [0; LARGEST_ATTRIBUTE];
        let length = fgetxattr(file, ATTRIBUTE, &mut bytes[..]).ok();
        Self::File { attribute: length.and_then(|length| bytes.get(..length)).map(<[u8]>::to_vec), owner }
    }

    /// Returns the author of a content with this hash. An attribute with another hash is ignored, since the file was
    /// edited in place afterwards.
    pub(crate) fn author(&self, hash: Hash) -> Option<Author> {
        match self {
            Self::File { attribute, owner } => {
                let signed = attribute.as_deref().and_then(|signature| signed(signature, hash));
                Some(signed.unwrap_or_else(|| Author::Owner { owner: name_of_user(*owner) }))
            }
            Self::Told(author) => author.clone(),
        }
    }
}

/// Signer of edits: the person or program that they are made for.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    user: String,
    command: String,
}

impl Signer {
    /// Returns the user and the command of this process.
    pub(crate) fn of_process() -> Self {
        Self { user: user(), command: command(std::env::args_os().skip(1)) }
    }

    /// Returns a signer by name, with the words of what was asked for.
    pub(crate) fn named(user: String, words: &str) -> Self {
        Self { user, command: words.chars().take(LONGEST_COMMAND).collect() }
    }

    /// Returns the signature of a content.
    pub(crate) fn signature(&self, content: &[u8]) -> Option<String> {
        let Self { user, command } = self.clone();
        let signature = Signature { sha256: Hash::of(content).to_string(), user, host: host(), command };
        serde_json::to_string(&signature).ok()
    }
}

/// Signs a file's content. If that fails, the edit goes on.
pub(super) fn sign(file: &File, content: &[u8], by: &Signer) {
    let Some(signature) = by.signature(content) else { return };
    let _ = fsetxattr(file, ATTRIBUTE, signature.as_bytes(), XattrFlags::empty());
}

/// Returns the author of a content with this hash by its signature, if it is one of that content.
pub(crate) fn signed(signature: &[u8], hash: Hash) -> Option<Author> {
    let signature = serde_json::from_slice::<Signature>(signature).ok()?;
    let Signature { sha256, user, host, command } = signature;
    (sha256 == hash.to_string()).then_some(Author::Command { user, host, command })
}

/// Returns the name of this host.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns the name of the user of this process, or the number of a user without a name. After `sudo`, that is the user
/// who called it.
pub(crate) fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let by_sudo = std::env::var("SUDO_USER").ok().filter(|name| uid == 0 && !name.is_empty());
    by_sudo.unwrap_or_else(|| name_of_user(uid))
}

/// Returns the name of a user, or the number of a user without a name.
pub(crate) fn name_of_user(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &passwd).unwrap_or_else(|| uid.to_string())
}

/// Finds the name of a user in the text of `/etc/passwd`.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Joins the words of a command up to `--`, as far as an attribute has room for them. What another command is given may
/// be secret. A path among them need not be UTF-8.
fn command(words: impl Iterator<Item = OsString>) -> String {
    let words: Vec<String> =
        words.take_while(|word| word != "--").map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ").chars().take(LONGEST_COMMAND).collect()
}

/// Characters of a command that are kept. An attribute has about 4,000 bytes on the usual file systems.
const LONGEST_COMMAND: usize = 500;
/// Bytes of an attribute that are read.
const LARGEST_ATTRIBUTE: usize = 4096;

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
    fn an_attribute_is_believed_for_its_own_content_only() {
        let (one, two) = (Hash([1; 32]), Hash([2; 32]));
        let text = format!(r#"{{"sha256":"{one}","user":"anna","host":"edge-1","command":"on web"}}"#);
        let trace = |attribute: &[u8]| Trace::File { attribute: Some(attribute.to_vec()), owner: 4_000_000_000 };
        let words = |text: &str| text.to_owned();
        let owner = Author::Owner { owner: words("4000000000") };
        let command = Author::Command { user: words("anna"), host: words("edge-1"), command: words("on web") };
        assert_eq!(trace(text.as_bytes()).author(one), Some(command));
        assert_eq!(trace(text.as_bytes()).author(two), Some(owner.clone()));
        for wrong in [&b""[..], b"{}", b"\xff", &text.as_bytes()[..40]] {
            assert_eq!(trace(wrong).author(one), Some(owner.clone()));
        }
    }

    #[test]
    fn a_long_command_is_cut() {
        let words = ["on".to_owned(), "web".to_owned(), "ä".repeat(2000)];
        let long = command(words.into_iter().map(OsString::from));
        assert!(long.starts_with("on web ä") && long.chars().count() == LONGEST_COMMAND);
        assert_eq!(
            command(["with", "web", "--", "./migrate.sh", "secret"].into_iter().map(OsString::from)),
            "with web"
        );
    }
}
