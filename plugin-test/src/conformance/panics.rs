//! A panic of the plugin's code: it ends the plugin's side of one cube, and nothing else.

use std::collections::BTreeMap;

use polycube_plugin_api::{
    Action, ActionCall, Cube, Datapath, Maps, Netdevs, Opened, Outcome, Refusal, Service, ServiceKind, Stream, Wanted,
};
use serde_json::Value;

use super::create;
use crate::{Failure, Setup};

/// A service like `S` that panics with each tick.
struct Panicky<S>(S);

impl<S: Service> Service for Panicky<S> {
    const NAME: &'static str = S::NAME;
    const DESCRIPTION: &'static str = S::DESCRIPTION;
    const KIND: ServiceKind = S::KIND;
    type Config = S::Config;
    type State = S::State;

    fn create(cube: Cube) -> Result<Self, Refusal> {
        S::create(cube).map(Self)
    }

    fn datapath(&self, wanted: &Wanted<S::Config>) -> Result<Datapath, Refusal> {
        self.0.datapath(wanted)
    }

    fn prepare(&self, wanted: &Wanted<S::Config>, maps: Maps) -> Result<(), Refusal> {
        self.0.prepare(wanted, maps)
    }

    fn commit(&self) {
        self.0.commit();
    }

    fn abort(&self) {
        self.0.abort();
    }

    fn state(&self) -> Result<S::State, Refusal> {
        self.0.state()
    }

    fn actions() -> Vec<Action> {
        S::actions()
    }

    fn action(&self, path: &str, input: &Value) -> Result<Value, Refusal> {
        self.0.action(path, input)
    }

    fn act(&self, call: &ActionCall<S::Config>) -> Result<Outcome<S::Config>, Refusal> {
        self.0.act(call)
    }

    fn tick(&self) {
        panic!("the conformance suite ends this cube's plugin");
    }

    fn netdevs(&self, netdevs: &Netdevs) {
        self.0.netdevs(netdevs);
    }

    fn streams() -> Vec<Stream> {
        S::streams()
    }

    fn open(&self, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
        self.0.open(path, query)
    }
}

/// A panic in a call is caught: the cube is not called again, its programs go on, and another cube lives.
///
/// # Panics
/// It is not.
#[track_caller]
pub fn survives_a_panic<S: Service>(examples: &[Value]) {
    let cube = create::<Panicky<S>>(Setup::default().named("panicky"), &examples[0]);
    let other = create::<S>(Setup::default().named("other"), &examples[0]);
    let first = cube.tick().expect_err("the tick panics");
    assert!(
        matches!(&first, Failure::Panicked(why) if why.contains("panics.rs")),
        "the panic's place is lost: {first}"
    );
    let again = cube.state().expect_err("a plugin that panicked is not called again");
    assert!(matches!(again, Failure::Panicked(_)), "{again}");
    for place in cube.places() {
        let passed = cube.run(place, super::traffic::FRAMES[0]);
        passed.unwrap_or_else(|failure| panic!("{place}: the programs do not go on: {failure:?}"));
    }
    drop(cube);
    other.state().unwrap_or_else(|failure| panic!("another cube fails, too: {failure:?}"));
}
