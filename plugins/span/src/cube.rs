//! One mirror.

use std::collections::BTreeSet;
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
    goal: Goal,
    filter: Arc<Filter>,
    /// The netdevs whose packets are mirrored.
    mirrored: BTreeSet<String>,
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
        let found = mirror.goal.way(&mirror.mirrored, |port| self.cube.netdev_at(port));
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
        if !mirror.mirrored.is_empty() {
            self.cube.log(level, &mirror.goal.in_words(&found));
        }
        *way = Some(found);
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
        refuse_loop(&goal, points, |port| self.cube.netdev_at(port))?;
        let filter = self.filter(config)?;
        Ok(datapath::datapath(config, Form::of(config, &goal), filter.program.as_ref(), (self.id, points)))
    }

    fn prepare(&self, wanted: &Wanted<Config>, mut maps: Maps) -> Result<(), Refusal> {
        let config = &wanted.config;
        let mirrored: BTreeSet<String> = wanted.points.iter().filter_map(|point| point.netdev.clone()).collect();
        let maps = (!mirrored.is_empty())
            .then(|| Ok::<_, Refusal>((maps.open(DESTINATION)?, maps.open(COUNTERS)?)))
            .transpose()?;
        self.mirror.prepare(Mirror {
            goal: Goal::of(config)?,
            filter: self.filter(config)?,
            mirrored,
            maps,
            way: Mutex::default(),
        });
        Ok(())
    }

    /// Only now is every program in its place: a copy that leaves before would not find the program that gives it its form.
    fn commit(&self) {
        self.look();
    }

    fn state(&self) -> Result<State, Refusal> {
        self.mirror.read(Mirror::state)
    }

    fn tick(&self) {
        self.look();
    }

    fn netdevs(&self, _: &Netdevs) {
        self.look();
    }
}

impl Mirror {
    fn state(&self) -> Result<State, MapError> {
        let way = lock(&self.way);
        let counters = self.maps.as_ref().map(|(_, counters)| counters.sum(0)).transpose()?.unwrap_or_default();
        let status = match &*way {
            _ if self.mirrored.is_empty() => "attached to nothing that exists".to_owned(),
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

impl Filter {
    fn state(&self) -> Option<ProgramState> {
        let program = self.program.as_ref()?;
        let expression = joined(&self.fields, &self.expression).ok().flatten()?;
        Some(ProgramState { expression, instructions: program.instructions.len() })
    }
}

/// A mirror whose copies pass itself again. Other loops are cut when a copy comes back.
fn refuse_loop(goal: &Goal, points: &[Point], netdev_at: impl Fn(&str) -> Option<String>) -> Result<(), Refusal> {
    let (target, netdev) = match goal {
        Goal::Netdev(target) => (target, Some(target.clone())),
        Goal::Port(target) => (target, netdev_at(target)),
        Goal::None | Goal::Collector(..) => return Ok(()),
    };
    let is_fed = |point: &&Point| point.name == *target || netdev.is_some() && point.netdev == netdev;
    match points.iter().find(is_fed) {
        Some(Point { name, .. }) => {
            let at = if name == target { String::new() } else { format!(", at {name}") };
            let why = format!("target={target} is what is mirrored{at}: copies would be mirrored again");
            Err(Refusal::new(Tag::InvalidValue, why).at("target"))
        }
        None => Ok(()),
    }
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
