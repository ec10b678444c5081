//! One cube.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polycube_plugin_api::packets::{Handed, PacketIn, PacketLog, PacketReader};
use polycube_plugin_api::{Cube, Datapath, Level, Maps, Port, Refusal, Service, ServiceKind, Staged, Wanted};

use crate::config::Config;
use crate::datapath::datapath;
use crate::state::{SlowPath, State};

/// A cube of the service.
pub struct HelloWorld {
    ports: Arc<Staged<Vec<Port>>>,
    reader: PacketReader,
    /// Packets that arrived in user space.
    packets: Arc<AtomicU64>,
}

impl Service for HelloWorld {
    const NAME: &'static str = "helloworld";
    const DESCRIPTION: &'static str = "Drops packets, forwards them between two ports, or shows them to user space";
    const KIND: ServiceKind = ServiceKind::Standard;
    type Config = Config;
    type State = State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        let (ports, packets) = (Arc::new(Staged::<Vec<Port>>::new(&cube)), Arc::new(AtomicU64::new(0)));
        let (log, names, count) = (PacketLog::new(&cube, Level::Info), Arc::clone(&ports), Arc::clone(&packets));
        let handler = move |packet: &PacketIn| {
            count.fetch_add(1, Ordering::Relaxed);
            let ports = names.now();
            let name = ports.as_ref().and_then(|ports| ports.iter().find(|port| port.id == packet.at));
            log.write(format_args!("a packet at port {}: {packet}", name.map_or("?", |port| port.name.as_str())));
        };
        Ok(Self { ports, reader: PacketReader::new(&cube, handler), packets })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        datapath(wanted.config, &wanted.ports)
    }

    fn prepare(&self, wanted: &Wanted<Config>, mut maps: Maps) -> Result<(), Refusal> {
        self.ports.prepare(wanted.ports.clone());
        self.reader.prepare(&mut maps)
    }

    fn state(&self) -> Result<State, Refusal> {
        let packets = self.packets.load(Ordering::Relaxed);
        let Handed { lost, expired, .. } = self.reader.handed()?;
        Ok(State { slow_path: SlowPath { packets, lost, expired } })
    }
}
