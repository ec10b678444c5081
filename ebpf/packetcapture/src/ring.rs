//! The producer's side of [`polycube_layout::ring`].
//!
//! The order of the stores is the order of the code; [`crate::stores`] says what that takes.

use aya_ebpf::{bindings::BPF_RB_FORCE_WAKEUP, maps::RingBuf};
use polycube_layout::ring::{CONSUMER, Consumer, DATA, Producer, wrap_at};

use crate::lanes::{LANES, Slot};
use crate::stores::{Stores, exchange_half};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Packets of more bytes have the next record's first lines fetched: by then the CPU needs a while to write a record into
/// memory that is not in its cache, and for shorter ones the loads cost as much as they save.
const LONG: u32 = 256;

/// This CPU's element.
pub struct Ring {
    element: *mut u8,
    cpu: u32,
    sizes: Sizes,
    stores: Stores,
}

/// Sizes of the lanes.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Bytes of the small lane, less one.
    pub small: u64,
    /// Bytes of the large lane, less one.
    pub large: u64,
    /// Binary logarithm of the bytes of the large lane's segments.
    pub segment_bits: u32,
}

impl Sizes {
    #[inline(always)]
    fn segment(self) -> u64 {
        (1 << self.segment_bits) - 1
    }
}

/// Where a record goes, and its lane's positions once it is there.
pub struct Place {
    pub record: *mut u8,
    /// The beginning of its segment.
    segment: *mut u8,
    is_late: bool,
    room: Room,
}

impl Place {
    /// Has the cache fetch the first lines of the next record; `mask` is the segment's size less one.
    ///
    /// There is no instruction for it, but a load whose result nothing waits for does the same. With four lines, the CPU
    /// sees the direction and fetches those that follow: two or eight gain less.
    ///
    /// # Safety
    ///
    /// The segment has `mask` and one bytes, and the slack after them.
    #[inline(always)]
    unsafe fn fetch_next(&self, mask: u64) {
        // SAFETY: the caller's promise; nothing depends on what is there.
        unsafe {
            let next = self.segment.add((self.room.head & mask) as usize);
            let _ = next.read_volatile();
            let _ = next.add(LINE).read_volatile();
            let _ = next.add(2 * LINE).read_volatile();
            let _ = next.add(3 * LINE).read_volatile();
        }
    }
}

/// Why there is no place for a record.
pub enum NoRoom {
    /// Both lanes are full.
    Full,
    /// The small lane is full, and there is no large one yet.
    Early,
}

/// A lane's positions with one more record.
struct Room {
    /// End of the record.
    end: u64,
    head: u64,
    fill: u64,
}

impl Room {
    /// For a record of `size` bytes from `head` on; `mask` is the segment's size less one.
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
    /// `element` is that of `cpu`, which is this one, and has a small lane of this size.
    #[inline(always)]
    pub unsafe fn new(element: *mut u8, cpu: u32, sizes: Sizes, stores: Stores) -> Self {
        Self { element, cpu, sizes, stores }
    }

    /// Starts a packet; false if this CPU is in the middle of another one.
    ///
    /// Every CPU can see the flag before the time is taken: a consumer that reads the clock and then finds the flag
    /// unset has seen every older record. Only a locked instruction guarantees this, since a plain store may wait in
    /// the CPU while the clock is read; it costs 1 ns.
    #[inline(always)]
    pub fn enter(&self) -> bool {
        let producer = self.producer();
        // SAFETY: the element is ours, and `busy` is aligned.
        let was_busy = unsafe { exchange_half(&raw mut (*producer).busy, 1) } != 0;
        if was_busy {
            // SAFETY: the element is ours; what this interrupts does not write `nested`.
            unsafe { (*producer).nested += 1 };
        }
        !was_busy
    }

    /// Ends what [`Ring::enter`] began.
    #[inline(always)]
    pub fn leave(&self) {
        // SAFETY: the element is ours, and `busy` is aligned.
        unsafe { self.stores.publish_half(&raw mut (*self.producer()).busy, 0) }
    }

    #[inline(always)]
    pub fn utc_offset(&self) -> i64 {
        // SAFETY: the consumer stores whole words.
        unsafe { (&raw const (*self.consumer()).utc_offset).read_volatile() }
    }

    /// Finds room for a record of `size` bytes: in the small lane, unless that has been too full for a record and is
    /// not empty yet.
    #[inline(always)]
    pub fn reserve(&self, size: u64) -> Result<Place, NoRoom> {
        let Sizes { small, large, .. } = self.sizes;
        let producer = self.producer();
        // SAFETY: `small` and `is_late` are ours, and the consumer stores `tail` whole.
        let (head, is_late, tail) = unsafe { ((*producer).small, (*producer).is_late, self.tail(0)) };
        let room = Room::new(head, tail, size, small);
        if room.is_there(small) && (is_late == 0 || head == tail) {
            // SAFETY: the offsets are within the element.
            let (segment, record) = unsafe {
                let segment = self.element.add(DATA);
                (segment, segment.add((head & small) as usize))
            };
            return Ok(Place { record, segment, is_late: false, room });
        }
        // SAFETY: as above.
        let (head, tail) = unsafe { ((*producer).large, self.tail(1)) };
        let room = Room::new(head, tail, size, self.sizes.segment());
        if !room.is_there(large) {
            return Err(NoRoom::Full);
        }
        let segment = self.segment(head).ok_or(NoRoom::Early)?;
        // SAFETY: the offset is within the segment.
        let record = unsafe { segment.add((head & self.sizes.segment()) as usize) };
        Ok(Place { record, segment, is_late: true, room })
    }

    /// The segment of the large lane that `position` is in, if there is a large lane.
    #[inline(always)]
    fn segment(&self, position: u64) -> Option<*mut u8> {
        let Sizes { large, segment_bits, .. } = self.sizes;
        let segments = (large + 1) >> segment_bits;
        let segment = u64::from(self.cpu) * segments + ((position & large) >> segment_bits);
        LANES.get(Slot::LARGE)?.get(segment as u32)
    }

    /// Makes the record visible to the consumer.
    #[inline(always)]
    pub fn commit(&self, place: &Place, captured: u32) -> Fill {
        let (producer, sizes) = (self.producer(), self.sizes);
        // SAFETY: the element is ours.
        unsafe {
            add(&raw mut (*producer).written, 1);
            add(&raw mut (*producer).bytes, captured.into());
            if place.is_late {
                (&raw mut (*producer).is_late).write_volatile(1);
                self.store(&raw mut (*producer).large, place, sizes.segment());
                if captured > LONG {
                    place.fetch_next(sizes.segment());
                }
                return Fill::LATE;
            }
            if (*producer).is_late != 0 {
                (&raw mut (*producer).turn).write_volatile((*producer).large);
                (&raw mut (*producer).is_late).write_volatile(0);
            }
            self.store(&raw mut (*producer).small, place, sizes.small);
        }
        Fill(place.room.fill)
    }

    /// Stores where a record ends.
    ///
    /// # Safety
    ///
    /// `head` is that of the lane with `place`, whose segments have `mask` and one bytes.
    #[inline(always)]
    unsafe fn store(&self, head: *mut u64, place: &Place, mask: u64) {
        let room = &place.room;
        // SAFETY: the caller's promise; only this CPU writes it.
        unsafe {
            // Also where a record ends at the segment's very end: the consumer never finds the last round's value.
            if room.head & mask == 0 {
                place.segment.add(wrap_at(mask as usize + 1)).cast::<u64>().write_volatile(room.end);
            }
            self.stores.publish(head, room.head);
        }
    }

    /// Counts a packet for which there was no room. A consumer that sleeps although the ring is full is woken.
    #[inline(always)]
    pub fn drop_packet(&self, why: &NoRoom) -> Fill {
        let producer = self.producer();
        // SAFETY: the element is ours.
        unsafe {
            if matches!(why, NoRoom::Early) {
                add(&raw mut (*producer).early, 1);
            }
            add(&raw mut (*producer).drops, 1);
        }
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
