//! The absences. A new one begins in ARCHITECTURE.md.

use super::{Absence, What};

/// What does I/O, or asks for the time.
const OUTSIDE_WORLD: &[&str] = &[
    "aya",
    "libc",
    "rustix",
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "crate::datapath",
    "crate::plugins",
    "crate::sys",
];

const HTTP: &[&str] = &["axum", "hyper", "hyper_util", "http", "http_body_util"];

/// Types of theirs that are values.
pub(super) const TYPES: &[&str] =
    &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::net::SocketAddr", "rustix::io::Errno"];

pub(super) const ABSENCES: &[Absence] = &[
    Absence {
        within: &["host/src/topology", "host/src/wiring", "host/src/plan", "schema/src/", "host/src/model"],
        except: &[],
        what: What::Paths(OUTSIDE_WORLD),
        why: "topology, wiring, plan, schema and model do no I/O",
    },
    Absence {
        within: &["host/src/"],
        // The rooms that make system calls; netdev lookups are system calls too.
        except: &["host/src/sys"],
        what: What::Calls(&["libc", "rustix"]),
        why: "only host/src/sys makes system calls",
    },
    Absence {
        within: &["loader/src/"],
        except: &["loader/src/bpf"],
        what: What::Calls(&["libc", "rustix"]),
        why: "only loader/src/bpf makes system calls",
    },
    Absence {
        within: &["host/src/"],
        except: &["host/src/rest", "host/src/containers"],
        what: What::Paths(HTTP),
        why: "only host/src/rest and host/src/containers know HTTP",
    },
    Absence {
        within: &["host/src/"],
        // The room that calls plugins, through `Instance`.
        except: &["host/src/plugins"],
        what: What::Paths(&["polycube_plugin_api::abi", "abi_stable"]),
        why: "nothing outside host/src/plugins calls a plugin",
    },
    Absence {
        within: &["plugin-api/src/"],
        // The maps and the device that the host hands over.
        except: &["plugin-api/src/maps", "plugin-api/src/packets"],
        what: What::Paths(&["std::fs", "std::net", "std::process", "libc", "rustix"]),
        why: "plugin-api does no I/O",
    },
    Absence {
        within: &["plugin-api/src/"],
        except: &["plugin-api/src/threads"],
        what: What::Paths(&["std::thread"]),
        why: "plugin-api starts threads in `threads` alone",
    },
    Absence {
        within: &["plugin-api/src/"],
        except: &[],
        what: What::Paths(&["tokio", "tracing", "log"]),
        why: "plugin-api brings no async runtime and no logging crate",
    },
    Absence {
        within: &["plugins/"],
        except: &[],
        what: What::Paths(&["aya::programs", "aya::Ebpf", "aya::EbpfLoader"]),
        why: "a plugin loads no program",
    },
    Absence {
        within: &["plugins/packetcapture/src/"],
        // The kernel's types are not a capture file.
        except: &["plugins/packetcapture/src/store", "plugins/packetcapture/src/machine/btf"],
        what: What::Paths(&[
            "std::fs::File::create",
            "std::fs::File::create_new",
            "std::fs::File::open",
            "std::fs::File::options",
            "std::fs::OpenOptions",
            "std::fs::read",
            "std::fs::write",
            "rustix::fs::open",
            "rustix::fs::openat",
            "rustix::fs::openat2",
        ]),
        why: "only plugins/packetcapture/src/store opens files",
    },
    Absence {
        within: &["api/src/", "document/src/"],
        except: &[],
        what: What::Paths(OUTSIDE_WORLD),
        why: "api and document do no I/O",
    },
    Absence {
        within: &["api/src/", "document/src/"],
        except: &[],
        what: What::Paths(HTTP),
        why: "api and document know no HTTP library",
    },
    Absence { within: &["cli/src/grammar"], except: &[], what: What::Paths(OUTSIDE_WORLD), why: "grammar does no I/O" },
    Absence {
        within: &["cli/src/"],
        except: &["cli/src/extcap", "cli/src/grammar/capture", "cli/src/grammar/captures"],
        what: What::Texts(&["packetcapture", "simplebridge"]),
        why: "the command line knows no service",
    },
];
