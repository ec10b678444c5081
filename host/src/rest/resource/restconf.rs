//! Paths as RESTCONF writes them: `service=10.0.0.1,80,TCP` (RFC 8040 section 3.5.3) for `service/10.0.0.1/80/TCP`.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::schema::Node;

/// The words of a path below a cube, of whose data `schema` is. Only what cannot be a member of its node is taken apart: a key
/// in a segment of its own may have an `=`.
pub(super) fn words(schema: &Value, segments: &[String]) -> Vec<String> {
    let mut node = Some(Node::of(schema));
    let mut words = Vec::new();
    for segment in segments {
        let mut found = vec![decoded(segment)];
        let here = node.filter(|node| matches!(node, Node::Container(_) | Node::Entry(_)));
        if let (Some(here), Some((name, key))) = (here, segment.split_once('='))
            && matches!(here.child(&decoded(name)), Some(Node::List { .. }))
            && here.child(&found[0]).is_none()
        {
            found = [name].into_iter().chain(key.split(',')).map(decoded).collect();
        }
        node = found.iter().try_fold(node, |node, word| Some(node?.child(word))).flatten();
        words.extend(found);
    }
    words
}

/// A call is read only if all of its path is UTF-8.
fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Asserts the words of a path, with `|` between them.
    #[track_caller]
    fn check(path: &str, expected: &str) {
        let backend = json!({ "x-list-key": "ip", "items": { "properties": { "ip": {} } } });
        let service =
            json!({ "x-list-key": ["vip", "vport"], "items": { "properties": { "vip": {}, "backend": backend } } });
        let schema =
            json!({ "properties": { "service": service, "odd=x": {}, "box": { "properties": { "list": backend } } } });
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        assert_eq!(words(&schema, &segments).join("|"), expected, "{path}");
    }

    #[test]
    fn a_key_after_an_equals_sign_is_as_many_words() {
        check("service=10.0.0.1,80", "service|10.0.0.1|80");
        check("service=a,1/backend=b/ip", "service|a|1|backend|b|ip");
        check("box/list=a%2Cb%2Fc", "box|list|a,b/c");
        check("service=a", "service|a");
        check("service=a,1,more/backend", "service|a|1|more|backend");
        check("service=a,", "service|a|");
    }

    #[test]
    fn what_is_not_a_list_stays_as_it_is() {
        check("service/a=b/1/backend/c=d,e", "service|a=b|1|backend|c=d,e");
        check("odd=x", "odd=x");
        check("box=1/list", "box=1|list");
        check("nothing=1,2/a%20b", "nothing=1,2|a b");
        check("service%3Da,1", "service=a,1");
    }
}
