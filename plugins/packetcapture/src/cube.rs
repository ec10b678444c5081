//! One packet capture.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use polycube_filter::{Compiled, LinkType, joined};
use polycube_layout::ring::MAX_SNAPLEN;
use polycube_plugin_api::{
    Action, ActionCall, Cube, Datapath, Level, Maps, Opened, Outcome, Point, Refusal, Service, ServiceKind, Staged,
    Stream, Tag, Wanted,
};

use crate::config::{Capture, Config, Connection, OverIp, Store, without};
use crate::datapath;
use crate::filter::{self, Programs, Source};
use crate::format::Format;
use crate::keys::{KeyLog, KeysError, Taken};
use crate::lock::lock;
use crate::machine::Asked;
use crate::over_ip::{Member, OtherFormat, Seat};
use crate::places::Places;
use crate::session::{CaptureMaps, CubeContext, OpenRings, Session, SessionError, Wanting, log_of};
use crate::settings::Settings;
use crate::shared;
use crate::state::{self, Counters, DiskState, GlobalHeader, PacketHead, ProgramState, QueueState, State};
use crate::streams;
use crate::sys;

/// How long a reader of the packets so far waits for those on their way to the file. It keeps only itself waiting.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// The action that takes TLS keys.
const KEYS: &str = "keys";

/// A cube of the service.
pub struct PacketCapture {
    context: CubeContext,
    cpus: usize,
    in_force: Staged<InForce>,
    phases: Mutex<Phases>,
    /// Where readers of PCAP-over-IP connect.
    seat: Mutex<Option<Seat>>,
    /// The filter compiled last: a change asks for it twice, and most changes do not affect the filter.
    compiled: Mutex<Option<Arc<Filter>>>,
    /// What the kernel said of the netdevs that a change is about.
    asked: Mutex<Option<Asked>>,
}

/// A filter, and the settings it was compiled from.
struct Filter {
    source: Source,
    programs: Programs,
}

/// What belongs to a configuration.
struct InForce {
    settings: Arc<Settings>,
    filter: Arc<Filter>,
    /// Why there are no packets with it.
    idle: Option<String>,
    /// Where there are none, though a place such as `any` stands for it.
    lack: Option<String>,
}

/// The session, which outlives changes of its settings.
#[derive(Default)]
struct Phases {
    running: Option<Session>,
    prepared: Prepared,
}

/// What `commit` does with the session.
#[derive(Default)]
enum Prepared {
    #[default]
    Nothing,
    /// The session ends.
    Off,
    /// A session starts; there was none.
    On(Box<Session>),
    /// The same in rings that another instance has used, or still uses until it ends: a session would take packets away
    /// from it.
    TakeOver(Box<CaptureMaps>),
    /// Other settings, and other rings if given.
    Change(Option<OpenRings>),
}

impl PacketCapture {
    fn phases(&self) -> MutexGuard<'_, Phases> {
        lock(&self.phases)
    }

    /// The places of a capture, and the filter at those that are not left out.
    fn filter(&self, config: &Config, points: &[Point]) -> Result<(Arc<Filter>, Places), Refusal> {
        let mut places = Places::of(config, points);
        let filter = self.filter_at(config, &places)?;
        places.fit(&filter.programs);
        Ok((filter, places))
    }

    fn filter_at(&self, config: &Config, places: &Places) -> Result<Arc<Filter>, Refusal> {
        let (fields, netmask, connection) = (config.fields()?, config.netmask()?, config.without_connection()?);
        let given = config.expression();
        let mut own: Vec<String> = connection.iter().map(Connection::expression).collect();
        // What is read at the loopback passes nowhere else.
        let passes = |at: &OverIp| !at.address.ip().is_loopback() || places.taken.iter().any(|point| point.is_loopback);
        own.extend(self.over_ip(config)?.filter(passes).map(|at| at.expression()));
        let expression = without(given, &own);
        let (ethernet, raw_ip) = (places.need(LinkType::Ethernet), places.need(LinkType::RawIp));
        let source = Source { fields, expression, netmask, ethernet, raw_ip };
        let mut compiled = lock(&self.compiled);
        if let Some(same) = compiled.as_ref().filter(|filter| filter.source == source) {
            return Ok(Arc::clone(same));
        }
        let began = Instant::now();
        let programs = filter::compile(&source).map_err(|error| {
            // About what the user wrote, if that alone is wrong.
            let users = Source { expression: given.to_owned(), ..source.clone() };
            let own = if own.is_empty() { None } else { filter::compile(&users).err() };
            filter::refusal(&own.unwrap_or(error))
        })?;
        if let Some(Compiled { instructions, classic, .. }) = programs.any() {
            let (count, ms) = (instructions.len(), began.elapsed().as_millis());
            let whole = joined(&source.fields, &source.expression).ok().flatten().unwrap_or_default();
            let message = format!("compiled in {ms} ms: {classic} classic and {count} eBPF instructions for `{whole}`");
            self.context.cube.log(Level::Debug, &message);
        }
        let filter = Arc::new(Filter { source, programs });
        *compiled = Some(Arc::clone(&filter));
        Ok(filter)
    }

    fn over_ip(&self, config: &Config) -> Result<Option<OverIp>, Refusal> {
        config.over_ip(self.context.cube.pcap_over_ip())
    }

    /// Goes where readers of PCAP-over-IP are to connect.
    fn take_seat(&self, settings: &Settings) {
        let CubeContext { cube, readers, .. } = &self.context;
        let mut seat = lock(&self.seat);
        match (seat.as_ref(), settings.over_ip) {
            (Some(seat), Some(at)) if seat.at() == at => return seat.set_recorded(settings.format),
            _ => *seat = None,
        }
        let Some(at) = settings.over_ip else { return };
        let member = Member {
            cube: cube.name().to_owned(),
            readers: Arc::clone(readers),
            recorded: settings.format,
            log: log_of(cube),
        };
        match Seat::take(at, member) {
            Ok(taken) => *seat = Some(taken),
            Err(error) => cube.log(Level::Error, &format!("pcap-over-ip: cannot listen at {}: {error}", at.address)),
        }
    }

    /// Forgets what was prepared for the session.
    fn forget(&self, phases: &mut Phases) {
        match std::mem::take(&mut phases.prepared) {
            Prepared::Nothing | Prepared::Off | Prepared::TakeOver(_) => {}
            Prepared::On(session) => session.end(),
            Prepared::Change(opened) => {
                if let (Some(running), Some(now)) = (&phases.running, self.in_force.now()) {
                    running.forget(Arc::clone(&now.settings), opened.as_ref());
                }
            }
        }
    }

    /// Goes on in the rings of an instance that has ended. Their packets wait there meanwhile.
    fn take_over(&self, phases: &mut Phases, settings: &Arc<Settings>) {
        match std::mem::take(&mut phases.prepared) {
            Prepared::TakeOver(maps) => match Session::start(&self.context, *maps, Arc::clone(settings)) {
                Ok(session) => phases.prepared = Prepared::On(Box::new(session)),
                Err(error) => {
                    let message = format!("cannot continue: {error}; turn the capture off and on");
                    self.context.cube.log(Level::Error, &message);
                    self.context.outcome.set_trouble(Some(message));
                }
            },
            prepared => phases.prepared = prepared,
        }
    }

    fn take_keys(&self, log: &KeyLog) -> Result<Taken, KeysError> {
        let format = self.in_force.now().map(|now| now.settings.format).unwrap_or_default();
        if format != Format::Pcapng {
            return Err(KeysError::Format(format.name()));
        }
        let taken = self.context.keys.add(log)?;
        self.context.readers.hand_out_keys();
        Ok(taken)
    }

    fn report_reduced_rings(&self, session: &Session, wanted: usize) {
        let got = session.ring_size();
        if got < wanted {
            let (got, wanted, cpus) = (got >> 10, wanted >> 10, self.cpus);
            let message = format!("rings have {got} KiB instead of {wanted} KiB, because the machine has {cpus} CPUs");
            self.context.cube.log(Level::Info, &message);
        }
    }
}

impl Service for PacketCapture {
    const NAME: &'static str = "packetcapture";
    const DESCRIPTION: &'static str = "Records the packets that pass a port into a capture file";
    const KIND: ServiceKind = ServiceKind::Transparent;
    const TAKES_RAW_IP: bool = true;
    type Config = Config;
    type State = State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        let cpus = sys::possible_cpus()
            .map_err(|error| Refusal::failed(format!("cannot read the number of CPUs: {error}")))?;
        let random = |error| Refusal::failed(format!("cannot read random bytes: {error}"));
        let (process, key) = (sys::random().map_err(random)?, sys::random().map_err(random)?);
        let in_force = Staged::new(&cube);
        let context = CubeContext::new(cube, u32::from_ne_bytes(process), key)?;
        Ok(Self {
            in_force,
            context,
            cpus,
            phases: Mutex::default(),
            seat: Mutex::default(),
            compiled: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        let (filter, places) = self.filter(&wanted.config, &wanted.points)?;
        let mut datapath = datapath::datapath(&wanted.config, &filter.programs, &places.taken, self.cpus)?;
        datapath.left_out = places.left_out();
        // Before the kernel has to find it.
        let needed = if datapath.maps.is_empty() { 0 } else { datapath::memory(&wanted.config, self.cpus) };
        let room = self.context.outcome.memory.check(needed);
        room.map_err(|error| Refusal::from(SessionError::from(error)).at("ring-size"))?;
        // The host attaches programs next, and the kernel gives no answer meanwhile.
        *lock(&self.asked) = Some(Asked::now(&places.taken, wanted.config.anonimize));
        Ok(datapath)
    }

    fn prepare(&self, wanted: &Wanted<Config>, maps: Maps) -> Result<(), Refusal> {
        let Wanted { config, points, .. } = wanted;
        let CubeContext { cube, roots, .. } = &self.context;
        let over_ip = self.over_ip(config)?;
        if let Some(at) = over_ip {
            let refused = |error: OtherFormat| Refusal::new(Tag::InvalidValue, error.to_string()).at("pcap-over-ip");
            Seat::check(at, cube.name()).map_err(refused)?;
            // What polycubed's own option says is not this capture's fault.
            if config.pcap_over_ip.is_some() {
                let message = |error| format!("cannot listen at {}: {error}; choose a port from 1024 up", at.address);
                let refused = |error| Refusal::new(Tag::InvalidValue, message(error)).at("pcap-over-ip");
                Seat::check_permission(at).map_err(refused)?;
            }
        }
        let (filter, places) = self.filter(config, points)?;
        let asked = lock(&self.asked).take().filter(|asked| asked.is_for(&places.taken, config.anonimize));
        let asked = asked.unwrap_or_else(|| Asked::now(&places.taken, config.anonimize));
        let settings = Arc::new(Settings::new(config, cube.name(), asked, roots, over_ip)?);
        let large =
            Wanting { size: config.ring_size.granted(self.cpus), spec: datapath::large_lanes(config, self.cpus) };
        let maps = CaptureMaps::find(maps, large)?;
        let mut phases = self.phases();
        self.forget(&mut phases);
        let phases = &mut *phases;
        phases.prepared = match (maps, &mut phases.running) {
            (None, _) => Prepared::Off,
            (Some(maps), None) if maps.are_used()? => {
                self.context.check_directory(&settings)?;
                Prepared::TakeOver(Box::new(maps))
            }
            (Some(maps), None) => {
                let session = Session::start(&self.context, maps, Arc::clone(&settings))?;
                self.report_reduced_rings(&session, config.ring_size.wanted());
                Prepared::On(Box::new(session))
            }
            (Some(maps), Some(running)) => {
                running.announce(&settings)?;
                Prepared::Change(if running.reads(&maps) { None } else { Some(running.open(maps, config.recorded())?) })
            }
        };
        let (capture, lack) = (config.capture, places.lack());
        let idle =
            state::idle(capture, &places.taken, &wanted.places).filter(|_| capture == Capture::Off || lack.is_none());
        self.in_force.prepare(InForce { settings, filter, idle: idle.or_else(|| lack.clone()), lack });
        Ok(())
    }

    fn commit(&self) {
        let Some(now) = self.in_force.now() else { return };
        let mut phases = self.phases();
        self.take_over(&mut phases, &now.settings);
        phases.enact(&now.settings);
        // A session does the same with the packets that are still in its rings.
        if !now.settings.network && phases.running.is_none() {
            self.context.queue.clear(&self.context.outcome.queue);
        }
        drop(phases);
        self.take_seat(&now.settings);
        self.context.cube.log(Level::Debug, &now.summary());
    }

    fn abort(&self) {
        self.forget(&mut self.phases());
        self.context.cube.log(Level::Debug, "a change was undone: the previous configuration stays in force");
    }

    fn state(&self) -> Result<State, Refusal> {
        let CubeContext { outcome, queue, readers, keys, .. } = &self.context;
        let (now, is_on) = (self.in_force.now(), self.phases().running.is_some());
        let program = now.as_ref().and_then(|now| now.filter.state());
        let idle = now.as_ref().and_then(|now| now.idle(is_on));
        let settings = now.as_ref().map(|now| &now.settings);
        let (network, snaplen) = settings.map_or((false, MAX_SNAPLEN), |now| (now.network, now.section.snaplen));
        let keeps_files = settings.is_none_or(|now| now.keeps_files());
        let memory = outcome.memory.usage();
        let disk = DiskState::new(outcome.pace.rate(), memory.backlog);
        let status = match outcome.trouble() {
            Some(trouble) => trouble,
            None if is_on => disk
                .remark(memory.backlog)
                .map_or_else(|| String::from("capturing"), |remark| format!("capturing; {remark}")),
            None => idle.clone().unwrap_or_else(|| String::from("off")),
        };
        let file = outcome.dump(is_on).filter(|_| keeps_files);
        Ok(State {
            dump: state::dump(network, file.as_deref()),
            path: file.map(|path| path.display().to_string()),
            status,
            idle,
            program,
            counters: Counters::of(outcome),
            memory: memory.into(),
            disk,
            globalheader: GlobalHeader::new(snaplen),
            tls_keys: keys.count(),
            packet: queue.peek().as_ref().map(PacketHead::from).unwrap_or_default(),
            queue: QueueState { waiting: queue.len() },
            files: outcome.files().into_iter().map(Into::into).collect(),
            streams: readers.states().into_iter().map(Into::into).collect(),
            listener: lock(&self.seat).as_ref().map(|seat| seat.state().into()),
        })
    }

    fn tick(&self) {
        let phases = self.phases();
        let Some(running) = &phases.running else { return };
        if self.in_force.now().is_some_and(|now| now.settings.watches_the_clock()) {
            running.tick();
        }
        let offset = sys::utc_offset();
        let before = running.set_utc_offset(offset);
        if before != offset {
            let seconds = |nanos| nanos / 1_000_000_000;
            let (from, to) = (seconds(before), seconds(offset));
            let message = format!("the offset of UTC from the kernel's TAI has changed from {from} s to {to} s");
            self.context.cube.log(Level::Debug, &message);
        }
    }

    fn actions() -> Vec<Action> {
        let description = "Adds TLS keys, with which readers of the capture's pcapng decrypt it";
        vec![Action::new(KEYS, description).taking::<KeyLog>().returning::<Taken>()]
    }

    fn act(&self, call: &ActionCall<Config>) -> Result<Outcome<Config>, Refusal> {
        match call.action.as_str() {
            KEYS => Outcome::of(&self.take_keys(&call.input()?)?),
            _ => Err(call.unknown()),
        }
    }

    fn streams() -> Vec<Stream> {
        streams::declared()
    }

    fn open(&self, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
        let flushed = {
            let phases = self.phases();
            let running = phases.running.as_ref().filter(|_| path == streams::STREAM && !streams::follows(query));
            running.map(Session::flush)
        };
        // A reader of the packets so far also wants those still on their way to the file.
        if let Some(flushed) = flushed {
            // Otherwise nothing is left to flush.
            if flushed.recv_timeout(DISK_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let message = "the packets so far are not in the file yet, because its disk does not answer: try again";
                return Err(Refusal::failed(message).at(path));
            }
        }
        let now = self.in_force.now();
        streams::open(&self.context, now.as_ref().map(|now| &*now.settings), path, query)
    }

    fn open_into(&self, path: &str, query: &BTreeMap<String, String>, file: OwnedFd) -> Result<Opened, Refusal> {
        let now = self.in_force.now();
        streams::open_into(&self.context, now.as_ref().map(|now| &*now.settings), path, query, file)
    }

    fn shared_streams() -> Vec<Stream> {
        shared::declared()
    }

    fn open_shared(host: &Cube, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
        shared::open(host, path, query)
    }

    fn delete_shared(host: &Cube, path: &str) -> Result<(), Refusal> {
        shared::delete(host, path)
    }
}

impl Drop for PacketCapture {
    fn drop(&mut self) {
        self.phases().end();
        self.context.readers.end();
        *lock(&self.seat) = None;
    }
}

impl Filter {
    fn state(&self) -> Option<ProgramState> {
        let program = self.programs.any()?;
        let expression = joined(&self.source.fields, &self.source.expression).ok().flatten()?;
        Some(ProgramState { expression, classic: program.classic, instructions: program.instructions.len() })
    }
}

impl InForce {
    /// What keeps packets from coming, from some places or from all.
    fn idle(&self, is_on: bool) -> Option<String> {
        if is_on { self.lack.clone() } else { self.idle.clone() }
    }

    /// The configuration, for the log.
    fn summary(&self) -> String {
        let Settings { format, section, network, store, files, .. } = &*self.settings;
        let places: Vec<&str> = section.interfaces.iter().flatten().map(|place| place.name.as_str()).collect();
        let places =
            if places.is_empty() { "attached to nothing".to_owned() } else { format!("at {}", places.join(", ")) };
        let to = if *network {
            "the queue of network mode".to_owned()
        } else if *store == Store::None {
            "streams alone".to_owned()
        } else {
            files.directory.path().display().to_string()
        };
        let filter = if self.filter.programs.any().is_some() { "a filter" } else { "no filter" };
        format!("in force: {places}; {filter}, snaplen {}, {} to {to}", section.snaplen, format.extension())
    }
}

impl Phases {
    fn enact(&mut self, settings: &Arc<Settings>) {
        match std::mem::take(&mut self.prepared) {
            Prepared::Nothing | Prepared::TakeOver(_) => {}
            Prepared::Off => self.end(),
            Prepared::On(session) => self.running = Some(*session),
            Prepared::Change(opened) => {
                if let Some(running) = &mut self.running {
                    running.settle(Arc::clone(settings), opened);
                }
            }
        }
    }

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

#[cfg(test)]
mod tests;
