//! Links of pages that leave the repository: each leads to what goes along, or becomes text. Pure.

/// Where a link leads in its new surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    To(String),
    /// It is not there: the words stay.
    Text,
}

/// A page with its links (`[words](target)`) as `lead` says.
///
/// # Errors
/// The first error of `lead`.
pub(super) fn relink<E>(page: &str, lead: impl Fn(&str) -> Result<Lead, E>) -> Result<String, E> {
    let (mut done, mut rest) = (String::new(), page);
    while let Some((before, target, after)) = next(rest) {
        let lead = lead(target)?;
        let (text, words) = before.rsplit_once('[').unwrap_or(("", before));
        match lead {
            Lead::To(target) => done.extend([text, "[", words, "](", &target, ")"]),
            Lead::Text => done.extend([text, words]),
        }
        rest = after;
    }
    Ok(done + rest)
}

/// What is before the `](` of a link, its target, and what is after it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let (before, after) = text.split_once("](")?;
    let (target, after) = after.split_once(')')?;
    Some((before, target, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_changed_left_or_becomes_its_words() {
        let lead = |target: &str| match target {
            "a.md#part" => Ok(Lead::To("b.md#part".to_owned())),
            "gone.md" => Ok(Lead::Text),
            "dead.md" => Err("dead"),
            same => Ok(Lead::To(same.to_owned())),
        };
        for (page, expected) in [
            ("no link, [x], (y)", Ok("no link, [x], (y)")),
            ("See [a](a.md#part), [x] and [the\nother](gone.md).", Ok("See [a](b.md#part), [x] and the\nother.")),
            ("[o](https://o.example) ends", Ok("[o](https://o.example) ends")),
            ("[a](a.md#part) [d](dead.md)", Err("dead")),
        ] {
            assert_eq!(relink(page, lead), expected.map(str::to_owned), "{page}");
        }
    }
}
