//! One reader: from the members' streams to its connection.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use polycube_plugin_api::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};

use super::port::{Port, Served};
use super::splice::Splice;
use crate::format::Format;
use crate::format::pcapng::Section;
use crate::sys::Wake;

/// Bytes of a read.
const PIECE: usize = 64 << 10;
/// How long the last packets of a member may take that is not served any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// A reader that says nothing for a minute, as it has lost its network, is gone: the kernel asks after 30 s, three times.
const IDLE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

pub(super) struct Connection<'a> {
    port: &'a Port,
    socket: TcpStream,
    peer: SocketAddr,
    wake: &'a Wake,
    /// Of the one stream's header, if it is pcap.
    link: Option<u32>,
    sources: Vec<Source>,
    /// All members that there were, with a source or without.
    known: Vec<u64>,
    /// The number of the next interface.
    next: u32,
    /// What the reader is to get, and how much of it is sent.
    out: Vec<u8>,
    sent: usize,
}

/// A member's stream.
struct Source {
    member: u64,
    pipe: File,
    splice: Splice,
    /// When it ends, if the member is not served any more.
    ends: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(port: &'a Port, socket: TcpStream, peer: SocketAddr, wake: &'a Wake) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // A packet on an idle netdev is small, and wanted at once.
        socket.set_nodelay(true)?;
        set_tcp_keepidle(&socket, IDLE)?;
        set_tcp_keepintvl(&socket, INTERVAL)?;
        set_tcp_keepcnt(&socket, PROBES)?;
        set_socket_keepalive(&socket, true)?;
        let section = port.section();
        let format = port.at.format;
        let link = (format != Format::Pcapng).then(|| section.first_link());
        let out = match format {
            Format::Pcapng => Section { interfaces: Vec::new(), ..section }.bytes(format.resolution()),
            Format::Pcap | Format::PcapNanos => format.stream_header(&section, format.resolution()),
        };
        Ok(Self { port, socket, peer, wake, link, sources: Vec::new(), known: Vec::new(), next: 0, out, sent: 0 })
    }

    /// Serves the reader until it leaves, or there is nothing left to serve.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            self.wake.clear();
            let has_ended = self.follow();
            let now = Instant::now();
            self.sources.retain(|source| source.ends.is_none_or(|ends| ends > now));
            // With neither, packets could not come before it connects again.
            let is_over = self.sources.is_empty() && (has_ended || !self.known.is_empty());
            if is_over && self.sent == self.out.len() {
                return Ok(());
            }
            self.wait(is_over)?;
            if self.sent < self.out.len() {
                self.send()?;
            } else {
                self.collect()?;
            }
        }
    }

    /// Opens streams of members that are new, and gives those of former members a time to end. Whether there are none.
    fn follow(&mut self) -> bool {
        let (served, has_ended) = self.port.served();
        for source in &mut self.sources {
            if source.ends.is_none() && served.iter().all(|member| member.id != source.member) {
                source.ends = Some(Instant::now() + PATIENCE);
            }
        }
        for member in served {
            if !self.known.contains(&member.id) {
                self.known.push(member.id);
                self.open(&member);
            }
        }
        has_ended
    }

    fn open(&mut self, member: &Served) {
        let format = self.port.at.format;
        let log = |level, message: &str| self.port.log(level, &format!("{}: {message}", self.peer));
        if self.link.is_some() && member.readers.section().only_link() != self.link {
            let cube = &member.cube;
            let message = format!(
                "capture `{cube}` is left out, because pcap has one link type: give a port with /pcapng, or connect again"
            );
            return log(Level::Warn, &message);
        }
        match member.readers.open_for(Some(self.peer), format, member.recorded.resolution(), None) {
            Ok((_, pipe)) => {
                let splice = Splice::new(format);
                self.sources.push(Source { member: member.id, pipe: pipe.into(), splice, ends: None });
            }
            Err(error) => log(Level::Warn, &format!("cannot open a stream of `{}`: {error}", member.cube)),
        }
    }

    /// Waits until something can be done.
    fn wait(&self, is_over: bool) -> io::Result<()> {
        let is_sending = self.sent < self.out.len();
        let wanted = if is_sending { PollFlags::OUT } else { PollFlags::empty() };
        let mut fds =
            vec![PollFd::new(&self.socket, wanted), PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        // A slow reader's packets wait, and are counted, where they are.
        let sources = self.sources.iter().filter(|_| !is_sending);
        fds.extend(sources.map(|source| PollFd::new(&source.pipe, PollFlags::IN)));
        let ends = self.sources.iter().filter_map(|source| source.ends).min();
        let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        // What is left is sent, or not.
        let left = if is_over { Some(PATIENCE) } else { left };
        let timeout =
            left.map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if is_over => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        match self.socket.write(&self.out[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Takes what the members' streams have.
    fn collect(&mut self) -> io::Result<()> {
        let Self { sources, out, next, .. } = self;
        let mut piece = vec![0; PIECE];
        let mut failed = None;
        sources.retain_mut(|source| match source.pipe.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                let whole = source.splice.take(&piece[..count], next, out);
                failed = failed.take().or(whole.err());
                true
            }
            Err(error) => [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()),
        });
        // It is a fault of ours, and the reader would take what follows for something else.
        failed.map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::InvalidData, error)))
    }
}
