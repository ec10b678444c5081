//! A veth pair whose one end sends, and a daemon on the other core that records at the other end.

use anyhow::Result;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Sender};

use crate::process::{self, RECORDER};

/// The address of no station. The receiver drops such packets first (`PACKET_OTHERHOST`, net/ipv4/ip_input.c): the less
/// it does for a packet, the more visible the capture's cost is.
pub(crate) const NO_STATION: [u8; 6] = [0x02, 0, 0, 0, 0xff, 0xff];

/// Its netdev `veth1` is where packets arrive.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    pub(crate) sender: Sender,
    /// From the sender to no station.
    pub(crate) flow: Flow,
}

impl Stage {
    pub(crate) fn start() -> Result<Self> {
        let scene = Scene::set_up().peers(1).start()?;
        if let Some(pid) = scene.daemon.pid() {
            process::confine(pid, RECORDER)?;
        }
        let sender = Sender::open(scene.peer(1))?;
        let mut flow = Flow::between(scene.peer(1), scene.host(1));
        flow.to.mac = NO_STATION;
        Ok(Self { scene, sender, flow })
    }
}
