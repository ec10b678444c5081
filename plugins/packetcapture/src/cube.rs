//! One packet capture.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polycube_plugin_api::{Cube, Datapath, Level, Maps, Refusal, Service, ServiceKind, Tag, Wanted};

use crate::config::Config;
use crate::datapath;
use crate::drain::Losses;
use crate::filter::fields::Fields;
use crate::filter::{self, Compiled, FilterError};
use crate::ring::Counters;
use crate::session::{CaptureMaps, Opened, Session};
use crate::state::{self, ProgramState, State};
use crate::sys;

/// A cube of the service.
pub struct PacketCapture {
    cube: Cube,
    cpus: usize,
    losses: Arc<Losses>,
    stages: Mutex<Stages>,
    /// What was compiled last: a change asks twice, and most changes are not the filter's.
    compiled: Mutex<Option<Arc<Filter>>>,
}

/// A filter and what it was made of.
struct Filter {
    fields: Fields,
    expression: String,
    /// `None` where everything passes.
    program: Option<Compiled>,
}

#[derive(Default)]
struct Stages {
    running: Option<Session>,
    prepared: Prepared,
    /// The filter in force, and the one to come.
    filter: Option<Arc<Filter>>,
    next_filter: Option<Arc<Filter>>,
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

    fn filter(&self, config: &Config) -> Result<Arc<Filter>, Refusal> {
        let (fields, expression) = (config.fields()?, config.expression());
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) =
            compiled.as_ref().filter(|filter| filter.fields == fields && filter.expression == expression)
        {
            return Ok(same.clone());
        }
        let program = filter::compile(&fields, expression).map_err(|error| refusal(&error))?;
        let filter = Arc::new(Filter { fields, expression: expression.to_owned(), program });
        *compiled = Some(filter.clone());
        Ok(filter)
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
        Ok(Self { cube, cpus, losses: Arc::default(), stages: Mutex::default(), compiled: Mutex::default() })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        let filter = self.filter(&wanted.config)?;
        datapath::datapath(&wanted.config, filter.program.as_ref(), &wanted.points, self.cpus)
    }

    fn prepare(&self, wanted: &Wanted<Config>, maps: Maps) -> Result<(), Refusal> {
        let snaplen = wanted.config.snaplen.bytes();
        let maps = CaptureMaps::find(maps)?;
        let filter = self.filter(&wanted.config)?;
        let mut stages = self.stages();
        stages.forget();
        let stages = &mut *stages;
        stages.next_filter = Some(filter);
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
        let matched = counters.written + counters.full + counters.nested + counters.faults;
        Ok(State {
            dump: state::dump(file.as_deref()),
            program: stages.filter.as_ref().and_then(|filter| filter.state()),
            counters: state::Counters {
                seen: matched + counters.rejected,
                matched,
                rejected: counters.rejected,
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

impl Filter {
    fn state(&self) -> Option<ProgramState> {
        let program = self.program.as_ref()?;
        let expression = filter::joined(&self.fields, &self.expression).ok().flatten()?;
        Some(ProgramState { expression, classic: program.classic, instructions: program.instructions.len() })
    }
}

/// What the user reads of a filter that cannot be.
fn refusal(error: &FilterError) -> Refusal {
    let (tag, path) = match error {
        FilterError::Missing(_) | FilterError::Late | FilterError::Thread(_) | FilterError::Ended => {
            (Tag::OperationFailed, "filter")
        }
        FilterError::Fields(_) => (Tag::InvalidValue, "filters"),
        FilterError::Refused(_) | FilterError::Invalid(_) | FilterError::TooLong(_) => (Tag::InvalidValue, "filter"),
    };
    Refusal::new(tag, error.to_string()).at(path)
}

impl Stages {
    fn enact(&mut self) {
        self.filter = self.next_filter.take().or(self.filter.take());
        match std::mem::take(&mut self.prepared) {
            Prepared::Nothing => {}
            Prepared::Off => {
                if let Some((counters, file)) = self.running.take().map(Session::end) {
                    self.closed += counters;
                    // A session without a packet has no file, and takes no earlier one away.
                    self.file = file.or(self.file.take());
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
        self.next_filter = None;
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
