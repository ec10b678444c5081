//! One packet capture.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polycube_plugin_api::{Cube, Datapath, Level, Maps, Refusal, Service, ServiceKind, Wanted};

use crate::config::Config;
use crate::datapath;
use crate::drain::Losses;
use crate::ring::Counters;
use crate::session::{CaptureMaps, Opened, Session};
use crate::state::{self, State};
use crate::sys;

/// A cube of the service.
pub struct PacketCapture {
    cube: Cube,
    cpus: usize,
    losses: Arc<Losses>,
    stages: Mutex<Stages>,
}

#[derive(Default)]
struct Stages {
    running: Option<Session>,
    prepared: Prepared,
    /// What rings counted that are no longer.
    closed: Counters,
    /// The file of the session before.
    file: Option<PathBuf>,
}

/// What `commit` puts in force.
#[derive(Default)]
enum Prepared {
    #[default]
    Nothing,
    /// The end of the session.
    Off,
    /// A session, where there is none.
    On(Session),
    /// Another snap length, and other rings if they are given.
    Change { snaplen: u32, opened: Option<Opened> },
}

impl PacketCapture {
    fn stages(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_of_reduced_rings(&self, session: &Session, wanted: usize) {
        let got = session.ring_size();
        if got < wanted {
            let (got, wanted, cpus) = (got >> 10, wanted >> 10, self.cpus);
            let message = format!("rings have {got} KiB instead of {wanted} KiB, for there are {cpus} CPUs");
            self.cube.log(Level::Info, &message);
        }
    }
}

impl Service for PacketCapture {
    const NAME: &'static str = "packetcapture";
    const DESCRIPTION: &'static str = "Records the packets that pass a port into a capture file";
    const KIND: ServiceKind = ServiceKind::Transparent;
    type Config = Config;
    type State = State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        let cpus = sys::possible_cpus()
            .map_err(|error| Refusal::failed(format!("the number of CPUs cannot be read: {error}")))?;
        Ok(Self { cube, cpus, losses: Arc::default(), stages: Mutex::default() })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        datapath::datapath(&wanted.config, &wanted.points, self.cpus)
    }

    fn prepare(&self, wanted: &Wanted<Config>, maps: Maps) -> Result<(), Refusal> {
        let snaplen = wanted.config.snaplen.bytes();
        let maps = CaptureMaps::find(maps)?;
        let mut stages = self.stages();
        stages.forget();
        let stages = &mut *stages;
        stages.prepared = match (maps, &mut stages.running) {
            (None, _) => Prepared::Off,
            (Some(maps), None) => {
                let session = Session::start(&self.cube, maps, snaplen, self.losses.clone())?;
                self.tell_of_reduced_rings(&session, wanted.config.ring_size.wanted());
                Prepared::On(session)
            }
            (Some(maps), Some(running)) => {
                let opened = if running.reads(&maps) { None } else { Some(running.open(maps)?) };
                running.announce(snaplen);
                Prepared::Change { snaplen, opened }
            }
        };
        Ok(())
    }

    fn commit(&self) {
        self.stages().enact();
    }

    fn abort(&self) {
        self.stages().forget();
    }

    fn state(&self) -> Result<State, Refusal> {
        let stages = self.stages();
        let mut counters = stages.closed;
        let mut file = stages.file.clone();
        if let Some(running) = &stages.running {
            counters += running.counters();
            file = running.path();
        }
        let lost = self.losses.packets.load(Ordering::Relaxed);
        Ok(State {
            dump: state::dump(file.as_deref()),
            counters: state::Counters {
                captured: counters.written.saturating_sub(lost),
                bytes: counters.bytes.saturating_sub(self.losses.bytes.load(Ordering::Relaxed)),
                dropped_ring_full: counters.full,
                dropped_nested: counters.nested,
                dropped_fault: counters.faults,
                dropped_disk: lost,
            },
        })
    }

    fn tick(&self) {
        let stages = self.stages();
        let Some(running) = &stages.running else { return };
        let offset = sys::utc_offset();
        let before = running.set_utc_offset(offset);
        if before != offset {
            let seconds = |nanos| nanos / 1_000_000_000;
            let (from, to) = (seconds(before), seconds(offset));
            self.cube.log(Level::Debug, &format!("UTC was {from} s from the kernel's TAI and is {to} s from it now"));
        }
    }
}

impl Stages {
    fn enact(&mut self) {
        match std::mem::take(&mut self.prepared) {
            Prepared::Nothing => {}
            Prepared::Off => {
                if let Some((counters, file)) = self.running.take().map(Session::end) {
                    self.closed += counters;
                    self.file = file;
                }
            }
            Prepared::On(session) => self.running = Some(session),
            Prepared::Change { snaplen, opened } => {
                if let Some(running) = &mut self.running {
                    self.closed += running.settle(snaplen, opened);
                }
            }
        }
    }

    fn forget(&mut self) {
        match std::mem::take(&mut self.prepared) {
            Prepared::Nothing | Prepared::Off => {}
            Prepared::On(session) => {
                let (counters, file) = session.end();
                self.closed += counters;
                self.file = file.or(self.file.take());
            }
            Prepared::Change { opened, .. } => {
                if let Some(running) = &self.running {
                    self.closed += running.forget(opened.as_ref());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "cube/tests.rs"]
mod tests;
