//! Changes under traffic: each packet gets the verdict of the configuration before or of the one after.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use polycube_plugin_api::Service;
use serde_json::Value;

use super::create;
use crate::{Cube, Failure, Place, Setup, Verdict};

/// How often the configuration changes.
const CHANGES: usize = 40;

/// How often each frame is passed through to learn its verdicts: a cube may learn from the first.
const LESSONS: usize = 3;

/// From one station to another: IPv4 with UDP, ARP to all, and a protocol for experiments.
pub(super) const FRAMES: [&[u8]; 3] = [
    b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\x00\x45\x00\x00\x1c\0\0\0\0\x40\x11\x66\xcf\x0a\0\0\x01\x0a\0\0\x02\
      \x30\x39\0\x35\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x01\x0a\0\0\x01\
      \0\0\0\0\0\0\x0a\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x88\xb5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0",
];

type Seen = BTreeSet<(Place, usize, Verdict)>;

fn pass<S: Service>(cube: &Cube<S>) -> Result<Seen, Failure> {
    let mut seen = Seen::new();
    for place in cube.places() {
        for (number, frame) in FRAMES.into_iter().enumerate() {
            seen.insert((place, number, cube.run(place, frame)?.verdict));
        }
    }
    Ok(seen)
}

/// The configuration changes from each example to the next and back while packets pass. Each gets one of the verdicts that
/// the two configurations give it, and none is lost to an error. Where an example sets what is fixed at creation, or is the
/// only one, the configuration is set to what it is.
///
/// # Panics
/// A packet has another verdict, or a change fails.
#[track_caller]
pub fn changes_under_traffic<S: Service>(examples: &[Value]) {
    let pairs = examples.iter().zip(examples.iter().cycle().skip(1));
    for (one, other) in pairs {
        let cube = create::<S>(Setup::default(), one);
        let mut expected = lessons(&cube, one);
        let other = match cube.replace(other.clone()) {
            Ok(()) => other,
            Err(Failure::Invalid(_)) => one,
            Err(failure) => panic!("{one} cannot become {other}: {failure:?}"),
        };
        expected.extend(lessons(&cube, other));
        let (done, passed) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let traffic = scope.spawn(|| -> Result<Seen, Failure> {
                let mut seen = Seen::new();
                while !done.load(Ordering::Relaxed) {
                    seen.extend(pass(&cube)?);
                    passed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(seen)
            });
            let changed = (0..CHANGES).try_for_each(|number| {
                let before = passed.load(Ordering::Relaxed);
                cube.replace([one, other][number % 2].clone())?;
                // Some packets pass with each configuration.
                while passed.load(Ordering::Relaxed) < before + 2 && !traffic.is_finished() {
                    thread::yield_now();
                }
                Ok::<(), Failure>(())
            });
            done.store(true, Ordering::Relaxed);
            let seen = traffic.join().expect("passing packets does not panic");
            changed.unwrap_or_else(|failure| panic!("{one} ⇄ {other}: a change fails under traffic: {failure:?}"));
            let seen = seen.unwrap_or_else(|failure| panic!("{one} ⇄ {other}: a packet is lost: {failure:?}"));
            let wrong: Vec<_> = seen.difference(&expected).collect();
            assert!(wrong.is_empty(), "{one} ⇄ {other}: packets get verdicts of neither: {wrong:?}");
        });
    }
}

#[track_caller]
fn lessons<S: Service>(cube: &Cube<S>, example: &Value) -> Seen {
    let passed = || (0..LESSONS).map(|_| pass(cube)).collect::<Result<Vec<_>, _>>();
    let passed = passed().unwrap_or_else(|failure| panic!("packets do not pass a cube of {example}: {failure:?}"));
    passed.into_iter().flatten().collect()
}
