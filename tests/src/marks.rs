//! Frames that show which cubes of the service `marker` (`tests/fixtures/marker`) they passed, and in which order.

use anyhow::{Result, ensure};

use crate::capture::{Direction, Recorder, Recording, Seen};
use crate::scene::{PATIENCE, Scene};
use crate::traffic::{Protocol, Sender};

/// Size of frames that have room for marks.
pub const FRAME: usize = 200;

/// Where the marker counts its marks, the count's initial value, and where it writes.
const COUNT: usize = 35;
const NONE: u8 = 4000_u16.to_be_bytes()[1];
const MARKS: usize = 100;

/// How many frames are sent to observe one direction.
const FRAMES: u32 = 8;

/// The marks on a frame of [`FRAME`] bytes, one letter each.
#[must_use]
pub fn marks(frame: &Seen) -> String {
    let count = usize::from(frame.bytes[COUNT].saturating_sub(NONE));
    frame.bytes[MARKS..].iter().take(count).map(|mark| char::from(*mark)).collect()
}

/// The frames of a recording that arrived and have room for marks. A kernel bridge sends frames too.
#[must_use]
pub fn marked(recording: &Recording) -> Vec<Seen> {
    recording.going(Direction::In).into_iter().filter(|frame| frame.bytes.len() == FRAME).collect()
}

/// The marks on frames from one peer of a scene to another.
///
/// # Errors
/// Fails when no frame arrives, or not all have the same marks.
pub fn passed(scene: &Scene, from: usize, to: usize) -> Result<String> {
    let recorder = Recorder::start(scene.peer(to))?;
    Sender::open(scene.peer(from))?.send(&scene.flow(from, to).frames(Protocol::Udp, FRAME, FRAMES))?;
    recorder.wait_for(FRAMES as usize, PATIENCE)?;
    let mut found: Vec<String> = marked(&recorder.stop()?).iter().map(marks).collect();
    found.dedup();
    ensure!(found.len() == 1, "frames from {from} to {to} have different marks: {found:?}");
    Ok(found.remove(0))
}
