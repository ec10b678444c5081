//! The benches: what the packets' path costs, compared with other programs in the same run.
//!
//! A shared machine is fast now and slow a second later. So the things compared take turns, many times, and a figure is
//! the median over pairs of neighbouring turns, with the middle half of the pairs in brackets. A bench whose main figures
//! are not steady by then goes on for a while; what is not steady at the end is named under its table.

mod api;
mod border;
mod bridge;
mod capture;
mod disk;
mod figures;
mod filter;
mod index;
mod line;
mod live;
mod machine;
mod merge;
mod peer;
mod process;
mod program;
mod queues;
mod recorded;
mod recorder;
mod reload;
mod report;
mod restart;
mod slow;
mod sniffer;
mod span;
mod splice;
mod stage;
mod tcp;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use machine::Machine;
use report::Table;

#[derive(Parser)]
#[command(name = "./x bench", about = "Measures the packets' path, compared with other programs in the same run")]
struct Arguments {
    /// What to measure [default: everything]
    names: Vec<Bench>,
    /// Print JSON, with all measurements
    #[arg(long)]
    json: bool,
    /// How often each pair is run; up to three times as often if the figures are not steady [default: about a minute's
    /// worth]
    #[arg(long)]
    rounds: Option<usize>,
    /// Minutes that `api` and `restart` may spend on creating their cubes; after that they measure with those they have
    #[arg(long, default_value_t = 3)]
    minutes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The eBPF programs alone, in nanoseconds per packet
    Program,
    /// One order from many CPUs' records, alone
    Merge,
    /// A capture of the highest rate that one core can send at
    Capture,
    /// One capture of two, four and eight senders at once, and whether it keeps their order
    Queues,
    /// What the disk takes, with one request at a time and with several: the least that a recorder spends
    Disk,
    /// A capture of a TCP transfer
    Tcp,
    /// Attaching and detaching under traffic, and the daemon's start
    Splice,
    /// simplebridge compared with the kernel's bridge
    Bridge,
    /// span compared with tc's mirred, to a netdev and by VXLAN
    Span,
    /// A capture in one line, compared with tcpdump and dumpcap
    Line,
    /// Ten readers of a live stream, and how soon each sees a packet
    Live,
    /// The daemon with up to ten thousand cubes, and a cube at a hundred places
    Api,
    /// Filters that reject, many sniffers, and a change of filter
    Filter,
    /// The index of captured files: what it costs when a file is closed, and what it saves queries
    Index,
    /// A call from the host to a plugin, compared with one of a trait object
    Border,
    /// Changes that are stored, and a daemon that brings them back
    Restart,
    /// Packets through user space and back, compared with two packet sockets
    Slow,
    /// Plugins that are loaded, and loaded again under traffic
    Reload,
}

impl Bench {
    fn run(self, rounds: Option<usize>, patience: Duration) -> Result<Table> {
        match self {
            Self::Program => program::run(rounds.unwrap_or(1000)),
            Self::Merge => merge::run(rounds.unwrap_or(100)),
            Self::Capture => capture::run(rounds.unwrap_or(9)),
            Self::Queues => queues::run(rounds.unwrap_or(5)),
            Self::Disk => disk::run(rounds.unwrap_or(9)),
            Self::Tcp => tcp::run(rounds.unwrap_or(5)),
            Self::Splice => splice::run(rounds.unwrap_or(30)),
            Self::Bridge => bridge::run(rounds.unwrap_or(9)),
            Self::Span => span::run(rounds.unwrap_or(9)),
            Self::Line => line::run(rounds.unwrap_or(5)),
            Self::Live => live::run(rounds.unwrap_or(5)),
            Self::Api => api::run(rounds.unwrap_or(20), patience),
            Self::Filter => filter::run(rounds.unwrap_or(9)),
            Self::Index => index::run(rounds.unwrap_or(9)),
            Self::Border => border::run(rounds.unwrap_or(200)),
            Self::Restart => restart::run(rounds.unwrap_or(20), patience),
            Self::Slow => slow::run(rounds.unwrap_or(9)),
            Self::Reload => reload::run(rounds.unwrap_or(30)),
        }
    }
}

fn main() -> Result<()> {
    let Arguments { names, json, rounds, minutes } = Arguments::parse();
    let benches = if names.is_empty() { Bench::value_variants() } else { &names };
    let machine = Machine::look();
    let mut tables = Vec::new();
    for bench in benches {
        let name = bench.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("bench: {name}");
        let table = bench.run(rounds, Duration::from_secs(60 * minutes))?;
        if !json {
            print!("{}", table.text(&report::command(&name, rounds)));
        }
        tables.push(table.json(&report::command(&name, rounds)));
    }
    if json {
        println!("{:#}", report::document(&machine, &tables));
    } else {
        print!("{}", machine.text());
    }
    Ok(())
}
