//! The tests that every plugin should pass: [`conformance!`](crate::conformance!) makes them.

mod garbage;
mod leaks;
mod panics;
mod traffic;

use polycube_plugin_api::Service;
use serde_json::Value;

use crate::{Cube, Failure, Setup};

pub use leaks::creates_and_deletes_without_leaks;
pub use panics::survives_a_panic;
pub use traffic::changes_under_traffic;

/// Makes the tests that every plugin should pass, in a module `conformance`:
///
/// ```text
/// polycube_plugin_test::conformance!(Hello, examples: [json!({}), json!({ "action": "drop" })]);
/// ```
///
/// The examples are configurations that the plugin's documentation shows. The tests: each example creates a cube, whose state
/// can be read; two cubes of one configuration get along; a configuration changes under traffic, and each packet gets the
/// verdict of the one or of the other; garbage, made from the schema, is refused and changes nothing; a panic costs one cube
/// its plugin and nothing else; and a thousand cubes, created and deleted, leave no descriptor, thread, mapping, program or
/// map.
#[macro_export]
macro_rules! conformance {
    ($service:ty, examples: [$($example:expr),+ $(,)?] $(,)?) => {
        mod conformance {
            use super::*;

            fn examples() -> ::std::vec::Vec<$crate::Value> {
                ::std::vec![$($example),+]
            }

            #[test]
            fn each_example_creates() {
                $crate::conformance::each_example_creates::<$service>(&examples());
            }

            #[test]
            fn is_created_twice() {
                $crate::conformance::is_created_twice::<$service>(&examples());
            }

            #[test]
            fn changes_under_traffic() {
                $crate::conformance::changes_under_traffic::<$service>(&examples());
            }

            #[test]
            fn refuses_garbage() {
                $crate::conformance::refuses_garbage::<$service>(&examples());
            }

            #[test]
            fn survives_a_panic() {
                $crate::conformance::survives_a_panic::<$service>(&examples());
            }

            #[test]
            fn creates_and_deletes_without_leaks() {
                let name = ::core::concat!(::core::module_path!(), "::creates_and_deletes_without_leaks");
                $crate::conformance::creates_and_deletes_without_leaks::<$service>(&examples(), name);
            }
        }
    };
}

/// A cube of an example.
///
/// # Panics
/// The cube cannot be created.
#[track_caller]
fn create<S: Service>(setup: Setup, example: &Value) -> Cube<S> {
    Cube::create_in(setup, example.clone())
        .unwrap_or_else(|failure| panic!("{example} does not create a cube: {failure:?}"))
}

/// Each example creates a cube whose state can be read, and which ticks and passes packets.
///
/// # Panics
/// One does not.
#[track_caller]
pub fn each_example_creates<S: Service>(examples: &[Value]) {
    for example in examples {
        let cube = create::<S>(Setup::default(), example);
        let uses = || -> Result<(), Failure> {
            for place in cube.places() {
                for frame in traffic::FRAMES {
                    cube.run(place, frame)?;
                }
            }
            cube.tick()?;
            cube.state().map(drop)
        };
        uses().unwrap_or_else(|failure| panic!("a cube of {example} cannot be used: {failure:?}"));
    }
}

/// Two cubes of each example exist side by side, and the second one stays when the first is deleted.
///
/// # Panics
/// They do not.
#[track_caller]
pub fn is_created_twice<S: Service>(examples: &[Value]) {
    for example in examples {
        let first = create::<S>(Setup::default().named("first"), example);
        let second = create::<S>(Setup::default().named("second"), example);
        let state = |cube: &Cube<S>| cube.state().map(drop);
        state(&first).and_then(|()| state(&second)).unwrap_or_else(|failure| panic!("two of {example}: {failure:?}"));
        drop(first);
        state(&second).unwrap_or_else(|failure| panic!("the second of {example} fails after the first: {failure:?}"));
    }
}

/// Configurations that do not fit the schema are refused, by a new cube and by one that exists, and change nothing.
///
/// # Panics
/// One is taken, makes the plugin panic, or changes the cube.
#[track_caller]
pub fn refuses_garbage<S: Service>(examples: &[Value]) {
    let cube = create::<S>(Setup::default(), &examples[0]);
    let before = cube.configuration();
    for garbage in garbage::of(cube.schema()) {
        let check = |how: &str, result: Result<(), Failure>| match result {
            Err(Failure::Invalid(_) | Failure::Refused(_)) => {}
            Err(other) => panic!("{garbage} is not refused but ends in a failure when {how}: {other:?}"),
            Ok(()) => panic!("{garbage} is taken when {how}, though it does not fit the schema"),
        };
        check("a cube is created", Cube::<S>::create(garbage.clone()).map(drop));
        check("a cube is changed", cube.reconfigure(garbage.clone()));
        assert_eq!(cube.configuration(), before, "{garbage} is refused and yet changes the cube");
    }
    cube.state().unwrap_or_else(|failure| panic!("garbage was refused, and the cube fails afterwards: {failure:?}"));
}
