//! One bridge.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use polycube_layout::bridge::{COUNTERS, DOWN, FDB, FLAGS};
use polycube_plugin_api::maps::{Array, MapError, PerCpuArray};
use polycube_plugin_api::{
    Action, Cube, Datapath, Level, Maps, Netdevs, Port, Refusal, Service, ServiceKind, Staged, Tag, Wanted,
};
use serde_json::Value;

use crate::config::Config;
use crate::datapath::{self, Flags, Statics};
use crate::fdb::{Ageing, Changes, Entries, Fdb};
use crate::links::Links;
use crate::state::{EntryState, FdbState, Origin, PortCounts, PortState, State};

const FLUSH: &str = "fdb/flush";

/// Ticks, of about a second each, between removals of aged entries. The program ignores aged entries by itself;
/// removing them only frees memory.
const SWEEP: u32 = 30;

/// A cube of the service.
pub struct SimpleBridge {
    cube: Cube,
    bridge: Staged<Bridge>,
    watch: Mutex<Watch>,
}

/// What is observed from one call to the next.
#[derive(Default)]
struct Watch {
    links: Links,
    ticks: u32,
}

/// The maps, and what they should hold.
struct Bridge {
    fdb: Fdb,
    counters: PerCpuArray<PortCounts>,
    flags: Array<u32>,
    /// What is set at ports.
    set: Flags,
    ports: Vec<Port>,
    /// Ports that the bridge had before as well, or might have had, because it took over the map.
    kept: BTreeSet<u32>,
    statics: Statics,
    aging: u64,
}

impl SimpleBridge {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs the outcome of the changes that `why` made to the forwarding database.
    fn note(&self, why: &str, result: Result<Changes, MapError>) {
        match result {
            Err(error) => self.cube.log(Level::Error, &error.to_string()),
            Ok(changes) => {
                let Changes { remove, bind } = changes;
                if !remove.is_empty() || !bind.is_empty() {
                    let (removed, bound) = (remove.len(), bind.len());
                    self.cube.log(Level::Debug, &format!("fdb, {why}: {removed} addresses removed, {bound} bound"));
                }
                remove.iter().for_each(|mac| self.cube.log(Level::Trace, &format!("fdb, {why}: {mac} removed")));
                for (mac, port) in bind {
                    self.cube.log(Level::Trace, &format!("fdb, {why}: {mac} bound to the port with id {port}"));
                }
            }
        }
    }
}

impl Service for SimpleBridge {
    const NAME: &'static str = "simplebridge";
    const DESCRIPTION: &'static str = "Learning switch between its ports";
    const KIND: ServiceKind = ServiceKind::Standard;
    type Config = Config;
    type State = State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        Ok(Self { bridge: Staged::new(&cube), watch: Mutex::default(), cube })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        datapath::statics(&wanted.config.fdb, &wanted.ports)?;
        Ok(datapath::datapath(&wanted.config, &wanted.ports))
    }

    fn prepare(&self, wanted: &Wanted<Config>, mut maps: Maps) -> Result<(), Refusal> {
        let fdb = Fdb(maps.open(FDB)?);
        let counters: PerCpuArray<PortCounts> = maps.open(COUNTERS)?;
        let running = self.bridge.now();
        // Without a predecessor, the maps are new, or taken over from an earlier daemon.
        let is_kept = |port: &&Port| running.as_ref().is_none_or(|running| running.has(port));
        let (kept, new): (Vec<_>, Vec<_>) = wanted.ports.iter().partition(is_kept);
        for port in new {
            // Another port may have had its id before.
            counters.set(port.id, &PortCounts::default())?;
        }
        let kept: BTreeSet<u32> = kept.into_iter().map(|port| port.id).collect();
        let bridge = Bridge {
            fdb,
            counters,
            flags: maps.open(FLAGS)?,
            set: datapath::flags(&wanted.config, &wanted.ports),
            ports: wanted.ports.clone(),
            kept,
            statics: datapath::statics(&wanted.config.fdb, &wanted.ports)?,
            aging: wanted.config.fdb.aging(),
        };
        // If packets meet the map already, its flags are these: others would be in another map.
        bridge.set_flags(|port| bridge.kept.contains(&port) && self.watch().links.is_down(port))?;
        self.bridge.prepare(bridge);
        Ok(())
    }

    fn commit(&self) {
        let Some(bridge) = self.bridge.now() else { return };
        let changes = bridge.change(|present, _| Changes::to_configuration(present, &bridge.statics, &bridge.kept));
        self.note("configured", changes);
        self.watch().links.retain(&bridge.kept);
        self.cube.log(Level::Debug, &bridge.summary());
    }

    fn abort(&self) {
        self.cube.log(Level::Debug, "a change was undone: the previous configuration stays in force");
    }

    fn state(&self) -> Result<State, Refusal> {
        self.bridge.read(Bridge::state)
    }

    fn actions() -> Vec<Action> {
        vec![Action::new(FLUSH, "Forget all addresses that were learned")]
    }

    fn action(&self, path: &str, _: &Value) -> Result<Value, Refusal> {
        if path != FLUSH {
            let message = format!("{} has no action `{path}`: it has {FLUSH}", Self::NAME);
            return Err(Refusal::new(Tag::OperationNotSupported, message));
        }
        if let Some(bridge) = self.bridge.now() {
            let changes = bridge.change(|present, _| Changes::flush(present))?;
            self.note("flushed", Ok(changes));
        }
        Ok(Value::Null)
    }

    fn tick(&self) {
        let is_due = {
            let mut watch = self.watch();
            watch.ticks = (watch.ticks + 1) % SWEEP;
            watch.ticks == 0
        };
        if let Some(bridge) = self.bridge.now().filter(|_| is_due) {
            let ports = bridge.port_ids();
            self.note("swept", bridge.change(|present, ageing| Changes::sweep(present, ageing, &ports)));
        }
    }

    /// Forgets the addresses on ports that have gone down, as `br_stp_disable_port()` in net/bridge/br_stp_if.c does:
    /// their stations may appear elsewhere and wait for a frame, rather than send one.
    fn netdevs(&self, netdevs: &Netdevs) {
        let Some(bridge) = self.bridge.now() else { return };
        let mut watch = self.watch();
        let lost = watch.links.update(&bridge.port_ids(), &netdevs.ports);
        let marked = bridge.set_flags(|port| watch.links.is_down(port));
        drop(watch);
        self.note("links", marked.map(|()| Changes::default()));
        if !lost.is_empty() {
            self.note("ports down", bridge.change(|present, _| Changes::forget(present, &lost)));
        }
    }
}

impl Bridge {
    /// Writes the flags of all ports.
    fn set_flags(&self, is_down: impl Fn(u32) -> bool) -> Result<(), MapError> {
        self.ports.iter().try_for_each(|Port { id, .. }| {
            let down = if is_down(*id) { DOWN } else { 0 };
            self.flags.set(*id, &(self.set.get(id).copied().unwrap_or_default() | down))
        })
    }

    fn port_ids(&self) -> BTreeSet<u32> {
        self.ports.iter().map(|port| port.id).collect()
    }

    /// Whether `port` is one of its ports, and not another one that reuses the id or the name.
    fn has(&self, port: &Port) -> bool {
        self.ports.iter().any(|own| own.id == port.id && own.name == port.name)
    }

    fn change(&self, plan: impl FnOnce(&Entries, Ageing) -> Changes) -> Result<Changes, MapError> {
        let changes = plan(&self.fdb.entries()?, Ageing::with_limit(self.aging));
        self.fdb.apply(&changes)?;
        Ok(changes)
    }

    /// The configuration, for the log.
    fn summary(&self) -> String {
        let port = |Port { id, name, netdev }: &Port| match netdev {
            Some(netdev) => format!("{name} (id {id}) over {netdev}"),
            None => format!("{name} (id {id}) down"),
        };
        let ports: Vec<String> = self.ports.iter().map(port).collect();
        let (statics, seconds) = (self.statics.len(), self.aging / 1_000_000_000);
        format!("in force: aging-time {seconds} s, {statics} static addresses, ports: {}", ports.join(", "))
    }

    fn state(&self) -> Result<State, MapError> {
        let entry = shown(&self.fdb.entries()?, &self.ports, Ageing::with_limit(self.aging));
        let mut state = State { fdb: FdbState { entry }, ..State::default() };
        state.counters.entries = state.fdb.entry.len();
        for port in &self.ports {
            let counts = self.counters.sum(port.id)?;
            state.counters.fdb_full += counts.fdb_full;
            state.port_counters.push(PortState { port: port.name.clone(), counts });
        }
        Ok(state)
    }
}

/// The entries that the program uses: on ports that exist, and not aged.
fn shown(entries: &Entries, ports: &[Port], ageing: Ageing) -> Vec<EntryState> {
    let current = entries.iter().filter(|(_, entry)| !ageing.has_aged(entry));
    current
        .filter_map(|(address, entry)| {
            let port = ports.iter().find(|port| port.id == entry.port)?.name.clone();
            let age = ageing.age(entry);
            let r#type = if age.is_some() { Origin::Dynamic } else { Origin::Static };
            Some(EntryState { address: *address, port, r#type, age: age.map(|nanos| nanos / 1_000_000_000) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use polycube_layout::bridge::{FdbEntry, STATIC};

    use super::*;
    use crate::mac::Mac;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn aged_entries_and_those_of_other_ports_are_not_shown() {
        let entry = |seen, port| FdbEntry { seen, port, zero: 0 };
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let entries = Entries::from([
            (mac(4), entry(STATIC, 9)),
            (mac(3), entry(STATIC, 9)),
            (mac(2), entry(7 * SECOND, 9)),
            (mac(1), entry(4 * SECOND, 9)),
            (mac(5), entry(7 * SECOND, 8)),
        ]);
        let ports = [Port { id: 9, name: String::from("left"), netdev: None }];
        let shown = shown(&entries, &ports, Ageing { now: 10 * SECOND, limit: 5 * SECOND });
        let expected = [(2, Origin::Dynamic, Some(3)), (3, Origin::Static, None), (4, Origin::Static, None)];
        let expected = expected.map(|(last, r#type, age)| EntryState {
            address: mac(last),
            port: String::from("left"),
            r#type,
            age,
        });
        assert_eq!(shown, expected);
    }
}
