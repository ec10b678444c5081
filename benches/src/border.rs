//! What a call from the host to a plugin costs, compared with a call of a trait object.
//!
//! The plugin's code is in this process, and calls go through the same table of functions, guard and JSON text as those
//! to a loaded library.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, anyhow};
use polycube_plugin_api::__private::abi_stable::{sabi_trait::TD_Opaque, std_types::RStr};
use polycube_plugin_api::__private::instantiate;
use polycube_plugin_api::abi::{CubeHandle, HostAbi, HostAbi_TO};
use polycube_plugin_api::maps::Total as _;
use polycube_plugin_api::{Cube, Datapath, Refusal, Service, ServiceKind, Wanted, counters};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::figures::Samples;
use crate::report::{Cell, Row, Table};

/// Calls in a turn.
const CALLS: u32 = 20_000;

struct Log;

impl HostAbi for Log {
    fn log(&self, level: u8, message: RStr<'_>) {
        black_box((level, message));
    }
}

counters! {
    /// What the bench counts
    struct Counters {
        /// Packets passed on
        passed: "bench_passed_packets_total",
        /// Packets dropped
        dropped: "bench_dropped_packets_total",
    }
}

/// There is nothing to set.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Config {}

struct Bench(Counters);

impl Service for Bench {
    const NAME: &'static str = "bench";
    const DESCRIPTION: &'static str = "Answers at once";
    const KIND: ServiceKind = ServiceKind::Transparent;
    type Config = Config;
    type State = Counters;

    fn create(_: Cube) -> Result<Self, Refusal> {
        Ok(Self(Counters { passed: 1, dropped: 2 }))
    }

    fn datapath(&self, _: &Wanted<Config>) -> Result<Datapath, Refusal> {
        Ok(Datapath::default())
    }

    fn state(&self) -> Result<Counters, Refusal> {
        Ok(self.0)
    }
}

/// The same without a border.
trait Peer {
    fn state(&self) -> Counters;
    fn tick(&self);
}

impl Peer for Bench {
    fn state(&self) -> Counters {
        self.0
    }

    fn tick(&self) {}
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let host = HostAbi_TO::from_value(Log, TD_Opaque);
    let birth = json!({"name": "b", "uuid": "", "capture-dir": "/"}).to_string();
    let cube: CubeHandle =
        instantiate::<Bench>(birth.as_str().into(), host).into_result().map_err(|why| anyhow!("{why}"))?;
    let peer: Box<dyn Peer> = black_box(Box::new(Bench(Counters::default())));
    let mut sum = Counters::default();
    let rows = vec![
        row("`tick`, which does nothing", rounds, || drop(black_box(cube.tick())), || black_box(&peer).tick()),
        row(
            "`state` of two counters, as JSON text",
            rounds,
            || drop(black_box(cube.state())),
            || sum.add(&black_box(&peer).state()),
        ),
    ];
    black_box(sum);
    Ok(Table {
        bench: "border",
        what: String::from("A call from the host to a plugin, in nanoseconds"),
        columns: vec!["across the border", "trait object", "ratio"],
        rows,
    })
}

fn row(name: &str, rounds: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Row {
    let (mut across, mut direct, mut ratio) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..rounds {
        let (one, other) = (turn(&mut ours), turn(&mut theirs));
        across.push(one);
        direct.push(other);
        ratio.push(one / other);
    }
    Row { name: name.to_owned(), cells: vec![Cell::of(&across, 0), Cell::of(&direct, 1), Cell::of(&ratio, 0)] }
}

/// Nanoseconds of a call.
fn turn(call: &mut impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    began.elapsed().as_nanos() as f64 / f64::from(CALLS)
}
