//! What cubes leave behind when they are deleted: nothing.

use std::process::Command;
use std::time::{Duration, Instant};

use polycube_loader::bpf::trial;
use polycube_plugin_api::Service;
use serde_json::Value;

use super::create;
use crate::Setup;

/// Cubes that are created and deleted.
const CUBES: usize = 1000;

/// Cubes before the first count: what a plugin keeps for all cubes comes with the first.
const BEFORE: usize = 20;

/// Mappings that the allocator may add for threads that come and go; one for each cube would be a thousand.
const ARENAS: usize = 40;

/// Set in the process that counts.
const ALONE: &str = "POLYCUBE_PLUGIN_TEST_ALONE";

/// The kernel frees programs and maps in the background.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

impl Counts {
    fn now() -> Self {
        let entries = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
        let mappings = std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
        Self { descriptors: entries("/proc/self/fd"), threads: entries("/proc/self/task"), mappings }
    }

    fn exceeds(&self, before: &Self) -> bool {
        self.descriptors > before.descriptors
            || self.threads > before.threads
            || self.mappings > before.mappings + ARENAS
    }
}

/// A thousand cubes, created and deleted one after the other, leave no descriptor, thread, mapping, program or map. Other
/// tests would disturb the counts, so `test`, the path of the test that calls this, runs again in a process of its own.
///
/// # Panics
/// They leave something.
#[track_caller]
pub fn creates_and_deletes_without_leaks<S: Service>(examples: &[Value], test: &str) {
    if std::env::var_os(ALONE).is_none() {
        return run_alone(test);
    }
    let mut ids = (Vec::new(), Vec::new());
    let mut cycle = |count: usize| {
        for number in 0..count {
            let cube = create::<S>(Setup::default(), &examples[number % examples.len()]);
            let (programs, maps) = cube.ids();
            ids.0.extend(programs);
            ids.1.extend(maps);
        }
    };
    cycle(BEFORE);
    let before = Counts::now();
    cycle(CUBES);
    let deadline = Instant::now() + PATIENCE;
    while Counts::now().exceeds(&before) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = Counts::now();
    assert!(!after.exceeds(&before), "{CUBES} cubes leave something behind: before {before:?}, after {after:?}");
    for (kind, ids, has) in [("program", &ids.0, trial::has_program as fn(u32) -> _), ("map", &ids.1, trial::has_map)] {
        let is_there = |id: &&u32| has(**id).unwrap_or(true);
        while ids.iter().any(|id| is_there(&id)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = ids.iter().filter(is_there).count();
        assert_eq!(left, 0, "of {} {kind}s, {left} are still in the kernel", ids.len());
    }
}

#[track_caller]
fn run_alone(test: &str) {
    // The name of a test lacks that of its crate.
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    let exe = std::env::current_exe().expect("a test has an executable");
    let output = Command::new(exe).args([test, "--exact", "--nocapture"]).env(ALONE, "1").output();
    let output = output.expect("the test can be run again");
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("1 passed"), "the test `{test}` did not run alone: {out}{err}");
}
