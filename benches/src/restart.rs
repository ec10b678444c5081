//! What it costs that changes outlive the daemon, and how long the next one takes to bring everything back.

use std::time::{Duration, Instant};

use anyhow::Result;
use polycube_tests::scene::{Scene, Watched};

use crate::api::{create, delete, fill};
use crate::figures::Samples;
use crate::report::{Cell, Row, Table};

/// Bridges that are created one by one.
const BRIDGES: usize = 1000;

/// Cubes when one more is created.
const LEVELS: [usize; 2] = [10, 10_000];

/// `patience` bounds how long a daemon is filled with cubes.
pub(crate) fn run(rounds: usize, patience: Duration) -> Result<Table> {
    let mut rows = created()?;
    rows.extend(growth(rounds, patience)?);
    rows.extend(restored(rounds)?);
    rows.extend(forwarded(rounds)?);
    Ok(Table {
        bench: "restart",
        what: String::from(
            "What outlives the daemon; the ratio of changes is to a daemon that stores nothing, or to 10 cubes",
        ),
        columns: vec!["figure", "ratio"],
        rows,
    })
}

fn one_by_one(scene: &Scene) -> Result<f64> {
    let began = Instant::now();
    for number in 0..BRIDGES {
        create(&scene.daemon, &format!("b{number}"))?;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn created() -> Result<Vec<Row>> {
    let scene = Scene::set_up().start()?;
    let forgotten = one_by_one(&scene)?;
    drop(scene);
    let scene = Scene::set_up().kept().start()?;
    let kept = one_by_one(&scene)?;
    let name = |what: &str| format!("{BRIDGES} bridges of two ports, s to create them one by one, REST, {what}");
    Ok(vec![
        Row { name: name("not stored"), cells: vec![Cell::number(forgotten, 1), Cell::none()] },
        Row { name: name("stored"), cells: vec![Cell::number(kept, 1), Cell::number(kept / forgotten, 2)] },
    ])
}

fn growth(rounds: usize, patience: Duration) -> Result<Vec<Row>> {
    let scene = Scene::set_up().kept().start()?;
    let (mut rows, mut count, mut base) = (Vec::new(), 0, None);
    create(&scene.daemon, "first")?;
    for level in LEVELS {
        fill(&scene.daemon, &mut count, level, Instant::now() + patience)?;
        let mut took = Samples::default();
        for _ in 0..rounds {
            let began = Instant::now();
            create(&scene.daemon, "more")?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            delete(&scene.daemon, "more")?;
        }
        let first = *base.get_or_insert(took.median());
        rows.push(Row {
            name: format!("{count} cubes stored, ms to create one more bridge of two ports, REST"),
            cells: vec![Cell::of(&took, 2), Cell::number(took.median() / first, 2)],
        });
    }
    Ok(rows)
}

/// From the start of the program to its first answer.
fn restart(scene: &mut Scene) -> Result<f64> {
    scene.daemon.kill9()?;
    let began = Instant::now();
    scene.daemon.restart()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn restored(rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for bridges in [1, BRIDGES] {
        let mut scene = Scene::set_up().kept().start()?;
        for number in 0..bridges {
            create(&scene.daemon, &format!("b{number}"))?;
        }
        let mut took = Samples::default();
        for _ in 0..rounds {
            took.push(restart(&mut scene)?);
        }
        rows.push(Row {
            name: format!("bridges of two ports: {bridges}, ms from exec to the first answer after kill -9"),
            cells: vec![Cell::of(&took, 0), Cell::none()],
        });
    }
    Ok(rows)
}

fn forwarded(rounds: usize) -> Result<Vec<Row>> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    scene.sniff("capture=bidirectional");
    let watched = Watched::start(&scene)?;
    let mut took = Samples::default();
    for _ in 0..rounds {
        watched.steady().wait_for(10_000)?;
        took.push(restart(&mut scene)?);
    }
    let sent = watched.stop()?;
    let missing = f64::from(sent) - scene.counter("captured")? as f64;
    let what = format!("a bridge with a capture, {sent} frames, killed {rounds} times, none lost on its way");
    Ok(vec![
        Row {
            name: format!("{what}, ms from exec to the first answer"),
            cells: vec![Cell::of(&took, 0), Cell::none()],
        },
        Row {
            name: format!("{what}, captured frames lost, %"),
            cells: vec![Cell::number(missing / f64::from(sent) * 100.0, 2), Cell::none()],
        },
    ])
}
