//! Does the daemon start, and say what is wrong in one line, whatever stands in its directories?

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{attempt, binary_dir};
use polycube_tests::disk::Disk;
use polycube_tests::scene::{Scene, eventually};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::json;

fn make_pipe(path: &Path) -> Result<()> {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).with_context(|| path.display().to_string())
}

#[test]
fn a_named_pipe_among_configurations_holds_up_neither_start_nor_reload_nor_stop() -> Result<()> {
    let mut scene = Scene::set_up().kept().start()?;
    scene.daemon.terminate()?;
    make_pipe(&scene.daemon.conf_dir().join("20.yaml"))?;
    scene.daemon.restart()?;
    let said = |scene: &Scene| scene.daemon.log().matches("20.yaml: it is a named pipe, not a regular file").count();
    assert_eq!(said(&scene), 1, "{}", scene.daemon.log());
    scene.daemon.signal(Signal::HUP)?;
    eventually("the reload", || Ok(said(&scene) == 2))?;
    assert!(scene.daemon.terminate()?.success());
    Ok(())
}

#[test]
fn named_pipes_in_the_place_of_other_files_are_refused_at_once() -> Result<()> {
    let scene = Scene::set_up().start()?;
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("libpcn_pipe.so");
    make_pipe(&pipe)?;
    let (pipe, place) = (pipe.to_str().context("UTF-8")?, directory.path().to_str().context("UTF-8")?);
    for words in [
        &["--config", pipe][..],
        &["--port", "0", "--token-file", pipe],
        &["--port", "0", "--no-auth", "--cert", pipe, "--key", pipe],
        &["--plugin-dir", place, "check"],
    ] {
        let output = attempt(&scene.lab, words)?;
        assert!(output.code.is_some_and(|code| code != 0), "{output}");
        assert!(output.stderr.contains("it is a named pipe, not a regular file"), "{output}");
    }
    Ok(())
}

#[test]
fn a_store_that_was_cut_anywhere_is_put_aside() -> Result<()> {
    let mut scene = Scene::set_up().kept().commands(["simplebridge add br1"]).start()?;
    let store = scene.daemon.state_dir().join("state.redb");
    for (times, length) in [1, 9, 100, 319, 320, 5000].into_iter().enumerate() {
        scene.daemon.terminate()?;
        OpenOptions::new().write(true).open(&store)?.set_len(length)?;
        scene.daemon.restart()?;
        assert_eq!(scene.get("cubes")?, json!({}), "{length} bytes");
        assert_eq!(scene.daemon.log().matches("is damaged").count(), times + 1, "{length} bytes");
        scene.daemon.ctl("simplebridge add br1").ok();
    }
    Ok(())
}

#[test]
fn a_store_that_the_database_panics_at_is_reported_in_one_line() -> Result<()> {
    let mut scene = Scene::set_up().kept().start()?;
    (0..20).for_each(|number| drop(scene.daemon.ctl(&format!("simplebridge add br{number}")).ok()));
    scene.daemon.terminate()?;
    let store = scene.daemon.state_dir().join("state.redb");
    let whole = fs::read(&store)?;
    let panics = |damaged: &[u8]| -> Result<bool> {
        fs::write(&store, damaged)?;
        let tried = Command::new(binary_dir()?.join("polycubed")).arg("try-store").arg(&store).output()?;
        // `EX_DATAERR` of sysexits(3).
        Ok(tried.status.code() == Some(65))
    };
    let zeroed = (4096..whole.len()).step_by(4096).map(|page| {
        let mut damaged = whole.clone();
        let end = damaged.len().min(page + 4096);
        damaged[page..end].fill(0);
        damaged
    });
    let mut found = false;
    for damaged in zeroed.filter(|damaged| *damaged != whole) {
        if panics(&damaged)? {
            found = true;
            fs::write(&store, &damaged)?;
            break;
        }
    }
    ensure!(found, "no page makes the database panic");
    scene.daemon.restart()?;
    let log = scene.daemon.log();
    assert!(log.contains("is damaged (the database panics at it)"), "{log}");
    assert!(!log.contains("panicked at") && !log.contains("backtrace"), "{log}");
    Ok(())
}

#[test]
fn a_full_state_directory_keeps_no_daemon_from_starting() -> Result<()> {
    let disk = Disk::new(8)?;
    let state = disk.path().to_str().context("UTF-8")?;
    let mut scene =
        Scene::set_up().kept().arguments(["--state-dir", state]).commands(["simplebridge add br1"]).start()?;
    scene.daemon.kill9()?;
    assert!(disk.fill(64 << 20).is_err(), "the disk takes what it has room for, and is full then");
    scene.daemon.restart()?;
    assert_eq!(scene.get("br1")?["name"], "br1");
    let pid = scene.daemon.pid().context("a daemon")?.to_string();
    assert_eq!(fs::read_to_string(disk.path().join("lock"))?.trim(), pid, "it replaces the former one in its place");
    scene.daemon.kill9()?;
    // Without a block of its own, it has no room for any pid.
    fs::write(disk.path().join("lock"), "")?;
    assert!(disk.fill(64 << 20).is_err());
    scene.daemon.restart()?;
    let log = scene.daemon.log();
    assert!(log.contains("cannot write the daemon's pid") && log.contains(&format!("path={state}/lock")), "{log}");
    let refused = attempt(&scene.lab, &["--state-dir", state])?.one_line(1);
    assert!(refused.contains(&format!("another polycubed already uses {state}")), "{refused}");
    assert_eq!(scene.get("br1")?["name"], "br1");
    Ok(())
}

#[test]
fn a_dry_run_of_cleanup_changes_nothing_and_cleanup_says_that_nothing_is_left() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    scene.daemon.kill9()?;
    let (state, bpffs) = (scene.daemon.state_dir(), scene.daemon.bpffs_dir());
    let (state, bpffs) = (state.to_str().context("UTF-8")?, bpffs.to_str().context("UTF-8")?);
    let stamps = || -> Result<Vec<_>> {
        let entries = fs::read_dir(state)?.map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.metadata()?.modified()?, fs::read(entry.path())?))
        });
        let mut entries = entries.collect::<Result<Vec<_>>>()?;
        entries.sort();
        Ok(entries)
    };
    let before = (stamps()?, scene.daemon.pins()?);
    let listed = attempt(&scene.lab, &["--state-dir", state, "--bpffs", bpffs, "cleanup", "--dry-run"])?.ok();
    assert!(listed.contains("/cubes/br1/"), "{listed}");
    assert_eq!((stamps()?, scene.daemon.pins()?), before);
    let none = format!("{state}/none");
    let output = attempt(&scene.lab, &["--state-dir", &none, "--bpffs", bpffs, "cleanup", "--dry-run"])?;
    assert!(output.stderr.contains(&format!("--state-dir {none}: there is no such directory")), "{output}");
    assert_eq!(output.ok(), listed);
    assert!(!Path::new(&none).exists(), "a dry run makes no directory");
    attempt(&scene.lab, &["--state-dir", state, "--bpffs", bpffs, "cleanup"])?.ok();
    fs::create_dir(bpffs)?;
    for more in [&["--dry-run"][..], &[]] {
        let words = [&["--state-dir", state, "--bpffs", bpffs, "cleanup"], more].concat();
        assert_eq!(attempt(&scene.lab, &words)?.ok().trim(), "nothing is left", "{more:?}");
    }
    Ok(())
}

#[test]
fn a_daemon_that_does_not_answer_is_named_after_a_while() -> Result<()> {
    let scene = Scene::set_up().start()?;
    let quick = scene.daemon.ctl("services show");
    assert!(quick.stderr.is_empty(), "{quick}");
    scene.daemon.signal(Signal::STOP)?;
    let output = std::thread::scope(|scope| -> Result<_> {
        let asked = scope.spawn(|| scene.daemon.ctl("services show"));
        std::thread::sleep(std::time::Duration::from_secs(8));
        scene.daemon.signal(Signal::CONT)?;
        asked.join().map_err(|_| anyhow::anyhow!("polycubectl cannot be run"))
    })?;
    let socket = scene.daemon.socket();
    assert!(output.stderr.contains(&format!("{} has not answered yet", socket.display())), "{output}");
    assert_eq!(output.code, Some(0), "it is answered after all: {output}");
    Ok(())
}
