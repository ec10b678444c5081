//! Why maps and programs do not get into the kernel.

use std::io;

use polycube_layout::chain::NEXT;

use crate::bpf::ProgramRefused;

/// What could not be loaded, and why.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the object of {what} cannot be read: {source}")]
    Object { what: String, source: aya_obj::ParseError },
    #[error("the object of {what} is malformed: compile it again")]
    Malformed { what: String },
    #[error("the object of {what} cannot be relocated: {}", root_cause(source))]
    Relocation { what: String, source: aya_obj::relocation::EbpfRelocationError },
    #[error("the object of {what} has no {missing}")]
    Incomplete { what: String, missing: String },
    #[error("the object of {what} refers to types that this kernel does not have: {}", root_cause(&**source))]
    KernelTypes { what: String, source: Box<aya_obj::btf::BtfRelocationError> },
    #[error("the object of {what} refers to the kernel's types, which this kernel does not show: {reason}")]
    NoKernelTypes { what: String, reason: String },
    #[error(
        "program `{program}` of {what} makes tail calls, and its object has no BTF, without which the kernel does not let it \
         stand in a chain: compile it with -g, or give it a map `{NEXT}`"
    )]
    Untyped { program: String, what: String },
    #[error("the kernel refuses program `{program}` of {what}: {source}")]
    Refused { program: String, what: String, source: ProgramRefused },
    #[error("cannot create the map `{name}` of {what} ({bytes} bytes): {source}")]
    CreateMap { what: String, name: String, bytes: u64, source: io::Error },
    #[error("cannot write the map `{name}` of {what}: {source}")]
    WriteMap { what: String, name: String, source: io::Error },
    #[error("cannot bind the maps of {what} to its program: {source}")]
    Bind { what: String, source: io::Error },
}

/// What is wrong, without what it is wrong with.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
