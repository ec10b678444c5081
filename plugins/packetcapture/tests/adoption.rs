//! Does a capture go on when its daemon is killed? The kernel's maps and the real program stay, and the program goes on
//! recording; processes with the plugin come and go, and each takes up the maps as the one before it left them.
//!
//! Needs root, because the program runs in the kernel.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcn_packetcapture::PacketCapture;
use polycube_layout::ring::{
    BELL, FORMAT, FORMAT_PCAP_NANOS, FORMAT_PCAPNG, LANES, LARGE, LARGE_FLAGS, MASK, RINGS, SEGMENT_BITS, SMALL_MASK,
    WEAK_ORDER, element_size, segment_size, segments, small_size, with_slack,
};
use polycube_plugin_api::__private::abi_stable::sabi_trait::TD_Opaque;
use polycube_plugin_api::__private::abi_stable::std_types::{RStr, RVec};
use polycube_plugin_api::__private::instantiate;
use polycube_plugin_api::abi::{CubeHandle, HostAbi, HostAbi_TO, MapHandle};
use polycube_tests::object::{self, Loaded};
use polycube_tests::{bpf, pcap};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};
use tempfile::TempDir;

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/packetcapture.o");
/// Large enough for a large lane of two segments.
const RING: usize = 4 << 20;
/// Tells a process that it is the plugin's: the directory of the captures, and the descriptors of the maps.
const ROLE: &str = "POLYCUBE_TEST_ADOPTION";
const KILLS: u32 = 30;
/// Bytes of frames: few enough per second to go straight to the file, and enough to go through memory.
const SIZES: [usize; 2] = [64, 1400];
/// Offset of the frame's number.
const NUMBER: usize = 14;

struct Host;

impl HostAbi for Host {
    fn log(&self, level: u8, message: RStr<'_>) {
        if level <= 3 {
            eprintln!("{message}");
        }
    }

    fn configure(&self, patch: RStr<'_>) {
        panic!("the capture stops itself: {patch}");
    }
}

/// The plugin's process: it captures until its standard input says how it ends.
fn capture(role: &str) {
    let [maps, format, directory] = *role.splitn(3, ' ').collect::<Vec<_>>() else { panic!("{role}") };
    let [rings, bell, large, cpus] = *maps.split(',').map(|text| text.parse::<i32>().unwrap()).collect::<Vec<_>>()
    else {
        panic!("{role}")
    };
    let birth = json!({"name": "sniffer", "uuid": "the-uuid", "capture-dir": directory}).to_string();
    let host = HostAbi_TO::from_value(Host, TD_Opaque);
    let cube: CubeHandle = instantiate::<PacketCapture>(birth.as_str().into(), host).into_result().unwrap();
    let map = |name: &str, value_size: usize, count: i32, fd| {
        let info = json!({"name": name, "key_size": 4, "value_size": value_size, "max_entries": count});
        MapHandle { info: info.to_string().into(), fd }
    };
    let mut maps = vec![map(RINGS, element_size(RING), cpus, rings), map(BELL, 0, 4096, bell)];
    let count = segments(RING) as i32 * cpus;
    maps.push(map(LARGE, with_slack(segment_size(RING)), count, large));
    let change = |config: Value, maps: RVec<MapHandle>| {
        let point = json!({"id": 0, "name": "veth1", "netdev": "veth1"});
        let wanted = json!({ "config": config, "points": [point] }).to_string();
        cube.prepare(wanted.as_str().into(), maps).into_result().unwrap();
        cube.commit().into_result().unwrap();
    };
    let on = json!({"capture": "ingress", "ring-size": 4, "format": format, "rotate": {"size": 1}});
    change(on, maps.into_iter().collect());
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    if line == "off\n" {
        change(json!({}), RVec::new());
        let state: Value = serde_json::from_str(&cube.state().into_result().unwrap()).unwrap();
        println!("{}", state["counters"]);
    }
}

/// The kernel's side.
struct Kernel {
    loaded: Loaded,
    cpus: u32,
    format: &'static str,
}

impl Kernel {
    /// Whose program writes `format`, which has this constant, for a machine with or without a weak order.
    fn new((format, constant): (&'static str, u32), has_weak_order: bool) -> Self {
        let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
        let last = possible.trim().rsplit(['-', ',']).next().unwrap();
        let cpus = last.parse::<u32>().unwrap() + 1;
        let masks = [RING, small_size(RING)].map(|size| (size as u64 - 1).to_ne_bytes());
        let bits = segment_size(RING).ilog2().to_ne_bytes();
        let (constant, weak) = (constant.to_ne_bytes(), u32::from(has_weak_order).to_ne_bytes());
        let constants: [(&str, &[u8]); 5] = [
            (MASK, &masks[0]),
            (SMALL_MASK, &masks[1]),
            (SEGMENT_BITS, &bits),
            (FORMAT, &constant),
            (WEAK_ORDER, &weak),
        ];
        let large = bpf::Shape {
            map_type: bpf::ARRAY,
            key_size: 4,
            value_size: with_slack(segment_size(RING)) as u32,
            max_entries: segments(RING) as u32 * cpus,
            flags: LARGE_FLAGS,
        };
        let shape = |name: &str, shape: &mut bpf::Shape| {
            if name == RINGS {
                (shape.value_size, shape.max_entries) = (element_size(RING) as u32, cpus);
            }
        };
        let mut loaded =
            object::load_with_slots(OBJECT, "capture", &constants, shape, large).expect("this test needs root");
        let large = bpf::create(large).unwrap();
        bpf::update(loaded.maps[LANES].as_fd(), &0_u32.to_ne_bytes(), &large.as_raw_fd().to_ne_bytes()).unwrap();
        loaded.maps.insert(LARGE.to_owned(), large);
        Self { loaded, cpus, format }
    }

    fn packet(&self, number: u64, size: usize) {
        let mut frame = vec![0x88; size];
        frame[NUMBER..NUMBER + 8].copy_from_slice(&number.to_be_bytes());
        bpf::test_run(self.loaded.program.as_fd(), &frame, &[0; 8], &mut [], 1).unwrap();
    }

    /// Starts a process that takes up the maps, and waits until it captures.
    fn adopt(&self, directory: &Path) -> Plugin {
        let inherited = [RINGS, BELL, LARGE].map(|name| inheritable(self.loaded.maps[name].as_fd()));
        let [rings, bell, large] = inherited.each_ref().map(OwnedFd::as_raw_fd);
        let role = format!("{rings},{bell},{large},{} {} {}", self.cpus, self.format, directory.display());
        let mut command = Command::new(env::current_exe().unwrap());
        let child = command.env(ROLE, role).arg("--nocapture").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        while line(&mut output) != "ready" {}
        Plugin { child, output }
    }
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    assert_ne!(output.read_line(&mut line).unwrap(), 0, "the plugin's process has ended");
    line.trim_end().to_owned()
}

fn inheritable(fd: BorrowedFd<'_>) -> OwnedFd {
    let copy = fd.try_clone_to_owned().unwrap();
    fcntl_setfd(&copy, FdFlags::empty()).unwrap();
    copy
}

struct Plugin {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Plugin {
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a daemon ends that leaves its datapath.
    fn stop(mut self) {
        self.child.stdin.take().unwrap().write_all(b"end\n").unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// Turns the capture off; returns the counters.
    fn turn_off(mut self) -> Value {
        self.child.stdin.take().unwrap().write_all(b"off\n").unwrap();
        let counters = loop {
            if let Ok(counters @ Value::Object(_)) = serde_json::from_str(&line(&mut self.output)) {
                break counters;
            }
        };
        assert!(self.child.wait().unwrap().success());
        counters
    }
}

/// The numbers of the frames in all files, in the order of their names.
fn numbers(directory: &Path) -> Vec<u64> {
    let mut paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    // Notes begin with a full stop.
    paths.retain(|path| path.extension().is_some() && !path.file_name().unwrap().as_encoded_bytes().starts_with(b"."));
    paths.sort();
    let records = paths.iter().flat_map(|path| pcap::read(path).unwrap().records);
    records.map(|record| u64::from_be_bytes(record.bytes[NUMBER..NUMBER + 8].try_into().unwrap())).collect()
}

/// A different number each time, because a daemon may be killed at any point.
fn random(below: u64) -> u64 {
    u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) / 7 % below
}

#[test]
fn each_packet_is_in_one_file_or_counted_though_daemons_are_killed() {
    if let Ok(role) = env::var(ROLE) {
        return capture(&role);
    }
    check(("pcap-nanos", FORMAT_PCAP_NANOS), cfg!(not(target_arch = "x86_64")));
    // The program of other machines is right on x86, too.
    check(("pcapng", FORMAT_PCAPNG), true);
}

/// Kills and stops processes while the program records.
fn check(format: (&'static str, u32), has_weak_order: bool) {
    let directory = TempDir::new().unwrap();
    let kernel = Arc::new(Kernel::new(format, has_weak_order));
    let (size, is_over) = (Arc::new(AtomicUsize::new(SIZES[0])), Arc::new(AtomicBool::new(false)));
    let sender = thread::spawn({
        let (kernel, size, is_over) = (Arc::clone(&kernel), Arc::clone(&size), Arc::clone(&is_over));
        move || {
            let packets = (0_u64..).take_while(|_| !is_over.load(Ordering::Relaxed));
            packets.inspect(|number| kernel.packet(*number, size.load(Ordering::Relaxed))).count() as u64
        }
    });
    for round in 0..KILLS {
        size.store(SIZES[round as usize % 2], Ordering::Relaxed);
        let plugin = kernel.adopt(directory.path());
        thread::sleep(Duration::from_micros(random(60_000)));
        if round % 5 == 4 { plugin.stop() } else { plugin.kill() }
    }
    is_over.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    let counters = kernel.adopt(directory.path()).turn_off();

    let numbers = numbers(directory.path());
    let count = |name: &str| counters[name].as_u64().unwrap();
    assert!(numbers.is_sorted_by(|one, next| one < next), "a packet is in the files twice, or out of order");
    assert_eq!(numbers.len() as u64, count("captured"), "{counters}");
    assert_eq!((count("seen"), count("matched")), (sent, sent));
    let lost = count("dropped-ring-full") + count("dropped-disk");
    assert_eq!(count("captured") + lost, sent, "{counters}");
    // How many of them depends on what else the machine does.
    assert!(count("captured") > 100_000, "{counters}");
}
