//! What it costs to take a cube off many places at once.

use std::time::Instant;

use anyhow::{Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::lab::Lab;
use serde_json::json;

use super::delete;
use crate::figures::Samples;
use crate::report::{Cell, Row};

/// The second is compared with the first.
const PLACES: [usize; 2] = [1, 100];

/// Attaching 100 places takes seconds, and so does detaching them.
const MOST_ROUNDS: usize = 5;

pub(super) fn rows(rounds: usize) -> Result<Vec<Row>> {
    let lab = Lab::new()?;
    let netdevs = (0..PLACES[1]).map(|number| format!("veth{number}")).collect::<Vec<_>>();
    for pair in netdevs.chunks(2) {
        lab.join((lab.host(), &pair[0]), (lab.host(), &pair[1]))?;
    }
    let daemon = Daemon::start(&lab)?;
    let mut first = None;
    let mut rows = Vec::new();
    for places in PLACES {
        let took = deletions(&daemon, &netdevs[..places], rounds.min(MOST_ROUNDS))?;
        let base = *first.get_or_insert(took.median());
        let place = if places == 1 { "place" } else { "places" };
        rows.push(Row {
            name: format!("a capture at {places} {place}, ms to delete it, REST"),
            cells: vec![Cell::of(&took, 1), Cell::number(took.median() / base, 2)],
        });
    }
    Ok(rows)
}

fn deletions(daemon: &Daemon, netdevs: &[String], rounds: usize) -> Result<Samples> {
    let mut took = Samples::default();
    for _ in 0..rounds {
        let sniffer = json!([{
            "name": "sniffer",
            "service-name": "packetcapture",
            "capture": "bidirectional",
            "parents": netdevs,
        }]);
        let answer = daemon.http("POST", "/polycube/v1/cubes/", Some(&sniffer))?;
        ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
        let began = Instant::now();
        delete(daemon, "sniffer")?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}
