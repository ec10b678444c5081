//! Our capture and other programs', behind one type, so that all are measured in the same way.

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

/// Time for a recorder to write what it has: twice what ours may need.
pub(crate) const SETTLE: Duration = Duration::from_millis(200);
/// The snap length that cuts nothing off.
pub(crate) const WHOLE: u32 = 262_144;

/// A program that records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorder {
    Ours,
    /// Ours, written past the page cache.
    Direct,
    Theirs(Program),
}

/// What to record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// In polycubectl's words. The others record both directions.
    pub(crate) direction: &'static str,
    pub(crate) snaplen: u32,
}

/// What all recorders have in common.
pub(crate) struct Setup<'a> {
    pub(crate) sniffer: Sniffer<'a>,
    pub(crate) interface: &'a Interface,
    pub(crate) directory: &'a Path,
    /// The core that recorders run on; any core without it.
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
    /// All that this machine has and that can filter, cut and record both directions. Every other round is in reverse
    /// order, so that none always follows the pause.
    pub(crate) fn all(round: usize) -> Vec<Self> {
        Self::those(&[Program::Tcpdump, Program::Dumpcap], round)
    }

    /// As [`Recorder::all`], with those that can record what comes in up to a snap length.
    pub(crate) fn of_flood(round: usize, snaplen: u32) -> Vec<Self> {
        let (mut programs, is_whole) = (vec![Program::Tcpdump, Program::Dumpcap, Program::Xdpdump], snaplen == WHOLE);
        programs.extend(is_whole.then_some(Program::NetsniffNg));
        Self::those(&programs, round)
    }

    fn those(programs: &[Program], round: usize) -> Vec<Self> {
        let theirs = programs.iter().copied().filter(|program| program.is_there()).map(Self::Theirs);
        let mut all = [Self::Ours, Self::Direct].into_iter().chain(theirs).collect::<Vec<_>>();
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

    /// Records while `work` runs.
    pub(crate) fn record<T>(
        self,
        setup: &Setup<'_>,
        settings: Settings,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Recorded)> {
        let (result, file, cpu) = match self {
            Self::Ours | Self::Direct => {
                setup.sniffer.set_direct(if self == Self::Direct { "true" } else { "false" })?;
                setup.sniffer.start(settings.direction, settings.snaplen)?;
                let before = setup.sniffer.cpu_time()?;
                let result = work()?;
                thread::sleep(SETTLE);
                let cpu = setup.sniffer.cpu_time()?.saturating_sub(before);
                (result, setup.sniffer.stop()?, cpu)
            }
            Self::Theirs(program) => {
                let peer = Peer::start(program, setup.interface, setup.directory, settings.snaplen, None)?;
                if let Some(core) = setup.core {
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
