//! What a command printed, and how it ended.

use std::fmt;
use std::io;
use std::process;

/// A finished `polycubectl`, or a `polycubed` that did not start.
#[derive(Debug, Clone)]
pub struct Output {
    /// The program's name.
    pub program: &'static str,
    /// The words after the program's name.
    pub words: Vec<String>,
    /// Exit code; `None` when a signal ended it, such as the kit's after 30 s.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    pub(super) fn new(program: &'static str, words: &[&str], output: &process::Output) -> Self {
        Self {
            program,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs another command to its end.
    ///
    /// # Errors
    /// It cannot be run at all.
    pub fn of(program: &'static str, mut command: process::Command) -> io::Result<Self> {
        let output = command.output()?;
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(Self::new(program, &words.iter().map(String::as_str).collect::<Vec<_>>(), &output))
    }

    /// Asserts exit code 0 and returns standard output.
    ///
    /// # Panics
    /// Panics with the command's whole output otherwise.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == Some(0), "{self}");
        self.stdout
    }

    /// Asserts another exit code and returns the output of both streams.
    ///
    /// # Panics
    /// Panics with the command's whole output otherwise.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert!(self.code == Some(code), "exit code {code} expected: {self}");
        self.stdout + &self.stderr
    }

    /// Asserts that the command said that the daemon had not answered yet, and returns the output without that line.
    ///
    /// # Panics
    /// Panics with the command's whole output otherwise.
    #[track_caller]
    #[must_use]
    pub fn after_waiting(mut self) -> Self {
        let rest = self.stderr.split_once('\n').filter(|(first, _)| first.contains("has not answered yet"));
        let Some((_, rest)) = rest else { panic!("a line about waiting expected: {self}") };
        self.stderr = rest.to_owned();
        self
    }

    /// Asserts that the command ended with this code and printed one line on standard error and nothing else; returns
    /// that line.
    ///
    /// # Panics
    /// Panics with the command's whole output otherwise.
    #[track_caller]
    pub fn one_line(self, code: i32) -> String {
        assert!(self.code == Some(code), "exit code {code} expected: {self}");
        assert!(self.stdout.is_empty() && self.stderr.lines().count() == 1, "one line on stderr expected: {self}");
        self.stderr.trim_end().to_owned()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        write!(f, "`{} {}` ended with {code}", self.program, self.words.join(" "))?;
        write!(f, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}
