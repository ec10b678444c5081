//! A thread that reads the records of a ring.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use super::plain::Plain;
use super::ring::Ring;
use crate::stages::Stage;
use crate::threads::{JoinHandle, is_current};
use crate::{Cube, Level, Refusal};

/// Reads the records that programs send through a [`Ring`], on a thread of its own.
///
/// The reader lives as long as the cube; the ring is part of what a change puts in force. Give it to
/// [`prepare`](Self::prepare): from the commit on, the thread reads it. If the host has kept the map, the thread goes on. An
/// abort leaves everything as it is. The thread has the cube's name, a panic in the handler is in the cube's log, and when
/// the reader is dropped, the thread takes what is in the ring and ends.
///
/// ```no_run
/// use polycube_plugin_api::maps::RingReader;
/// use polycube_plugin_api::{Cube, Level, Maps, Refusal};
///
/// fn reader(cube: &Cube) -> RingReader {
///     let log = cube.clone();
///     RingReader::new(cube, move |port: u32| log.log(Level::Info, &format!("a new station at port {port}")))
/// }
///
/// fn prepare(reader: &RingReader, mut maps: Maps) -> Result<(), Refusal> {
///     reader.prepare(maps.open("events")?)
/// }
/// ```
#[derive(Debug)]
pub struct RingReader(Arc<Inner>);

type Handler = Box<dyn FnMut(Read<'_>) + Send>;

/// What a reader's thread meets.
pub(crate) enum Read<'a> {
    /// The thread begins with a ring, which may have records from before.
    Begin,
    Record(&'a [u8]),
}

struct Inner {
    cube: Cube,
    handler: Arc<Mutex<Handler>>,
    rings: Mutex<Rings>,
}

#[derive(Default)]
struct Rings {
    prepared: Next,
    running: Option<Running>,
}

#[derive(Default)]
enum Next {
    #[default]
    Same,
    None,
    Other(Running),
}

/// A thread that waits for the word to begin reading.
struct Running {
    map: u32,
    begin: Sender<()>,
    /// Wakes the thread to end it.
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl RingReader {
    /// A reader that passes each record to `handler`. A record of another size than that of `T` is logged and left out.
    pub fn new<T: Plain>(cube: &Cube, mut handler: impl FnMut(T) + Send + 'static) -> Self {
        let log = cube.clone();
        let mut is_reported = false;
        Self::of_bytes(cube, move |record| {
            if record.len() == T::SIZE {
                handler(T::read(record));
            } else if !std::mem::replace(&mut is_reported, true) {
                let (found, expected) = (record.len(), T::SIZE);
                let message =
                    format!("a record of {found} bytes instead of {expected} was left out, as all others will be");
                log.log(Level::Error, &message);
            }
        })
    }

    /// A reader that passes the bytes of each record to `handler`, for records of different sizes.
    pub fn of_bytes(cube: &Cube, mut handler: impl FnMut(&[u8]) + Send + 'static) -> Self {
        Self::from_begin(cube, move |read| {
            if let Read::Record(record) = read {
                handler(record);
            }
        })
    }

    /// The same, for a handler that has to know when reading begins.
    pub(crate) fn from_begin(cube: &Cube, handler: impl FnMut(Read<'_>) + Send + 'static) -> Self {
        let handler: Handler = Box::new(handler);
        let inner = Inner { cube: cube.clone(), handler: Arc::new(Mutex::new(handler)), rings: Mutex::default() };
        let inner = Arc::new(inner);
        cube.enlist(&inner);
        Self(inner)
    }

    /// Sets what to read from the next commit on. Without a call, the reader goes on with the ring that it has.
    ///
    /// # Errors
    /// The operating system starts no thread.
    pub fn prepare(&self, ring: Ring) -> Result<(), Refusal> {
        let mut rings = self.0.rings();
        rings.prepared = if rings.running.as_ref().is_some_and(|running| running.reads(&ring)) {
            Next::Same
        } else {
            Next::Other(Running::start(&self.0.cube, ring, Arc::clone(&self.0.handler))?)
        };
        Ok(())
    }

    /// Sets that the next commit ends the reading, because the configuration has no ring.
    pub fn prepare_end(&self) {
        let prepared = std::mem::replace(&mut self.0.rings().prepared, Next::None);
        drop(prepared);
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        let Rings { prepared, running } = std::mem::take(&mut *self.0.rings());
        drop((prepared, running));
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = self.rings().running.as_ref().map(|running| running.map);
        f.debug_struct("Inner").field("map", &map).finish_non_exhaustive()
    }
}

impl Inner {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage for Inner {
    fn commit(&self) {
        let (next, before) = {
            let mut rings = self.rings();
            let next = match std::mem::take(&mut rings.prepared) {
                Next::Same => return,
                Next::None => None,
                Next::Other(next) => Some(next),
            };
            (next, rings.running.take())
        };
        // It takes what is left before the next one begins.
        drop(before);
        if let Some(next) = &next {
            // A thread that ended early has said why.
            let _ = next.begin.send(());
        }
        self.rings().running = next;
    }

    fn abort(&self) {
        let prepared = std::mem::take(&mut self.rings().prepared);
        drop(prepared);
    }
}

impl Running {
    fn start(cube: &Cube, ring: Ring, handler: Arc<Mutex<Handler>>) -> Result<Self, Refusal> {
        let failed =
            |error: std::io::Error| Refusal::failed(format!("could not start to read `{}`: {error}", ring.name()));
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?);
        let (begin, begun) = channel();
        let (map, ended) = (ring.id(), Arc::clone(&end));
        let failed_late = format!("could not start to read `{}`", ring.name());
        let thread = cube.spawn(thread_name(cube.name()), move || read(&ring, &handler, &begun, &ended));
        let thread = thread.map_err(|error| Refusal::failed(format!("{failed_late}: {error}")))?;
        Ok(Self { map, begin, end, thread: Some(thread) })
    }

    /// Whether it reads `ring` and has not ended with a panic.
    fn reads(&self, ring: &Ring) -> bool {
        self.map == ring.id() && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread ends if it has not begun.
        self.begin = channel().0;
        // An eventfd is full only after 2^64 - 2 writes.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take().filter(|thread| !is_current(thread)) {
            // A panic is in the log already.
            let _ = thread.join();
        }
    }
}

/// The beginning of a cube's name that the kernel shows of a thread, 15 bytes (`TASK_COMM_LEN`).
fn thread_name(cube: &str) -> &str {
    &cube[..cube.floor_char_boundary(15)]
}

fn read(ring: &Ring, handler: &Mutex<Handler>, begun: &Receiver<()>, end: &OwnedFd) {
    if begun.recv().is_err() {
        return;
    }
    let lock = || handler.lock().unwrap_or_else(PoisonError::into_inner);
    lock()(Read::Begin);
    let mut record = Vec::new();
    loop {
        let mut ready = [PollFd::new(end, PollFlags::IN), PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN)];
        let is_ended = match poll(&mut ready, None) {
            Ok(_) => !ready[0].revents().is_empty(),
            Err(Errno::INTR) => continue,
            // No other error of poll(2) is possible with two open descriptors, but an endless loop would be.
            Err(error) => panic!("could not wait for records of `{}`: {error}", ring.name()),
        };
        let mut handler = lock();
        ring.drain(&mut record, |record| handler(Read::Record(record)));
        if is_ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
