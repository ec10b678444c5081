//! One cube.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use polycube_plugin_api::packets::{Handed, PacketIn, PacketLog, PacketReader, Sender};
use polycube_plugin_api::{
    Cube, Datapath, Direction, Level, Maps, Point, Refusal, Service, ServiceKind, Staged, Wanted,
};

use crate::config::{Action, Config};
use crate::datapath::datapath;
use crate::state::{SlowPath, State};

/// A cube of the service.
pub struct TransparentHelloWorld {
    cube: Cube,
    points: Arc<Staged<Vec<Point>>>,
    /// The points that are in the log.
    known: Mutex<Vec<Point>>,
    sender: Sender,
    reader: PacketReader,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Packets that arrived in user space.
    packets: AtomicU64,
    /// Those among them that could not go on.
    stopped: AtomicU64,
}

impl Service for TransparentHelloWorld {
    const NAME: &'static str = "transparenthelloworld";
    const DESCRIPTION: &'static str = "Passes packets, drops them, or takes them through user space";
    const KIND: ServiceKind = ServiceKind::Transparent;
    type Config = Config;
    type State = State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        let (points, counts) = (Arc::new(Staged::<Vec<Point>>::new(&cube)), Arc::new(Counts::default()));
        let sender = Sender::new(&cube);
        let log = PacketLog::new(&cube, Level::Info);
        let (names, counted, resumed) = (Arc::clone(&points), Arc::clone(&counts), sender.clone());
        let handler = move |packet: &PacketIn| {
            counted.packets.fetch_add(1, Ordering::Relaxed);
            let points = names.now();
            let name = points.as_ref().and_then(|points| points.iter().find(|point| point.id == packet.at));
            let name = name.map_or("?", |point| point.name.as_str());
            let way = if packet.direction == Direction::Ingress { "ingress" } else { "egress" };
            match resumed.resume(packet) {
                Ok(()) => log.write(format_args!("a packet at {name} {way}: {packet}")),
                Err(error) => {
                    counted.stopped.fetch_add(1, Ordering::Relaxed);
                    log.write(format_args!("a packet at {name} {way} was dropped: {error}"));
                }
            }
        };
        let reader = PacketReader::new(&cube, handler);
        Ok(Self { cube, points, known: Mutex::default(), sender, reader, counts })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        let Config { ingress_action, egress_action } = wanted.config;
        for (action, leaf) in [(ingress_action, "ingress-action"), (egress_action, "egress-action")] {
            if action == Action::Slowpath {
                self.sender.check().map_err(|refusal| refusal.at(leaf))?;
            }
        }
        Ok(datapath(wanted.config, &wanted.points))
    }

    fn prepare(&self, wanted: &Wanted<Config>, mut maps: Maps) -> Result<(), Refusal> {
        self.points.prepare(wanted.points.clone());
        self.reader.prepare(&mut maps)
    }

    fn commit(&self) {
        let Some(points) = self.points.now() else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for point in points.iter().filter(|point| !known.contains(point)) {
            self.cube.log(Level::Info, &in_words(point));
        }
        known.clone_from(&points);
    }

    fn state(&self) -> Result<State, Refusal> {
        let Counts { packets, stopped } = &*self.counts;
        let late = self.sender.outcomes()?;
        let Handed { lost, expired, .. } = self.reader.handed()?;
        Ok(State {
            slow_path: SlowPath {
                packets: packets.load(Ordering::Relaxed),
                lost,
                expired,
                stopped: stopped.load(Ordering::Relaxed) + late.unreachable + late.too_long,
            },
        })
    }
}

/// Where the cube is attached, and to what its parent is connected there.
fn in_words(Point { name, netdev, peer, .. }: &Point) -> String {
    match (netdev, peer) {
        (Some(netdev), None) if netdev == name => format!("attached to the netdev {name}"),
        (None, Some(peer)) => format!("attached to {name}, whose peer {peer} does not exist"),
        // A host that does not say what the peer is says the netdev.
        (_, Some(peer)) | (Some(peer), None) => format!("attached to {name}, whose peer is {peer}"),
        (None, None) => format!("attached to {name}, which has no peer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, netdev: Option<&str>, peer: Option<&str>, expected: &str) {
        let [netdev, peer] = [netdev, peer].map(|name| name.map(str::to_owned));
        let point = Point {
            id: 0,
            name: name.to_owned(),
            netdev,
            is_loopback: false,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer,
        };
        assert_eq!(in_words(&point), expected);
    }

    #[test]
    fn a_peer_is_what_the_user_named() {
        check("veth1", Some("veth1"), None, "attached to the netdev veth1");
        check("br1:p", Some("veth1"), Some("veth1"), "attached to br1:p, whose peer is veth1");
        check("hw1:p", Some("pcnabc1230a"), Some("hw2:p"), "attached to hw1:p, whose peer is hw2:p");
        check("br1:p", None, Some("veth1"), "attached to br1:p, whose peer veth1 does not exist");
        check("br1:p", None, None, "attached to br1:p, which has no peer");
    }
}
