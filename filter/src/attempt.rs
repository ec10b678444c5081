//! Compiles a filter in a thread of its own, so that callers wait for a limited time.
//!
//! libpcap looks up names, and its optimizer's time grows with the third power of a filter's length, while the caller
//! blocks the daemon's other changes. So after a timeout the thread continues, and the next request for the same filter
//! gets its result.

#![forbid(unsafe_code)]

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::FilterError;
use super::classic::Raw;
use super::diagnosis::{self, Compiler, ExpressionError};
use super::libpcap::Libpcap;
use super::link::Link;
use super::terms::Terms;

/// How long a caller waits. 100 ports take 0.1 s, 200 take 1 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum attempts without a caller.
const MOST_LEFT: usize = 4;

/// libpcap's parser and optimizer recurse: the default stack is too small for a long expression.
const STACK: usize = 64 << 20;

struct Attempt {
    terms: Terms,
    link: Link,
    thread: JoinHandle<()>,
    answer: Receiver<Result<Vec<Raw>, ExpressionError>>,
}

/// Attempts that timed out, oldest first.
static LEFT: Mutex<Vec<Attempt>> = Mutex::new(Vec::new());

/// libpcap's program for `terms`.
///
/// # Errors
/// Any [`FilterError`] except those of the program.
pub(crate) fn compile(terms: Terms, link: Link) -> Result<Vec<Raw>, FilterError> {
    compile_within(PATIENCE, terms, link)
}

fn compile_within(patience: Duration, terms: Terms, link: Link) -> Result<Vec<Raw>, FilterError> {
    let attempt = match taken_up(&terms, link)? {
        Some(attempt) => attempt,
        None => Attempt::start(terms, link)?,
    };
    match attempt.answer.recv_timeout(patience) {
        Ok(result) => Ok(result?),
        Err(RecvTimeoutError::Timeout) => {
            left().push(attempt);
            Err(FilterError::Timeout)
        }
        Err(RecvTimeoutError::Disconnected) => Err(FilterError::Ended),
    }
}

fn left() -> MutexGuard<'static, Vec<Attempt>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The attempt for the same terms, if it timed out before. If there is none, makes room for another.
fn taken_up(terms: &Terms, link: Link) -> Result<Option<Attempt>, FilterError> {
    let mut left = left();
    if let Some(at) = left.iter().position(|attempt| attempt.terms == *terms && attempt.link == link) {
        return Ok(Some(left.remove(at)));
    }
    if left.len() >= MOST_LEFT {
        let over = left.iter().position(|attempt| attempt.thread.is_finished()).ok_or(FilterError::Timeout)?;
        left.remove(over);
    }
    Ok(None)
}

impl Attempt {
    fn start(terms: Terms, link: Link) -> Result<Self, FilterError> {
        let libpcap = Libpcap::get()?;
        let (answered, answer) = mpsc::channel();
        let asked = terms.clone();
        let thread = thread::Builder::new().name("libpcap".to_owned()).stack_size(STACK);
        // The caller may have left.
        let thread = thread.spawn(move || drop(answered.send(diagnosis::compile(Compiler { libpcap, link }, &asked))));
        Ok(Self { terms, link, thread: thread.map_err(FilterError::Thread)?, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 250 ports take some seconds, and the daemon's other changes must not wait that long.
    #[test]
    fn a_filter_that_takes_long_is_left_and_taken_up_again() {
        let ports = (0..250).map(|number| format!("port {}", 1000 + number)).collect::<Vec<_>>();
        let terms = Terms::Expression(ports.join(" or "));
        let mut rounds = 0;
        let result = loop {
            let result = compile_within(PATIENCE / 20, terms.clone(), Link::default());
            rounds += 1;
            if !matches!(result, Err(FilterError::Timeout)) || rounds == 600 {
                break result;
            }
        };
        assert!(result.is_ok() && rounds > 1, "{result:?} after {rounds} rounds");
        assert!(left().iter().all(|attempt| attempt.terms != terms));
    }
}
