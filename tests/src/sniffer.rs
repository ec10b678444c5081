//! What a scene's packet capture `sniffer` reports, and its streams.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::http::{self, Reply};
use crate::scene::Scene;

/// A capture file, as the daemon shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownFile {
    /// The name to download it by.
    pub name: String,
    /// Its path on disk.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Packets.
    pub packets: u64,
    /// The times of the first and the last packet.
    pub times: [String; 2],
    /// `open`, `closed` or `compressed`.
    pub state: String,
}

/// A reader of a stream, as the daemon shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownReader {
    /// The number from the answer's header.
    pub id: u64,
    /// Packets passed to it.
    pub packets: u64,
    /// Packets that it was too slow to get.
    pub dropped: u64,
}

impl Scene {
    /// Creates the sniffer with settings as the API takes them, and attaches it.
    ///
    /// # Errors
    /// Fails when the daemon does not answer.
    ///
    /// # Panics
    /// Panics when the daemon refuses.
    #[track_caller]
    pub fn sniff_at(&self, place: &str, settings: &Value) -> Result<()> {
        let _ = self.daemon.http("POST", "/polycube/v1/packetcapture/sniffer/", Some(settings))?.ok();
        let attach = json!({ "cube": "sniffer", "port": place });
        let _ = self.daemon.http("POST", "/polycube/v1/attach/", Some(&attach))?.ok();
        Ok(())
    }

    /// The sniffer's files, oldest first.
    ///
    /// # Errors
    /// Fails when the daemon shows them in another form.
    pub fn files(&self) -> Result<Vec<ShownFile>> {
        self.list("files")?.iter().map(|file| shown_file(file).with_context(|| format!("not a file: {file}"))).collect()
    }

    /// The readers of the sniffer's live streams.
    ///
    /// # Errors
    /// Fails when the daemon shows them in another form.
    pub fn readers(&self) -> Result<Vec<ShownReader>> {
        let shown = |reader: &Value| {
            let count = |name: &str| reader[name].as_u64().with_context(|| format!("no {name} in {reader}"));
            Ok(ShownReader { id: count("id")?, packets: count("packets")?, dropped: count("dropped")? })
        };
        self.list("streams")?.iter().map(shown).collect()
    }

    /// The sniffer's status.
    ///
    /// # Errors
    /// As [`Scene::get`].
    pub fn status(&self) -> Result<String> {
        Ok(self.get("sniffer")?["status"].as_str().context("no status")?.to_owned())
    }

    /// The sniffer's counters, after checking that they account for every packet. No packet may be in flight.
    ///
    /// # Errors
    /// Fails when the sums are wrong.
    pub fn balance(&self) -> Result<Map<String, Value>> {
        let counters = self.get("sniffer/counters")?;
        let counters = counters.as_object().context("the counters are not an object")?;
        let count = |name: &str| counters[name].as_u64().unwrap_or_default();
        let dropped = counters.keys().filter(|name| name.starts_with("dropped-")).map(|name| count(name)).sum::<u64>();
        ensure!(count("seen") == count("matched") + count("rejected"), "seen is not the sum: {counters:?}");
        ensure!(count("matched") == count("captured") + dropped, "matched is not the sum: {counters:?}");
        Ok(counters.clone())
    }

    /// Opens a stream, such as `stream?format=pcapng`.
    ///
    /// # Errors
    /// Fails when the daemon refuses.
    pub fn open(&self, path: &str) -> Result<Reply<UnixStream>> {
        let reply = http::open(&self.daemon.socket(), "GET", &format!("/polycube/v1/sniffer/{path}"), None)?;
        ensure!(reply.status == 200, "{path}: status {}", reply.status);
        Ok(reply)
    }

    /// Everything from a stream that ends.
    ///
    /// # Errors
    /// As [`Scene::open`]; and when the stream is cut off.
    pub fn stream_to_end(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.body.read_to_end(&mut bytes).with_context(|| format!("{path} is cut off"))?;
        Ok(bytes)
    }

    /// The sentence that says where the packets go.
    ///
    /// # Errors
    /// As [`Scene::get`].
    pub fn dump_sentence(&self) -> Result<String> {
        Ok(self.get("sniffer")?["dump"].as_str().context("no dump")?.to_owned())
    }

    fn list(&self, name: &str) -> Result<Vec<Value>> {
        let list = self.get("sniffer")?[name].take();
        Ok(list.as_array().with_context(|| format!("`{name}` is not a list"))?.clone())
    }
}

fn shown_file(file: &Value) -> Option<ShownFile> {
    let text = |name: &str| file[name].as_str().map(str::to_owned);
    Some(ShownFile {
        name: text("name")?,
        path: text("path")?.into(),
        size: file["size"].as_u64()?,
        packets: file["packets"].as_u64()?,
        times: [text("first")?, text("last")?],
        state: text("state")?,
    })
}
