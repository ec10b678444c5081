//! Passes each batch to all its recipients.

#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, mpsc};

use super::backlog::Backlog;
use super::files::Files;
use super::stop::StopCondition;
use super::{Queue, Readers};
use crate::anonymize::Anonymizer;
use crate::format::Format;
use crate::format::pcapng::Section;
use crate::keys::Keys;
use crate::outcome::Outcome;
use crate::settings::Settings;

/// The destinations of one capture's records.
pub(crate) struct Router {
    outlets: Outlets,
    settings: Arc<Settings>,
    stop: StopCondition,
    backlog: Backlog,
    anonymizer: Anonymizer,
    /// Records whose addresses are replaced. The buffer is kept because allocating it would cost page faults each time.
    copy: Vec<u8>,
    /// Where packets come from, so far.
    section: Section,
}

/// Recipients of records besides the files, and the counters of what is lost. They outlive a capture.
pub(crate) struct Outlets {
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) keys: Arc<Keys>,
    /// The key for replacing addresses.
    pub(crate) key: [u8; 32],
}

impl Router {
    pub(crate) fn new(
        outlets: Outlets,
        settings: Arc<Settings>,
        stop: StopCondition,
        files: Files,
    ) -> io::Result<Self> {
        let backlog = Backlog::new(files, Arc::clone(&outlets.outcome), Arc::clone(&outlets.keys), &settings)?;
        let anonymizer = Anonymizer::new(outlets.key);
        let section = settings.section.clone();
        Ok(Self { outlets, settings, stop, backlog, anonymizer, copy: Vec::new(), section })
    }

    /// Passes on `runs`, each of whole records of `format`. Records without room are counted where they are lost.
    pub(crate) fn write(&mut self, format: Format, runs: &[&[u8]]) {
        let size = |runs: &[&[u8]]| runs.iter().map(|run| run.len() as u64).sum::<u64>();
        let all = size(runs);
        let runs = &self.stop.admit(format, runs)[..];
        let late = all - size(runs);
        if late > 0 {
            self.outlets.outcome.account(late, None);
        }
        if runs.is_empty() {
            return;
        }
        let mut copy = std::mem::take(&mut self.copy);
        if self.settings.anonymize {
            copy.clear();
            runs.iter().for_each(|run| copy.extend_from_slice(run));
            self.hide_addresses(format, &mut copy);
            self.hand_on(format, &[&copy]);
        } else {
            self.hand_on(format, runs);
        }
        self.copy = copy;
    }

    /// Records of `section` may follow, besides those of the section before.
    pub(crate) fn describe(&mut self, section: Section) {
        self.section = self.section.widened(&section);
        self.outlets.readers.describe(&section);
        self.backlog.describe(section);
    }

    pub(crate) fn apply(&mut self, settings: Arc<Settings>) {
        if !settings.network {
            // Nobody can take them any more.
            self.outlets.queue.clear(&self.outlets.outcome.queue);
        }
        self.stop.apply(settings.stop);
        self.settings = Arc::clone(&settings);
        self.backlog.apply(settings);
    }

    /// Checks the clock.
    pub(crate) fn tick(&mut self) {
        self.stop.tick();
        self.backlog.tick();
    }

    /// Reports on `done` when everything so far is written.
    pub(crate) fn flush(&self, done: mpsc::Sender<()>) {
        self.backlog.flush(done);
    }

    fn hand_on(&mut self, format: Format, runs: &[&[u8]]) {
        let Outlets { outcome, queue, readers, keys, .. } = &self.outlets;
        readers.publish(format, runs, self.settings.stream_buffer, keys.hold(self.settings.keys_wait));
        if self.settings.network {
            queue.push(format, runs, self.settings.queue, &outcome.queue);
            outcome.account(runs.iter().map(|run| run.len() as u64).sum(), None);
        } else if self.settings.keeps_files() {
            self.backlog.write(format, runs);
        } else {
            outcome.account(runs.iter().map(|run| run.len() as u64).sum(), None);
        }
    }

    fn hide_addresses(&mut self, format: Format, records: &mut [u8]) {
        let mut at = 0;
        while let Some(record) = format.parse(&records[at..]) {
            let packet = record.packet();
            let bytes = &mut records[at + packet.start..at + packet.end];
            if self.section.is_raw_ip(record.interface) {
                self.anonymizer.packet(bytes);
            } else {
                self.anonymizer.frame(bytes);
            }
            at += record.size;
        }
    }
}
