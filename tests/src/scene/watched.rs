//! A flow of which not one frame may be missing.

use std::time::Duration;

use anyhow::Result;

use super::Scene;
use crate::capture::{Recorder, Recording};
use crate::comparison::evidence;
use crate::traffic::{Steady, sequence_of};

/// A steady flow from peer 1 to peer 2, and a recorder where it arrives.
#[derive(Debug)]
#[must_use = "only `stop` looks at what has arrived"]
pub struct Watched {
    recorder: Recorder,
    steady: Steady,
}

impl Watched {
    /// Starts the flow, and returns when the first frames have been sent.
    ///
    /// # Errors
    /// Fails when an interface is gone.
    pub fn start(scene: &Scene) -> Result<Self> {
        let recorder = Recorder::start(scene.peer(2))?;
        let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 200, 2_000_000)?;
        steady.wait_for(1)?;
        Ok(Self { recorder, steady })
    }

    /// The flow.
    pub fn steady(&self) -> &Steady {
        &self.steady
    }

    /// Ends the flow. Answers how many frames it had.
    ///
    /// # Errors
    /// Fails when sending or recording did.
    ///
    /// # Panics
    /// Panics unless every frame has arrived once and in order.
    #[track_caller]
    pub fn stop(self) -> Result<u32> {
        let sent = self.steady.stop()?;
        // A lost frame would make this wait fail; the frames that did arrive show more than the count.
        let _ = self.recorder.wait_for(sent as usize, Duration::from_secs(5));
        assert_whole(&self.recorder.stop()?, sent);
        Ok(sent)
    }
}

/// Asserts that every frame of a steady flow has arrived once and in order.
#[track_caller]
fn assert_whole(recording: &Recording, sent: u32) {
    assert_eq!(recording.drops, 0, "the recorder lost frames");
    let numbers: Vec<_> = recording.frames.iter().map(|seen| sequence_of(&seen.bytes)).collect();
    let wrong = numbers.iter().zip(0..).position(|(found, expected)| *found != Some(expected));
    if wrong.is_none() && numbers.len() == sent as usize {
        return;
    }
    let (come, at) = (numbers.len(), wrong.unwrap_or(numbers.len()));
    let near = &numbers[at.saturating_sub(2)..come.min(at + 3)];
    panic!(
        "{come} of {sent} frames arrived; around the first that is wrong: {near:?}; {}",
        evidence(&recording.frames)
    );
}
