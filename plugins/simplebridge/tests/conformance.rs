//! Is the bridge what every plugin should be?

use pcn_simplebridge::SimpleBridge;
use serde_json::json;

polycube_plugin_test::conformance!(SimpleBridge, examples: [
    json!({}),
    json!({ "fdb": { "aging-time": 60 } }),
    json!({ "fdb": { "entry": [{ "address": "02:00:00:00:00:02", "port": "port2" }] } }),
]);
