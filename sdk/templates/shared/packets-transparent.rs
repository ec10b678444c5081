//! Does it count and drop packets, and do what every plugin should? In the real kernel, without a daemon: this needs root.

use pcn_@name@::Function;
use polycube_plugin_test::{Cube, Failure, Place, Verdict};
use serde_json::json;

polycube_plugin_test::conformance!(Function, examples: [json!({}), json!({ "drop": true })]);

#[test]
fn packets_pass_are_counted_and_dropped() -> Result<(), Failure> {
    let cube = Cube::<Function>::create(json!({}))?;
    cube.check(Place::Ingress(1), &[0; 60], Verdict::Next);
    cube.reconfigure(json!({ "drop": true }))?;
    cube.check(Place::Ingress(1), &[0; 60], Verdict::Drop);
    assert_eq!((&cube.state()?["packets"], &cube.state()?["bytes"]), (&json!(2), &json!(120)));
    Ok(())
}
