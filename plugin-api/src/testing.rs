//! A host for this crate's own tests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::RStr;
use serde_json::json;

use crate::Cube;
use crate::abi::{HostAbi, HostAbi_TO, HostHandle};

type Lines = Arc<Mutex<Vec<String>>>;

struct Log(Lines);

impl HostAbi for Log {
    fn log(&self, level: u8, message: RStr<'_>) {
        self.0.lock().unwrap().push(format!("{level} {message}"));
    }
}

/// What a host has: a cube, and what it logs, each line after the number of its level.
pub(crate) struct Host {
    pub(crate) cube: Cube,
    lines: Lines,
}

impl Host {
    pub(crate) fn new(cube: &str) -> Self {
        let (handle, lines) = handle();
        let info = json!({ "name": cube, "uuid": "", "capture-dir": "/" });
        Self { cube: Cube::new(serde_json::from_value(info).unwrap(), handle), lines }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line that begins like this.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, beginning: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while !self.lines().iter().any(|line| line.starts_with(beginning)) {
            assert!(Instant::now() < end, "not `{beginning}`, but {:?}", self.lines());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The border's side of a host, and what it logs.
pub(crate) fn handle() -> (HostHandle, Lines) {
    let lines = Lines::default();
    (HostAbi_TO::from_value(Log(Arc::clone(&lines)), TD_Opaque), lines)
}
