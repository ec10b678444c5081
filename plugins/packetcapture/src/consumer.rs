//! The thread that empties a cube's rings, and sleeps as long as it can.
//!
//! Nothing here costs the packets' path more than wake-ups. While packets flow, the thread wakes when a small lane is
//! half full, or after [`SLOW`]. If a sleep of that length brings nothing, it waits for the bell only.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use polycube_plugin_api::Level;

use crate::drain::{Cut, Drain, Progress, RingSet};
use crate::format::pcapng::Section;
use crate::patience::Waits;
use crate::ring::Reader;
use crate::settings::Settings;
use crate::sys::{self, Wake, Woken};

/// How long a packet waits for the file while few others follow.
const SLOW: Duration = Duration::from_millis(50);
/// The part of a small lane that may fill meanwhile. With a smaller one, wake-ups are more frequent; with a larger one,
/// the program more often goes over to the large lane until the thread runs.
const MARK: usize = 2;
/// `TASK_COMM_LEN` (include/linux/sched.h) without the terminating zero.
const THREAD_NAME: usize = 15;

enum Command {
    /// Empty these rings as well.
    Open(RingSet),
    /// The rings with this id have received their last packet.
    Close(u64, mpsc::Sender<()>),
    /// Write everything there is.
    Flush(mpsc::Sender<()>),
    /// Packets of this section may arrive besides those of the section before.
    Describe(Section),
    /// Existing packets are handled under the former settings, later ones under these.
    Apply(Arc<Settings>, mpsc::Sender<()>),
    /// Check the clock.
    Tick,
}

/// A running consumer. Dropping it writes what the rings hold, and ends the thread. No call waits for a disk that does
/// not answer.
pub(crate) struct Consumer {
    commands: Option<mpsc::Sender<Command>>,
    wake: Arc<Wake>,
    waits: Waits,
    /// Closes when the thread has written everything.
    ended: Option<mpsc::Receiver<()>>,
}

impl Consumer {
    pub(crate) fn start(cube: &str, mut drain: Drain, settings: Arc<Settings>) -> io::Result<Self> {
        let wake = Arc::new(Wake::new()?);
        let (commands, inbox) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let woken = Arc::clone(&wake);
        thread::Builder::new().name(thread_name(cube)).spawn(move || {
            let work = || {
                drain.follow(&settings);
                run(&mut drain, &inbox, &woken);
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let what = text.or_else(|| payload.downcast_ref().copied()).unwrap_or("a payload that is not text");
                drain.log(Level::Error, &format!("the capture thread panicked and writes no more packets: {what}"));
            }
            // Closes the file.
            drop(drain);
            drop::<mpsc::Sender<()>>(end);
        })?;
        Ok(Self { commands: Some(commands), wake, waits: Waits::default(), ended: Some(ended) })
    }

    pub(crate) fn open(&self, source: RingSet) {
        self.command(Command::Open(source));
    }

    /// Writes what the rings of `id` hold, and releases them; false if that happens later.
    pub(crate) fn close(&self, id: u64) -> bool {
        self.wait_for(|done| Command::Close(id, done))
    }

    /// Writes what the rings hold. The returned channel closes when the file has it.
    pub(crate) fn flush(&self) -> mpsc::Receiver<()> {
        let (done, wait) = mpsc::channel();
        self.command(Command::Flush(done));
        wait
    }

    /// Packets of `section` may arrive besides those of the section before.
    pub(crate) fn describe(&self, section: Section) {
        self.command(Command::Describe(section));
    }

    /// Writes what the rings hold, then applies `settings`; false if that happens later.
    pub(crate) fn apply(&self, settings: Arc<Settings>) -> bool {
        self.wait_for(|done| Command::Apply(settings, done))
    }

    /// Writes what the rings hold, and ends the thread; false if that happens later.
    pub(crate) fn end(&mut self) -> bool {
        self.commands = None;
        self.wake.wake();
        self.ended.take().is_none_or(|ended| self.waits.wait(ended))
    }

    /// Lets everything that depends on time check the clock.
    pub(crate) fn tick(&self) {
        self.command(Command::Tick);
    }

    fn wait_for(&self, command: impl FnOnce(mpsc::Sender<()>) -> Command) -> bool {
        let (done, wait) = mpsc::channel();
        self.command(command(done));
        self.waits.wait(wait)
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
            self.wake.wake();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(drain: &mut Drain, inbox: &mpsc::Receiver<Command>, wake: &Wake) {
    let mut last = Woken::Called;
    loop {
        match inbox.try_recv() {
            Ok(command) => execute(drain, command),
            Err(mpsc::TryRecvError::Disconnected) => {
                drain.round(Cut::All);
                return;
            }
            Err(mpsc::TryRecvError::Empty) => {
                let progress = drain.round(Cut::Ordered);
                last = rest(drain, wake, progress, last).unwrap_or_else(|error| {
                    drain.log(Level::Error, &format!("the capture thread cannot sleep: {error}"));
                    thread::sleep(SLOW);
                    Woken::Called
                });
            }
        }
    }
}

fn execute(drain: &mut Drain, command: Command) {
    match command {
        Command::Open(source) => drain.open(source),
        Command::Close(id, done) => {
            drain.round(Cut::All);
            drain.sources.retain(|source| source.id != id);
            let _ = done.send(());
        }
        Command::Flush(done) => {
            drain.round(Cut::All);
            drain.router.flush(done);
        }
        Command::Describe(section) => drain.router.describe(section),
        Command::Apply(settings, done) => {
            drain.round(Cut::All);
            drain.apply(settings);
            let _ = done.send(());
        }
        Command::Tick => drain.router.tick(),
    }
}

/// Sleeps until there is something to do. `last` is what ended the previous sleep.
fn rest(drain: &mut Drain, wake: &Wake, progress: Progress, last: Woken) -> io::Result<Woken> {
    let mark = |reader: &Reader| match progress {
        Progress::Moved => (reader.small_size() / MARK) as u64,
        Progress::Empty => 0,
    };
    // A program that passes the mark now either rings, or does not see `sleeping` yet. In the latter case the next
    // packet or the timer wakes us.
    for RingSet { reader, .. } in &drain.sources {
        reader.arm(mark(reader));
    }
    fence(Ordering::SeqCst);
    let timeout = match (progress, last) {
        // Without a timer nothing would: a program between its check of `sleeping` and its end must have finished, and
        // waiting for that takes milliseconds. So this happens only after a timer has found nothing, and a capture
        // starts and stops without the wait.
        (Progress::Empty, Woken::TimedOut) => sys::barrier().err().map(|_| SLOW),
        _ => Some(SLOW),
    };
    let mut result = Ok(Woken::Called);
    if !drain.holds_more_than(mark) {
        let bells = drain.sources.iter().map(|source| source.bell.as_fd());
        result = sys::sleep(bells.chain([wake.as_fd()]), timeout);
    }
    for RingSet { reader, bell, .. } in &drain.sources {
        reader.disarm();
        bell.clear();
    }
    wake.clear();
    result
}

/// `capture:<cube>`, truncated to what the kernel stores.
fn thread_name(cube: &str) -> String {
    let mut name = format!("capture:{cube}");
    while name.len() > THREAD_NAME {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests;
