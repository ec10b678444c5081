//! @name@: counts packets, and drops them if told to.

use polycube_plugin_api::maps::PerCpuArray;
use polycube_plugin_api::{
    Cube, Datapath, Maps, Refusal, Service, ServiceKind, Staged, Wanted, constant, counters, export_plugin,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What build.rs makes of the kernel side.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/@name@.o"));

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Config {
    /// Drop every packet
    drop: bool,
}

counters! {
    /// What came in
    pub struct Counters {
        /// Packets
        packets: "@name@_packets_total",
        /// Bytes of these packets
        bytes: "@name@_bytes_total",
    }
}

/// One cube.
pub struct Function {
    counters: Staged<PerCpuArray<Counters>>,
}

impl Service for Function {
    const NAME: &'static str = "@name@";
    const DESCRIPTION: &'static str = "Counts packets, and drops them if told to";
    const KIND: ServiceKind = ServiceKind::Standard;
    type Config = Config;
    type State = Counters;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        Ok(Self { counters: Staged::new(&cube) })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        let settings = [constant("DROP", [u8::from(wanted.config.drop)])];
        Ok(Datapath::of(OBJECT).at_ports("@entry@", &settings).map("counters"))
    }

    fn prepare(&self, _: &Wanted<Config>, mut maps: Maps) -> Result<(), Refusal> {
        self.counters.prepare(maps.open("counters")?);
        Ok(())
    }

    fn state(&self) -> Result<Counters, Refusal> {
        self.counters.read(|counters| counters.sum(0))
    }
}

export_plugin!(Function);
