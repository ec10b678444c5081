//! Whole programs, without a kernel.

#![forbid(unsafe_code)]

use std::path::Path;

use super::*;

/// A stage between two others.
const STAGE: Target = Target {
    hook: Hook::Tc,
    on_match: Exit::tail_call("accept", 0, -1),
    on_mismatch: Exit::tail_call("next", 0, -1).counted(Counter { map: "RINGS", element: Element::OfCpu, offset: 256 }),
};

#[track_caller]
fn check_golden(name: &str, expression: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/goldens/{name}.txt"));
    let compiled = compile(&Fields::default(), expression, Link::default(), &STAGE).unwrap().unwrap();
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, compiled.listing()).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let found = compiled.listing();
    assert!(found == golden, "{} differs; UPDATE_GOLDENS=1 rewrites it. Found:\n{found}", path.display());
}

#[test]
fn the_programs_are_the_golden_ones() {
    check_golden("host-and-port", "host 10.0.0.1 and tcp port 80");
    check_golden("net", "src net 2001:db8::/32 or dst net 10.0.0.0/8");
    check_golden("vlan", "vlan 5 and udp");
    check_golden("length", "greater 1000");
    check_golden("tcp-payload", "tcp[((tcp[12] & 0xf0) >> 2) : 4] = 0x47455420");
}

#[test]
fn no_filter_gives_no_program() {
    for expression in ["", " ", "all", " all "] {
        assert!(compile(&Fields::default(), expression, Link::default(), &STAGE).unwrap().is_none());
    }
}

/// A program that rejects nothing has no way to the next program, and the host refused it.
#[test]
fn what_is_always_true_needs_no_program() {
    for expression in ["1 = 1", "len >= 0", "ip or not ip", "tcp-syn = 2", "icmp-echo = 8", "not (ip and arp)"] {
        assert!(compile(&Fields::default(), expression, Link::default(), &STAGE).unwrap().is_none(), "{expression}");
    }
    let fields = Fields { l4proto: "tcp".parse().ok(), ..Fields::default() };
    let compiled = compile(&fields, "len >= 0", Link::default(), &STAGE).unwrap().unwrap();
    assert_eq!(compiled.maps.len(), 3);
}

#[test]
fn what_is_never_true_is_refused_even_if_libpcap_takes_it() {
    let refused =
        |fields: &Fields, expression| compile(fields, expression, Link::default(), &STAGE).unwrap_err().to_string();
    for expression in ["1 = 2", "ip and arp", "len < 0", "ether[0] = 256", "1 = 2 and ip protochain 6"] {
        let expected = format!("expression rejects all packets: `{expression}`");
        assert_eq!(refused(&Fields::default(), expression), expected);
        let fields = Fields { l4proto: "tcp".parse().ok(), ..Fields::default() };
        assert_eq!(refused(&fields, expression), expected);
    }
}

#[test]
fn maps_are_loaded_where_the_program_says() {
    let compiled = compile(&Fields::default(), "tcp", Link::default(), &STAGE).unwrap().unwrap();
    let names = compiled.maps.iter().map(|(_, name)| *name).collect::<Vec<_>>();
    assert_eq!(names, ["accept", "RINGS", "next"]);
    for (at, _) in compiled.maps {
        assert_eq!((compiled.instructions[at].code, compiled.instructions[at + 1]), (0x18, Insn::default()));
    }
}
