//! Types: an object's own, which go to the kernel with its maps and programs, and the kernel's, to which an object can be
//! relocated (CO-RE).
//!
//! A kernel that does not take an object's types gets its maps and programs without them: all that is lost is that dumps
//! have no fields and refusals no lines of source, unless a program needs them, which the verifier then says.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::OnceLock;

use aya_obj::btf::{Btf, BtfError, BtfFeatures, BtfKind};
use aya_obj::generated::bpf_map_type;
use aya_obj::{EbpfSectionKind, Function, Map, Object};

use super::wrap::make_static;
use crate::bpf::{self, MapTypes, ProgramTypes};
use crate::error::LoadError;

/// Every feature that `aya-obj` knows: nothing is left out for older kernels.
const FEATURES: BtfFeatures = BtfFeatures::new(true, true, true, true, true, true, true, true);

/// The kernel's own types. Parsing takes 20 ms and some megabytes, which only an object that refers to them is worth.
static KERNEL: OnceLock<Result<Btf, BtfError>> = OnceLock::new();

/// Adapts an object to the types of the running kernel, if it refers to them.
pub(super) fn relocate_to_kernel(what: &str, object: &mut Object) -> Result<(), LoadError> {
    if !object.has_btf_relocations() {
        return Ok(());
    }
    let kernel = KERNEL.get_or_init(|| {
        tracing::debug!("reading the kernel's types");
        Btf::from_sys_fs()
    });
    let kernel = kernel
        .as_ref()
        .map_err(|reason| LoadError::NoKernelTypes { what: what.to_owned(), reason: reason.to_string() })?;
    object
        .relocate_btf(kernel)
        .map_err(|source| LoadError::KernelTypes { what: what.to_owned(), source: Box::new(source) })
}

/// An object's types in the kernel.
pub(super) struct Types {
    fd: OwnedFd,
    sections: Vec<(String, u32)>,
}

impl Types {
    /// Gives the kernel an object's types. `None` if the object has none, or the kernel does not take them. The program
    /// called `wrapped` is a function of another one.
    pub(super) fn load(what: &str, object: &mut Object, wrapped: Option<&str>) -> Option<Self> {
        let names: Vec<String> = object.maps.keys().cloned().collect();
        let btf = match object.fixup_and_sanitize_btf(&FEATURES) {
            Ok(btf) => btf?,
            Err(error) => {
                tracing::debug!(what, %error, "the types cannot be used");
                return None;
            }
        };
        let mut bytes = btf.to_bytes();
        if let Some(name) = wrapped {
            make_static(&mut bytes, name);
        }
        let fd = match bpf::types_load(&bytes) {
            Ok(fd) => fd,
            Err(error) => {
                tracing::debug!(what, %error, "the kernel does not take the types");
                return None;
            }
        };
        let section = |name: String| {
            let id = btf.id_by_type_name_kind(&name, BtfKind::DataSec).ok()?;
            Some((name, id))
        };
        let sections = names.into_iter().filter_map(section).collect();
        Some(Self { fd, sections })
    }

    /// The types of a map that the object declares.
    pub(super) fn of_map(&self, name: &str, map: &Map) -> Option<MapTypes<'_>> {
        let (key, value) = match map {
            _ if !takes_types(map.map_type()) => return None,
            Map::Btf(map) => (map.def.btf_key_type_id, map.def.btf_value_type_id),
            // Variables are the members of a section.
            Map::Legacy(_) if is_data(map) => (0, self.sections.iter().find(|(section, _)| section == name)?.1),
            Map::Legacy(_) => return None,
        };
        (value != 0).then(|| MapTypes { types: self.fd.as_fd(), key, value })
    }

    pub(super) fn of_program(&self, function: &Function) -> ProgramTypes<'_> {
        ProgramTypes {
            types: self.fd.as_fd(),
            functions: function.func_info.func_info_bytes(),
            lines: function.line_info.line_info_bytes(),
        }
    }
}

fn is_data(map: &Map) -> bool {
    matches!(map.section_kind(), EbpfSectionKind::Data | EbpfSectionKind::Rodata | EbpfSectionKind::Bss)
}

/// Whether maps of a type can have types of keys and values: libbpf (`bpf_map__btf_…` in `bpf_object__create_map()`) leaves
/// them out for these, whose values are objects of the kernel's.
fn takes_types(map_type: u32) -> bool {
    use bpf_map_type as kind;
    let without = [
        kind::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        kind::BPF_MAP_TYPE_CGROUP_ARRAY,
        kind::BPF_MAP_TYPE_STACK_TRACE,
        kind::BPF_MAP_TYPE_ARRAY_OF_MAPS,
        kind::BPF_MAP_TYPE_HASH_OF_MAPS,
        kind::BPF_MAP_TYPE_DEVMAP,
        kind::BPF_MAP_TYPE_DEVMAP_HASH,
        kind::BPF_MAP_TYPE_CPUMAP,
        kind::BPF_MAP_TYPE_XSKMAP,
        kind::BPF_MAP_TYPE_SOCKMAP,
        kind::BPF_MAP_TYPE_SOCKHASH,
        kind::BPF_MAP_TYPE_QUEUE,
        kind::BPF_MAP_TYPE_STACK,
        kind::BPF_MAP_TYPE_RINGBUF,
    ];
    without.iter().all(|kind| *kind as u32 != map_type)
}
