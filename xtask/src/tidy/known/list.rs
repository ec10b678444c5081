//! The known findings, since 2026-11-28. A change that mends one removes its line.

use super::{Known, known};
use crate::tidy::finding::Rule::{Absence, Floors, Shape};

/// The host, without `rest`.
pub(super) const HOST: &[Known] = &[
    known("host/src/datapath/pins.rs", Absence, "`rustix`, but only host/src/sys makes system calls"),
    known("schema/src/tests.rs", Shape, "`fn check` takes more than 5 arguments: take a struct"),
];

/// The REST server and the command line.
pub(super) const REST: &[Known] = &[
    known("cli/src/show.rs", Shape, "`fn rows` takes more than 5 arguments: take a struct"),
    known("host/src/rest/stream.rs", Absence, "`rustix`, but only host/src/sys makes system calls"),
];

/// The SDK, the services and the kernel side.
pub(super) const SERVICES: &[Known] = &[
    known("plugin-api/src/schema.rs", Floors, "`schema` uses `service`, which is above it"),
    known("filter/src/access.rs", Shape, "`fn load_memory` takes more than 5 arguments: take a struct"),
    known(
        "plugins/packetcapture/src/sink/direct.rs",
        Absence,
        "`rustix::fs::open`, but only plugins/packetcapture/src/store opens files",
    ),
];

/// Files whose prose is still to be revised.
pub(super) const VOICE: &[&str] = &[
    // A changed comment changes the digest of the built objects.
];
