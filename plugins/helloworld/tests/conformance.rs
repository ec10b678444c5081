//! Is helloworld what every plugin should be?

use pcn_helloworld::HelloWorld;
use serde_json::json;

polycube_plugin_test::conformance!(HelloWorld, examples: [
    json!({}),
    json!({ "action": "SLOWPATH" }),
    json!({ "action": "FORWARD" }),
]);
