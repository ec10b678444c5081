//! A port: its members and readers, and the thread that listens.

#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use polycube_plugin_api::Level;

use super::connection::Connection;
use super::rooms::{Admission, Rooms};
use super::{Member, PortState};
use crate::config::OverIp;
use crate::format::Format;
use crate::format::pcapng::Section;
use crate::lock::lock;
use crate::sink::Readers;
use crate::sys::{self, Wake};

/// After this time, what did not work is tried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Port {
    pub(super) at: OverIp,
    members: Mutex<Members>,
    rooms: Mutex<Rooms>,
    /// Why readers cannot connect; `None` if they can.
    trouble: Mutex<Option<String>>,
    /// Of the thread that listens.
    wake: Wake,
    /// Of the connections.
    wakes: Mutex<Vec<Weak<Wake>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Members {
    list: Vec<(u64, Member)>,
    next: u64,
    has_ended: bool,
}

/// A member, as a connection needs it.
pub(super) struct Served {
    pub(super) id: u64,
    pub(super) cube: String,
    pub(super) readers: Arc<Readers>,
    pub(super) recorded: Format,
}

impl Port {
    pub(super) fn new(at: OverIp) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            at,
            members: Mutex::default(),
            rooms: Mutex::default(),
            trouble: Mutex::default(),
            wake: Wake::new()?,
            wakes: Mutex::default(),
            thread: Mutex::default(),
        }))
    }

    /// Adds a member, and returns its number.
    pub(super) fn enter(&self, member: Member) -> u64 {
        let address = self.at.address;
        if !address.ip().is_loopback() {
            let message =
                format!("pcap-over-ip: everybody who reaches {address} reads this capture's packets, without a token");
            (member.log)(Level::Warn, &message);
        }
        let mut members = lock(&self.members);
        let id = members.next;
        members.next += 1;
        members.list.push((id, member));
        drop(members);
        self.tell_connections();
        id
    }

    /// Removes a member; whether it was the last.
    pub(super) fn leave(&self, id: u64) -> bool {
        let mut members = lock(&self.members);
        members.list.retain(|(member, _)| *member != id);
        members.has_ended = members.list.is_empty();
        let has_ended = members.has_ended;
        drop(members);
        self.tell_connections();
        has_ended
    }

    pub(super) fn set_recorded(&self, id: u64, format: Format) {
        if let Some((_, member)) = lock(&self.members).list.iter_mut().find(|(member, _)| *member == id) {
            member.recorded = format;
        }
    }

    /// The first member that is not `cube`.
    pub(super) fn other_than(&self, cube: &str) -> Option<String> {
        lock(&self.members).list.iter().find(|(_, member)| member.cube != cube).map(|(_, member)| member.cube.clone())
    }

    /// The members, and whether there will be no more.
    pub(super) fn served(&self) -> (Vec<Served>, bool) {
        let members = lock(&self.members);
        let served = |(id, member): &(u64, Member)| Served {
            id: *id,
            cube: member.cube.clone(),
            readers: Arc::clone(&member.readers),
            recorded: member.recorded,
        };
        (members.list.iter().map(served).collect(), members.has_ended)
    }

    /// What a stream of all members says of itself.
    pub(super) fn section(&self) -> Section {
        let mut whole = Section::default();
        for served in self.served().0 {
            let section = served.readers.section();
            if !whole.cube.is_empty() {
                whole.cube.push_str(", ");
            }
            whole.cube.push_str(&served.cube);
            let former = std::mem::replace(&mut whole.machine, section.machine);
            let comments: Vec<String> =
                former.comments.into_iter().filter(|comment| !whole.machine.comments.contains(comment)).collect();
            whole.machine.comments.splice(..0, comments);
            whole.interfaces.extend(section.interfaces);
        }
        whole
    }

    pub(super) fn state(&self) -> PortState {
        let status = lock(&self.trouble).clone().unwrap_or_else(|| String::from("listening"));
        PortState { at: self.at, status, readers: lock(&self.rooms).count() }
    }

    /// A line in the log of the first member.
    pub(super) fn log(&self, level: Level, message: &str) {
        if let Some((_, member)) = lock(&self.members).list.first() {
            (member.log)(level, &format!("pcap-over-ip: {message}"));
        }
    }

    /// Listens from now on, unless it does.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let listener = self.bind();
            let port = Arc::clone(self);
            let listening = move || port.listen(listener);
            *thread = Some(thread::Builder::new().name(String::from("capture:over-ip")).spawn(listening)?);
        }
        Ok(())
    }

    /// Returns when the address is free. What is on its way to readers gets there.
    pub(super) fn stop(&self) {
        self.wake.wake();
        if let Some(thread) = lock(&self.thread).take() {
            // It does not panic, and if it did, it would not have the address any more.
            let _ = thread.join();
        }
    }

    fn tell_connections(&self) {
        lock(&self.wakes).retain(|wake| wake.upgrade().inspect(|wake| wake.wake()).is_some());
    }

    fn bind(&self) -> Option<TcpListener> {
        let address = self.at.address;
        let bound = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let mut trouble = lock(&self.trouble);
        let is_new = trouble.is_none();
        match bound {
            Ok(listener) => {
                *trouble = None;
                drop(trouble);
                self.log(Level::Info, &format!("serves {} at {address}", self.at.format.name()));
                Some(listener)
            }
            Err(error) => {
                let why = format!("cannot listen at {address}: {error}; this is tried again each second");
                *trouble = Some(why.clone());
                drop(trouble);
                if is_new {
                    self.log(Level::Warn, &why);
                }
                None
            }
        }
    }

    fn listen(self: &Arc<Self>, mut listener: Option<TcpListener>) {
        loop {
            self.wake.clear();
            // After that, so that no call in between is lost.
            if self.served().1 {
                return;
            }
            match &listener {
                Some(open) => match open.accept() {
                    Ok((socket, peer)) => self.admit(socket, peer),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        // Should it fail, the next turn says why.
                        let _ = sys::sleep([open.as_fd(), self.wake.as_fd()].into_iter(), None);
                    }
                    // Such as a client that has left already, or too many open files.
                    Err(_) => self.rest(),
                },
                None => {
                    self.rest();
                    if !self.served().1 {
                        listener = self.bind();
                    }
                }
            }
        }
    }

    fn rest(&self) {
        let _ = sys::sleep(std::iter::once(self.wake.as_fd()), Some(AGAIN));
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let admission = lock(&self.rooms).enter(peer.ip());
        match admission {
            Admission::Admitted => {}
            Admission::First => {
                let readers = lock(&self.rooms).count();
                return self.log(Level::Warn, &format!("no room for {peer}: there are {readers} readers"));
            }
            Admission::Refused => return,
        }
        let port = Arc::clone(self);
        let work = move || {
            if let Err(error) = port.serve(socket, peer) {
                port.log(Level::Debug, &format!("{peer} has left: {error}"));
            }
            lock(&port.rooms).leave(peer.ip());
        };
        if let Err(error) = thread::Builder::new().name(String::from("capture:reader")).spawn(work) {
            lock(&self.rooms).leave(peer.ip());
            self.log(Level::Warn, &format!("cannot start a thread for {peer}: {error}"));
        }
    }

    fn serve(&self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let wake = Arc::new(Wake::new()?);
        lock(&self.wakes).push(Arc::downgrade(&wake));
        Connection::new(self, socket, peer, &wake)?.run()
    }
}
