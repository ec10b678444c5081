//! PCAP-over-IP: readers connect by TCP, send nothing, and get a capture's packets.
//!
//! As such a connection says nothing, the port alone says what is wanted. A *port* here is an address to listen at; captures
//! that name the same one are its *members*, and each reader gets the packets of all of them. It exists as long as it has a
//! member. A thread listens, and tries again each second where something else has the address. Each connection has a
//! thread, too, which opens a stream of each member like any other reader: with a buffer of its own, and with counters of what
//! it was too slow for. So memory is bounded by the rooms of the port. `splice` makes one stream of the members' streams.

#![forbid(unsafe_code)]

mod connection;
mod port;
mod rooms;
mod splice;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use crate::config::OverIp;
use crate::format::Format;
use crate::lock::lock;
use crate::log::Log;
use crate::sink::Readers;

use port::Port;

/// The ports of all captures of the daemon.
static PORTS: Mutex<Vec<Arc<Port>>> = Mutex::new(Vec::new());

/// A capture that is served at a port.
pub(crate) struct Member {
    pub(crate) cube: String,
    pub(crate) readers: Arc<Readers>,
    /// Of what the kernel writes.
    pub(crate) recorded: Format,
    pub(crate) log: Log,
}

/// The port has another form already.
#[derive(Debug, thiserror::Error)]
#[error("capture `{cube}` is served at {address} as {}: a port has one format for all captures", format.name())]
pub(crate) struct OtherFormat {
    cube: String,
    address: SocketAddr,
    format: Format,
}

/// How a port is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortState {
    pub(crate) at: OverIp,
    pub(crate) status: String,
    pub(crate) readers: usize,
}

/// The membership of a capture, until it is dropped.
pub(crate) struct Seat {
    port: Arc<Port>,
    member: u64,
}

impl Seat {
    /// Whether `cube` can be served there.
    pub(crate) fn check(at: OverIp, cube: &str) -> Result<(), OtherFormat> {
        let ports = lock(&PORTS);
        let other = ports.iter().find(|port| port.at.address == at.address && port.at.format != at.format);
        match other.and_then(|port| port.other_than(cube)) {
            Some(cube) => {
                Err(OtherFormat { cube, address: at.address, format: other.map_or(at.format, |port| port.at.format) })
            }
            None => Ok(()),
        }
    }

    /// Whether the daemon may listen there. That the address is in use is another matter: it can become free.
    ///
    /// # Errors
    /// It may not, which trying again does not change.
    pub(crate) fn check_permission(at: OverIp) -> io::Result<()> {
        match TcpListener::bind(at.address) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes `member` one of the port's, which begins to listen if it is the first.
    ///
    /// # Errors
    /// There is no thread for it. That the address is in use is none: it is tried again.
    pub(crate) fn take(at: OverIp, member: Member) -> io::Result<Self> {
        let mut ports = lock(&PORTS);
        let port = match ports.iter().find(|port| port.at.address == at.address) {
            Some(port) => Arc::clone(port),
            None => {
                let port = Port::new(at)?;
                ports.push(Arc::clone(&port));
                port
            }
        };
        let id = port.enter(member);
        if let Err(error) = port.start() {
            port.leave(id);
            ports.retain(|other| !Arc::ptr_eq(other, &port));
            return Err(error);
        }
        Ok(Self { port, member: id })
    }

    /// Where it is.
    pub(crate) fn at(&self) -> OverIp {
        self.port.at
    }

    /// Packets have this form from now on.
    pub(crate) fn set_recorded(&self, format: Format) {
        self.port.set_recorded(self.member, format);
    }

    pub(crate) fn state(&self) -> PortState {
        self.port.state()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut ports = lock(&PORTS);
        if self.port.leave(self.member) {
            ports.retain(|port| !Arc::ptr_eq(port, &self.port));
            // Before another one can want the same address.
            self.port.stop();
        }
    }
}
