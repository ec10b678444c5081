//! What becomes of the packets of a capture: lines, or records of a file or a pipe.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use super::files::Files;
use super::prologue::Prologue;
use super::reports::{Report, Reports};
use crate::bundle::Bundle;
use crate::failure::Failure;
use crate::grammar::{Capture, Destination, Limits, RecordFormat};
use crate::quantity;
use crate::records::Packet;
use crate::records::blocks::{Block, Blocks, Counts, ETHERNET, Kind};
use crate::sink::{CLEAR, Sink};
use crate::terminal::escape;
use crate::watch::Lines;

/// The snap length that a file of pcap announces: no record is longer.
const SNAPLEN: u32 = 262_144;

/// Where packets go, and how many there were.
pub(super) struct Output {
    blocks: Blocks,
    form: Form,
    /// Rendered, and not written yet.
    pending: Vec<u8>,
    /// Whether there is a packet among it.
    has_packets: bool,
    target: Target,
    /// Where the daemon writes the file.
    reports: Option<Reports>,
    /// Why the daemon cannot go on with it.
    failed: Option<String>,
    limits: Limits,
    packets: u64,
    /// What was recorded of them.
    bytes: u64,
    /// Packets that were left out because there were enough bytes.
    left_out: u64,
    /// What the programs have counted, at the end.
    counts: Option<Counts>,
    /// What is lost so far, if the daemon has said.
    pub(super) dropped: Option<u64>,
    began: Instant,
    /// When the rate was last computed, and how many packets there were.
    last: (Instant, u64),
}

enum Target {
    Stdout(Sink),
    Files(Files),
}

/// How packets are rendered.
enum Form {
    Lines(Lines),
    /// As they come. A further file begins with the same, the `bundle` included.
    Pcapng {
        prologue: Prologue,
        bundle: Bundle,
    },
    /// Converted; `unit` is the nanoseconds of a unit of time.
    Pcap {
        magic: u32,
        unit: u32,
        /// The link type of all places, as soon as there is one.
        link: Option<u32>,
    },
}

impl Output {
    /// Refuses what makes no sense, before packets are asked for.
    pub(super) fn check(capture: &Capture) -> Result<(), Failure> {
        if capture.rotation.is_some() { Ok(()) } else { Sink::check(&capture.destination) }
    }

    /// Creates the file, if there is one.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn open(capture: &Capture, bundle: Bundle) -> Result<Self, Failure> {
        let target = match &capture.destination {
            Destination::File { path, force } => Target::Files(Files::open(path, *force, capture.rotation.clone())?),
            other => Target::Stdout(Sink::open(other)?),
        };
        let form = match (&capture.destination, capture.format) {
            (Destination::Lines, _) => Form::Lines(Lines::new(capture.clock)),
            (_, RecordFormat::Pcapng) => Form::Pcapng { prologue: Prologue::default(), bundle },
            (_, RecordFormat::Pcap) => Form::Pcap { magic: 0xa1b2_c3d4, unit: 1_000, link: None },
            (_, RecordFormat::PcapNanos) => Form::Pcap { magic: 0xa1b2_3c4d, unit: 1, link: None },
        };
        let now = Instant::now();
        Ok(Self {
            blocks: Blocks::default(),
            form,
            pending: Vec::new(),
            has_packets: false,
            target,
            reports: None,
            failed: None,
            limits: capture.limits.clone(),
            packets: 0,
            bytes: 0,
            left_out: 0,
            counts: None,
            dropped: None,
            began: now,
            last: (now, 0),
        })
    }

    /// The file that the daemon may write by itself: nothing is to be done with its packets.
    pub(super) fn file(&self) -> Option<&File> {
        let is_plain = match &self.form {
            Form::Lines(_) => false,
            Form::Pcapng { bundle, .. } => bundle.is_empty(),
            Form::Pcap { .. } => true,
        };
        match &self.target {
            Target::Files(files) if is_plain && self.limits.bytes.is_none() && !files.rotates() => files.file(),
            _ => None,
        }
    }

    /// There are packets, or reports of them if the daemon `writes` the file.
    ///
    /// # Errors
    /// The file cannot get its name, or an old one cannot be truncated.
    pub(super) fn begin(&mut self, writes: bool) -> Result<(), Failure> {
        self.reports = writes.then(Reports::default);
        match &mut self.target {
            Target::Files(files) => files.begin(writes),
            Target::Stdout(_) => Ok(()),
        }
    }

    /// Nothing was captured.
    pub(super) fn abandon(&self) {
        if let Target::Files(files) = &self.target {
            files.abandon();
        }
    }

    /// Makes the file whole where the daemon that wrote it has died. If that fails, what has happened to the daemon is what
    /// matters.
    pub(super) fn mend(&mut self) {
        let is_pcapng = matches!(self.form, Form::Pcapng { .. });
        if let (Target::Files(files), true) = (&mut self.target, self.reports.is_some())
            && let Ok(found) = files.mend(is_pcapng)
        {
            self.packets += found.packets;
            self.bytes += found.bytes;
        }
    }

    /// Why the daemon could not write the file.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        let Target::Files(files) = &self.target else { return None };
        self.failed.take().map(|error| files.failure(io::Error::other(error)))
    }

    /// The failure to wait for a file that the daemon still writes.
    pub(super) fn unfinished(&self) -> Option<Failure> {
        let Target::Files(files) = &self.target else { return None };
        self.reports
            .as_ref()
            .map(|_| files.failure(io::Error::other("it was not complete yet: its last packets are missing")))
    }

    /// Takes bytes of the stream and writes what is whole; true if nobody reads it any more.
    ///
    /// # Errors
    /// They are not a capture, or cannot be written.
    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        if let Some(reports) = &mut self.reports {
            let reports = reports.feed(bytes).map_err(Failure::Reports)?;
            reports.into_iter().try_for_each(|report| self.hear(report))?;
            return Ok(false);
        }
        let mut blocks = std::mem::take(&mut self.blocks);
        let fed = blocks.feed(bytes, |block, blocks| self.add(block, blocks));
        self.blocks = blocks;
        fed?;
        self.write().await
    }

    fn hear(&mut self, report: Report) -> Result<(), Failure> {
        let Target::Files(files) = &mut self.target else { return Ok(()) };
        match report {
            Report::Written { packets, bytes, counts, end } => {
                files.reaches(end, packets > 0);
                (self.packets, self.bytes, self.counts) = (packets, bytes, Some(counts));
                self.dropped = Some(counts.dropped);
                Ok(())
            }
            // The counts follow.
            Report::Failed { error } => {
                self.failed = Some(error);
                Ok(())
            }
            Report::Ended { raw_ip } => Err(Failure::RawIp { place: escape(&raw_ip) }),
        }
    }

    fn add(&mut self, block: &Block<'_>, blocks: &Blocks) -> Result<(), Failure> {
        match &block.kind {
            Kind::Packet(packet, index) => {
                if self.has_had_bytes() || self.limits.packets.is_some_and(|most| self.packets >= most) {
                    self.left_out += 1;
                    return Ok(());
                }
                self.make_room(block.bytes.len())?;
                self.packets += 1;
                self.bytes += packet.bytes.len() as u64;
                self.has_packets = true;
                self.form.packet(packet, block.bytes, place(blocks, *index), &mut self.pending);
            }
            Kind::Header { is_section } => {
                if let Form::Pcap { link, .. } = &mut self.form
                    && let Some(last) = blocks.last_link()
                {
                    if link.is_some_and(|link| link != last) {
                        return Err(self.mixed(blocks));
                    }
                    if link.replace(last).is_none() {
                        self.form.begin(&mut self.pending);
                    }
                }
                if let Form::Pcapng { prologue, bundle } = &mut self.form {
                    let mut bytes = block.bytes.to_vec();
                    if *is_section {
                        bundle.insert(&mut bytes);
                    }
                    prologue.add_header(&bytes, *is_section);
                    self.pending.extend(bytes);
                }
            }
            Kind::Secrets => {
                if let Form::Pcapng { prologue, .. } = &mut self.form {
                    prologue.add_keys(block.bytes);
                    self.pending.extend_from_slice(block.bytes);
                }
            }
            Kind::Statistics(counts) => {
                self.counts = Some(*counts);
                // They count packets that are not in the file.
                if matches!(self.form, Form::Pcapng { .. }) && self.left_out == 0 {
                    self.pending.extend_from_slice(block.bytes);
                }
            }
            Kind::Other => {}
        }
        Ok(())
    }

    /// Why the places do not go into one file of pcap. A file without packets would be of no use.
    fn mixed(&self, blocks: &Blocks) -> Failure {
        if let Target::Files(files) = &self.target {
            files.remove_if_empty();
        }
        Failure::RawIp { place: escape(blocks.raw_ip().unwrap_or_default()) }
    }

    /// Writes the header of a file that has had none, because there was no place.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        if self.reports.is_none()
            && let Form::Pcap { link: link @ None, .. } = &mut self.form
        {
            *link = Some(ETHERNET);
            self.form.begin(&mut self.pending);
            self.write().await?;
        }
        Ok(())
    }

    /// Begins the next file if this one has no room for so many bytes.
    fn make_room(&mut self, size: usize) -> Result<(), Failure> {
        let Target::Files(files) = &mut self.target else { return Ok(()) };
        if files.is_full(self.pending.len() + size, self.has_packets) {
            files.write(&self.pending, self.has_packets)?;
            self.pending.clear();
            self.has_packets = false;
            files.rotate()?;
            self.form.begin(&mut self.pending);
        }
        Ok(())
    }

    /// Begins the next file if its time has come, with or without packets to come.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn rotate_by_time(&mut self) -> Result<(), Failure> {
        match &self.target {
            Target::Files(files) if files.time().is_some() => self.make_room(0),
            _ => Ok(()),
        }
    }

    async fn write(&mut self) -> Result<bool, Failure> {
        let result = match &mut self.target {
            Target::Files(files) => files.write(&self.pending, self.has_packets).map(|()| false),
            Target::Stdout(_) if self.pending.is_empty() => Ok(false),
            Target::Stdout(sink) => match sink.write(&self.pending).await {
                Ok(()) => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
                Err(error) => Err(sink.failure(error)),
            },
        };
        self.pending.clear();
        self.has_packets = false;
        result
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.target, Target::Files(_))
    }

    pub(super) fn is_reader_gone(&self) -> bool {
        matches!(&self.target, Target::Stdout(sink) if sink.is_reader_gone())
    }

    /// Whether the stream ended within a block.
    pub(super) fn is_cut(&self) -> bool {
        self.blocks.is_cut()
    }

    /// Whether there are as many bytes of packets as were asked for.
    pub(super) fn has_had_bytes(&self) -> bool {
        self.limits.bytes.is_some_and(|most| self.bytes >= most)
    }

    /// Whether a limit is reached.
    pub(super) fn is_enough(&self) -> bool {
        self.has_had_bytes() || self.limits.packets.is_some_and(|most| self.packets >= most)
    }

    /// Draws the live line.
    pub(super) fn draw(&mut self) {
        let (then, before) = std::mem::replace(&mut self.last, (Instant::now(), self.packets));
        let rate = (self.packets - before) as f64 / (self.last.0 - then).as_secs_f64().max(1e-3);
        let dropped = self.dropped.map_or_else(String::new, |dropped| format!(", {dropped} dropped"));
        let (packets, size) = (quantity::packets(self.packets), quantity::size(self.bytes));
        // There is nowhere to report that stderr is closed.
        let _ = write!(io::stderr(), "{CLEAR}{packets}, {size}, {rate:.0} packets a second{dropped}");
    }

    /// What to say in the end.
    pub(super) fn summary(&self) -> String {
        let place = if let Target::Files(files) = &self.target { files.place() } else { String::new() };
        let (packets, size, time) = (self.packets, quantity::size(self.bytes), quantity::time(self.began.elapsed()));
        let first = format!("{} captured, {size} in {time}{place}", quantity::packets(packets));
        match (self.counts, self.dropped) {
            (Some(Counts { seen, dropped }), _) => {
                let (seen, dropped) = (quantity::packets(seen), quantity::packets(dropped));
                format!("{first}\n{seen} seen by the filter\n{dropped} dropped")
            }
            (None, Some(dropped)) => format!("{first}\n{} dropped", quantity::packets(dropped)),
            (None, None) => first,
        }
    }
}

/// The name of the place, if there are several.
fn place(blocks: &Blocks, index: usize) -> &str {
    if blocks.interfaces() > 1 { blocks.interface(index).unwrap_or_default() } else { "" }
}

impl Form {
    /// Appends what a file begins with.
    fn begin(&self, out: &mut Vec<u8>) {
        match self {
            Self::Lines(_) => {}
            Self::Pcapng { prologue, .. } => prologue.write(out),
            Self::Pcap { magic, link, .. } => {
                // draft-ietf-opsawg-pcap, section 4: version 2.4, and two fields that are 0.
                let words = [*magic, 2 | 4 << 16, 0, 0, SNAPLEN, link.unwrap_or(ETHERNET)];
                words.iter().for_each(|word| out.extend(word.to_ne_bytes()));
            }
        }
    }

    fn packet(&self, packet: &Packet<'_>, block: &[u8], place: &str, out: &mut Vec<u8>) {
        match self {
            Self::Lines(lines) => {
                out.extend_from_slice(lines.line(packet, place).as_bytes());
                out.push(b'\n');
            }
            Self::Pcapng { .. } => out.extend_from_slice(block),
            Self::Pcap { unit, .. } => {
                // The format has 32 bits for seconds.
                let seconds = packet.time.as_secs() as u32;
                let fraction = packet.time.subsec_nanos() / unit;
                let captured = packet.bytes.len() as u32;
                for word in [seconds, fraction, captured, packet.length] {
                    out.extend(word.to_ne_bytes());
                }
                out.extend_from_slice(packet.bytes);
            }
        }
    }
}
