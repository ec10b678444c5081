//! What the daemon reports of a file that it writes for us: a line of JSON each.

use serde::Deserialize;

use crate::records::blocks::Counts;

/// A line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Report {
    Written {
        packets: u64,
        /// What was recorded of them.
        bytes: u64,
        #[serde(flatten)]
        counts: Counts,
        /// The end of the file, of which all is whole.
        end: u64,
    },
    /// It cannot be written.
    Failed { error: String },
    /// Its format has no room for the packets of this place, beside others.
    #[serde(rename_all = "kebab-case")]
    Ended { raw_ip: String },
}

/// Cuts what arrives into reports.
#[derive(Default)]
pub(super) struct Reports {
    begun: Vec<u8>,
}

impl Reports {
    /// The reports that end in `bytes`.
    ///
    /// # Errors
    /// One is not valid.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Report>, serde_json::Error> {
        self.begun.extend_from_slice(bytes);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let lines: Vec<u8> = self.begun.drain(..=end).collect();
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_in_pieces() {
        let mut reports = Reports::default();
        let text = concat!(
            r#"{"packets":3,"bytes":180,"seen":5,"dropped":1,"end":700}"#,
            "\n",
            r#"{"error":"No space left on device (os error 28)"}"#,
            "\n"
        );
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            found.extend(reports.feed(piece).unwrap());
        }
        let [Report::Written { packets: 3, bytes: 180, counts, end: 700 }, Report::Failed { error }] = &found[..]
        else {
            panic!("{found:?}");
        };
        assert_eq!((counts.seen, counts.dropped), (5, 1));
        assert_eq!(error, "No space left on device (os error 28)");
        assert!(reports.feed(b"x\n").is_err());
    }
}
