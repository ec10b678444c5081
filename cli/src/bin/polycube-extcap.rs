//! `polycube-extcap`: makes packetcapture cubes interfaces of Wireshark's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    polycubectl::extcap()
}
