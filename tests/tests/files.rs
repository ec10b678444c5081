//! Do capture files match their formats, limits and settings, whatever happens while packets flow?

use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::comparison::compare;
use polycube_tests::pcap::{self, Format};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::sniffer::ShownFile;
use polycube_tests::traffic::{Protocol, Sender, Steady};
use serde_json::{Value, json};

const FORMATS: [(&str, Format); 3] =
    [("pcap", Format::PcapMicroseconds), ("pcap-nanos", Format::PcapNanoseconds), ("pcapng", Format::Pcapng)];

/// A sniffer at `br1:toveth1` with these other settings.
fn sniffing(settings: &Value) -> Result<Scene> {
    let scene = Scene::bridge(2)?;
    let mut all = json!({ "capture": "bidirectional" });
    all.as_object_mut().context("an object")?.extend(settings.as_object().context("an object")?.clone());
    scene.sniff_at("br1:toveth1", &all)?;
    scene.daemon.wait_for_large_rings()?;
    Ok(scene)
}

/// Sends frames of that size, with these numbers, from peer 1 to peer 2, slowly enough for a small machine.
fn send(scene: &Scene, len: usize, numbers: Range<u32>) -> Result<()> {
    let sender = Sender::open(scene.peer(1))?;
    for first in numbers.clone().step_by(64) {
        let burst = first..numbers.end.min(first + 64);
        sender.send(&burst.map(|number| scene.flow(1, 2).frame(Protocol::Udp, len, number)).collect::<Vec<_>>())?;
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

fn turn_off(scene: &Scene) {
    scene.daemon.ctl("sniffer set capture=off").ok();
}

/// Reads the files, and asserts that the daemon shows them correctly.
fn check_shown(files: &[ShownFile]) -> Result<Vec<Vec<u32>>> {
    let check = |file: &ShownFile| {
        let ShownFile { path, size, packets, times, .. } = file;
        let read = pcap::read(path)?;
        ensure!(fs::metadata(path)?.len() == *size && read.records.len() as u64 == *packets, "{file:?}");
        let (first, last) = (&read.records[0], read.records.last().context("a packet")?);
        for (shown, record) in times.iter().zip([first, last]) {
            let micros = record.time_ns / 1000;
            ensure!(micros_of(shown)? == micros, "{shown} is shown for a packet at {micros}: {file:?}");
        }
        ensure!(fs::metadata(path)?.permissions().mode() & 0o777 == 0o640, "{} can be read by others", path.display());
        read.numbers()
    };
    files.iter().map(check).collect()
}

/// Microseconds since 1970.
fn micros_of(time: &str) -> Result<u64> {
    let output = Command::new("date").args(["-u", "+%s%6N", "-d", time]).output().context("cannot run date")?;
    ensure!(output.status.success(), "date does not know {time}");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

#[track_caller]
fn check_format(name: &str, format: Format) -> Result<()> {
    const FRAMES: u32 = 3000;
    const SNAPLEN: u32 = 200;
    let scene = sniffing(&json!({ "format": name, "snaplen": SNAPLEN }))?;
    let near = Recorder::start(scene.peer(1))?;
    let there = Steady::start(scene.peer(1), scene.flow(1, 2), 300, FRAMES)?;
    let back = Steady::start(scene.peer(2), scene.flow(2, 1), 150, FRAMES)?;
    near.wait_for(2 * FRAMES as usize, PATIENCE)?;
    for steady in [there, back] {
        steady.stop()?;
    }
    turn_off(&scene);
    let file = pcap::read(&scene.wait_for_dump()?)?;
    assert_eq!((file.format, file.snaplen), (format, SNAPLEN));
    // Bytes, lengths, times, their order and, where the format has them, directions.
    compare(&file.records, &near.stop()?.reversed().frames, SNAPLEN).with_context(|| name.to_owned())?;
    let has_nanos = file.records.iter().any(|record| record.time_ns % 1000 != 0);
    assert_eq!(has_nanos, format != Format::PcapMicroseconds, "{name}");
    let directions = file.records.iter().filter(|record| record.direction.is_some()).count();
    assert_eq!(directions, if format == Format::Pcapng { file.records.len() } else { 0 }, "{name}");
    check_shown(&scene.files()?)?;
    Ok(())
}

#[test]
fn each_format_contains_what_crossed_the_port() -> Result<()> {
    FORMATS.into_iter().try_for_each(|(name, format)| check_format(name, format))
}

#[test]
fn pcapng_says_where_packets_crossed_and_how_many_are_missing() -> Result<()> {
    const FRAMES: u32 = 200;
    let scene = sniffing(&json!({ "format": "pcapng", "filter": "greater 200", "snaplen": 128 }))?;
    scene.daemon.ctl("attach sniffer br1:toveth2").ok();
    send(&scene, 300, 0..FRAMES)?;
    send(&scene, 100, 0..FRAMES)?;
    eventually("packets at both ports", || Ok(scene.counter("seen")? == 4 * u64::from(FRAMES)))?;
    turn_off(&scene);
    let file = pcap::read(&scene.wait_for_dump()?)?;
    assert!(file.metadata.comments.iter().all(|comment| comment.contains("sniffer")), "{:?}", file.metadata.comments);
    assert!(
        !file.metadata.comments.is_empty() && file.metadata.interfaces.iter().all(|interface| interface.snaplen == 128)
    );
    for (port, direction) in [("br1:toveth1", Direction::In), ("br1:toveth2", Direction::Out)] {
        let is_there = |record: &&pcap::Record| {
            record.interface.is_some_and(|interface| file.metadata.interfaces[interface].name == port)
        };
        let there: Vec<_> = file.records.iter().filter(is_there).collect();
        assert!(there.iter().all(|record| record.direction == Some(direction)), "{port}");
        assert_eq!(there.len(), FRAMES as usize, "{port}: {:?}", file.metadata);
        let described = file.metadata.interfaces.iter().filter(|interface| interface.name == port);
        assert!(described.clone().all(|interface| interface.description.contains("sniffer")), "{:?}", file.metadata);
    }
    let counters = scene.balance()?;
    let last = file.metadata.statistics.last().context("statistics")?;
    let counted = [last.received, last.accepted, last.delivered, last.packets_before as u64];
    assert_eq!(
        counted.map(Value::from),
        ["seen", "matched", "captured", "captured"].map(|name| counters[name].clone())
    );
    assert_eq!(last.dropped, 0);
    Ok(())
}

#[test]
fn no_packet_is_lost_or_doubled_when_the_format_changes() -> Result<()> {
    let scene = sniffing(&json!({}))?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 200, u32::MAX)?;
    let mut formats = vec![Format::PcapMicroseconds];
    for _ in 0..3 {
        for (name, format) in [FORMATS[1], FORMATS[2], FORMATS[0]] {
            steady.wait_for(200)?;
            scene.daemon.ctl(&format!("sniffer set format={name}")).ok();
            scene.daemon.wait_for_large_rings()?;
            formats.push(format);
        }
    }
    steady.wait_for(200)?;
    let sent = steady.stop()?;
    turn_off(&scene);
    let files = scene.files()?;
    let found = files.iter().map(|file| Ok(pcap::read(&file.path)?.format)).collect::<Result<Vec<_>>>()?;
    assert_eq!(found, formats);
    assert!(check_shown(&files)?.concat().into_iter().eq(0..sent), "some of {sent} packets are in the wrong place");
    assert_eq!(scene.balance()?["captured"], sent);
    Ok(())
}

/// How many packets tcpdump reads; it reports where it stops.
fn read_by_tcpdump(path: &Path) -> Result<usize> {
    Ok(pcap::tcpdump(path)?.context("tcpdump is missing: install it, it judges the capture files")?.len())
}

/// libpcap stops at an interface whose snap length is not the first one's.
#[test]
fn no_change_makes_a_file_or_stream_that_tcpdump_misreads() -> Result<()> {
    const CHANGES: [&str; 9] = [
        "sniffer set snaplen=200",
        "attach sniffer br1:toveth2",
        "sniffer set snaplen=64",
        "sniffer set format=pcap",
        "sniffer set snaplen=300",
        "sniffer set format=pcapng",
        "detach sniffer br1:toveth1",
        "sniffer set format=pcap-nanos snaplen=400",
        "attach sniffer br1:toveth1",
    ];
    let scene = sniffing(&json!({ "format": "pcapng", "snaplen": 96 }))?;
    let mut stream = scene.open("stream?format=pcapng")?;
    let mut rounds = 0;
    let mut round = || {
        let before = scene.counter("captured")?;
        send(&scene, 500, rounds * 10..rounds * 10 + 10)?;
        rounds += 1;
        eventually("ten packets", || Ok(scene.counter("captured")? >= before + 10))
    };
    round()?;
    for change in CHANGES {
        scene.daemon.ctl(change).ok();
        round()?;
    }
    turn_off(&scene);
    let files = scene.files()?;
    let mut packets = 0;
    for file in &files {
        assert_eq!(read_by_tcpdump(&file.path)? as u64, file.packets, "{file:?}");
        let pcap::Metadata { interfaces, comments, .. } = pcap::read(&file.path)?.metadata;
        // Each section has one: capinfos takes the interfaces of a second section for those of the first.
        assert!(comments.len() <= 1, "{file:?}: {comments:?}");
        assert!(interfaces.windows(2).all(|pair| pair[0].snaplen == pair[1].snaplen), "{file:?}: {interfaces:?}");
        packets += file.packets as usize;
    }
    assert_eq!(scene.counter("captured")?, packets as u64);

    let place = tempfile::tempdir()?;
    let path = place.path().join("stream.pcapng");
    scene.daemon.ctl("sniffer del").ok();
    let mut bytes = Vec::new();
    stream.body.read_to_end(&mut bytes)?;
    fs::write(&path, bytes)?;
    assert_eq!(read_by_tcpdump(&path)?, packets);
    let read = pcap::read(&path)?;
    let recorded = files.iter().map(|file| Ok(pcap::read(&file.path)?.records)).collect::<Result<Vec<_>>>()?.concat();
    assert!(read.records.iter().map(|record| record.time_ns).eq(recorded.iter().map(|record| record.time_ns)));
    Ok(())
}

#[test]
fn names_of_rotated_files_sort_in_the_order_of_time() -> Result<()> {
    for dump in ["rot", "rot-%Y%m%d-%H%M%S"] {
        let scene = sniffing(&json!({ "dump": dump, "rotate": { "size": 1 } }))?;
        send(&scene, 1400, 0..10_000)?;
        turn_off(&scene);
        let files = scene.files()?;
        assert!(files.len() > 12, "{}", files.len());
        assert!(files.iter().map(|file| &file.name).is_sorted(), "{files:?}");
        assert!(check_shown(&files)?.concat().into_iter().eq(0..10_000), "{dump}");
    }
    Ok(())
}

#[test]
fn a_name_may_contain_the_time() -> Result<()> {
    let scene = sniffing(&json!({ "dump": "trace-%Y%m%d-%H%M%S.pcap" }))?;
    send(&scene, 100, 0..1)?;
    let path = scene.wait_for_dump()?;
    let file = &scene.files()?[0];
    let time = file.times[0].replace(['-', ':'], "").replace('T', "-");
    let (shown, named) = (&time[..15], file.name.strip_prefix("trace-").and_then(|rest| rest.strip_suffix(".pcap")));
    // The file may begin in the second after its packet.
    assert!(named.is_some_and(|named| named.len() == 15 && named >= shown && named[..13] == shown[..13]), "{path:?}");
    let refusal = scene.daemon.ctl("sniffer set dump=trace-%q").one_line(2);
    assert!(refusal.contains("`%q` does not stand for a part of the time: %Y, "), "{refusal}");
    Ok(())
}

#[test]
fn files_reach_their_largest_size_and_no_packet_is_lost_between_them() -> Result<()> {
    for (name, _) in FORMATS {
        let scene = sniffing(&json!({ "format": name, "rotate": { "size": 1 } }))?;
        send(&scene, 1000, 0..5000)?;
        turn_off(&scene);
        let files = scene.files()?;
        let sizes: Vec<_> = files.iter().map(|file| file.size).collect();
        assert!(sizes.iter().all(|size| *size <= 1 << 20), "{name}: {sizes:?}");
        let full = &sizes[..sizes.len() - 1];
        assert!(full.iter().all(|size| *size > (1 << 20) - 2100), "{name}: {sizes:?}");
        assert!(check_shown(&files)?.concat().into_iter().eq(0..5000), "{name}");
    }
    Ok(())
}

#[test]
fn files_last_their_longest_time_and_a_ring_keeps_the_newest() -> Result<()> {
    let scene = sniffing(&json!({ "rotate": { "seconds": 1, "files": 2 }, "dump": "ring" }))?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 100, u32::MAX)?;
    // At least four files, two of which are gone.
    thread::sleep(Duration::from_millis(3300));
    let sent = steady.stop()?;
    turn_off(&scene);
    let files = scene.files()?;
    for file in &files {
        let times = [&file.times[0], &file.times[1]].map(String::as_str).map(micros_of);
        let [first, last] = times.map(Result::unwrap_or_default);
        assert!(last - first < 1_000_000, "{file:?}");
    }
    let numbers = check_shown(&files)?.concat();
    assert!(numbers.iter().copied().eq(numbers[0]..sent), "from {} to {sent}", numbers[0]);
    let shown: Vec<_> = files.into_iter().map(|file| file.path).collect();
    assert_eq!(shown.len(), 2);
    eventually("the older files to be deleted", || {
        let mut on_disk =
            fs::read_dir(scene.daemon.capture_dir())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        on_disk.sort();
        Ok(on_disk == shown)
    })
}

/// Returns the files of a capture that has ended by itself.
#[track_caller]
fn ended(format: &str, stop: &Value) -> Result<(Scene, Vec<ShownFile>)> {
    let scene = sniffing(&json!({ "format": format, "stop-after": stop }))?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 500, u32::MAX)?;
    eventually("the end", || Ok(scene.get("sniffer/capture")? == "off"))?;
    steady.stop()?;
    assert_eq!(scene.daemon.ctl("sniffer show capture").ok().trim_end(), "off");
    assert_eq!(scene.status()?, "off", "{stop}");
    let (counters, files) = (scene.balance()?, scene.files()?);
    let numbers = check_shown(&files)?.concat();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{stop}");
    assert_eq!(counters["captured"], numbers.len(), "{stop}");
    Ok((scene, files))
}

#[test]
fn a_capture_stops_at_its_limit() -> Result<()> {
    for (format, _) in FORMATS {
        let (_, files) = ended(format, &json!({ "packets": 1000 }))?;
        assert_eq!(files.iter().map(|file| file.packets).sum::<u64>(), 1000, "{format}");
        let (_, files) = ended(format, &json!({ "bytes": 200_000 }))?;
        let size = files.iter().map(|file| file.size).sum::<u64>();
        // Only records count, not a file's header and its statistics.
        assert!((199_000..=201_000).contains(&size), "{format}: {size}");
    }
    let (scene, files) = ended("pcap", &json!({ "seconds": 2 }))?;
    let [first, last] = [&files[0].times[0], &files[0].times[1]].map(String::as_str).map(micros_of);
    assert!((500_000..2_000_000).contains(&(last? - first?)), "{files:?}");
    assert!(scene.daemon.log().contains("the capture has reached the limit that `stop-after` sets"));
    Ok(())
}

#[test]
fn an_idle_capture_ends_in_time() -> Result<()> {
    let scene = sniffing(&json!({ "stop-after": { "seconds": 1 } }))?;
    let begin = Instant::now();
    eventually("the end", || Ok(scene.get("sniffer/capture")? == "off"))?;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn a_dump_goes_where_it_is_set_to_and_overwrites_nothing_else() -> Result<()> {
    let scene = sniffing(&json!({ "capture": "off" }))?;
    let place = scene.daemon.capture_dir().join("place");
    let path = |name: &str| place.join(name);
    fs::create_dir(&place)?;
    fs::write(path("trace.pcap"), "dear")?;
    symlink("/nowhere/at/all", path("trace-000001.pcap"))?;
    symlink(path("precious"), path("trace-000002.pcap"))?;
    scene.daemon.ctl("sniffer set dump=place/trace capture=bidirectional").ok();
    send(&scene, 100, 0..1)?;
    assert_eq!(scene.wait_for_dump()?, path("trace-000003.pcap"));
    assert_eq!((fs::read(path("trace.pcap"))?.as_slice(), path("precious").exists()), (&b"dear"[..], false));

    // Asked to overwrite, it replaces what a capture wrote, and no link.
    fs::write(path("precious"), "dear")?;
    scene.daemon.ctl("sniffer storage set overwrite=true").ok();
    for (dump, expected, numbers) in
        [("trace-000002", "trace-000002-000001", 1..2), ("trace-000003", "trace-000003", 2..3)]
    {
        scene.daemon.ctl(&format!("sniffer set dump={}", path(dump).display())).ok();
        send(&scene, 100, numbers)?;
        let expected = path(expected).with_extension("pcap");
        eventually("the next file", || Ok(scene.dump()?.as_deref() == Some(&expected)))?;
    }
    turn_off(&scene);
    assert_eq!(check_shown(&scene.files()?)?, [[1], [2]]);
    assert_eq!(fs::read(path("precious"))?, b"dear");
    assert!(fs::symlink_metadata(path("trace-000002.pcap"))?.is_symlink());
    Ok(())
}

#[test]
fn closed_files_are_compressed_and_nothing_is_lost() -> Result<()> {
    let scene = sniffing(&json!({ "rotate": { "size": 1 }, "storage": { "compress": true } }))?;
    send(&scene, 1000, 0..3000)?;
    turn_off(&scene);
    // The capture does not wait for its last file to be compressed.
    let is_compressed = |file: &ShownFile| file.state == "compressed";
    eventually("compressed files", || Ok(scene.files()?.iter().all(is_compressed)))?;
    let files = scene.files()?;
    let mut numbers = Vec::new();
    for ShownFile { path, size, packets, .. } in &files {
        assert_eq!(path.extension().and_then(|ending| ending.to_str()), Some("zst"));
        assert_eq!(fs::metadata(path)?.len(), *size);
        let read = pcap::parse(&zstd::stream::decode_all(fs::File::open(path)?)?)?;
        assert_eq!(read.records.len() as u64, *packets);
        numbers.extend(read.numbers()?);
    }
    assert!(numbers.into_iter().eq(0..3000));
    assert_eq!(fs::read_dir(scene.daemon.capture_dir())?.count(), files.len());
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() -> Result<()> {
    let scene = Scene::set_up().peers(2).arguments(["--capture-root", "/proc"]).bridge().start()?;
    scene.sniff_at("br1:toveth1", &json!({}))?;
    scene.daemon.ctl("sniffer set dump=/proc/trace").ok();
    let refusal = scene.daemon.ctl("sniffer set capture=ingress").one_line(2);
    assert!(refusal.contains("/proc cannot be written"), "{refusal}");
    assert!(!Path::new("/proc/trace.pcap").exists());
    Ok(())
}
