//! Chains of symlinks: the names that a path leads through, walked as the kernel does.
//!
//! An event on any of these names can change the file that the path means. No file is opened or read.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

/// Names on the way to a file. Every directory here is free of symlinks, so none is watched under two names. The kernel
/// would report its events under only one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PathChain {
    /// Symlinks on the way.
    pub links: BTreeSet<PathBuf>,
    /// The end of the way: the file, or the first name that is missing.
    pub end: PathBuf,
}

impl PathChain {
    /// Walks a path as far as it leads.
    pub(super) fn of(path: &Path) -> Self {
        let mut links = BTreeSet::new();
        let mut at = PathBuf::from("/");
        let mut ahead = VecDeque::new();
        push(&mut ahead, &absolute(path));
        let mut steps = 0;
        while let Some(name) = ahead.pop_front() {
            steps += 1;
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            match fs::read_link(&next) {
                Ok(target) if steps < MAX_STEPS => {
                    links.insert(next);
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    push(&mut ahead, &target);
                }
                _ if ahead.is_empty() || !next.is_dir() => return Self { links, end: next },
                _ => at = next,
            }
        }
        Self { links, end: at }
    }

    /// Returns the symlinks and the end of the way.
    pub(super) fn names(&self) -> impl Iterator<Item = &Path> {
        self.links.iter().map(PathBuf::as_path).chain([self.end.as_path()])
    }

    /// Returns every name on which an event may change the file that the path means.
    pub(super) fn all(&self) -> impl Iterator<Item = Cow<'_, Path>> {
        self.names().map(Cow::Borrowed).chain(self.dirs().into_iter().map(Cow::Owned))
    }

    /// Returns the directories of the symlinks and of the end.
    pub(super) fn holders(&self) -> BTreeSet<&Path> {
        self.names().filter_map(Path::parent).collect()
    }

    /// Returns those directories and their parents, in which one of them could be replaced.
    pub(super) fn dirs(&self) -> BTreeSet<PathBuf> {
        let both = |holder: &'_ Path| [Some(holder.to_path_buf()), holder.parent().map(Path::to_path_buf)];
        self.holders().into_iter().flat_map(both).flatten().collect()
    }
}

fn absolute(path: &Path) -> PathBuf {
    // If there is no working directory, the path stays relative, and reading it fails with a reason.
    env::current_dir().map_or_else(|_| path.to_path_buf(), |here| here.join(path))
}

fn push(ahead: &mut VecDeque<OsString>, path: &Path) {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    for name in names.rev() {
        ahead.push_front(name.to_os_string());
    }
}

/// Names that a path may lead through. The kernel follows 40 symlinks (path_resolution(7)), each with a few names.
const MAX_STEPS: usize = 400;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_config_map_leads_through_both_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("..1")).unwrap();
        fs::write(root.join("..1/flags"), "x").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/flags", root.join("flags")).unwrap();
        let chain = PathChain::of(&root.join("./flags"));
        assert_eq!(chain.links, BTreeSet::from([root.join("..data"), root.join("flags")]));
        assert_eq!(chain.end, root.join("..1/flags"));
        let dirs = BTreeSet::from([root.clone(), root.parent().unwrap().to_path_buf(), root.join("..1")]);
        assert_eq!(chain.dirs(), dirs);
    }

    #[test]
    fn a_way_that_ends_early_or_never_ends_is_walked_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(PathChain::of(&root.join("no/such/file")).end, root.join("no"));
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(PathChain::of(&root.join("loop")).links, BTreeSet::from([root.join("loop")]));
    }
}
