//! Our capture and those of others, under one name, so that all are measured in the same way.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use polycube_tests::lab::Interface;

use crate::peer::{Peer, Program};
use crate::process;
use crate::recorded;
use crate::sniffer::Sniffer;

/// Time for a recorder to write what it has: twice as long as ours may take.
const SETTLE: Duration = Duration::from_millis(200);

/// Who records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorder {
    Ours,
    /// Ours, written past the page cache.
    Direct,
    Theirs(Program),
}

/// What to record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// As polycubectl says it. The others take both directions.
    pub(crate) direction: &'static str,
    pub(crate) snaplen: u32,
}

/// Where all can record.
pub(crate) struct Place<'a> {
    pub(crate) sniffer: Sniffer<'a>,
    pub(crate) interface: &'a Interface,
    pub(crate) directory: &'a Path,
    /// Where recorders run, if not anywhere.
    pub(crate) core: Option<usize>,
}

/// What a recorder did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// Records in the file.
    pub(crate) records: u64,
    pub(crate) cpu: Duration,
}

impl Recorder {
    /// All that this machine has. Every other round goes backwards, so that none always comes after a pause.
    pub(crate) fn all(round: usize) -> Vec<Self> {
        let theirs = [Program::Tcpdump, Program::Dumpcap].into_iter().filter(|program| program.is_there());
        let mut all = [Self::Ours, Self::Direct].into_iter().chain(theirs.map(Self::Theirs)).collect::<Vec<_>>();
        if round % 2 == 1 {
            all.reverse();
        }
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Direct => "ours, direct I/O",
            Self::Theirs(program) => program.name(),
        }
    }

    /// Records while `work` is done.
    pub(crate) fn record<T>(
        self,
        place: &Place<'_>,
        wish: Wish,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Recorded)> {
        let (result, file, cpu) = match self {
            Self::Ours | Self::Direct => {
                place.sniffer.set_direct(self == Self::Direct)?;
                place.sniffer.start(wish.direction, wish.snaplen)?;
                let before = place.sniffer.cpu_time()?;
                let result = work()?;
                thread::sleep(SETTLE);
                let cpu = place.sniffer.cpu_time()?.saturating_sub(before);
                (result, place.sniffer.stop()?, cpu)
            }
            Self::Theirs(program) => {
                let peer = Peer::start(program, place.interface, place.directory, wish.snaplen, None)?;
                if let Some(core) = place.core {
                    process::confine(peer.pid(), core)?;
                }
                let before = peer.cpu_time()?;
                let result = work()?;
                thread::sleep(SETTLE);
                let cpu = peer.cpu_time()?.saturating_sub(before);
                (result, peer.stop()?, cpu)
            }
        };
        let records = recorded::count(&file)?;
        fs::remove_file(&file)?;
        Ok((result, Recorded { records, cpu }))
    }
}
