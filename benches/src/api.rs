//! What the daemon itself costs: many cubes, created and shown; one change among few cubes and among many; one command.

mod detach;
mod growth;

pub(crate) use growth::fill;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::Scene;
use serde_json::json;

use crate::figures::Samples;
use crate::report::{Cell, Row, Table};

const CUBES: usize = 1000;

/// `patience` bounds how long the daemon is filled with cubes before one more change is measured.
pub(crate) fn run(rounds: usize, patience: Duration) -> Result<Table> {
    let mut rows = shown(rounds)?;
    rows.extend(growth::rows(rounds, patience)?);
    rows.extend(detach::rows(rounds)?);
    Ok(Table {
        bench: "api",
        what: String::from("The daemon with many cubes; the ratio is to 10 cubes, or to one place"),
        columns: vec!["figure", "ratio"],
        rows,
    })
}

fn shown(rounds: usize) -> Result<Vec<Row>> {
    let scene = Scene::set_up().start()?;
    let daemon = &scene.daemon;
    let mut rows = Vec::new();
    create(daemon, "b0")?;
    rows.push(row("one bridge of two ports", "ms, `polycubectl NAME show`", rounds, || {
        command(daemon, &["b0", "show"])
    })?);
    let (before, began) = (resident(daemon)?, Instant::now());
    for number in 1..CUBES {
        create(daemon, &format!("b{number}"))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let each = (resident(daemon)? - before) / (CUBES - 1) as f64;
    let one = |name: String, value: f64| Row { name, cells: vec![Cell::number(value, 1), Cell::none()] };
    rows.push(one(format!("{CUBES} bridges of two ports, s to create them one by one, REST"), seconds));
    rows.push(one(String::from("memory of each, KiB"), each));
    let all = format!("{CUBES} bridges of two ports");
    rows.push(row(&all, "ms, GET cubes", rounds, || get(daemon, "cubes"))?);
    rows.push(row(&all, "ms, GET topology", rounds, || get(daemon, "topology"))?);
    rows.push(row(&all, "ms, GET simplebridge", rounds, || get(daemon, "simplebridge"))?);
    rows.push(row(&all, "ms, `polycubectl simplebridge show`", rounds, || command(daemon, &["simplebridge", "show"]))?);
    rows.push(row(&all, "ms, `polycubectl NAME show`", rounds, || command(daemon, &["b0", "show"]))?);
    Ok(rows)
}

fn row(what: &str, unit: &str, rounds: usize, work: impl Fn() -> Result<()>) -> Result<Row> {
    let mut took = Samples::default();
    for _ in 0..rounds {
        let began = Instant::now();
        work()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Row { name: format!("{what}, {unit}"), cells: vec![Cell::of(&took, 1), Cell::none()] })
}

pub(crate) fn create(daemon: &Daemon, name: &str) -> Result<()> {
    let body = json!({ "ports": [{ "name": "p1" }, { "name": "p2" }] });
    let answer = daemon.http("POST", &format!("/polycube/v1/simplebridge/{name}/"), Some(&body))?;
    ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
    Ok(())
}

pub(crate) fn delete(daemon: &Daemon, name: &str) -> Result<()> {
    let answer = daemon.http("DELETE", &format!("/polycube/v1/{name}/"), None)?;
    ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text());
    Ok(())
}

fn get(daemon: &Daemon, path: &str) -> Result<()> {
    let answer = daemon.http("GET", &format!("/polycube/v1/{path}/"), None)?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    Ok(())
}

fn command(daemon: &Daemon, words: &[&str]) -> Result<()> {
    let output = daemon.ctl_words(words);
    ensure!(output.code == Some(0), "{output}");
    Ok(())
}

/// The daemon's resident memory in KiB.
fn resident(daemon: &Daemon) -> Result<f64> {
    let pid = daemon.pid().context("the daemon has ended")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("VmRSS is empty")?.parse()?)
}
