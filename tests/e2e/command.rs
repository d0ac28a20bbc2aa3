//! Runs of the command, with what they say and how they exit.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Result of a command.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Done {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Demands a text in the output.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in the output:\n{}\nerr: {}", self.out, self.err);
        self
    }

    /// Demands a text in the notes and errors.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in the error:\n{}\nout: {}", self.err, self.out);
        self
    }

    /// Demands a text in the output or the notes.
    #[track_caller]
    pub fn tells(self, text: &str) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert!(all.contains(text), "no {text:?} in:\n{all}");
        self
    }

    /// Demands that a text is in neither.
    #[track_caller]
    pub fn keeps_quiet_of(self, text: &str) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert!(!all.contains(text), "{text:?} in:\n{all}");
        self
    }
}

/// Prepares a command in a directory, which knows no admin listener from outside.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backsoon"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env_remove("BACKSOON_ADMIN");
    command
}

/// Runs a command to its end.
pub fn run(dir: &Path, args: &[&str]) -> Done {
    Done::from(command(dir, args).output().unwrap())
}
