//! Calls every cube's tick, beside everything else, and has cubes hear of their netdevs.
//!
//! A round begins each second. A cube whose turn is taken misses its tick, and a round that is not through when the next
//! one begins ends there: ticks are dropped, never queued, and the cubes that missed theirs come first in the next round. A
//! tick that takes long keeps its thread, and another thread goes on with the other cubes.
//!
//! Between the rounds, cubes that have to hear something do so at once. What does not get through comes with the tick.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Instance;
use super::calls::{Calls, SLOW};

const PERIOD: Duration = Duration::from_secs(1);

/// Cubes that have not had their call in this round.
struct Round {
    left: Mutex<Vec<Arc<Instance>>>,
    /// How many calls have begun.
    begun: AtomicUsize,
    call: fn(&Instance),
}

/// Starts to call the ticks of the cubes that `instances` answers with, in a thread of its own, until it answers with
/// `None`. Has those that are `urgent` hear of their netdevs. Logs stuck calls as well.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn keep_ticking(
    calls: Arc<Calls>,
    mut instances: impl FnMut() -> Option<Vec<Arc<Instance>>> + Send + 'static,
    urgent: Receiver<Arc<Instance>>,
) -> io::Result<()> {
    thread::Builder::new().name("ticks".to_owned()).spawn(move || {
        let mut next = Instant::now();
        let mut missed = Vec::new();
        while let Some(all) = instances() {
            next += PERIOD;
            missed = run(&Round::new(in_turn(all, &missed), Instance::tick), next);
            calls.report_stuck();
            serve(&urgent, next);
            // After a pause of the whole machine, rounds are not made up for.
            next = next.max(Instant::now());
        }
    })?;
    Ok(())
}

/// Has urgent cubes hear of their netdevs, until the time is over.
fn serve(urgent: &Receiver<Arc<Instance>>, end: Instant) {
    loop {
        match urgent.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(first) => {
                let all = std::iter::once(first).chain(urgent.try_iter()).collect();
                // Those that miss it hear with their tick.
                run(&Round::new(all, Instance::hear), end);
            }
            Err(RecvTimeoutError::Timeout) => return,
            // The engine has ended.
            Err(RecvTimeoutError::Disconnected) => {
                return thread::sleep(end.saturating_duration_since(Instant::now()));
            }
        }
    }
}

/// The order of a round, from its end: those that missed the last one come first.
fn in_turn(all: Vec<Arc<Instance>>, missed: &[Arc<Instance>]) -> Vec<Arc<Instance>> {
    let waiting: BTreeSet<usize> = missed.iter().map(|instance| Arc::as_ptr(instance).addr()).collect();
    let (first, mut order): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|instance| waiting.contains(&Arc::as_ptr(instance).addr()));
    order.extend(first);
    order
}

/// Runs a round, until it is through or the time is over. Answers with the cubes that missed it.
fn run(round: &Arc<Round>, end: Instant) -> Vec<Arc<Instance>> {
    let (done, finished) = mpsc::channel();
    let mut begun = usize::MAX;
    while Instant::now() < end {
        if round.begun.load(Ordering::Relaxed) == begun || begun == usize::MAX {
            let (round, done) = (Arc::clone(round), done.clone());
            let spawned = thread::Builder::new().name("tick".to_owned()).spawn(move || {
                while let Some(instance) = round.next() {
                    (round.call)(&instance);
                }
                // The round may be over already.
                let _ = done.send(());
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "cannot start a thread for ticks");
            }
        }
        begun = round.begun.load(Ordering::Relaxed);
        if finished.recv_timeout(SLOW).is_ok() {
            break;
        }
    }
    std::mem::take(&mut *round.left.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Round {
    fn new(cubes: Vec<Arc<Instance>>, call: fn(&Instance)) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(cubes), begun: AtomicUsize::new(0), call })
    }

    fn next(&self) -> Option<Arc<Instance>> {
        let next = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.begun.fetch_add(1, Ordering::Relaxed);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::double::{instance, panicked, ticking};

    /// A cube whose tick waits for a message, and the way to send it.
    fn waiting(cube: &str) -> (Arc<Instance>, mpsc::Sender<()>) {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let script = move |call: &str, _: &str, _: &_| {
            if call == "tick" {
                held.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
            }
            Ok("null".to_owned())
        };
        (Arc::new(instance(cube, script)), release)
    }

    fn round(cubes: &[&Arc<Instance>]) -> Arc<Round> {
        // The last one has its tick first.
        Round::new(cubes.iter().copied().cloned().collect(), Instance::tick)
    }

    #[track_caller]
    fn wait_for(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_tick_that_takes_long_stops_no_other() {
        let (slow, release) = waiting("slow-tick");
        let broken =
            Arc::new(instance(
                "broken-tick",
                |call, _, _| {
                    if call == "tick" { Err(panicked("oh")) } else { Ok("null".to_owned()) }
                },
            ));
        let others = ["tick1", "tick2", "tick3"].map(ticking);
        let round = round(&[&others[0].0, &others[1].0, &broken, &others[2].0, &slow]);
        let begin = Instant::now();
        run(&round, begin + Duration::from_secs(10));
        assert!(begin.elapsed() < Duration::from_secs(5), "the round is through without the slow one");
        assert_eq!(others.each_ref().map(|(_, ticks)| ticks.load(Ordering::SeqCst)), [1, 1, 1]);
        assert_eq!(broken.failure(), Some("oh"));
        release.send(()).unwrap();
    }

    #[test]
    fn ticks_that_a_round_has_no_time_for_are_dropped() {
        let (slow, release) = waiting("overlong-tick");
        let (late, ticks) = ticking("late-tick");
        let round = round(&[&late, &slow]);
        let begin = Instant::now();
        run(&round, begin + SLOW / 2);
        assert!(begin.elapsed() < Duration::from_secs(5), "the round ends though a tick goes on");
        release.send(()).unwrap();
        wait_for("the thread of the slow tick ends", || Arc::strong_count(&round) == 1);
        assert_eq!(ticks.load(Ordering::SeqCst), 0);
    }

    /// If reports were heard only with ticks, ten of them would take ten rounds.
    #[test]
    fn what_is_urgent_is_heard_between_the_rounds() {
        let (report, heard) = mpsc::channel();
        let script = move |call: &str, arguments: &str, _: &_| {
            if call != "tick" {
                report.send(format!("{call} {arguments}")).unwrap();
            }
            Ok("null".to_owned())
        };
        let cube = Arc::new(instance("urgent", script));
        let next = || heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(next(), "create {\"name\":\"urgent\"}");
        let (hurry, urgent) = mpsc::channel();
        let (begun, rounds) = mpsc::channel();
        let ticked = Arc::clone(&cube);
        // The thread ends after the test.
        let instances = move || begun.send(()).ok().map(|()| vec![Arc::clone(&ticked)]);
        keep_ticking(Arc::default(), instances, urgent).unwrap();
        rounds.recv().unwrap();
        for number in 0..10 {
            assert!(cube.report(&number.to_string()));
            hurry.send(Arc::clone(&cube)).unwrap();
            assert_eq!(next(), format!("netdevs {number}"));
        }
        let more = rounds.try_iter().count();
        assert!(more < 5, "{more} rounds");
    }

    #[test]
    fn a_cube_that_is_busy_hears_with_its_next_tick() {
        let (report, heard) = mpsc::channel();
        let script = move |call: &str, arguments: &str, _: &_| {
            report.send(format!("{call} {arguments}")).unwrap();
            Ok("null".to_owned())
        };
        let cube = Arc::new(instance("hard-of-hearing", script));
        let turn = cube.turn().take(Duration::ZERO).unwrap();
        cube.report("a");
        cube.hear();
        cube.tick();
        drop(turn);
        cube.report("b");
        cube.tick();
        cube.tick();
        let calls: Vec<String> = heard.try_iter().skip(1).collect();
        assert_eq!(calls, ["netdevs b", "tick ", "tick "]);
    }

    #[test]
    fn ticks_go_on_until_there_is_no_engine() {
        let (cube, ticks) = ticking("steady-tick");
        let (ask, asked) = mpsc::channel();
        let mut rounds = 0;
        let calls = Arc::new(Calls::default());
        let watched = Arc::downgrade(&calls);
        let instances = move || {
            ask.send(Instant::now()).unwrap();
            rounds += 1;
            (rounds <= 2).then(|| vec![Arc::clone(&cube)])
        };
        let begin = Instant::now();
        // Without an engine, nothing is urgent.
        keep_ticking(calls, instances, mpsc::channel().1).unwrap();
        wait_for("the thread ends", || watched.strong_count() == 0);
        assert_eq!(ticks.load(Ordering::SeqCst), 2);
        let times: Vec<Instant> = asked.iter().collect();
        assert_eq!(times.len(), 3);
        let pause = times[1] - begin;
        assert!(pause >= PERIOD, "rounds are a second apart, not {pause:?}");
    }
}
