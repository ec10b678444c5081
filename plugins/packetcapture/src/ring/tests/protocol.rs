//! Does any interleaving of the program and the consumer, or a kill of the consumer at any point, lose a record or change
//! the order? All of them are tried, over lanes of a few bytes.
//!
//! Memory is x86's (total store order): each side's stores reach the other in their order and at any later time, and its
//! loads happen in theirs. Or it is weak, as aarch64's: the program's stores arrive in any order, but that a head waits for
//! all before it, and all after it wait for the head, which is what an exchange does. The consumer's loads acquire and its
//! stores release, so they keep their order there too. The program's side is that of `ebpf/packetcapture/src/ring.rs`; what the consumer computes
//! from the words that it loads is the consumer's own code. The large lane has two segments, and the program gets it at any
//! time. The last tests break the protocol, and the search finds it.

use std::collections::{HashSet, VecDeque};

use super::super::lane::{Head, LARGE, Lane, Piece, SMALL, Stretch};

const LANES: [Lane; 2] =
    [Lane { at: 0, size: 2, stride: 4, segments: 1 }, Lane { at: 8, size: 2, stride: 4, segments: 2 }];
const CELLS: usize = 16;
/// Segments of all lanes.
const SEGMENTS: usize = 3;
/// States that a search may need at most: it takes seconds.
const MOST: usize = 3_000_000;

/// How the protocol is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The consumer looks at the small lane first.
    SmallLaneFirst,
    /// The program returns to the small lane when there is room in it.
    EarlyReturn,
    /// The program stores `head` before `turn`.
    LateTurn,
    /// The program stores `head` before `wrap`.
    LateWrap,
    /// The program stores `head` before the record.
    LateRecord,
    /// The consumer returns room before it has read what is there.
    EarlyRelease,
    /// The program stores heads like everything else.
    PlainHead,
}

/// In which order the program's stores arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    InOrder,
    InAnyOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    Head(usize),
    /// Of a segment, the small lane's first.
    Wrap(usize),
    Turn,
    Tail(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Store {
    Word(Word, u8),
    /// A record: its place, its length and its number.
    Record(u8, u8, u8),
}

impl Store {
    /// Whether both are to one place: those of one CPU arrive in their order on every machine.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Word(word, _), Self::Word(other, _)) => word == other,
            (Self::Record(at, length, _), Self::Record(other, more, _)) => at < other + more && other < at + length,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Memory {
    heads: [u8; 2],
    wraps: [u8; SEGMENTS],
    turn: u8,
    tails: [u8; 2],
    /// The record that each byte belongs to, from 1.
    cells: [u8; CELLS],
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Program {
    /// Records tried so far.
    tried: usize,
    /// Whether the small lane has no room for the record that is tried.
    looks_at_large: bool,
    /// Whether it has the large lane.
    has_large: bool,
    is_late: bool,
    heads: [u8; 2],
    stores: VecDeque<Store>,
    /// Lengths of the records that were not dropped.
    kept: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Consumer {
    step: u8,
    tails: [u8; 2],
    small: u8,
    turn: u8,
    large: u8,
    wraps: [u8; SEGMENTS],
    /// What it takes: positions to store, and how many records are done with then.
    releases: VecDeque<(usize, u8, u8)>,
    stores: VecDeque<Store>,
    /// Records whose room was returned.
    done: u8,
    kills: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    memory: Memory,
    program: Program,
    consumer: Consumer,
}

impl Memory {
    fn load(&self, word: Word) -> u8 {
        match word {
            Word::Head(lane) => self.heads[lane],
            Word::Wrap(segment) => self.wraps[segment],
            Word::Turn => self.turn,
            Word::Tail(lane) => self.tails[lane],
        }
    }

    fn apply(&mut self, store: Store, done: u8) -> Result<(), String> {
        match store {
            Store::Word(Word::Head(lane), value) => self.heads[lane] = value,
            Store::Word(Word::Wrap(segment), value) => self.wraps[segment] = value,
            Store::Word(Word::Turn, value) => self.turn = value,
            Store::Word(Word::Tail(lane), value) => self.tails[lane] = value,
            Store::Record(at, length, number) => {
                for cell in &mut self.cells[at.into()..(at + length).into()] {
                    if *cell > done {
                        return Err(format!("record {number} overwrites {cell}, and {done} were taken"));
                    }
                    *cell = number;
                }
            }
        }
        Ok(())
    }
}

impl Program {
    /// Tries the next record of `lengths`, or goes on with it.
    fn step(&mut self, memory: &Memory, lengths: &[u8], fault: Fault) {
        let length = lengths[self.tried];
        let lane = usize::from(self.looks_at_large);
        let (head, tail, size) = (self.heads[lane], memory.load(Word::Tail(lane)), LANES[lane].size as u8);
        let room = size * LANES[lane].segments as u8;
        let end = head + length;
        let next = if head % size + length >= size { (head / size + 1) * size } else { end };
        let is_usable = match lane {
            LARGE => self.has_large,
            _ => !self.is_late || head == tail || fault == Fault::EarlyReturn,
        };
        if next - tail > room || !is_usable {
            if lane == LARGE {
                self.tried += 1;
            }
            self.looks_at_large = lane == SMALL;
            return;
        }
        self.kept.push(length);
        let segment = LANES[lane].segment(head.into());
        let at = (LANES[lane].at + segment * LANES[lane].stride) as u8 + head % size;
        let record = Store::Record(at, length, self.kept.len() as u8);
        let turn = (lane == SMALL && self.is_late).then_some(Store::Word(Word::Turn, self.heads[LARGE]));
        let wrap = next.is_multiple_of(size).then_some(Store::Word(Word::Wrap(lane + segment), end));
        let head = Store::Word(Word::Head(lane), next);
        let mut stores = [Some(record), turn, wrap, Some(head)];
        match fault {
            Fault::LateRecord => stores.rotate_left(1),
            Fault::LateTurn => stores.swap(1, 3),
            Fault::LateWrap => stores.swap(2, 3),
            _ => {}
        }
        self.stores.extend(stores.into_iter().flatten());
        self.heads[lane] = next;
        (self.is_late, self.looks_at_large, self.tried) = (lane == LARGE, false, self.tried + 1);
    }
}

impl Program {
    /// Whether the store at `at` of those that are on their way may arrive next.
    fn may_arrive(&self, at: usize, arrival: Arrival, fault: Fault) -> bool {
        let is_barrier = |store: Store| fault != Fault::PlainHead && matches!(store, Store::Word(Word::Head(_), _));
        let store = self.stores[at];
        let is_free = |earlier: &Store| !is_barrier(*earlier) && !is_barrier(store) && !store.meets(*earlier);
        at == 0 || (arrival == Arrival::InAnyOrder && self.stores.range(..at).all(is_free))
    }
}

impl Consumer {
    /// The next states, for each number of records that it may take.
    fn step(&self, memory: &Memory, kept: &[u8], fault: Fault) -> Result<Vec<Self>, String> {
        let mut next = self.clone();
        next.step += 1;
        let first = if fault == Fault::SmallLaneFirst { SMALL } else { LARGE };
        match self.step {
            0 | 1 => {
                let lane = if self.step == 0 { first } else { 1 - first };
                *(if lane == SMALL { &mut next.small } else { &mut next.large }) = memory.load(Word::Head(lane));
            }
            2 if self.small == self.tails[SMALL] => next.turn = self.large,
            2 => {
                next.turn = memory.load(Word::Turn);
                next.large = self.large.max(next.turn);
            }
            3 => next.wraps[SMALL] = memory.load(Word::Wrap(SMALL)),
            // Of two segments at once, because there is nothing between them.
            4 => {
                (1..SEGMENTS).for_each(|segment| next.wraps[segment] = memory.load(Word::Wrap(segment)));
                return next.take(memory, kept, fault);
            }
            _ => {
                let release = next.releases.pop_front();
                next.step = if next.releases.is_empty() { 0 } else { self.step };
                if let Some((lane, tail, done)) = release {
                    next.release(lane, tail, done);
                }
            }
        }
        Ok(vec![next])
    }

    fn release(&mut self, lane: usize, tail: u8, done: u8) {
        self.tails[lane] = tail;
        self.stores.push_back(Store::Word(Word::Tail(lane), tail));
        self.done = done;
    }

    /// Reads everything up to the heads, and takes any number of records.
    fn take(&self, memory: &Memory, kept: &[u8], fault: Fault) -> Result<Vec<Self>, String> {
        let damage = |_| format!("damage: {self:?} in {memory:?}");
        let head = Head { small: self.small.into(), turn: self.turn.into(), large: self.large.into() };
        let stretches = head.stretches(self.tails.map(u64::from)).map_err(damage)?;
        let mut releases = Vec::<VecDeque<_>>::new();
        let mut done = self.done;
        let mut whole = VecDeque::new();
        for Stretch { lane, mut from, to } in stretches {
            while from != to {
                let wrap = |segment| u64::from(self.wraps[lane + segment]);
                let Piece { range, next } = LANES[lane].piece(from, to, wrap).map_err(damage)?;
                let mut at = range.start;
                while at < range.end {
                    done += 1;
                    let size = usize::from(*kept.get(usize::from(done) - 1).ok_or("more than was written")?);
                    if at + size > range.end || memory.cells[at..at + size].iter().any(|cell| *cell != done) {
                        return Err(format!("record {done} is not at {at} of {range:?}: {self:?} in {memory:?}"));
                    }
                    at += size;
                    let tail = from as u8 + (at - range.start) as u8;
                    releases.push(whole.iter().copied().chain([(lane, tail, done)]).collect());
                }
                // As `release` does for a piece that is taken as a whole.
                whole.push_back((lane, next as u8, done));
                if let Some(last) = releases.last_mut() {
                    last.clone_from(&whole);
                }
                from = next;
            }
        }
        if releases.is_empty() {
            return Ok(vec![Self { step: 0, ..self.clone() }]);
        }
        let next = releases.into_iter().map(|releases| {
            let mut next = Self { releases, ..self.clone() };
            if let (Fault::EarlyRelease, Some((lane, ..))) = (fault, next.releases.front()) {
                let tail = [self.small, self.large][*lane];
                next.stores.push_back(Store::Word(Word::Tail(*lane), tail));
            }
            next
        });
        Ok(next.collect())
    }
}

impl State {
    fn next(&self, lengths: &[u8], kills: u8, arrival: Arrival, fault: Fault) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        let Self { memory, program, consumer } = self;
        if program.tried < lengths.len() {
            let mut state = self.clone();
            state.program.step(memory, lengths, fault);
            next.push(state);
        }
        for consumer in consumer.step(memory, &program.kept, fault)? {
            next.push(Self { consumer, ..self.clone() });
        }
        if !program.has_large {
            let program = Program { has_large: true, ..program.clone() };
            next.push(Self { program, ..self.clone() });
        }
        for at in (0..program.stores.len()).filter(|at| program.may_arrive(*at, arrival, fault)) {
            let mut state = self.clone();
            if let Some(store) = state.program.stores.remove(at) {
                state.memory.apply(store, consumer.done)?;
                next.push(state);
            }
        }
        let mut state = self.clone();
        if let Some(store) = state.consumer.stores.pop_front() {
            state.memory.apply(store, consumer.done)?;
            next.push(state);
        } else if consumer.kills < kills {
            // What it stored arrives; another starts with that.
            let (done, kills) = (consumer.done, consumer.kills + 1);
            let consumer = Consumer { tails: memory.tails, done, kills, ..Consumer::default() };
            next.push(Self { consumer, ..self.clone() });
        }
        Ok(next)
    }

    fn is_at_rest(&self, lengths: &[u8]) -> bool {
        let Self { memory, program, consumer } = self;
        program.tried == lengths.len()
            && program.stores.is_empty()
            && consumer.stores.is_empty()
            && consumer.step == 0
            && memory.heads == memory.tails
            && program.has_large
    }
}

/// Tries everything, with the large lane from the beginning or not; returns how many states there are.
fn search(lengths: &[u8], has_large: bool, kills: u8, arrival: Arrival, fault: Fault) -> Result<usize, String> {
    let begin = State { program: Program { has_large, ..Program::default() }, ..State::default() };
    let mut seen = HashSet::from([begin.clone()]);
    let mut open = vec![begin];
    let mut ends = HashSet::new();
    while let Some(state) = open.pop() {
        if state.is_at_rest(lengths) {
            let kept = state.program.kept.len();
            if usize::from(state.consumer.done) != kept {
                return Err(format!("{kept} records were written, {} taken", state.consumer.done));
            }
            ends.insert(kept);
        }
        for next in state.next(lengths, kills, arrival, fault)? {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
        assert!(seen.len() < MOST, "too many states for a test");
    }
    // A consumer that is always in time gets everything.
    assert!(ends.contains(&lengths.len()), "some interleaving drops nothing: {ends:?}");
    Ok(seen.len())
}

/// Lengths of records: ends of laps are reached exactly and passed, by records that are longer than the lane, too.
const SEQUENCES: [&[u8]; 4] = [&[1, 1, 1, 1, 1, 1], &[2, 1, 3, 1, 2, 1], &[1, 2, 2, 1, 2, 2], &[3, 3, 1, 3, 3, 1]];

#[test]
fn no_interleaving_loses_a_record_or_the_order() {
    for lengths in SEQUENCES {
        let states = search(lengths, true, 1, Arrival::InOrder, Fault::None).unwrap();
        assert!(states > 10_000, "{lengths:?}: {states}");
    }
    for lengths in [&[1, 1, 1, 1, 1][..], &[2, 3, 1, 1]] {
        search(lengths, false, 1, Arrival::InOrder, Fault::None).unwrap();
    }
}

#[test]
fn no_order_in_which_stores_arrive_loses_a_record_where_heads_are_barriers() {
    for lengths in SEQUENCES {
        let states = search(lengths, true, 0, Arrival::InAnyOrder, Fault::None).unwrap();
        assert!(states > 10_000, "{lengths:?}: {states}");
    }
}

#[test]
fn plain_heads_are_enough_only_where_stores_arrive_in_order() {
    let is_right =
        |arrival| SEQUENCES.iter().all(|lengths| search(lengths, true, 0, arrival, Fault::PlainHead).is_ok());
    assert!(is_right(Arrival::InOrder) && !is_right(Arrival::InAnyOrder));
}

#[test]
fn the_search_finds_what_breaks_the_protocol() {
    use Fault::{EarlyRelease, EarlyReturn, LateRecord, LateTurn, LateWrap, SmallLaneFirst};
    for fault in [SmallLaneFirst, EarlyReturn, LateTurn, LateWrap, LateRecord, EarlyRelease] {
        assert!(
            SEQUENCES.iter().any(|lengths| search(lengths, true, 0, Arrival::InOrder, fault).is_err()),
            "{fault:?}"
        );
    }
}
