//! Is the mirror what every plugin should be?

use pcn_span::Span;
use serde_json::json;

polycube_plugin_test::conformance!(Span, examples: [
    json!({}),
    json!({ "target": "lo", "direction": "ingress", "snaplen": 96, "sample": 10 }),
    json!({ "collector": { "address": "127.0.0.9", "encapsulation": "erspan", "id": 7 }, "filters": { "l4proto": "udp" } }),
]);
