//! What one instance of a cube has opened of the way of packets from user space.

use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi_stable::std_types::{RErr, ROk};
use polycube_plugin_api::Refusal;
use polycube_plugin_api::abi::{Answer, SenderHandle};
use serde_json::{Value, json};

use crate::slow_path::{Door, SlowPath};

/// Closes what it has opened when the instance is gone.
pub(super) struct Doors {
    slow_path: Option<Arc<SlowPath>>,
    uuid: String,
    opened: AtomicUsize,
}

impl Doors {
    /// For the cube that `info` describes, JSON.
    pub(super) fn new(slow_path: Option<Arc<SlowPath>>, info: &Value) -> Self {
        let uuid = info["uuid"].as_str().unwrap_or_default().to_owned();
        Self { slow_path, uuid, opened: AtomicUsize::new(0) }
    }

    pub(super) fn open(&self) -> Answer<SenderHandle> {
        let refused =
            |message: String| RErr(serde_json::to_string(&Refusal::failed(message)).unwrap_or_default().into());
        let Some(slow_path) = &self.slow_path else {
            return refused("this cube is on trial: its packets go nowhere".to_owned());
        };
        match slow_path.open(&self.uuid) {
            Ok(Door { cube, frames, exits, outcomes }) => {
                self.opened.fetch_add(1, Ordering::Relaxed);
                ROk(SenderHandle {
                    info: json!({ "cube": cube }).to_string().into(),
                    frames: frames.into_raw_fd(),
                    exits: exits.into_raw_fd(),
                    outcomes: outcomes.into_raw_fd(),
                })
            }
            Err(error) => refused(error.to_string()),
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        let Some(slow_path) = &self.slow_path else { return };
        for _ in 0..self.opened.load(Ordering::Relaxed) {
            slow_path.close(&self.uuid);
        }
    }
}
