//! Is the capture what every plugin should be?

use pcn_packetcapture::PacketCapture;
use serde_json::json;

polycube_plugin_test::conformance!(PacketCapture, examples: [
    json!({}),
    json!({ "capture": "bidirectional", "snaplen": 96, "ring-size": 1 }),
    json!({ "capture": "ingress", "filters": { "l4proto": "udp", "dport": 53 }, "ring-size": 1 }),
]);
