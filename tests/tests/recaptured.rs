//! Does a capture go on while one daemon ends and the next one starts, with every packet in a file or counted?

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, Watched, eventually};

/// The numbers of the frames in all files.
fn numbers(scene: &Scene) -> Result<Vec<u32>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(scene.daemon.capture_dir())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")) {
            let frames = pcap::read(&path).with_context(|| path.display().to_string())?;
            files.push(frames.numbers()?.into_iter().collect::<Vec<_>>());
        }
    }
    files.sort();
    for numbers in &files {
        assert!(numbers.is_sorted_by(|one, next| one < next), "packets doubled or out of order in one file");
    }
    Ok(files.concat())
}

#[test]
fn every_frame_is_in_a_file_or_counted_across_twenty_restarts() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    scene.sniff("capture=ingress");
    let watched = Watched::start(&scene)?;
    for round in 0..20 {
        watched.steady().wait_for(2_000)?;
        if round % 2 == 0 {
            scene.daemon.kill9()?;
        } else {
            scene.daemon.terminate()?;
        }
        scene.daemon.restart()?;
    }
    let sent = watched.stop()?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    eventually("closed files", || Ok(scene.files()?.iter().all(|file| file.state != "open")))?;
    let counters = scene.get("sniffer/counters")?;
    let numbers = numbers(&scene)?;
    let kept: BTreeSet<u32> = numbers.iter().copied().collect();
    let missing = u64::from(sent) - kept.len() as u64;
    let lost = ["dropped-ring-full", "dropped-nested"].iter().filter_map(|name| counters[*name].as_u64()).sum::<u64>();
    assert!(sent > 10_000, "{sent} were sent");
    assert!(missing <= lost, "{missing} of {sent} frames are missing: {counters}");
    // A daemon that is killed between a write and the note that it was made leaves that to be written again.
    let twice = numbers.len() - kept.len();
    assert!(twice < kept.len() / 100, "{twice} of {sent} frames are there twice");
    Ok(())
}
