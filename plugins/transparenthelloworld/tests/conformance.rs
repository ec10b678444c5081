//! Is transparenthelloworld what every plugin should be?

use pcn_transparenthelloworld::TransparentHelloWorld;
use serde_json::json;

polycube_plugin_test::conformance!(TransparentHelloWorld, examples: [
    json!({}),
    json!({ "ingress-action": "DROP" }),
    json!({ "ingress-action": "DROP", "egress-action": "DROP" }),
]);
