//! The producer's side of [`polycube_layout::ring`].
//!
//! The order of the stores is the order of the code: they are volatile, the compiler moves none of them across a
//! helper or an `asm!`, and x86 shows a CPU's stores to the others in their order.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, maps::RingBuf};
use polycube_layout::ring::{CONSUMER, Consumer, DATA, Producer};

/// This CPU's element.
pub struct Ring {
    element: *mut u8,
    mask: u64,
}

/// Where a record goes, and the ring's positions once it is there.
pub struct Place {
    pub record: *mut u8,
    end: u64,
    head: u64,
    fill: u64,
}

/// How much of the ring is in use, as far as the doorbell cares.
pub struct Fill(u64);

impl Ring {
    /// # Safety
    ///
    /// `element` is an element of a ring of `mask + 1` bytes, and this CPU's.
    #[inline(always)]
    pub unsafe fn new(element: *mut u8, mask: u64) -> Self {
        Self { element, mask }
    }

    /// Starts a packet; false if this CPU is in the middle of another one.
    ///
    /// Every CPU can see the flag before the time is taken: a consumer that reads the clock and then finds the flag
    /// unset has seen every older record. Only a locked instruction guarantees this, since a plain store may wait in
    /// the CPU while the clock is read; it costs 1 ns.
    #[inline(always)]
    pub fn enter(&self) -> bool {
        let producer = self.producer();
        let mut busy = 1u32;
        // SAFETY: the element is ours, and `busy` is aligned.
        unsafe {
            asm!(
                "{busy} = xchg32_32({producer} + {at}, {busy})",
                busy = inout(wreg) busy,
                producer = in(reg) producer,
                at = const offset_of!(Producer, busy),
                options(nostack),
            );
        }
        if busy != 0 {
            // SAFETY: the element is ours; what this interrupts does not write `nested`.
            unsafe { (*producer).nested += 1 };
        }
        busy == 0
    }

    /// Ends what [`Ring::enter`] began.
    #[inline(always)]
    pub fn leave(&self) {
        // SAFETY: the element is ours.
        unsafe { (&raw mut (*self.producer()).busy).write_volatile(0) }
    }

    #[inline(always)]
    pub fn utc_offset(&self) -> i64 {
        // SAFETY: the consumer stores whole words.
        unsafe { (&raw const (*self.consumer()).utc_offset).read_volatile() }
    }

    /// Finds room for a record of `size` bytes.
    #[inline(always)]
    pub fn reserve(&self, size: u64) -> Option<Place> {
        // SAFETY: `head` is ours, and the consumer stores `tail` whole.
        let (head, tail) = unsafe { ((*self.producer()).head, (&raw const (*self.consumer()).tail).read_volatile()) };
        let offset = head & self.mask;
        let crosses = offset + size > self.mask;
        let next = if crosses { (head | self.mask) + 1 } else { head + size };
        let fill = next.wrapping_sub(tail);
        if fill > self.mask + 1 {
            return None;
        }
        // SAFETY: the offset is within the ring.
        let record = unsafe { self.element.add(DATA).add(offset as usize) };
        Some(Place { record, end: head + size, head: next, fill })
    }

    /// Makes the record visible to the consumer.
    #[inline(always)]
    pub fn commit(&self, place: &Place, captured: u32) -> Fill {
        let producer = self.producer();
        // SAFETY: the element is ours.
        unsafe {
            // Also where a record ends at the ring's very end: the consumer never finds the last round's value.
            if place.head & self.mask == 0 {
                (&raw mut (*producer).wrap).write_volatile(place.end);
            }
            add(&raw mut (*producer).written, 1);
            add(&raw mut (*producer).bytes, captured.into());
            (&raw mut (*producer).head).write_volatile(place.head);
        }
        Fill(place.fill)
    }

    /// Counts a packet for which there was no room. A consumer that sleeps although the ring is full is woken.
    #[inline(always)]
    pub fn drop_packet(&self) -> Fill {
        // SAFETY: the element is ours.
        unsafe { add(&raw mut (*self.producer()).drops, 1) };
        Fill(u64::MAX)
    }

    /// Counts a packet that could not be copied.
    #[inline(always)]
    pub fn fault(&self) -> Fill {
        // SAFETY: the element is ours.
        unsafe { add(&raw mut (*self.producer()).faults, 1) };
        Fill(0)
    }

    /// Wakes a sleeping consumer whose mark this fill exceeds.
    ///
    /// Called after the packet is finished, because waking may cause packets that are to be recorded too.
    #[inline(always)]
    pub fn ring_bell(&self, fill: Fill, bell: &RingBuf) {
        let (producer, consumer) = (self.producer(), self.consumer());
        // SAFETY: the consumer stores whole words; it resets `sleeping` only when it is awake.
        unsafe {
            let sleeping = &raw mut (*consumer).sleeping;
            if sleeping.read_volatile() == 0 || fill.0 <= (&raw const (*consumer).mark).read_volatile() {
                return;
            }
            sleeping.write_volatile(0);
            add(&raw mut (*producer).bells, 1);
        }
        // A bell buffer that is full has not been read: the consumer is being woken already.
        let _ = bell.output::<u64>(1, BPF_RB_FORCE_WAKEUP.into());
    }

    #[inline(always)]
    fn producer(&self) -> *mut Producer {
        self.element.cast()
    }

    #[inline(always)]
    fn consumer(&self) -> *mut Consumer {
        // SAFETY: within the page of headers.
        unsafe { self.element.add(CONSUMER).cast() }
    }
}

/// Counts in program order: when the consumer sees `head`, it also sees the counters stored before it.
///
/// # Safety
///
/// `counter` is one of this CPU's element.
#[inline(always)]
unsafe fn add(counter: *mut u64, count: u64) {
    // SAFETY: the caller's promise; only this CPU writes it.
    unsafe { counter.write_volatile(counter.read_volatile() + count) }
}
