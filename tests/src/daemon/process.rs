//! Starts and ends the kit's processes.

use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

const POLL: Duration = Duration::from_millis(10);

struct SpawnRequest {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

/// Starts a command that the kernel kills when this process ends, however it ends.
pub(super) fn spawn_tied(mut command: Command) -> io::Result<Child> {
    // The kernel ties a child to the thread that started it, and a test's thread may end before the child should. So
    // one thread that lives as long as the process starts them all (prctl(2), PR_SET_PDEATHSIG).
    static PARENT: OnceLock<Mutex<Sender<SpawnRequest>>> = OnceLock::new();
    let parent = PARENT.get_or_init(|| {
        let (requests, queue) = channel::<SpawnRequest>();
        thread::spawn(move || {
            for mut request in queue {
                let _ = request.reply.send(request.command.spawn());
            }
        });
        Mutex::new(requests)
    });
    // Ctrl-C in a terminal signals the whole process group. The child gets its own group: the kit ends its children in
    // order.
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes one system call; it neither allocates nor locks.
    unsafe { command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)) };
    let (reply, child) = channel();
    let sent = parent.lock().unwrap_or_else(PoisonError::into_inner).send(SpawnRequest { command, reply });
    sent.expect("the parent thread lives as long as the process");
    child.recv().expect("the parent thread answers every request")
}

pub(super) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    // The child has not been waited for, so its id cannot belong to another process yet.
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has a positive id");
    kill_process(pid, signal).map_err(Into::into)
}

/// Waits for a limited time; `None` when the child is still running.
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

/// Runs a command to its end with the given standard input; one that takes longer than `patience` is killed, which its
/// status shows.
pub(super) fn run(mut command: Command, input: Option<&str>, patience: Duration) -> io::Result<Output> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_tied(command)?;
    let stdin = child.stdin.take();
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has a positive id");
    thread::scope(|scope| {
        let (done, watched) = channel::<()>();
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program may close the pipe without reading its input.
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
