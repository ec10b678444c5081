//! `--keys FILE`: the lines of a TLS key log go to the daemon as they are written, and come back ahead of the packets.
//!
//! This program reads the file, with the rights of its user: the daemon opens no path of a client's. It looks every
//! [`STEP`], which takes one stat(2). The kernel's notices (inotify) would take watches of directories for a file that does not
//! exist yet or is rotated, and say nothing of changes that another machine makes to a network file system.

mod follower;

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use self::follower::Follower;
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::grammar::keys_of;
use crate::refusal::{Asked, Refusal};
use crate::sink::CLEAR;
use crate::terminal::escape;

/// How often the file is looked at: often enough for the fifth of a second that packets wait for their keys.
const STEP: Duration = Duration::from_millis(20);
/// How long the end may wait for the last keys.
const LAST: Duration = Duration::from_secs(1);

/// A key log, and the captures that get its lines.
pub(crate) struct Keys {
    follower: Follower,
    /// The file, for messages.
    name: String,
    cubes: Vec<String>,
    /// Whether there were any lines.
    has_sent: bool,
}

impl Keys {
    /// Begins to follow the file at `path`, which need not exist yet.
    ///
    /// # Errors
    /// It cannot be read, or is not a file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let name = escape(&path.display().to_string());
        let mut follower = Follower::new(path);
        follower.look().map_err(|source| Failure::KeyLog { path: name.clone(), source })?;
        Ok(Self { follower, name, cubes: Vec::new(), has_sent: false })
    }

    /// Announces keys for these captures, so that their packets wait for them, and sends those that there are.
    ///
    /// # Errors
    /// A capture takes no keys, or none from this user.
    pub(crate) async fn begin(&mut self, client: &Client, cubes: Vec<String>) -> Result<(), Failure> {
        for cube in &cubes {
            let answer = client.confide(&keys_of(cube, "", 1)).await?;
            if !answer.status.is_success() {
                return Err(Refusal::new(&answer, Asked::Verb).into());
            }
        }
        self.cubes = cubes;
        // If the daemon is gone, the stream says so.
        let _ = self.send(client).await;
        Ok(())
    }

    /// Sends the lines that are there now. Those that the daemon does not get stay for the next time.
    async fn send(&mut self, client: &Client) -> Result<(), ClientError> {
        if let Err(error) = self.follower.look() {
            self.warn(&format!("cannot be read any more: {error}"));
        }
        while let Some((first, log)) = self.follower.next() {
            for (at, cube) in self.cubes.iter().enumerate() {
                let answer = client.confide(&keys_of(cube, log, first)).await?;
                // The others say the same.
                if at > 0 {
                    continue;
                }
                if answer.status == StatusCode::BAD_REQUEST {
                    say(&Refusal::of_document(&answer, |_| Some(self.name.clone())).to_string());
                } else if let Ok(taken) = serde_json::from_slice::<Value>(&answer.body) {
                    self.report(&taken);
                }
            }
            self.follower.pop();
            self.has_sent = true;
        }
        Ok(())
    }

    /// Names the lines that are not keys.
    fn report(&self, taken: &Value) {
        let lines = taken["reasons"].as_array().into_iter().flatten();
        for (line, reason) in lines.filter_map(|line| Some((line["line"].as_u64()?, line["reason"].as_str()?))) {
            self.warn(&format!("line {line} is not a TLS key: {}", escape(reason)));
        }
    }

    fn warn(&self, what: &str) {
        say(&format!("polycubectl: {}: {what}", self.name));
    }

    /// Sends the last keys, which packets on their way may need, and says if there were none at all.
    pub(crate) async fn end(keys: Option<&mut Self>, client: &Client) {
        if let Some(keys) = keys {
            // What is on its way comes without them otherwise, too.
            let _ = timeout(LAST, keys.send(client)).await;
            if !keys.has_sent {
                keys.warn("no keys came from this file");
            }
        }
    }

    /// Sends keys as they come, until it is dropped.
    pub(crate) async fn feed(keys: Option<&mut Self>, client: &Client) -> Infallible {
        let Some(keys) = keys else { return pending().await };
        loop {
            sleep(STEP).await;
            // If the daemon is gone, the stream says so.
            let _ = keys.send(client).await;
        }
    }
}

/// There is nowhere to report that stderr is closed.
fn say(line: &str) {
    let clear = if io::stderr().is_terminal() { CLEAR } else { "" };
    let _ = writeln!(io::stderr(), "{clear}{line}");
}
