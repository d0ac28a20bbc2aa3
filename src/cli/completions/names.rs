//! Names that a shell offers for a command line. Nothing is said of files that are missing or wrong, since somebody is
//! typing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::plan::config::{Config, UpstreamAddress};

use super::super::flag_file::{self, FlagFile};
use super::super::place::Place;
use super::super::quick;

/// Kind of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Routes of the config
    Routes,
    /// Windows of the flag file
    Windows,
    /// Upstreams of the config
    Upstreams,
    /// Listeners of the config
    Listeners,
}

impl Kind {
    /// Returns the word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Windows => "windows",
            Self::Upstreams => "upstreams",
            Self::Listeners => "listeners",
        }
    }
}

/// Returns the names, sorted, and none if the files cannot be read.
pub(super) fn names(kind: Kind, words: &[OsString]) -> impl Iterator<Item = String> + use<> {
    let found: BTreeSet<String> = found(kind, words).unwrap_or_default();
    found.into_iter().filter(|name| is_plain(name)).take(MOST)
}

fn found(kind: Kind, words: &[OsString]) -> Option<BTreeSet<String>> {
    let config = option(words, &["-c", "--config"]).unwrap_or_else(quick::default_config);
    let of_config = || FlagFile::of(&config).ok();
    if kind == Kind::Windows {
        let file = option(words, &["--flags"]).map(Place::file);
        // Nobody waits for an engine at each press of a key.
        let place = file.or_else(|| Some(of_config()?.place)).filter(|place| place.fleet.is_none())?;
        let flags = flag_file::flags(&place).ok()?;
        return Some(flags.windows.into_iter().map(|window| window.id).collect());
    }
    let config = of_config()?.config;
    Some(match kind {
        Kind::Routes | Kind::Windows => config.routes.iter().map(|route| route.name.clone()).collect(),
        Kind::Upstreams => upstreams(&config),
        Kind::Listeners => config.listen.into_iter().filter_map(|listen| listen.name).collect(),
    })
}

/// Returns the upstreams by their names, or by their addresses as `backsoon upstream` takes them.
fn upstreams(config: &Config) -> BTreeSet<String> {
    let upstreams = config.routes.iter().flat_map(|route| route.named_upstreams());
    let name = upstreams.map(|(upstream, name)| match (name, &upstream.address) {
        (Some(name), _) => name.to_owned(),
        (None, UpstreamAddress::Unix(path)) => format!("unix:{}", path.display()),
        (None, address @ UpstreamAddress::Host(..)) => address.authority(),
    });
    name.collect()
}

/// Returns the value of an option in the words of a command line: `-c FILE`, `-cFILE`, `--config FILE`, `--config=FILE`.
/// bash makes three words of the last one.
fn option(words: &[OsString], names: &[&str]) -> Option<PathBuf> {
    let mut found = None;
    let mut words = words.iter().map(|word| word.to_string_lossy()).peekable();
    while let Some(word) = words.next() {
        let rest = names.iter().find_map(|name| word.strip_prefix(name));
        found = match rest {
            None => found,
            Some("") => {
                words.next_if(|word| word == "=");
                words.next().map(|value| PathBuf::from(&*value))
            }
            Some(value) => match value.strip_prefix('=') {
                Some(value) => Some(value.into()),
                None if word.starts_with("--") => found,
                None => Some(value.into()),
            },
        };
    }
    found
}

/// Returns true if no shell would read anything into a name.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-:/[]@+".contains(&byte))
}

/// Names that are offered at most.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_the_one_of_the_command_line() {
        let option = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            option(&words, &["-c", "--config"])
        };
        for words in
            [&["on", "-c", "a", "w"][..], &["on", "-ca"], &["--config", "a"], &["--config=a"], &["--config", "=", "a"]]
        {
            assert_eq!(option(words), Some(PathBuf::from("a")), "{words:?}");
        }
        assert_eq!(option(&["on", "--configs", "a"]), None);
        assert_eq!(option(&["on", "--config"]), None);
    }

    #[test]
    fn a_shell_reads_nothing_into_a_name() {
        assert!(["web", "a.b-c_d", "10.0.0.3:8080", "[::1]:80", "unix:/run/app.sock"].into_iter().all(is_plain));
        assert!(!["$(id)", "`id`", "a b", "a;b", "~", "a'b", "a*", "a\\b", "a\nb"].into_iter().any(is_plain));
    }
}
