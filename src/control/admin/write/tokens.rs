//! Tokens: the names of those who may change flags, with the routes that each may change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ctutils::CtEq as _;
use sha2::{Digest, Sha256};

use crate::files::source;
use crate::plan::problem::{Problem, quoted};

/// Tokens of a file.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Token>);

/// Token, kept as a hash.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Name; empty for a token without one.
    pub(super) name: String,
    /// SHA-256 of the token.
    pub(super) hash: [u8; 32],
    /// Routes that it may change; `None` for all.
    pub(super) routes: Option<Vec<String>>,
}

impl Token {
    /// Returns the name that edits are signed with.
    pub(super) fn user(&self) -> String {
        if self.name.is_empty() { "token".to_owned() } else { format!("token {}", self.name) }
    }
}

impl Tokens {
    /// Reads the tokens of a file.
    ///
    /// # Errors
    /// If the file cannot be read, others can read it as well, or a line is wrong.
    pub(super) fn read(file: &Path) -> Result<Self, Problem> {
        let name = file.display().to_string();
        let help = || format!("make one: `echo \"deploy:$(openssl rand -hex 32)\" > {name} && chmod 600 {name}`");
        let content = source::read(file).content.map_err(|error| Problem::in_file(file, error).help(help()))?;
        if fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o007 != 0) {
            let message = "everybody on this machine can read these tokens, so none is accepted";
            let help = format!("run `chmod 600 {name}`, and write other tokens if somebody may have seen these");
            return Err(Problem::in_file(file, message).help(help));
        }
        let text = std::str::from_utf8(&content.bytes).unwrap_or_default();
        Self::parse(file, text).and_then(|tokens| match tokens.0.len() {
            0 => Err(Problem::in_file(file, "there is no token in this file").help(help())),
            1..=MOST_TOKENS => Ok(tokens),
            more => {
                let message = format!("there are {more} tokens in this file, and at most {MOST_TOKENS} are taken");
                Err(Problem::in_file(file, message).help("remove those that nobody uses"))
            }
        })
    }

    fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let mut tokens: Vec<Token> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line is a secret, so it is not repeated.
            let wrong = |message: String, help: &str| {
                Err(Problem::in_file(file, format!("line {}: {message}", number + 1)).help(help))
            };
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let (name, secret) = first.split_once(':').unwrap_or(("", first));
            let routes: Vec<String> = words.map(str::to_owned).collect();
            if secret.chars().count() < SHORTEST {
                let found =
                    format!("this token has {} characters, and at least {SHORTEST} are needed", secret.chars().count());
                return wrong(found, "write `name:token`, with the token of `openssl rand -hex 32`");
            }
            if tokens.iter().any(|token| token.name == name) {
                let found = match name {
                    "" => "there are two tokens without a name".to_owned(),
                    name => format!("there are two tokens of the name {}", quoted(name)),
                };
                return wrong(found, "give each a name of its own: `name:token`");
            }
            let hash = Sha256::digest(secret).into();
            tokens.push(Token {
                name: name.to_owned(),
                hash,
                routes: Some(routes).filter(|routes| !routes.is_empty()),
            });
        }
        Ok(Self(tokens))
    }

    /// Finds a token. The time that it takes does not tell which one is near.
    pub(super) fn find(&self, secret: &str) -> Option<&Token> {
        self.with_hash(&Sha256::digest(secret).into())
    }

    /// Finds the token with a hash.
    pub(super) fn with_hash(&self, hash: &[u8; 32]) -> Option<&Token> {
        let found = self.0.iter().map(|token| (token, bool::from(token.hash.ct_eq(hash))));
        found.fold(None, |found, (token, is_it)| if is_it { Some(token) } else { found })
    }
}

/// Characters that a token has at least.
const SHORTEST: usize = 32;
/// Tokens that a file may have.
const MOST_TOKENS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_found_by_all_of_its_characters() {
        let text = format!("# who may\n\nci:{LONG} web api\nops:{LONG}2\n");
        let tokens = Tokens::parse(Path::new("t"), &text).unwrap();
        let found = |secret: &str| tokens.find(secret).map(|token| (token.name.as_str(), token.routes.clone()));
        assert_eq!(found(LONG), Some(("ci", Some(vec!["web".to_owned(), "api".to_owned()]))));
        assert_eq!(found(&format!("{LONG}2")), Some(("ops", None)));
        for wrong in ["", "ci", &LONG[1..], &format!("{LONG}3"), &format!("ci:{LONG}")] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
        let single = Tokens::parse(Path::new("t"), LONG).unwrap();
        assert_eq!(single.find(LONG).map(|token| token.name.as_str()), Some(""));
    }

    #[test]
    fn a_wrong_line_is_told_without_the_secret() {
        for (text, told) in [
            ("ci:short", "line 1: this token has 5 characters, and at least 32 are needed"),
            (&format!("ci:{LONG}\nci:{LONG}1"), "line 2: there are two tokens of the name `ci`"),
        ] {
            assert_eq!(Tokens::parse(Path::new("t"), text).unwrap_err().message, told);
        }
    }

    #[test]
    fn a_file_that_everybody_reads_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        std::fs::write(&file, format!("ci:{LONG}\n")).unwrap();
        let with = |mode| {
            std::fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Tokens::read(&file).map(|tokens| tokens.0.len()).map_err(|problem| problem.message)
        };
        assert!(with(0o644).unwrap_err().starts_with("everybody on this machine can read these tokens"));
        assert_eq!((with(0o640), with(0o600)), (Ok(1), Ok(1)));
        std::fs::write(&file, "# nobody\n").unwrap();
        assert_eq!(with(0o600), Err("there is no token in this file".to_owned()));
    }
}
