//! What one more change costs when the daemon already has few cubes, or many.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

use super::{create, delete, resident};
use crate::figures::Samples;
use crate::report::{Cell, Row};

/// The first is what the others are compared with.
const LEVELS: [usize; 3] = [10, 1_000, 10_000];

/// Cubes that one request creates on the way to the next level. Its body stays far below the daemon's limit of 1 MiB.
const BATCH: usize = 500;

/// One cube in so many is a bridge of two ports, the others are captures that are off. A bridge holds five descriptors:
/// 10,000 of them are more than a machine with a limit of 20,000 allows.
const BRIDGE_EVERY: usize = 3;

/// A row for the time and a row for the memory at each level. A level that is not reached within `patience` is measured
/// at as many cubes as there are by then.
pub(super) fn rows(rounds: usize, patience: Duration) -> Result<Vec<Row>> {
    let scene = Scene::set_up().start()?;
    let daemon = &scene.daemon;
    // The first cube of a service costs what all others share.
    changes(daemon, 1)?;
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    let mut base: Option<(f64, f64)> = None;
    let mut count = 0;
    for level in LEVELS {
        let (before, had) = (resident(daemon)?, count);
        fill(daemon, &mut count, level, Instant::now() + patience)?;
        let each = (resident(daemon)? - before) / (count - had).max(1) as f64;
        let took = changes(daemon, rounds)?;
        let (first_took, first_each) = *base.get_or_insert((took.median(), each));
        let what = if count == level { format!("{count} cubes") } else { format!("{count} of {level} cubes") };
        times.push(Row {
            name: format!("{what}, ms to create one more bridge of two ports, REST"),
            cells: vec![Cell::of(&took, 2), Cell::number(took.median() / first_took, 2)],
        });
        sizes.push(Row {
            name: format!("{what}, KiB of memory for each of the last {}", count - had),
            cells: vec![Cell::number(each, 1), Cell::number(each / first_each, 2)],
        });
        if count < level {
            break;
        }
    }
    Ok(times.into_iter().chain(sizes).collect())
}

/// Creates cubes until there are `level`, or until the deadline.
pub(crate) fn fill(daemon: &Daemon, count: &mut usize, level: usize, deadline: Instant) -> Result<()> {
    while *count < level && Instant::now() < deadline {
        let next = (*count + BATCH).min(level);
        let body = (*count..next).map(cube).collect();
        let answer = daemon.http("POST", "/polycube/v1/cubes/", Some(&body))?;
        ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
        *count = next;
    }
    Ok(())
}

fn cube(number: usize) -> Value {
    let name = format!("c{number}");
    if number.is_multiple_of(BRIDGE_EVERY) {
        json!({ "name": name, "service-name": "simplebridge", "ports": [{ "name": "p1" }, { "name": "p2" }] })
    } else {
        json!({ "name": name, "service-name": "packetcapture" })
    }
}

/// Times `rounds` creations; each cube is deleted before the next, so that the daemon's size stays the same.
fn changes(daemon: &Daemon, rounds: usize) -> Result<Samples> {
    let mut took = Samples::default();
    for _ in 0..rounds {
        let began = Instant::now();
        create(daemon, "more")?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        delete(daemon, "more")?;
    }
    Ok(took)
}
