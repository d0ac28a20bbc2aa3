//! Listings of a folder: the names in it that match a pattern, as a content that can be watched like a file's.

use std::fs;
use std::path::Path;
#[cfg(feature = "proxy")]
use std::path::PathBuf;

use super::author::Trace;
use super::source::{Content, FileId, Found, ReadError};

/// Lists the names that match the last part of a path, sorted, one a line. Names that are no text match nothing.
pub(crate) fn read(pattern: &Path) -> Found {
    Found { content: names(pattern).map(|names| content(&names)), unlinked: false }
}

/// Returns the files of a listing.
#[cfg(feature = "proxy")]
pub(crate) fn files(pattern: &Path, listing: &Content) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(&listing.bytes);
    text.lines().map(|name| pattern.with_file_name(name)).collect()
}

/// Returns true if a name matches the last part of a path, in which `*` stands for any characters. Hidden names match
/// nothing.
pub(super) fn matches(pattern: &Path, name: &str) -> bool {
    let Some(pattern) = pattern.file_name().and_then(|pattern| pattern.to_str()) else { return false };
    let Some((start, pattern)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut rest) = name.strip_prefix(start).filter(|_| !name.starts_with('.')) else { return false };
    let mut parts = pattern.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

fn names(pattern: &Path) -> Result<Vec<String>, ReadError> {
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if !name.contains('\n') && matches(pattern, &name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn content(names: &[String]) -> Content {
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    Content::new(lines.into_bytes(), FileId::default(), Trace::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_of_a_name_that_is_not_hidden() {
        let matches = |pattern: &str, name: &str| matches(&Path::new("/etc/routes").join(pattern), name);
        for (pattern, name) in [("*.toml", "a.toml"), ("*", "x"), ("a*b*c", "a1b2b3c"), ("*.toml", "a.b.toml")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.toml", "a.toml~"), ("*.toml", ".a.toml"), ("a*b*c", "a1c"), ("*.toml", "toml")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
