//! Does it count and drop packets, and do what every plugin should? In the real kernel, without a daemon: this needs root.

use pcn_@name@::Function;
use polycube_plugin_test::{Cube, Exit, Failure, Place, Setup, Verdict};
use serde_json::json;

polycube_plugin_test::conformance!(Function, examples: [json!({}), json!({ "drop": true })]);

#[test]
fn packets_pass_are_counted_and_dropped() -> Result<(), Failure> {
    // The ports have the ids 1 to 3, of which 2 and 3 are a pair.
    let cube = Cube::<Function>::create_in(Setup::default().ports(3), json!({}))?;
    let answer = cube.check(Place::Port(2), &[0; 60], Verdict::Redirect);
    assert_eq!(answer.to, Some(Exit::Port(3)));
    cube.reconfigure(json!({ "drop": true }))?;
    cube.check(Place::Port(2), &[0; 60], Verdict::Drop);
    assert_eq!((&cube.state()?["packets"], &cube.state()?["bytes"]), (&json!(2), &json!(120)));
    Ok(())
}
