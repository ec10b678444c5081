//! Starting and ending the processes that the kit answers for.

use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

const POLL: Duration = Duration::from_millis(10);

struct Birth {
    command: Command,
    born: Sender<io::Result<Child>>,
}

/// Starts a command that the kernel kills when this process ends, however it ends.
pub(super) fn spawn_tied(mut command: Command) -> io::Result<Child> {
    // The kernel ties a child to the thread that made it, and a test's thread may end before the child should: one
    // thread that lives as long as the process makes them all (prctl(2), PR_SET_PDEATHSIG).
    static PARENT: OnceLock<Mutex<Sender<Birth>>> = OnceLock::new();
    let parent = PARENT.get_or_init(|| {
        let (births, queue) = channel::<Birth>();
        thread::spawn(move || {
            for mut birth in queue {
                let _ = birth.born.send(birth.command.spawn());
            }
        });
        Mutex::new(births)
    });
    // Ctrl-C in a terminal reaches a whole group: it is for us, who end our children in order.
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor locks.
    unsafe { command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)) };
    let (born, birth) = channel();
    let sent = parent.lock().unwrap_or_else(PoisonError::into_inner).send(Birth { command, born });
    sent.expect("the parent thread lives as long as the process");
    birth.recv().expect("the parent thread answers every birth")
}

pub(super) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    // The child has not been waited for, so its id cannot belong to another process yet.
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has a positive id");
    kill_process(pid, signal).map_err(Into::into)
}

/// Waits, but not for ever; `None` when the child is still running.
pub(super) fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
}

/// Runs a command to its end with the given standard input; one that takes longer than `patience` is killed, and its
/// status says so.
pub(super) fn run(mut command: Command, input: Option<&str>, patience: Duration) -> io::Result<Output> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_tied(command)?;
    let stdin = child.stdin.take();
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has a positive id");
    thread::scope(|scope| {
        let (done, watched) = channel::<()>();
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that does not read its input closes the pipe: that is its right.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        }
        scope.spawn(move || {
            if watched.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output();
        drop(done);
        output
    })
}
