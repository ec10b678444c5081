//! A bridge between two peers, whose first port is mirrored, and a third peer that gets the copies.

use std::time::Duration;

use anyhow::Result;
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::lab::{Interface, Wire};
use polycube_tests::scene::{PATIENCE, Scene};
use polycube_tests::traffic::Sender;
use serde_json::Value;

/// Long enough for a copy that must not come.
pub(crate) const MOMENT: Duration = Duration::from_millis(150);

pub(crate) struct Stage {
    pub scene: Scene,
    /// `veth9` beside the daemon, and its other end.
    pub wire: Wire,
}

impl Stage {
    /// A span `s1` with these settings, attached to the bridge's first port.
    #[track_caller]
    pub(crate) fn new(settings: &str) -> Result<Self> {
        let stage = Self::unmirrored()?;
        stage.mirror(settings);
        Ok(stage)
    }

    pub(crate) fn unmirrored() -> Result<Self> {
        let scene = Scene::bridge(2)?;
        let wire = scene.lab.veth("veth9", &scene.lab.peer("collector")?, "eth0")?;
        Ok(Self { scene, wire })
    }

    #[track_caller]
    pub(crate) fn mirror(&self, settings: &str) {
        self.scene.daemon.ctl(&format!("span add s1 {settings}")).ok();
        self.scene.daemon.ctl("attach s1 br1:toveth1").ok();
    }

    /// A collector at `10.9.0.2` and `fd09::2`, by way of `veth9`.
    pub(crate) fn addressed(self) -> Result<Self> {
        for (end, address) in [
            (&self.wire.host, "10.9.0.1/24"),
            (&self.wire.peer, "10.9.0.2/24"),
            (&self.wire.host, "fd09::1/64"),
            (&self.wire.peer, "fd09::2/64"),
        ] {
            end.add_address(address)?;
        }
        Ok(self)
    }

    /// Sends frames from a peer, and returns what comes out at the mirror's other end: as many frames as are `expected`.
    pub(crate) fn copies(&self, from: usize, frames: &[Vec<u8>], expected: usize) -> Result<Vec<Vec<u8>>> {
        self.copies_at(&self.wire.peer, (from, frames), expected)
    }

    pub(crate) fn copies_at(
        &self,
        at: &Interface,
        (from, frames): (usize, &[Vec<u8>]),
        expected: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let other = self.scene.peer(3 - from);
        let (copies, originals) = (Recorder::start(at)?, Recorder::start(other)?);
        Sender::open(self.scene.peer(from))?.send(frames)?;
        originals.wait_for(frames.len(), PATIENCE)?;
        copies.wait_for(expected, PATIENCE)?;
        std::thread::sleep(MOMENT);
        let received = originals.stop()?.going(Direction::In);
        let received = received.into_iter().map(|seen| seen.bytes).collect::<Vec<_>>();
        assert!(received == frames, "the originals are not what was sent");
        let copies = copies.stop()?.going(Direction::In).into_iter().map(|seen| seen.bytes);
        Ok(copies.filter(|copy| !self.is_of_neighbours(copy)).collect())
    }

    /// ARP, and ICMPv6's neighbour discovery, by which the daemon's machine finds a collector.
    fn is_of_neighbours(&self, frame: &[u8]) -> bool {
        let is_of_peer = [1, 2].iter().any(|number| frame[6..12] == self.scene.peer(*number).mac());
        let is_discovery = frame[12..14] == [0x08, 0x06] || frame[12..14] == [0x86, 0xdd] && frame[20] == 58;
        is_discovery && !is_of_peer
    }

    #[track_caller]
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.scene.get("s1/counters")?;
        Ok(counters[name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {counters}")))
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Result<Value> {
        self.scene.get("s1")
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Result<String> {
        Ok(self.state()?["status"].as_str().unwrap().to_owned())
    }
}

/// Asserts that both are the same frames; what differs is short enough to be read.
#[track_caller]
pub(crate) fn assert_frames(found: &[Vec<u8>], expected: &[Vec<u8>]) {
    let hex = |frame: Option<&Vec<u8>>| {
        frame.map(|frame| frame.iter().take(120).map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let lengths = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).collect::<Vec<_>>();
    let differs = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at));
    if let Some(at) = differs {
        let (found_at, expected_at) = (hex(found.get(at)), hex(expected.get(at)));
        let (found, expected) = (lengths(found), lengths(expected));
        panic!("frame {at}: {found_at:?}, not {expected_at:?}; lengths {found:?}, not {expected:?}");
    }
}
