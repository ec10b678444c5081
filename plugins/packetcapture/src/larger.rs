//! The large lanes of rings, which come when the capture is attached, or when small lanes fill for the first time.
//!
//! The kernel zeroes a map when it makes it, which takes milliseconds for what a busy capture needs, and the memory of a
//! capture that never needs it. So an attachment does not wait for the map: a thread asks the host for it, and the consumer
//! empties the small lanes meanwhile. What they have no room for until then is lost, and the log says how much that was.

#![forbid(unsafe_code)]

use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use polycube_plugin_api::maps::{MapError, Slots};
use polycube_plugin_api::{Cube, Level, Map, MapSpec};

use crate::ring::{MapSize, RingError, Rings};

/// How long after one attempt the next may come. Each takes two turns of the host's.
const PAUSE: Duration = Duration::from_secs(10);
/// The slot's index.
const SLOT: u32 = 0;

/// Why the program cannot have the large lanes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LargerError {
    #[error(transparent)]
    Rings(#[from] RingError),
    #[error(transparent)]
    Slot(#[from] MapError),
}

/// The way to the large lanes of rings.
pub(crate) struct Larger {
    cube: Cube,
    spec: MapSpec,
    rings: Weak<Rings>,
    slots: Arc<Slots>,
    asked: Option<Instant>,
}

impl Larger {
    /// For `rings` whose large lanes are described by `spec`, and go to the first of `slots`.
    pub(crate) fn new(cube: &Cube, spec: MapSpec, rings: &Arc<Rings>, slots: Arc<Slots>) -> Self {
        Self { cube: cube.clone(), spec, rings: Arc::downgrade(rings), slots, asked: None }
    }

    /// Has them made, unless that was asked for a short time ago. Returns at once.
    pub(crate) fn ask(&mut self) {
        if self.asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
            return;
        }
        self.asked = Some(Instant::now());
        let (cube, spec) = (self.cube.clone(), self.spec.clone());
        let (rings, slots) = (Weak::clone(&self.rings), Arc::clone(&self.slots));
        if let Err(error) = self.cube.spawn("capture:large", move || make(&cube, &spec, &rings, &slots)) {
            self.cube.log(Level::Error, &format!("cannot start a thread that makes the large ring: {error}"));
        }
    }
}

/// Makes the lanes and gives them to the program.
fn make(cube: &Cube, spec: &MapSpec, rings: &Weak<Rings>, slots: &Slots) {
    let began = Instant::now();
    let made = cube.make_map(spec);
    // After its capture has ended, nobody needs it.
    let Some(rings) = rings.upgrade() else { return };
    let given = made
        .map_err(|refusal| refusal.to_string())
        .and_then(|map| give(&rings, &map, Some(slots)).map_err(|error| error.to_string()));
    let (lost, ms) = (rings.early_losses(), began.elapsed().as_millis());
    match given {
        Ok(()) if lost == 0 => cube.log(Level::Debug, &format!("the large ring was made in {ms} ms")),
        Ok(()) => {
            let message = format!("{lost} packets were lost before there was a large ring, which was made in {ms} ms");
            cube.log(Level::Warn, &message);
        }
        Err(reason) => {
            let message =
                format!("cannot make the large ring, so packets are lost while the capture is late: {reason}");
            cube.log(Level::Error, &message);
        }
    }
}

/// Maps the large lanes, and then lets the program have them.
///
/// # Errors
/// The map is another one, or the kernel refuses.
pub(crate) fn give(rings: &Rings, map: &Map, slots: Option<&Slots>) -> Result<(), LargerError> {
    rings.map_large_lanes(map.fd.as_fd(), MapSize { value_size: map.value_size, count: map.max_entries })?;
    if let Some(slots) = slots {
        slots.put(SLOT, map.fd.as_fd())?;
    }
    Ok(())
}
