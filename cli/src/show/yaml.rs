//! YAML, for readers of 1.1 as well as of 1.2.

use serde_json::{Map, Number, Value};

use crate::terminal::escape_json;

/// Words that YAML 1.1 takes for a truth value or for nothing (<https://yaml.org/type/bool.html>, `null.html`).
const TAKEN: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Prints a value.
pub(super) fn print(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes a value as separate lines.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(object) if !object.is_empty() => mapping(object, indent, out),
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut lines = String::new();
                block(item, indent + 2, &mut lines);
                out.push_str(&format!("{:indent$}- {}", "", lines.trim_start_matches(' ')));
            }
        }
        _ => out.extend([scalar(value).as_str(), "\n"]),
    }
}

fn mapping(object: &Map<String, Value>, indent: usize, out: &mut String) {
    for (key, value) in object {
        out.push_str(&format!("{:indent$}{}:", "", text(key)));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(inner, indent + 2, out);
            }
            // The dashes are indentation enough.
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                block(value, indent, out);
            }
            _ => out.extend([" ", &scalar(value), "\n"]),
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        Value::Number(number) => self::number(number),
        _ => value.to_string(),
    }
}

/// YAML 1.1 takes `1e30` for a text.
fn number(number: &Number) -> String {
    match (number.to_string(), number.as_f64()) {
        (text, Some(float)) if text.contains('e') => float.to_string(),
        (text, _) => text,
    }
}

/// A text as it is where it cannot be taken for something else, or else in quotes: JSON's are YAML's too.
///
/// What begins with a digit, a sign or a dot may be a number in one of many forms, `52:54:00:12:34:56` too.
fn text(text: &str) -> String {
    let begins_well = text.starts_with(|c: char| c.is_alphabetic() || c == '/');
    let is_tame = text.chars().all(|c| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ');
    let is_syntax = text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']);
    let is_taken = TAKEN.iter().any(|word| word.eq_ignore_ascii_case(text));
    if begins_well && is_tame && !is_syntax && !is_taken {
        text.to_owned()
    } else {
        escape_json(&Value::from(text).to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: &Value, expected: &str) {
        let text = print(value);
        assert_eq!(text, expected);
        assert_eq!(yaml_serde::from_str::<Value>(&text).unwrap(), *value, "{text}");
    }

    #[test]
    fn what_either_yaml_would_take_for_something_else_is_quoted() {
        let words = "on OFF Yes no y N True FALSE null NULL ~";
        let numbers =
            "007 0x1f 0b1 0o7 1_000 +1 -1 1.5 1e3 .5 .inf -.INF .NaN 52:54:00:12:34:56 190:20:30.15 2001-12-14";
        let marks = "= << - --- ... | > !a &a *a #a %a @a `a [a] {a} 'a' a:";
        let spaced = ["", "- a", "? a", "a: b", "a #b", "a ", " a"];
        for text in [words, numbers, marks].into_iter().flat_map(|row| row.split(' ')).chain(spaced) {
            check(&json!({"a": text, text: [text]}), &format!("a: \"{text}\"\n\"{text}\":\n- \"{text}\"\n"));
        }
    }

    #[test]
    fn what_is_plain_stays_plain() {
        for text in ["once", "yes we do", "fe:54:00:12:34:56", "/run/a b.pcap", "br1:p1", "host 10.0.0.1 or arp", "é"]
        {
            check(&json!(text), &format!("{text}\n"));
        }
    }

    #[test]
    fn lists_and_objects_nest() {
        check(
            &json!({"a": [{"b": 1, "c": [[1, 2], {}]}, [], null], "d": {"e": {"f": true}, "g": {}}, "h": 0.5}),
            "\
a:
- b: 1
  c:
  - - 1
    - 2
  - {}
- []
- null
d:
  e:
    f: true
  g: {}
h: 0.5
",
        );
        check(&json!([]), "[]\n");
        assert_eq!(print(&json!([1e30, 1e-7])), "- 1000000000000000000000000000000\n- 0.0000001\n");
    }

    #[test]
    fn what_could_mislead_a_terminal_is_escaped_and_stays_the_same() {
        check(
            &json!(["s\u{1b}\u{9b}", "\u{202e}", "two\nlines", "\"\\", "\u{2028}\u{feff}\u{ffff}"]),
            "- \"s\\u001b\\u009b\"\n- \"\\u202e\"\n- \"two\\nlines\"\n- \"\\\"\\\\\"\n- \"\\u2028\\ufeff\\uffff\"\n",
        );
    }
}
