//! One mirror.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polycube_filter::{Compiled, Fields, FilterError, Invalid, Netmask, compile, joined};
use polycube_layout::span::{COUNTERS, DESTINATION, Destination};
use polycube_plugin_api::maps::{Array, MapError, PerCpuArray};
use polycube_plugin_api::{
    Cube, Datapath, Level, Maps, Netdevs, Point, Refusal, Service, ServiceKind, Staged, Tag, Wanted,
};

use crate::config::Config;
use crate::datapath::{self, FILTERED, Form};
use crate::state::{Counters, ProgramState, State, WayState};
use crate::way::{Goal, Way};

/// A cube of the service.
pub struct Span {
    cube: Cube,
    id: u64,
    mirror: Staged<Mirror>,
    /// The filter compiled last: a change asks for it twice, and most changes do not affect it.
    compiled: Mutex<Option<Arc<Filter>>>,
}

/// What belongs to a configuration.
struct Mirror {
    config: Config,
    goal: Goal,
    filter: Arc<Filter>,
    /// Where packets are mirrored.
    points: Vec<Point>,
    maps: Option<(Array<Destination>, PerCpuArray<Counters>)>,
    way: Mutex<Option<Way>>,
}

/// A filter, and the settings it was compiled from.
struct Filter {
    fields: Fields,
    expression: String,
    netmask: Netmask,
    /// `None` if everything passes.
    program: Option<Compiled>,
}

impl Span {
    fn filter(&self, config: &Config) -> Result<Arc<Filter>, Refusal> {
        let (fields, expression, netmask) = (config.fields()?, config.expression(), config.netmask()?);
        let mut compiled = lock(&self.compiled);
        let is_same = |filter: &&Arc<Filter>| {
            filter.fields == fields && filter.expression == expression && filter.netmask == netmask
        };
        if let Some(same) = compiled.as_ref().filter(is_same) {
            return Ok(Arc::clone(same));
        }
        let program = compile(&fields, expression, netmask.into(), &FILTERED).map_err(|error| refusal(&error))?;
        let filter = Arc::new(Filter { fields, expression: expression.to_owned(), netmask, program });
        *compiled = Some(Arc::clone(&filter));
        Ok(filter)
    }

    /// Finds the way anew. What changes is logged.
    fn look(&self) {
        let Some(mirror) = self.mirror.now() else { return };
        let found = mirror.goal.way(&mirror.points, |port| self.cube.netdev_at(port));
        let mut way = lock(&mirror.way);
        if way.as_ref() == Some(&found) {
            return;
        }
        let is_written = mirror.maps.as_ref().map(|(map, _)| map.set(0, &found.destination));
        if let Some(Err(error)) = is_written {
            self.cube.log(Level::Error, &error.to_string());
            return;
        }
        let level = if found.problem.is_some() { Level::Warn } else { Level::Info };
        let words = mirror.goal.in_words(&found);
        let is_news = way.as_ref().is_none_or(|before| mirror.goal.in_words(before) != words);
        if is_news && mirror.has_packets() {
            self.cube.log(level, &words);
        }
        *way = Some(found);
    }

    /// Whether a mirror to what it mirrors is to be refused: somebody asks for it. Where only the netdevs are others than before,
    /// or the daemon has just started, there is nobody to hear of it, and the mirror stops instead.
    fn is_asked_for(&self, wanted: &Wanted<Config>, at: &Point) -> bool {
        let ids = |points: &[Point]| points.iter().map(|point| point.id).collect::<Vec<_>>();
        match self.mirror.now() {
            Some(mirror) => mirror.config != wanted.config || ids(&mirror.points) != ids(&wanted.points),
            None => self.cube.netdev_at(&at.name) == at.netdev,
        }
    }
}

impl Service for Span {
    const NAME: &'static str = "span";
    const DESCRIPTION: &'static str = "Mirrors the packets that pass a port to a netdev, a port or a collector";
    const KIND: ServiceKind = ServiceKind::Transparent;
    type Config = Config;
    type State = State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        Ok(Self { id: id_of(cube.uuid()), mirror: Staged::new(&cube), compiled: Mutex::default(), cube })
    }

    fn datapath(&self, wanted: &Wanted<Config>) -> Result<Datapath, Refusal> {
        let Wanted { config, points, .. } = wanted;
        let goal = Goal::of(config)?;
        if let Some((at, refusal)) = find_loop(&goal, points, |port| self.cube.netdev_at(port))
            && self.is_asked_for(wanted, at)
        {
            return Err(refusal);
        }
        let filter = self.filter(config)?;
        Ok(datapath::datapath(config, Form::of(config, &goal), filter.program.as_ref(), (self.id, points)))
    }

    fn prepare(&self, wanted: &Wanted<Config>, mut maps: Maps) -> Result<(), Refusal> {
        let config = &wanted.config;
        let mut mirror = Mirror {
            config: config.clone(),
            goal: Goal::of(config)?,
            filter: self.filter(config)?,
            points: wanted.points.clone(),
            maps: None,
            way: Mutex::default(),
        };
        if mirror.has_packets() {
            mirror.maps = Some((maps.open(DESTINATION)?, maps.open(COUNTERS)?));
        }
        self.mirror.prepare(mirror);
        Ok(())
    }

    /// Only now is every program in its place: a copy that leaves before would not find the program that gives it its form.
    fn commit(&self) {
        self.look();
    }

    fn state(&self) -> Result<State, Refusal> {
        match self.mirror.now() {
            Some(mirror) => Ok(mirror.state()?),
            None => Ok(State { status: "not in force: `failure` says why".to_owned(), ..State::default() }),
        }
    }

    fn tick(&self) {
        self.look();
    }

    fn netdevs(&self, _: &Netdevs) {
        self.look();
    }
}

impl Mirror {
    /// Whether packets pass anywhere that it is attached to.
    fn has_packets(&self) -> bool {
        self.points.iter().any(|point| point.netdev.is_some())
    }

    fn state(&self) -> Result<State, MapError> {
        let way = lock(&self.way);
        let counters = self.maps.as_ref().map(|(_, counters)| counters.sum(0)).transpose()?.unwrap_or_default();
        let status = match &*way {
            _ if self.points.is_empty() => "not attached".to_owned(),
            _ if !self.has_packets() => self.points.iter().map(waits).collect::<Vec<_>>().join("; "),
            Some(way) => self.goal.in_words(way),
            None => "starting".to_owned(),
        };
        Ok(State {
            status,
            way: way.as_ref().map(WayState::from).unwrap_or_default(),
            counters,
            program: self.filter.state(),
        })
    }
}

/// What a point without packets waits for.
fn waits(Point { name, peer, .. }: &Point) -> String {
    match peer {
        Some(peer) => format!("attached to {name}, whose peer {peer} does not exist"),
        None if name.contains(':') => format!("attached to {name}, which has no peer"),
        None => format!("attached to {name}, which does not exist"),
    }
}

impl Filter {
    fn state(&self) -> Option<ProgramState> {
        let program = self.program.as_ref()?;
        let expression = joined(&self.fields, &self.expression).ok().flatten()?;
        Some(ProgramState { expression, instructions: program.instructions.len() })
    }
}

/// A mirror whose copies pass itself again: where, and why that is refused. Other loops are cut when a copy comes back.
fn find_loop<'a>(
    goal: &Goal,
    points: &'a [Point],
    netdev_at: impl Fn(&str) -> Option<String>,
) -> Option<(&'a Point, Refusal)> {
    let (Goal::Netdev(target) | Goal::Port(target)) = goal else { return None };
    let netdev = goal.netdev(netdev_at);
    let is_fed = |point: &&Point| point.name == *target || netdev.is_some() && point.netdev == netdev;
    let point = points.iter().find(is_fed)?;
    let at = if point.name == *target { String::new() } else { format!(", at {}", point.name) };
    let why = format!("target={target} is what is mirrored{at}: copies would be mirrored again");
    Some((point, Refusal::new(Tag::InvalidValue, why).at("target")))
}

/// The user's view of a filter error.
fn refusal(error: &FilterError) -> Refusal {
    let (tag, path) = match error {
        FilterError::Missing(_) | FilterError::Timeout | FilterError::Thread(_) | FilterError::Ended => {
            (Tag::OperationFailed, "filter")
        }
        FilterError::Fields(_) => (Tag::InvalidValue, "filters"),
        FilterError::Expression(_) | FilterError::Invalid(_) | FilterError::TooLong(_) => (Tag::InvalidValue, "filter"),
    };
    let message = match error {
        FilterError::Invalid(Invalid::Direction) => {
            "a packet does not say its direction: instead of `inbound` or `outbound`, set `direction`".to_owned()
        }
        error => error.to_string(),
    };
    Refusal::new(tag, message).at(path)
}

/// A number that two cubes do not share, and that a cube keeps when the daemon starts again (FNV-1a).
fn id_of(uuid: &str) -> u64 {
    uuid.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
