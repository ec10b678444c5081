//! Which CPU is emulated, and what is called otherwise on it.

use std::process::Command;

/// A CPU, and its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// That of the machine that this runs on.
    X86_64,
    /// Weakly ordered. An emulated one has the order of the machine that emulates it.
    Aarch64,
}

impl Architecture {
    /// What Debian calls it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What Rust calls it, if programs for it are built by a cross-compiler.
    pub(crate) fn target(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some("aarch64-unknown-linux-gnu"),
        }
    }

    /// What removes debug sections from its programs.
    pub(crate) fn strip(self) -> Command {
        Command::new(match self {
            Self::X86_64 => "strip",
            Self::Aarch64 => "aarch64-linux-gnu-strip",
        })
    }

    /// qemu with such a CPU, whose kernel has this program's standard output as its console.
    pub(crate) fn machine(self) -> Command {
        let (program, options, console) = match self {
            Self::X86_64 => ("qemu-system-x86_64", ["-machine", "pc", "-cpu", "max"], "ttyS0"),
            // Signed pointers as the architecture defines them take most of an emulated CPU's time.
            Self::Aarch64 => ("qemu-system-aarch64", ["-machine", "virt", "-cpu", "max,pauth-impdef=on"], "ttyAMA0"),
        };
        let mut machine = Command::new(program);
        machine.args(options).arg("-append").arg(format!("console={console} panic=-1 quiet"));
        machine
    }
}
