//! Does the daemon notice when a part of it fails, and does everybody else go on?

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Output;
use polycube_tests::hook::programs_attached;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::reachable;
use serde_json::Value;

/// Longer than a change of another cube may take, however slow a plugin is; much less than the plugins here take.
const QUICK: Duration = Duration::from_secs(2);

/// Two cubes whose plugins do what they are told to, beside a real one.
fn scene() -> Result<Scene> {
    Scene::set_up().peers(2).fixtures(["panicky"]).commands(["panicky add slow", "panicky add other"]).start()
}

fn timed(run: impl FnOnce() -> Output) -> (Output, Duration) {
    let began = Instant::now();
    (run(), began.elapsed())
}

#[track_caller]
fn assert_quick(scene: &Scene, line: &str) {
    let (output, took) = timed(|| scene.daemon.ctl(line));
    output.ok();
    assert!(took < QUICK, "`{line}` took {took:?}");
}

fn logged(scene: &Scene, words: &[&str]) -> usize {
    scene.daemon.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[test]
fn a_panic_of_the_engine_ends_the_daemon_and_leaves_the_datapath() -> Result<()> {
    let fixtures = Scene::set_up().peers(2).arguments(["--fault", "delete br2"]);
    let mut scene = fixtures.bridge().commands(["simplebridge add br2"]).start()?;
    scene.peer(1).add_address("10.0.0.1/24")?;
    let address = scene.peer(2).add_address("10.0.0.2/24")?;
    let passes = |scene: &Scene| reachable(scene.namespace(1), scene.namespace(2), address).map(|took| took.is_some());
    ensure!(passes(&scene)?, "traffic passes the bridge");
    let attached = programs_attached(scene.daemon.host(), "veth1")?;
    ensure!(!attached.is_empty(), "the bridge has programs");

    let output = scene.daemon.ctl("del br2");
    ensure!(output.code != Some(0), "a change that the engine did not survive has no answer: {output}");
    let status = scene.daemon.wait_for_end()?;
    ensure!(!status.success(), "{status}");
    let log = scene.daemon.log();
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains("the engine has panicked"), "the last line says why: {last:?}");
    ensure!(log.contains("fault point `delete br2`"), "the reason is in the log: {log}");
    ensure!(programs_attached(scene.daemon.host(), "veth1")? == attached, "its programs are still there");
    ensure!(passes(&scene)?, "traffic still passes the bridge");

    scene.daemon.restart()?;
    assert_quick(&scene, "simplebridge add br3");
    Ok(())
}

#[test]
fn a_slow_tick_holds_up_nobody_and_never_queues_up() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("slow set sleep=tick milliseconds=3000").ok();
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(8) {
        assert_quick(&scene, &format!("simplebridge add br{number}"));
        assert_quick(&scene, &format!("other set size={}", number % 9));
        number += 1;
    }
    let slow = logged(&scene, &["WARN", "slow", "tick", "the plugin took 3"]);
    ensure!((1..=3).contains(&slow), "{slow} ticks of 3 s in about 8 s are in the log:\n{}", scene.daemon.log());
    // Its own cube waits for one tick at most.
    let (output, took) = timed(|| scene.daemon.ctl("slow set sleep=none"));
    output.ok();
    ensure!(took < Duration::from_secs(5), "its own change took {took:?}");
    Ok(())
}

#[test]
fn a_slow_action_holds_its_own_cube_only() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("slow set sleep=action milliseconds=6000").ok();
    thread::scope(|scope| -> Result<()> {
        let began = Instant::now();
        let acting = scope.spawn(|| timed(|| scene.daemon.ctl("slow provoke")));
        thread::sleep(Duration::from_millis(1500));
        let waiting = scope.spawn(|| timed(|| scene.daemon.ctl("slow set size=5")));
        while began.elapsed() < Duration::from_secs(4) {
            assert_quick(&scene, "other provoke");
            assert_quick(&scene, "packetcapture add s");
            assert_quick(&scene, "attach s veth1");
            assert_quick(&scene, "del s");
        }
        let (acted, took) = acting.join().ok().context("the action panicked")?;
        acted.ok();
        ensure!(took >= Duration::from_secs(6), "the action took {took:?}");
        let (changed, took) = waiting.join().ok().context("the change panicked")?;
        changed.ok();
        ensure!(took >= Duration::from_secs(3), "the change of its cube took {took:?}");
        Ok(())
    })?;
    ensure!(scene.daemon.ctl("slow show size").ok().trim() == "5", "the change was made when the action had ended");
    ensure!(logged(&scene, &["WARN", "slow", "action", "the plugin took "]) == 1, "{}", scene.daemon.log());
    Ok(())
}

#[test]
fn a_call_that_does_not_return_makes_its_cube_stuck_and_nobody_else() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("slow set sleep=tick milliseconds=60000").ok();
    eventually("the cube counts as stuck", || {
        let failure = scene.get("slow")?["failure"].as_str().unwrap_or_default().to_owned();
        Ok(failure.contains("the cube is stuck: its plugin has not returned from `tick`"))
    })?;
    eventually("the log says so", || Ok(logged(&scene, &["ERROR", "slow", "tick", "has not returned for 10 s"]) == 1))?;
    assert_quick(&scene, "simplebridge add br1");
    assert_quick(&scene, "other set size=2");
    let all = scene.get("cubes")?;
    ensure!(all["panicky"].as_array().is_some_and(|cubes| cubes.len() == 2), "{all}");

    // Its own change is refused in the end, with the reason. Deleting it needs no plugin, and overtakes such a change.
    let refused = scene.daemon.ctl("slow set size=1").after_waiting().one_line(2);
    ensure!(refused.contains("the plugin of cube `slow` has not returned from a call"), "{refused}");
    thread::scope(|scope| -> Result<()> {
        let waiting = scope.spawn(|| timed(|| scene.daemon.ctl("slow set size=1")));
        thread::sleep(Duration::from_millis(500));
        assert_quick(&scene, "del slow");
        let (refused, took) = waiting.join().ok().context("the change panicked")?;
        let refused = refused.one_line(2);
        ensure!(refused.contains("cube `slow` does not exist"), "{refused}");
        ensure!(took < Duration::from_secs(3), "{took:?}");
        Ok(())
    })?;
    assert_quick(&scene, "panicky add slow");
    ensure!(scene.get("slow")?["failure"] == Value::Null, "the new one is sound");
    Ok(())
}

#[test]
fn a_change_that_takes_a_plugin_too_long_is_undone() -> Result<()> {
    let scene = scene()?;
    let before = scene.daemon.snapshot()?;
    let (output, took) = timed(|| scene.daemon.ctl("slow set size=7 sleep=datapath milliseconds=14000"));
    let refused = output.after_waiting().one_line(2);
    ensure!(refused.contains("has not returned from `datapath` for 10 s"), "{refused}");
    ensure!(took < Duration::from_secs(13), "{took:?}");
    assert_quick(&scene, "other provoke");
    eventually("everything is as it was when the plugin has returned", || Ok(scene.daemon.snapshot()? == before))
}
