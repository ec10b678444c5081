//! Counters of packets and bytes, each CPU with its own; the plugin adds up the CPUs'.

use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::TcContext;

/// What one CPU counted. The plugin's side is a structure of two `u64`.
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// Declares a map of counters: `counters!(COUNTERS, "counters", 1)`. For [`count`].
#[macro_export]
macro_rules! counters {
    ($name:ident, $map:literal, $count:expr) => {
        #[::aya_ebpf::macros::map(name = $map)]
        static $name: ::aya_ebpf::maps::PerCpuArray<$crate::Counter> =
            ::aya_ebpf::maps::PerCpuArray::with_max_entries($count, 0);
    };
}

/// Adds the packet to a counter; one that is not there counts nothing.
#[inline(always)]
pub fn count(ctx: &TcContext, counters: &PerCpuArray<Counter>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: the element is this CPU's, and nothing else holds a reference to it.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(ctx.len());
        }
    }
}
