//! Does a consumer ever take a record while an older one of another CPU is still to come? And does it ever sleep for good
//! while there is something? All interleavings are tried.
//!
//! As in `protocol`, memory is x86's: stores wait in the CPU, in their order, for any time, and a locked instruction or a
//! fence waits for them. It is also that of a weak machine where each of these stores is an exchange, as the program has it
//! there: it waits for those before it. The programs are `ebpf/packetcapture`'s `record`, the consumer is `Drain::heads` and `rest` of
//! the consumer's thread. The last test breaks them, and the search finds it.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::mem::discriminant;

/// How the protocol is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// `busy` is stored by an ordinary instruction.
    PlainBusy,
    /// `busy` is cleared before `head` is stored.
    EarlyLeave,
    /// Stores are plain on a machine where they arrive in any order.
    PlainStores,
    /// The consumer does not look whether CPUs are busy.
    NoBusyCheck,
    /// The consumer does not look at the heads again.
    NoSecondLook,
    /// The consumer sleeps without a timer, and has not waited for the programs.
    NoBarrier,
    /// The consumer looks for records before it says that it sleeps.
    EarlyLook,
}

/// Tries everything from `begin` on; returns how many states there are.
fn search<S: Clone + Eq + Hash>(begin: S, next: impl Fn(&S) -> Result<Vec<S>, String>) -> Result<usize, String> {
    let mut seen = HashSet::from([begin.clone()]);
    let mut open = vec![begin];
    while let Some(state) = open.pop() {
        for next in next(&state)? {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

/// One CPU that records, and the words of it that are in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Cpu {
    step: u8,
    /// Times of its records, oldest first; a record is visible if `head` covers it.
    times: Vec<u8>,
    head: u8,
    busy: bool,
    stores: VecDeque<Store>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Store {
    Busy(bool),
    Head(u8),
}

/// CPUs that record, and a consumer that looks how far they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Order {
    clock: u8,
    cpus: [Cpu; 2],
    /// Steps of the consumer: a head of each CPU, then `busy` and `head` again of each.
    step: usize,
    heads: [u8; 2],
    is_settled: bool,
}

/// Records of each CPU.
const RECORDS: usize = 2;

impl Cpu {
    /// The next thing that the program does. Reading the clock takes no store with it.
    fn go(&mut self, clock: &mut u8, fault: Fault) -> bool {
        match self.step {
            0 if self.times.len() == RECORDS => return false,
            0 if fault == Fault::PlainBusy => self.stores.push_back(Store::Busy(true)),
            // A locked instruction waits for earlier stores.
            0 if !self.stores.is_empty() => return false,
            0 => self.busy = true,
            1 => {
                *clock += 1;
                self.times.push(*clock);
            }
            2 | 3 if (self.step == 2) != (fault == Fault::EarlyLeave) => {
                self.stores.push_back(Store::Head(self.times.len() as u8));
            }
            _ => self.stores.push_back(Store::Busy(false)),
        }
        self.step = (self.step + 1) % 4;
        true
    }

    /// Lets the store at `at` arrive, if it may be the next.
    fn arrive(&mut self, at: usize, fault: Fault) -> bool {
        let is_first = |store: &Store| {
            let is_earlier = |earlier: &Store| discriminant(earlier) == discriminant(store);
            !self.stores.range(..at).any(is_earlier)
        };
        match self.stores.get(at).copied().filter(|store| at == 0 || fault == Fault::PlainStores && is_first(store)) {
            Some(Store::Busy(busy)) => self.busy = busy,
            Some(Store::Head(head)) => self.head = head,
            None => return false,
        }
        self.stores.remove(at);
        true
    }
}

impl Order {
    fn next(&self, fault: Fault) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        for cpu in 0..self.cpus.len() {
            let mut state = self.clone();
            if state.cpus[cpu].go(&mut state.clock, fault) {
                next.push(state);
            }
            for at in 0..self.cpus[cpu].stores.len() {
                let mut state = self.clone();
                if state.cpus[cpu].arrive(at, fault) {
                    next.push(state);
                }
            }
        }
        next.extend(self.look(fault));
        self.check()?;
        Ok(next)
    }

    fn look(&self, fault: Fault) -> Option<Self> {
        let mut state = Self { step: self.step + 1, ..self.clone() };
        let cpu = match self.step {
            0 | 1 => {
                state.heads[self.step] = self.cpus[self.step].head;
                return Some(state);
            }
            2 | 3 => 0,
            4 | 5 => 1,
            _ => return None,
        };
        let is_right = match self.step {
            2 | 4 => !self.cpus[cpu].busy || fault == Fault::NoBusyCheck,
            _ => self.cpus[cpu].head == self.heads[cpu] || fault == Fault::NoSecondLook,
        };
        // A CPU whose records have no company keeps its own order.
        let has_company = self.heads[1 - cpu] > 0;
        if has_company && !is_right {
            return Some(Self { step: 0, heads: [0; 2], ..self.clone() });
        }
        state.is_settled = self.step == 5;
        Some(state)
    }

    /// What was taken is older than all that comes later.
    fn check(&self) -> Result<(), String> {
        let taken = |cpu: usize| &self.cpus[cpu].times[..self.heads[cpu].into()];
        let later = |cpu: usize| self.cpus[cpu].times[self.heads[cpu].into()..].iter().min();
        let is_wrong = |cpu: usize| later(1 - cpu).is_some_and(|later| taken(cpu).iter().any(|time| time > later));
        if self.is_settled && (0..2).any(is_wrong) {
            return Err(format!("an older record is still to come: {self:?}"));
        }
        Ok(())
    }
}

/// A program that records one packet, and a consumer that goes to sleep without a timer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Bell {
    /// Steps of the program: it stores `head`, looks whether the consumer sleeps, and rings if it does.
    program: u8,
    /// Whether the store of `head` has arrived.
    head: bool,
    sleeping: bool,
    saw_sleeping: bool,
    rang: bool,
    /// Steps of the consumer.
    consumer: usize,
    saw_head: bool,
    sleeps: bool,
}

#[derive(Clone, Copy)]
enum Rest {
    /// It says that it sleeps, and everyone can see it.
    Arm,
    /// It waits until no program is running.
    Barrier,
    Look,
    Sleep,
}

impl Bell {
    fn next(&self, fault: Fault) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        let mut state = Self { program: self.program + 1, ..self.clone() };
        match self.program {
            0 => {}
            1 => state.saw_sleeping = self.sleeping,
            _ => state.rang = self.saw_sleeping,
        }
        if self.program < 3 {
            next.push(state);
        }
        if self.program > 0 && !self.head {
            next.push(Self { head: true, ..self.clone() });
        }
        next.extend(self.rest(fault));
        if self.program == 3 && self.head && self.sleeps && !self.rang {
            return Err(format!("it sleeps for good: {self:?}"));
        }
        Ok(next)
    }

    fn rest(&self, fault: Fault) -> Option<Self> {
        let steps: &[Rest] = match fault {
            Fault::EarlyLook => &[Rest::Look, Rest::Arm, Rest::Barrier, Rest::Sleep],
            Fault::NoBarrier => &[Rest::Arm, Rest::Look, Rest::Sleep],
            _ => &[Rest::Arm, Rest::Barrier, Rest::Look, Rest::Sleep],
        };
        let mut state = Self { consumer: self.consumer + 1, ..self.clone() };
        let is_running = (1..3).contains(&self.program) || (self.program > 0 && !self.head);
        match steps.get(self.consumer)? {
            Rest::Arm => state.sleeping = true,
            Rest::Barrier if is_running => return None,
            Rest::Barrier => {}
            Rest::Look => state.saw_head = self.head,
            Rest::Sleep => state.sleeps = !self.saw_head,
        }
        Some(state)
    }
}

#[test]
fn no_interleaving_takes_a_record_before_an_older_one() {
    let states = search(Order::default(), |state| state.next(Fault::None)).unwrap();
    assert!(states > 1000, "{states}");
}

#[test]
fn no_interleaving_sleeps_for_good_while_there_is_something() {
    let states = search(Bell::default(), |state| state.next(Fault::None)).unwrap();
    assert!(states > 20, "{states}");
}

#[test]
fn the_search_finds_a_broken_order() {
    let faults = [Fault::PlainBusy, Fault::PlainStores, Fault::EarlyLeave, Fault::NoBusyCheck, Fault::NoSecondLook];
    for fault in faults {
        assert!(search(Order::default(), |state| state.next(fault)).is_err(), "{fault:?}");
    }
}

#[test]
fn the_search_finds_a_broken_bell() {
    for fault in [Fault::NoBarrier, Fault::EarlyLook] {
        assert!(search(Bell::default(), |state| state.next(fault)).is_err(), "{fault:?}");
    }
}
