//! Standard output.

use std::io::{self, Write};

use crate::failure::Failure;

/// Writes to standard output. A reader that has seen enough, such as `head`, ends the writing quietly.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}
