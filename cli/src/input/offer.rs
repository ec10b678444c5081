//! Whether standard input is meant for a command that can do without it.
//!
//! A command in a shell's loop inherits the input of the loop, `list | while read name; do polycubectl … $name; done`,
//! and what it takes from there is lost for the loop. Over ssh, or run by a service, standard input is a pipe that
//! nothing is ever written into. So input is looked at and left where it is, and only taken if it begins as a body does,
//! with a brace, a bracket or a key. `-` among the words takes whatever there is.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat, tell};
use rustix::io::{Errno, pread};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{SpliceFlags, pipe, tee};

/// How long a pipe may take to deliver something.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(100).subsec_nanos() as i64 };

/// How much is looked at: the comments at the beginning of a file should fit.
const LOOK: usize = 4096;

/// Whether standard input has a body.
///
/// # Errors
///
/// It cannot be looked at.
pub(super) fn is_made() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut bytes = [0; LOOK];
    let looked = match FileType::from_raw_mode(fstat(&stdin)?.st_mode) {
        // A loop has read from its file, and the rest belongs to the loop.
        FileType::RegularFile if tell(&stdin)? == 0 => pread(&stdin, &mut bytes, 0)?,
        FileType::Fifo if is_ready(&stdin)? => look_into_pipe(&stdin, &mut bytes)?,
        FileType::Socket if is_ready(&stdin)? => recv(&stdin, &mut bytes, RecvFlags::PEEK)?.0,
        _ => 0,
    };
    Ok(begins_as_body(&String::from_utf8_lossy(&bytes[..looked])))
}

fn is_ready(stdin: &impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    Ok(poll(&mut fds, Some(&PATIENCE))? > 0)
}

/// Copies what is in a pipe, which stays there.
fn look_into_pipe(stdin: &impl AsFd, bytes: &mut [u8]) -> io::Result<usize> {
    let (reader, writer) = pipe()?;
    let copied = match tee(stdin, &writer, bytes.len(), SpliceFlags::NONBLOCK) {
        Ok(copied) => copied,
        // Another reader was faster.
        Err(Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    drop(writer);
    let mut reader = std::fs::File::from(reader);
    reader.read_exact(&mut bytes[..copied])?;
    Ok(copied)
}

/// Whether a text begins as JSON or YAML that says more than one word.
fn begins_as_body(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(line) = lines.next() else { return false };
    let is_quoted = |key: &str| key.len() > 1 && key.starts_with(['"', '\'']) && key.ends_with(['"', '\'']);
    let is_key = |key: &str| !key.is_empty() && (is_quoted(key) || !key.contains(char::is_whitespace));
    let key = line.split_once(": ").map(|(key, _)| key).or_else(|| line.strip_suffix(':'));
    line.starts_with(['{', '[']) || line.starts_with("- ") || line.starts_with("---") || key.is_some_and(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_begins_with_a_brace_a_bracket_or_a_key() {
        for text in ["{}", " \n{\n", "[1", "---\n", "- a\n", "# c\n\na: 1", "ports:\n- name: p", "'a b': 1", "a: "] {
            assert!(begins_as_body(text), "{text:?}");
        }
    }

    #[test]
    fn lines_of_a_list_are_not_a_body() {
        for text in
            ["", "\n", "br1\nbr2\n", "br1", "br1 veth1", "root:x:0:0", "lo UNKNOWN 127.0.0.1/8", "see here: x", ":"]
        {
            assert!(!begins_as_body(text), "{text:?}");
        }
    }
}
