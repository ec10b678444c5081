//! The producer's side of [`polycube_layout::ring`].
//!
//! The order of the stores is the order of the code: they are volatile, the compiler moves none of them across a
//! helper or an `asm!`, and x86 shows a CPU's stores to the others in their order.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, maps::RingBuf};
use polycube_layout::ring::{CONSUMER, Consumer, DATA, LaneEnd, Producer, large_at};

/// This CPU's element.
pub struct Ring {
    element: *mut u8,
    masks: Masks,
}

/// Sizes of the lanes, less one.
#[derive(Clone, Copy)]
pub struct Masks {
    pub small: u64,
    pub large: u64,
}

/// Where a record goes, and its lane's positions once it is there.
pub struct Place {
    pub record: *mut u8,
    is_late: bool,
    room: Room,
}

/// A lane's positions with one more record.
struct Room {
    /// End of the record.
    end: u64,
    head: u64,
    fill: u64,
}

impl Room {
    /// For a record of `size` bytes from `head` on.
    #[inline(always)]
    fn new(head: u64, tail: u64, size: u64, mask: u64) -> Self {
        let crosses = (head & mask) + size > mask;
        let next = if crosses { (head | mask) + 1 } else { head + size };
        Self { end: head + size, head: next, fill: next.wrapping_sub(tail) }
    }

    #[inline(always)]
    fn is_there(&self, mask: u64) -> bool {
        self.fill <= mask + 1
    }
}

/// How much of the ring is in use, as far as the doorbell cares.
pub struct Fill(u64);

impl Fill {
    /// More than any mark.
    const LATE: Self = Self(u64::MAX);
}

impl Ring {
    /// # Safety
    ///
    /// `element` is this CPU's, and has lanes of the sizes that `masks` are of.
    #[inline(always)]
    pub unsafe fn new(element: *mut u8, masks: Masks) -> Self {
        Self { element, masks }
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

    /// Finds room for a record of `size` bytes: in the small lane, unless that has been too full for a record and is
    /// not empty yet.
    #[inline(always)]
    pub fn reserve(&self, size: u64) -> Option<Place> {
        let Masks { small, large } = self.masks;
        let producer = self.producer();
        // SAFETY: `head` and `is_late` are ours, and the consumer stores `tail` whole.
        let (head, is_late, tail) = unsafe { ((*producer).small.head, (*producer).is_late, self.tail(0)) };
        let room = Room::new(head, tail, size, small);
        if room.is_there(small) && (is_late == 0 || head == tail) {
            // SAFETY: the offset is within the lane.
            let record = unsafe { self.element.add(DATA).add((head & small) as usize) };
            return Some(Place { record, is_late: false, room });
        }
        // SAFETY: as above.
        let (head, tail) = unsafe { ((*producer).large.head, self.tail(1)) };
        let room = Room::new(head, tail, size, large);
        if !room.is_there(large) {
            return None;
        }
        // SAFETY: as above.
        let record = unsafe { self.element.add(large_at(small as usize + 1)).add((head & large) as usize) };
        Some(Place { record, is_late: true, room })
    }

    /// Makes the record visible to the consumer.
    #[inline(always)]
    pub fn commit(&self, place: &Place, captured: u32) -> Fill {
        let (producer, room) = (self.producer(), &place.room);
        // SAFETY: the element is ours.
        unsafe {
            add(&raw mut (*producer).written, 1);
            add(&raw mut (*producer).bytes, captured.into());
            if place.is_late {
                (&raw mut (*producer).is_late).write_volatile(1);
                store(&raw mut (*producer).large, room, self.masks.large);
                return Fill::LATE;
            }
            if (*producer).is_late != 0 {
                (&raw mut (*producer).turn).write_volatile((*producer).large.head);
                (&raw mut (*producer).is_late).write_volatile(0);
            }
            store(&raw mut (*producer).small, room, self.masks.small);
        }
        Fill(room.fill)
    }

    /// Counts a packet for which there was no room. A consumer that sleeps although the ring is full is woken.
    #[inline(always)]
    pub fn drop_packet(&self) -> Fill {
        // SAFETY: the element is ours.
        unsafe { add(&raw mut (*self.producer()).drops, 1) };
        Fill::LATE
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

    /// # Safety
    ///
    /// `lane` is 0 or 1.
    #[inline(always)]
    unsafe fn tail(&self, lane: usize) -> u64 {
        // SAFETY: the caller's promise; the consumer stores whole words.
        unsafe { (&raw const (*self.consumer()).tails).cast::<u64>().add(lane).read_volatile() }
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

/// Stores a lane's positions.
///
/// # Safety
///
/// `lane` is of this CPU's element.
#[inline(always)]
unsafe fn store(lane: *mut LaneEnd, room: &Room, mask: u64) {
    // SAFETY: the caller's promise; only this CPU writes it.
    unsafe {
        // Also where a record ends at the lane's very end: the consumer never finds the last round's value.
        if room.head & mask == 0 {
            (&raw mut (*lane).wrap).write_volatile(room.end);
        }
        (&raw mut (*lane).head).write_volatile(room.head);
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
