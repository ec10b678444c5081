//! A cube without a daemon: created, changed and asked as the daemon does it, with its programs in the real kernel.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use polycube_layout::chain::{MAX_PORTS, NO_PORT};
use polycube_loader::bpf::trial::{self, Outcome, Packet};
use polycube_loader::described::{self, Asked, Known};
use polycube_plugin_api::{Datapath, Environment, Netdevs, Refusal, Service, ServiceKind, Tag};
use polycube_schema::action::Called;
use polycube_schema::problem::Problems;
use polycube_schema::{Model, Operation, PORTS, host, read};
use serde_json::{Value, json};

use crate::border::{self, Instance};
use crate::generation::{FIRST_IFINDEX, Generation, Wanted};
use crate::host::{Heard, Line};
use crate::setup::Directory;
use crate::{Answer, Exit, Failure, Place, Setup, Verdict, pcap};

/// How many of the latest packets a failed test leaves behind.
const KEPT: usize = 1000;

/// A cube of the service `S`.
///
/// Every method may be called from several threads at once, as the daemon does it: one change at a time, and packets and
/// reads of the state meanwhile. Dropping it deletes the cube. If that happens because a test panics, the latest packets
/// are written to a pcap file below `target/`, and its path is printed.
pub struct Cube<S> {
    instance: Instance,
    model: Model,
    setup: Setup,
    heard: Heard,
    config: Mutex<Configured>,
    running: RwLock<Generation>,
    packets: Mutex<VecDeque<Vec<u8>>>,
    _directory: Directory,
    _service: PhantomData<fn() -> S>,
}

/// What is set at a cube, and at its ports by their names.
#[derive(Clone)]
struct Configured {
    cube: Value,
    ports: BTreeMap<String, Value>,
}

impl<S: Service> Cube<S> {
    /// Creates a cube as [`Setup::default`] describes it.
    ///
    /// # Errors
    /// What the daemon would say.
    pub fn create(config: Value) -> Result<Self, Failure> {
        Self::create_in(Setup::default(), config)
    }

    /// Creates a cube with a name, ports or points of the test's choice.
    ///
    /// # Errors
    /// What the daemon would say.
    pub fn create_in(setup: Setup, config: Value) -> Result<Self, Failure> {
        let model = Model::of_service(border::describe::<S>()?, &host::words())?;
        let config = model.create(config)?;
        let ports = settings_of(&setup, S::KIND, &model)?;
        let (heard, directory) = (Heard::default(), Directory::new()?);
        let instance = Instance::create::<S>(&setup.info(directory.path()), heard.clone())?;
        let cube = Self {
            instance,
            model,
            setup,
            heard,
            config: Mutex::new(Configured { cube: Value::Null, ports: BTreeMap::new() }),
            running: RwLock::default(),
            packets: Mutex::default(),
            _directory: directory,
            _service: PhantomData,
        };
        cube.change(&mut cube.config(), Configured { cube: config, ports })?;
        Ok(cube)
    }

    fn config(&self) -> MutexGuard<'_, Configured> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Merges `patch` into the configuration, as `PATCH` and `polycubectl … set` do.
    ///
    /// # Errors
    /// What the daemon would say; the cube stays as it was.
    pub fn reconfigure(&self, patch: Value) -> Result<(), Failure> {
        let mut config = self.config();
        let cube = self.model.change(&config.cube, &[], Operation::Merge, patch)?;
        let ports = config.ports.clone();
        self.change(&mut config, Configured { cube, ports })
    }

    /// Merges `patch` into what is set at a port, as `polycubectl … ports PORT set` does. A port's peer is the test's
    /// [`Setup`].
    ///
    /// # Errors
    /// What the daemon would say; the cube stays as it was.
    pub fn reconfigure_port(&self, port: &str, patch: Value) -> Result<(), Failure> {
        let mut config = self.config();
        let (Some(model), Some(before)) = (&self.model.port, config.ports.get(port)) else {
            return Err(no_port(port));
        };
        let mut changed = config.clone();
        let settings = model.change(before, &[], Operation::Merge, patch)?;
        changed.ports.insert(port.to_owned(), without_peer(settings));
        self.change(&mut config, changed)
    }

    /// Gives the cube the configuration of a new one that is created with `body`, but for what is fixed at creation.
    ///
    /// # Errors
    /// What the daemon would say; the cube stays as it was.
    pub fn replace(&self, body: Value) -> Result<(), Failure> {
        let mut config = self.config();
        let cube = self.model.describe(&config.cube, polycube_schema::Source::Written, body)?;
        let ports = config.ports.clone();
        self.change(&mut config, Configured { cube, ports })
    }

    /// One change of the cube, in the daemon's order.
    fn change(&self, config: &mut Configured, changed: Configured) -> Result<(), Failure> {
        let ports = self.setup.ports_of(S::KIND);
        let settings = changed.ports.iter().map(|(name, settings)| (name.as_str(), settings));
        let whole = self.model.with_ports(&changed.cube, settings);
        let wanted = self.setup.wanted(S::KIND, &whole).to_string();
        let (datapath, objects) = self.instance.datapath(&wanted)?;
        let objects: Vec<Arc<Known>> = objects.iter().map(|bytes| Arc::new(Known::new(bytes))).collect();
        let asked: Asked = serde_json::from_str(&wanted).map_err(|error| Failure::Malformed(error.to_string()))?;
        let checked = described::check(&datapath, &objects, S::KIND, &asked)
            .map_err(|fault| Failure::Unusable { service: S::NAME.to_owned(), fault })?;
        let Datapath { programs, maps, jumps, .. } = datapath;
        let objects: Vec<Arc<[u8]>> = objects.iter().map(|object| Arc::clone(&object.bytes)).collect();
        let what = format!("cube `{}`", self.setup.name);
        let wanted_of_kernel = Wanted {
            what: &what,
            kind: S::KIND,
            programs: &programs,
            maps: &maps,
            jumps: &jumps,
            objects: &objects,
            checked: &checked,
            ports: &ports,
        };
        let made = Generation::load(&wanted_of_kernel, &self.running.read().unwrap_or_else(PoisonError::into_inner))?;
        self.instance.prepare(&wanted, &made.maps())?;
        if let Err(failure) = made.link() {
            self.instance.abort()?;
            return Err(failure);
        }
        // A packet under way holds the lock, so that the earlier programs have seen their last one afterwards.
        let earlier = std::mem::replace(&mut *self.running.write().unwrap_or_else(PoisonError::into_inner), made);
        *config = changed;
        self.instance.commit()?;
        drop(earlier);
        Ok(())
    }

    /// Passes a frame through the cube's programs, in the kernel (`BPF_PROG_TEST_RUN`). A cube without programs at a place
    /// lets packets go on.
    ///
    /// The frame begins with an Ethernet header. It counts as a packet of the loopback of the test's network namespace.
    ///
    /// # Errors
    /// The cube has no such place, or the frame is too short.
    pub fn run(&self, place: Place, frame: &[u8]) -> Result<Answer, Failure> {
        let known = self.setup.places(S::KIND);
        if !known.contains(&place) {
            return Err(Failure::NoProgram { place, known });
        }
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let answer = pass(&running, place, frame)?;
        drop(running);
        self.keep([frame, &answer.frame]);
        Ok(answer)
    }

    /// Passes a frame through the cube and panics if the verdict is another one. The message says where the pcap file with
    /// the latest packets is.
    ///
    /// # Panics
    /// With another verdict, or if the frame cannot be passed through.
    #[track_caller]
    pub fn check(&self, place: Place, frame: &[u8], expected: Verdict) -> Answer {
        match self.run(place, frame) {
            Ok(answer) if answer.verdict == expected => answer,
            Ok(Answer { verdict, .. }) => {
                let seen = self.save().map_or_else(|failure| failure.to_string(), |path| path.display().to_string());
                panic!("{place}: the verdict is {verdict}, not {expected}; the latest packets are in {seen}")
            }
            Err(failure) => panic!("{place}: {failure}"),
        }
    }

    fn keep<const N: usize>(&self, frames: [&[u8]; N]) {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in frames {
            if packets.len() == KEPT {
                packets.pop_front();
            }
            packets.push_back(frame.to_vec());
        }
    }

    /// Writes the latest packets to a pcap file below `target/`, each as it came and as it left.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<PathBuf, Failure> {
        let thread = std::thread::current();
        let path = pcap::place(&format!("{}-{}", thread.name().unwrap_or("test"), self.setup.name));
        let packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        pcap::write(&path, packets.iter().map(Vec::as_slice))?;
        Ok(path)
    }

    /// Configuration and state as one document, as `show` has it.
    ///
    /// # Errors
    /// The plugin's reason.
    pub fn state(&self) -> Result<Value, Failure> {
        let mut state = self.instance.state()?;
        let config = self.config();
        let of_ports = state.as_object_mut().and_then(|state| state.shift_remove(PORTS)).unwrap_or_default();
        let mut shown = self.model.present(&config.cube, state);
        let Some(model) = &self.model.port else { return Ok(shown) };
        let port = |(name, settings): (&String, &Value)| {
            let state = of_ports.as_array().into_iter().flatten().find(|entry| entry["name"] == **name);
            let mut shown = model.present(settings, state.cloned().unwrap_or_else(|| json!({})));
            shown["name"] = name.as_str().into();
            shown
        };
        if self.model.has_port_settings || !of_ports.is_null() {
            shown[PORTS] = config.ports.iter().map(port).collect();
        }
        Ok(shown)
    }

    /// Performs an action. `path` has a word for each word in braces of the declared one: `chain/INGRESS/append`. `input` is
    /// checked and completed as the daemon does it; an action without input takes null. If the action answers with a
    /// configuration, the cube gets it before its output is returned.
    ///
    /// # Errors
    /// What the daemon would say; then the cube stays as it was.
    pub fn action(&self, path: &str, input: Value) -> Result<Value, Failure> {
        let words: Vec<String> = path.split('/').map(str::to_owned).collect();
        let refused = |tag, message| Failure::Refused(Refusal::new(tag, message));
        let Some(Called { action, keys, entry }) = self.model.called(&words) else {
            return Err(refused(Tag::OperationNotSupported, format!("{} declares no action `{path}`", S::NAME)));
        };
        let mut config = self.config();
        let has_entry = || -> Result<bool, Failure> {
            let shown = self.model.present(&config.cube, self.instance.state()?);
            Ok(read(&self.model.tree, &shown, &words[..entry]).is_some())
        };
        if entry > 0 && !has_entry()? {
            return Err(refused(Tag::DataMissing, format!("there is no entry `{}`", words[..entry].join("/"))));
        }
        let input = self.model.action_input(&action.path, input)?;
        let settings = config.ports.iter().map(|(name, settings)| (name.as_str(), settings));
        let whole = self.model.with_ports(&config.cube, settings);
        let call = json!({ "action": action.path, "keys": keys, "input": input, "config": whole });
        let mut acted = self.instance.act(&call)?;
        self.model.check_output(&action.path, &acted["output"]).map_err(Problems::from)?;
        if let Some(wanted) = acted.get("config").filter(|wanted| !wanted.is_null()) {
            let cube = self.model.become_as(&config.cube, wanted.clone())?;
            let ports = config.ports.clone();
            self.change(&mut config, Configured { cube, ports })?;
        }
        Ok(acted["output"].take())
    }

    /// What the daemon calls about once a second.
    ///
    /// # Errors
    /// The plugin panicked.
    pub fn tick(&self) -> Result<(), Failure> {
        self.instance.tick()
    }

    /// Reports the netdevs at the cube's ports and points, as the daemon does when one of them changes.
    ///
    /// # Errors
    /// The plugin panicked.
    pub fn report(&self, netdevs: &Netdevs) -> Result<(), Failure> {
        let text = serde_json::to_string(netdevs).map_err(|error| Failure::Malformed(error.to_string()))?;
        self.instance.netdevs(&text)
    }

    /// Reports addresses, neighbours and routes, as the daemon does to a service that observes them.
    ///
    /// # Errors
    /// The plugin panicked.
    pub fn surround(&self, news: &Environment) -> Result<(), Failure> {
        let text = serde_json::to_string(news).map_err(|error| Failure::Malformed(error.to_string()))?;
        self.instance.environment(&text)
    }

    /// Opens a stream, with what the plugin says of it.
    ///
    /// # Errors
    /// The plugin's reason.
    pub fn open(&self, path: &str, query: &Value) -> Result<(Value, OwnedFd), Failure> {
        self.instance.open(path, query)
    }

    /// What the plugin and its programs have written to the log so far: of the programs' lines, those of all levels, as far
    /// as there are no more than 100 in a second.
    pub fn log(&self) -> Vec<Line> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.lines(|level, text| self.heard.hear(level, text));
        drop(running);
        self.heard.lines()
    }

    /// The changes of its own configuration that the plugin has asked for since the last time. The daemon would make them;
    /// here they are made with [`Cube::reconfigure`].
    pub fn requests(&self) -> Vec<Value> {
        self.heard.requests()
    }

    /// A copy of the descriptor of one of the cube's maps.
    pub fn map(&self, name: &str) -> Option<OwnedFd> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.map(name)?.fd.try_clone().ok()
    }

    /// Where packets can enter.
    pub fn places(&self) -> Vec<Place> {
        self.setup.places(S::KIND)
    }

    /// The cube as a member of a chain: see [`run_chain`].
    pub fn at(&self, place: Place) -> Stop<'_> {
        Stop { running: &self.running, place }
    }

    /// The kernel's ids of its programs and maps.
    pub(crate) fn ids(&self) -> (Vec<u32>, Vec<u32>) {
        self.running.read().unwrap_or_else(PoisonError::into_inner).ids()
    }

    /// JSON Schema of the configuration, strict.
    pub(crate) fn schema(&self) -> &Value {
        self.model.config()
    }

    /// The whole configuration, without that of ports.
    pub fn configuration(&self) -> Value {
        self.config().cube.clone()
    }
}

/// What is set at each port of a new cube, defaults filled in.
fn settings_of(setup: &Setup, kind: ServiceKind, model: &Model) -> Result<BTreeMap<String, Value>, Failure> {
    let ports: Vec<String> = setup.ports_of(kind).into_iter().map(|port| port.name).collect();
    if let Some(other) = setup.port_settings.keys().find(|name| !ports.contains(name)) {
        return Err(no_port(other));
    }
    let Some(model) = &model.port else { return Ok(BTreeMap::new()) };
    let settings = |name: String| {
        let body = setup.port_settings.get(&name).cloned().unwrap_or_else(|| json!({}));
        let settings = model.create(body).map_err(|problems| problems.under(&format!("ports/{name}")))?;
        Ok((name, without_peer(settings)))
    };
    ports.into_iter().map(settings).collect()
}

/// What a service lets one set at a port.
fn without_peer(mut settings: Value) -> Value {
    if let Some(members) = settings.as_object_mut() {
        members.shift_remove("peer");
    }
    settings
}

fn no_port(name: &str) -> Failure {
    Failure::Refused(Refusal::new(Tag::DataMissing, format!("there is no port `{name}`")))
}

impl<S> Drop for Cube<S> {
    fn drop(&mut self) {
        let packets = self.packets.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !std::thread::panicking() || packets.is_empty() {
            return;
        }
        let thread = std::thread::current();
        let path = pcap::place(&format!("{}-{}", thread.name().unwrap_or("test"), self.setup.name));
        match pcap::write(&path, packets.iter().map(Vec::as_slice)) {
            Ok(()) => eprintln!("the latest packets of cube `{}` are in {}", self.setup.name, path.display()),
            Err(failure) => eprintln!("the packets of cube `{}` are lost: {failure}", self.setup.name),
        }
    }
}

fn pass(generation: &Generation, place: Place, frame: &[u8]) -> Result<Answer, Failure> {
    let port = if let Place::Port(id) | Place::Leaving(id) = place { id } else { NO_PORT };
    let Some(program) = generation.entry(place) else {
        return Ok(Answer::untouched(frame));
    };
    let packet = Packet { bytes: frame.to_vec(), mark: 0, cb: [port, 0, 0, 0, 0] };
    let ran = trial::run(program, &packet).map_err(|source| Failure::Run { length: frame.len(), source })?;
    let Outcome { verdict, packet: Packet { bytes, mark, .. }, exits } = ran;
    let exit = |ifindex: u32| {
        let port = ifindex.checked_sub(FIRST_IFINDEX).filter(|port| *port < MAX_PORTS);
        port.map_or(Exit::Netdev(ifindex), Exit::Port)
    };
    let (verdict, mut copies) = (Verdict::of(verdict), exits.into_iter().map(exit).collect::<Vec<_>>());
    // A program decides to redirect last.
    let to = if verdict == Verdict::Redirect { copies.pop() } else { None };
    Ok(Answer { verdict, frame: bytes, mark, to, copies })
}

/// A place of a cube, for [`run_chain`].
pub struct Stop<'a> {
    running: &'a RwLock<Generation>,
    place: Place,
}

/// Passes a frame through several cubes, in the order in which packets meet them: what one cube lets go on enters the
/// next. The cubes are joined for this one packet, and other packets wait. Each cube stands in the chain once.
///
/// # Errors
/// As [`Cube::run`].
pub fn run_chain(stops: &[Stop<'_>], frame: &[u8]) -> Result<Answer, Failure> {
    let running = stops.iter().map(|stop| (stop.running.write().unwrap_or_else(PoisonError::into_inner), stop.place));
    let locks: Vec<_> = running.collect();
    // A cube without programs at its place is not in the chain.
    let members = locks.iter().map(|(running, place)| (&**running, *place));
    let members: Vec<_> = members.filter(|(running, place)| running.entry(*place).is_some()).collect();
    let Some((first, place)) = members.first() else {
        return Ok(Answer::untouched(frame));
    };
    let joined = members.windows(2).try_for_each(|pair| pair[0].0.link_to(pair[0].1, Some(pair[1])));
    let answer = joined.and_then(|()| pass(first, *place, frame));
    for (running, place) in &members {
        running.link_to(*place, None)?;
    }
    answer
}
