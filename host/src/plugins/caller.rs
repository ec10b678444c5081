//! Calls with a limit to their time.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that makes calls for another one. A call that does not return keeps the thread, and the next call gets a
/// new one.
#[derive(Default)]
pub(super) struct Caller(Option<mpsc::Sender<Job>>);

impl Caller {
    /// What `call` returns; `None` if it has not returned within `patience`. What it returns later goes to `late`.
    pub(super) fn call<T: Send + 'static>(
        &mut self,
        patience: Duration,
        call: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel::<T>(0);
        let job: Job = Box::new(move || {
            // A channel of no capacity hands over only while somebody waits.
            if let Err(mpsc::SendError(answer)) = answer.send(call()) {
                late(answer);
            }
        });
        self.run(job);
        let answer = answered.recv_timeout(patience).ok();
        if answer.is_none() {
            self.0 = None;
        }
        answer
    }

    fn run(&mut self, job: Job) {
        let jobs = match self.0.take() {
            Some(jobs) => jobs,
            None => match start() {
                Ok(jobs) => jobs,
                Err(error) => {
                    tracing::error!(%error, "cannot start a thread for the calls of plugins");
                    return;
                }
            },
        };
        // A thread ends only with its sender: jobs do not panic.
        if jobs.send(job).is_ok() {
            self.0 = Some(jobs);
        }
    }
}

fn start() -> io::Result<mpsc::Sender<Job>> {
    let (jobs, inbox) = mpsc::channel::<Job>();
    thread::Builder::new().name("plugin".to_owned()).spawn(move || inbox.into_iter().for_each(|job| job()))?;
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_does_not_return_is_left_behind() {
        let mut caller = Caller::default();
        assert_eq!(caller.call(Duration::from_secs(10), || 1, drop), Some(1));
        let (release, held) = mpsc::channel::<()>();
        let (report, reported) = mpsc::channel();
        let hang = move || {
            held.recv().unwrap();
            2
        };
        assert_eq!(caller.call(Duration::from_millis(1), hang, move |answer| report.send(answer).unwrap()), None);
        assert_eq!(caller.call(Duration::from_secs(10), || 3, drop), Some(3), "the next call does not wait");
        release.send(()).unwrap();
        assert_eq!(reported.recv_timeout(Duration::from_secs(10)), Ok(2), "what comes late is not lost");
    }
}
