//! Does the data model stay what clients know?

use std::path::Path;

use pcn_transparenthelloworld::TransparentHelloWorld;
use polycube_plugin_api::__private::describe;
use serde_json::Value;

#[test]
fn the_data_model_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/transparenthelloworld.json");
    let text = describe::<TransparentHelloWorld>("").into_result().unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    // A new version does not change the model.
    schema.as_object_mut().unwrap().shift_remove("version");
    let found = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == golden,
        "schemas/transparenthelloworld.json differs; UPDATE_GOLDENS=1 rewrites it. Found:\n{found}"
    );
}
