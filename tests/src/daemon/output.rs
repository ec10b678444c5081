//! What a command line said and how it ended.

use std::fmt;
use std::process;

/// A finished `polycubectl`.
#[derive(Debug, Clone)]
pub struct Output {
    /// The words after the program's name.
    pub words: Vec<String>,
    /// Exit code; `None` when a signal ended it, such as the kit's own after 30 s.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    pub(super) fn new(words: Vec<String>, output: &process::Output) -> Self {
        Self {
            words,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts exit code 0 and gives standard output.
    ///
    /// # Panics
    /// Panics with everything the command said otherwise.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == Some(0), "{self}");
        self.stdout
    }

    /// Asserts another exit code and gives what it said, on both streams.
    ///
    /// # Panics
    /// Panics with everything the command said otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert!(self.code == Some(code), "exit code {code} expected: {self}");
        self.stdout + &self.stderr
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        write!(f, "`polycubectl {}` ended with {code}", self.words.join(" "))?;
        write!(f, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}
