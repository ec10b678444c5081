//! YAML.

use serde_json::Value;

use super::terminal::escape_text;

/// Prints a value. What could mislead a terminal is escaped, which YAML reads as other text: programs take JSON.
pub(super) fn print(value: &Value) -> String {
    escape_text(&yaml_serde::to_string(value).expect("what JSON can say, YAML can"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        let value = json!({"a": "on", "b": "007", "c": "null", "d": null, "e": [{"f": 1.5}], "g": "true", "h": "x: y"});
        let text = print(&value);
        assert_eq!(yaml_serde::from_str::<Value>(&text).unwrap(), value, "{text}");
        assert_eq!(print(&json!({"n": "s\u{1b}", "l": []})), "n: \"s\\e\"\nl: []\n");
        assert_eq!(print(&json!("\u{202e}")), "\\u{202e}\n");
    }
}
