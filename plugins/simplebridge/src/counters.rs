//! The counters that the program keeps, one set for each port and CPU.

use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use polycube_layout::bridge::PortCounters;
use polycube_plugin_api::Port;

use crate::state::PortState;

/// A failed operation on the counters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountersError {
    #[error("could not use the map `counters`: {0}")]
    Open(#[source] MapError),
    #[error("could not read the counters of port {0}: {1}")]
    Read(String, #[source] MapError),
    #[error("could not count the CPUs: {0}")]
    Cpus(#[source] std::io::Error),
    #[error("could not reset the counters of port {0}: {1}")]
    Reset(String, #[source] MapError),
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value(PortCounters);

// SAFETY: integers without padding; every bit pattern is valid.
unsafe impl aya::Pod for Value {}

/// The kernel's map from port id to counters.
pub(crate) struct Counters(PerCpuArray<MapData, Value>);

impl Counters {
    pub(crate) fn open(fd: OwnedFd) -> Result<Self, CountersError> {
        let map = MapData::from_fd(fd).and_then(|data| PerCpuArray::try_from(Map::PerCpuArray(data)));
        Ok(Self(map.map_err(CountersError::Open)?))
    }

    /// The sum of all CPUs' counters of `port`.
    pub(crate) fn of(&self, port: &Port) -> Result<PortCounters, CountersError> {
        let values = self.0.get(&port.id, 0).map_err(|error| CountersError::Read(port.name.clone(), error))?;
        Ok(sum(values.iter().map(|Value(counters)| counters)))
    }

    /// Resets `port` to zero: another port may have had its id before.
    pub(crate) fn reset(&mut self, port: &Port) -> Result<(), CountersError> {
        let cpus = nr_cpus().map_err(|(_, error)| CountersError::Cpus(error))?;
        let zeros = PerCpuValues::try_from(vec![Value(PortCounters::default()); cpus]).map_err(CountersError::Cpus)?;
        self.0.set(port.id, zeros, 0).map_err(|error| CountersError::Reset(port.name.clone(), error))
    }
}

fn sum<'a>(each: impl Iterator<Item = &'a PortCounters>) -> PortCounters {
    each.fold(PortCounters::default(), |sum, one| PortCounters {
        in_packets: sum.in_packets + one.in_packets,
        in_bytes: sum.in_bytes + one.in_bytes,
        out_packets: sum.out_packets + one.out_packets,
        out_bytes: sum.out_bytes + one.out_bytes,
        flooded: sum.flooded + one.flooded,
        filtered: sum.filtered + one.filtered,
        fdb_full: sum.fdb_full + one.fdb_full,
        zero: 0,
    })
}

impl PortState {
    pub(crate) fn new(port: &Port, counters: &PortCounters) -> Self {
        let PortCounters { in_packets, in_bytes, out_packets, out_bytes, flooded, filtered, .. } = *counters;
        Self { port: port.name.clone(), in_packets, in_bytes, out_packets, out_bytes, flooded, filtered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_are_summed_field_by_field() {
        let one = PortCounters {
            in_packets: 1,
            in_bytes: 2,
            out_packets: 3,
            out_bytes: 4,
            flooded: 5,
            filtered: 6,
            fdb_full: 7,
            zero: 0,
        };
        let two = PortCounters {
            in_packets: 2,
            in_bytes: 4,
            out_packets: 6,
            out_bytes: 8,
            flooded: 10,
            filtered: 12,
            fdb_full: 14,
            zero: 0,
        };
        assert_eq!(sum([one, one].iter()), two);
    }
}
