//! Paths as services declare them, with words in braces.
//!
//! In an action's path, a word in braces stands for a word of a list's key: `chain/{name}/append` is an action of each entry of
//! `chain`. In a stream's path, it stands for any word.

/// Whether a word of a declared path stands for any.
pub fn is_any(word: &str) -> bool {
    word.starts_with('{')
}

/// The name of a word in braces.
pub fn name_in_braces(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}')
}

/// Whether `path` is at, or below, what `declared` leads to; or on the way to it, as far as it goes.
pub(super) fn agrees(declared: &str, path: &[String]) -> bool {
    declared.split('/').zip(path).all(|(word, given)| is_any(word) || word == given)
}

/// Whether `declared` leads to `path`.
pub fn is_at(declared: &str, path: &[String]) -> bool {
    declared.split('/').count() == path.len() && agrees(declared, path)
}

/// The words of `declared` that follow `path`, if it begins with that.
pub fn after<'a>(declared: &'a str, path: &[String]) -> Option<Vec<&'a str>> {
    let words: Vec<&str> = declared.split('/').collect();
    (words.len() >= path.len() && agrees(declared, path)).then(|| words[path.len()..].to_vec())
}

/// Whether a path can lead to both, or begin with one of them and lead to the other.
pub(super) fn meet(one: &str, other: &str) -> bool {
    one.split('/').zip(other.split('/')).all(|(one, other)| is_any(one) || is_any(other) || one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn what_follows_on_the_way_to_an_action() {
        assert_eq!(after("chain/{name}/append", &words("chain/x")), Some(vec!["append"]));
        assert_eq!(after("chain/{name}/append", &words("chain")), Some(vec!["{name}", "append"]));
        assert_eq!(after("chain/{name}/append", &words("chain/x/append")), Some(vec![]));
        assert_eq!(after("chain/{name}/append", &words("chain/x/other")), None);
        assert_eq!(after("chain/{name}/append", &words("chain/x/append/y")), None);
        assert_eq!(name_in_braces("{name}"), Some("name"));
        assert_eq!(name_in_braces("name"), None);
    }

    #[test]
    fn two_declared_paths_meet_where_one_path_can_be_both() {
        for (one, other, expected) in [
            ("a/{x}/b", "a/{y}/b", true),
            ("a/{x}/b", "a/b", true),
            ("a/{x}", "a/b", true),
            ("a/{x}/b", "a/{x}", true),
            ("a/{x}/b", "a/{x}/c", false),
            ("ab", "a", false),
        ] {
            assert_eq!((meet(one, other), meet(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
