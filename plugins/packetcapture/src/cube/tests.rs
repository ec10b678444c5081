#![forbid(unsafe_code)]

mod resumption;

use std::fs;
use std::os::fd::{BorrowedFd, IntoRawFd as _};
use std::path::Path;

use polycube_layout::ring::{BELL, LARGE, RINGS};
use polycube_plugin_api::__private::abi_stable::std_types::{RStr, RVec};
use polycube_plugin_api::__private::{abi_stable, instantiate};
use polycube_plugin_api::abi::{CubeHandle, HostAbi, HostAbi_TO, MapHandle};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::fixture::{Kernel, bell_memory, times};
use crate::format::pcap::HEADER;

struct Host(Arc<Mutex<Vec<String>>>);

impl HostAbi for Host {
    fn log(&self, level: u8, message: RStr<'_>) {
        if level <= Level::Info as u8 {
            self.0.lock().unwrap().push(message.to_string());
        }
    }

    fn configure(&self, patch: RStr<'_>) {
        self.0.lock().unwrap().push(format!("configure {patch}"));
    }
}

/// A cube behind the ABI, as the host sees it.
struct Lab {
    cube: CubeHandle,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    fn new(directory: &Path) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let host = HostAbi_TO::from_value(Host(Arc::clone(&lines)), abi_stable::sabi_trait::TD_Opaque);
        let birth = json!({"name": "sniffer", "uuid": "", "capture-dir": directory}).to_string();
        Self { cube: instantiate::<PacketCapture>(birth.as_str().into(), host).into_result().unwrap(), lines }
    }

    fn prepare(&self, config: &Value, kernel: Option<&Kernel>) -> Result<(), Value> {
        let maps = kernel.map(|kernel| {
            let map = |name: &str, value_size: u32, cpus: u32, fd| {
                let info = json!({"name": name, "key_size": 4, "value_size": value_size, "max_entries": cpus});
                MapHandle { info: info.to_string().into(), fd }
            };
            let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().unwrap().into_raw_fd();
            let (rings, large) = (kernel.map_size(), kernel.large_map_size());
            [
                map(BELL, 0, 4096, bell_memory().into_raw_fd()),
                map(RINGS, rings.value_size, rings.count, copy(kernel.fd())),
                map(LARGE, large.value_size, large.count, copy(kernel.large_fd())),
            ]
        });
        let wanted = json!({"config": config}).to_string();
        let answer = self.cube.prepare(wanted.as_str().into(), maps.into_iter().flatten().collect::<RVec<_>>());
        answer.into_result().map_err(|refusal| serde_json::from_str(&refusal).unwrap())
    }

    #[track_caller]
    fn set(&self, config: &Value, kernel: Option<&Kernel>) {
        self.prepare(config, kernel).unwrap();
        self.cube.commit().into_result().unwrap();
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.cube.state().into_result().unwrap()).unwrap()
    }

    fn dump(&self) -> String {
        self.state()["dump"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn check_file(&self, snaplen: u32, expected: &[u64]) {
        let dump = self.dump();
        let bytes = fs::read(dump.strip_prefix("capture dump in ").unwrap()).unwrap();
        assert_eq!(bytes[16..20], snaplen.to_ne_bytes());
        assert_eq!(times(&bytes[HEADER..]), expected);
    }
}

fn on(snaplen: u32) -> Value {
    json!({"capture": "bidirectional", "snaplen": snaplen})
}

#[test]
fn a_session_has_one_file_from_on_to_off() {
    let directory = TempDir::new().unwrap();
    let (lab, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    lab.set(&json!({}), None);
    assert_eq!(lab.dump(), "no packets captured");
    lab.set(&on(96), Some(&kernel));
    assert_eq!(lab.dump(), "no packets captured");
    kernel.packet(0, 1, b"abc");
    lab.set(&on(300), Some(&kernel));
    kernel.packet(1, 2, b"abc");
    lab.set(&on(50), Some(&kernel));
    kernel.packet(1, 3, b"abc");
    lab.set(&json!({}), None);
    lab.check_file(300, &[1, 2, 3]);
    let first = lab.dump();
    let counters = json!({
        "seen": 3, "matched": 3, "rejected": 0,
        "captured": 3, "bytes": 9, "dropped": 0, "dropped-ring-full": 0, "dropped-nested": 0, "dropped-fault": 0,
        "dropped-disk": 0, "dropped-floor": 0, "dropped-queue": 0, "removed": 0, "dropped-limit": 0
    });
    assert_eq!(lab.state()["counters"], counters);

    let kernel = Kernel::new(2, 4096);
    lab.set(&on(64), Some(&kernel));
    assert_eq!(lab.dump(), "no packets captured");
    kernel.packet(1, 4, b"abc");
    lab.set(&json!({}), None);
    lab.check_file(64, &[4]);
    assert_ne!(lab.dump(), first);
    assert_eq!(lab.state()["counters"]["captured"], 4);
}

#[test]
fn other_rings_take_over_within_a_session() {
    let directory = TempDir::new().unwrap();
    let (lab, old, new) = (Lab::new(directory.path()), Kernel::new(2, 4096), Kernel::new(2, 8192));
    lab.set(&on(96), Some(&old));
    old.packet(0, 1, b"abc");
    lab.prepare(&on(96), Some(&new)).unwrap();
    old.packet(0, 2, b"abc");
    new.packet(0, 3, b"abc");
    lab.cube.commit().into_result().unwrap();
    new.packet(0, 4, b"abc");
    assert_eq!(lab.state()["counters"]["captured"], 4);
    lab.set(&json!({}), None);
    lab.check_file(96, &[1, 2, 3, 4]);
}

#[test]
fn an_aborted_change_leaves_the_capture_as_it_was() {
    let directory = TempDir::new().unwrap();
    let (lab, old, new) = (Lab::new(directory.path()), Kernel::new(2, 4096), Kernel::new(2, 8192));
    lab.prepare(&on(96), Some(&old)).unwrap();
    lab.cube.abort().into_result().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    lab.set(&on(96), Some(&old));
    lab.prepare(&on(128), Some(&new)).unwrap();
    lab.cube.abort().into_result().unwrap();
    lab.prepare(&json!({}), None).unwrap();
    lab.cube.abort().into_result().unwrap();
    old.packet(0, 1, b"abc");
    lab.set(&json!({}), None);
    lab.check_file(96, &[1]);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let directory = TempDir::new().unwrap().path().join("missing");
    let (lab, kernel) = (Lab::new(&directory), Kernel::new(2, 4096));
    let refusal = lab.prepare(&on(96), Some(&kernel)).unwrap_err();
    let message = format!(
        "capture directory {} cannot be written: No such file or directory (os error 2); \
         set `--capture-dir` or `dump`, or make it writable",
        directory.display()
    );
    assert_eq!((&refusal["tag"], &refusal["message"]), (&json!("operation-failed"), &json!(message)));
    lab.set(&json!({}), None);
}

#[test]
fn a_cube_that_goes_leaves_its_packets_in_the_file() {
    let directory = TempDir::new().unwrap();
    let (lab, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    lab.set(&json!({"capture": "ingress", "ring-size": 64}), Some(&kernel));
    kernel.packet(0, 1, b"abc");
    let lines = Arc::clone(&lab.lines);
    drop(lab);
    let file = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap();
    assert_eq!(times(&fs::read(file.path()).unwrap()[HEADER..]), [1]);
    assert!(kernel.is_empty(0));
    assert!(lines.lock().unwrap()[0].starts_with("rings have 4 KiB instead of 65536 KiB"));
}
