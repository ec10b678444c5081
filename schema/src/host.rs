//! What the host itself gives cubes and ports, as JSON Schemas.

use serde_json::Value;

/// Members of every cube.
pub const CUBE: &str = include_str!("host/cube.json");
/// Members of every port.
pub const PORT: &str = include_str!("host/port.json");
/// Members of standard cubes.
pub const STANDARD: &str = include_str!("host/standard.json");
/// Members of transparent cubes.
pub const TRANSPARENT: &str = include_str!("host/transparent.json");

/// Members of cubes that the host itself defines, whatever their service.
pub fn words() -> Vec<String> {
    let members = |text: &str| parse(text)["properties"].as_object().cloned().unwrap_or_default();
    [CUBE, STANDARD, TRANSPARENT].iter().flat_map(|text| members(text)).map(|(name, _)| name).collect()
}

/// One of the schemas above. They are part of the program: one that is not JSON becomes null, of which no model can be made.
pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
