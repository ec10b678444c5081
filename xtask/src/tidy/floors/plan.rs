//! The floors, from top to bottom. A new module goes between what uses it and what it uses; a list never follows an
//! arrow that runs up.

use super::Floors;

pub(super) const FLOORS: &[Floors] = &[
    Floors {
        sources: "host/src",
        house: "",
        rooms: &[
            "daemon", "options", "rest", "engine", "execute", "plan", "registry", "plugins", "datapath", "wiring",
            "topology", "schema", "sys", "problem",
        ],
    },
    Floors {
        sources: "cli/src",
        house: "",
        rooms: &[
            "extcap", "complete", "dump", "watch", "stream", "session", "failure", "input", "refusal", "config",
            "help", "client", "show", "token", "address", "grammar",
        ],
    },
    Floors {
        sources: "plugin-api/src",
        house: "",
        rooms: &["export", "guard", "identity", "service", "schema", "cube", "datapath", "abi", "refusal"],
    },
    Floors {
        sources: "plugins/packetcapture/src",
        house: "",
        rooms: &[
            "cube",
            "datapath",
            "streams",
            "state",
            "session",
            "consumer",
            "drain",
            "outcome",
            "sink",
            "ring",
            "merge",
            "anonymize",
            "settings",
            "config",
            "filter",
            "format",
            "lock",
            "sys",
        ],
    },
    Floors {
        sources: "plugins/packetcapture/src",
        house: "filter",
        rooms: &[
            "attempt", "listing", "place", "libpcap", "terms", "fields", "emit", "body", "bounds", "liveness",
            "blocks", "skb", "reach", "access", "assembly", "insn", "classic",
        ],
    },
    Floors {
        sources: "plugins/packetcapture/src",
        house: "sink",
        rooms: &[
            "router", "backlog", "end", "readers", "files", "chores", "file", "journal", "queue", "snapshot", "tally",
            "direct", "name",
        ],
    },
    Floors {
        sources: "plugins/simplebridge/src",
        house: "",
        rooms: &["cube", "counters", "fdb", "datapath", "state", "config", "mac"],
    },
    Floors {
        sources: "xtask/src",
        house: "",
        rooms: &["bench", "demo", "ebpf", "fuzz_api", "fuzz_filter", "lint", "test", "tidy", "command", "machine"],
    },
    Floors {
        sources: "xtask/src",
        house: "tidy",
        rooms: &[
            "absences",
            "floors",
            "known",
            "manifests",
            "safety",
            "shape",
            "voice",
            "files",
            "functions",
            "modules",
            "paths",
            "finding",
            "source",
            "lexer",
        ],
    },
    Floors {
        sources: "tests/src",
        house: "",
        rooms: &[
            "marks",
            "sniffer",
            "scene",
            "comparison",
            "daemon",
            "pcap",
            "capture",
            "traffic",
            "hook",
            "packet_socket",
            "lab",
            "http",
            "bpf",
            "disk",
        ],
    },
    Floors {
        sources: "benches/src",
        house: "",
        rooms: &[
            "api", "bridge", "filter", "live", "program", "splice", "tcp", "capture", "recorder", "report", "figures",
            "peer", "recorded", "sniffer", "process",
        ],
    },
    Floors {
        sources: "tests/src",
        house: "daemon",
        rooms: &["attempt", "fixtures", "snapshot", "output", "directory", "process"],
    },
    Floors { sources: "tests/src", house: "lab", rooms: &["interface", "ioctl", "netlink", "namespace"] },
    Floors {
        sources: "tests/src",
        house: "traffic",
        rooms: &["pages", "ping", "steady", "stream", "sender", "segments", "flow"],
    },
    Floors { sources: "xtask/src", house: "demo", rooms: &["footprint", "tour", "decode", "interruption", "stage"] },
];
