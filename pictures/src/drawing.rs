//! Drawings from text: what is written is where it is drawn.
//!
//! `[program]`, `(netdev)` and `{user space}` are boxes, `-->` and `<--` are arrows, `--` and `|` are lines, `+` is a corner of
//! lines, `v` and `^` by themselves are heads of arrows. Everything else is text. The first line is the title, for those who
//! cannot see the picture.

use anyhow::{Context as _, Result, ensure};

use crate::svg::Picture;

/// Pixels of a character.
const COLUMN: f64 = 8.0;
/// Pixels of a line.
const LINE: f64 = 26.0;
const MARGIN: f64 = 12.0;
/// Length of the head of an arrow.
const HEAD: f64 = 7.0;

/// A part of a line: where it begins, and what it is.
#[derive(Debug, PartialEq)]
enum Token<'a> {
    Box { class: &'static str, text: &'a str, width: usize },
    Dashes { width: usize, left: bool, right: bool },
    Vertical,
    Corner,
    Down,
    Up,
    Text(&'a str),
}

/// Draws a text.
///
/// # Errors
/// The text has no title, or a box does not end in its line.
pub(crate) fn draw(text: &str) -> Result<String> {
    ensure!(text.is_ascii(), "only ASCII can be placed by columns");
    let (title, rows) = text.split_once('\n').context("the first line has to be the title")?;
    let rows: Vec<&str> = rows.trim_end().lines().collect();
    let columns = rows.iter().map(|row| row.len()).max().context("there is nothing to draw")?;
    let mut picture = Picture::new(columns as f64 * COLUMN + 2.0 * MARGIN, rows.len() as f64 * LINE + 2.0 * MARGIN);
    for (number, row) in rows.iter().enumerate() {
        let middle = MARGIN + (number as f64 + 0.5) * LINE;
        for (column, token) in tokens(row).with_context(|| format!("line {}", number + 2))? {
            let x = MARGIN + column as f64 * COLUMN;
            if token == Token::Corner {
                let above = number.checked_sub(1).and_then(|above| letter(rows[above], column));
                let below = rows.get(number + 1).and_then(|below| letter(below, column));
                let sides = [column.checked_sub(1).and_then(|left| letter(row, left)), letter(row, column + 1)];
                corner(&mut picture, (x + COLUMN / 2.0, middle), sides.map(|side| side == Some(b'-')), [above, below]);
            } else {
                place(&mut picture, x, middle, &token);
            }
        }
    }
    Ok(picture.finish(title.trim()))
}

fn letter(row: &str, column: usize) -> Option<u8> {
    row.as_bytes().get(column).copied()
}

/// Joins the lines beside, above and below.
fn corner(picture: &mut Picture, (x, y): (f64, f64), [left, right]: [bool; 2], [above, below]: [Option<u8>; 2]) {
    let stands = |letter: Option<u8>| matches!(letter, Some(b'|' | b'v' | b'^' | b'+'));
    for (joined, [dx, dy]) in [
        (left, [-COLUMN, 0.0]),
        (right, [COLUMN, 0.0]),
        (stands(above), [0.0, -LINE / 2.0]),
        (stands(below), [0.0, LINE / 2.0]),
    ] {
        if joined {
            picture.line([x, y, x + dx, y + dy]);
        }
    }
}

fn place(picture: &mut Picture, x: f64, middle: f64, token: &Token<'_>) {
    let (top, bottom, centre) = (middle - LINE / 2.0, middle + LINE / 2.0, x + COLUMN / 2.0);
    match *token {
        Token::Box { class, text, width } => {
            let radius = if class == "program" { 3.0 } else { 11.0 };
            let width = width as f64 * COLUMN;
            picture.rectangle(class, [x, middle - 11.0, width, 22.0], radius);
            picture.text("label", "middle", (x + width / 2.0, middle + 4.5), text);
        }
        Token::Dashes { width, left, right } => {
            let (from, to) = (x + 1.0, x + width as f64 * COLUMN - 1.0);
            picture.line([from + if left { HEAD } else { 0.0 }, middle, to - if right { HEAD } else { 0.0 }, middle]);
            if right {
                picture.polygon("head", &[(to, middle), (to - HEAD, middle - 4.0), (to - HEAD, middle + 4.0)]);
            }
            if left {
                picture.polygon("head", &[(from, middle), (from + HEAD, middle - 4.0), (from + HEAD, middle + 4.0)]);
            }
        }
        // Drawn with its neighbours.
        Token::Corner => {}
        Token::Vertical => picture.line([centre, top, centre, bottom]),
        Token::Down => {
            picture.line([centre, top, centre, bottom - HEAD]);
            picture.polygon("head", &[(centre, bottom), (centre - 4.0, bottom - HEAD), (centre + 4.0, bottom - HEAD)]);
        }
        Token::Up => {
            picture.line([centre, top + HEAD, centre, bottom]);
            picture.polygon("head", &[(centre, top), (centre - 4.0, top + HEAD), (centre + 4.0, top + HEAD)]);
        }
        Token::Text(text) => picture.text("note", "start", (x, middle + 4.5), text),
    }
}

/// The tokens of a line, each with its column.
fn tokens(row: &str) -> Result<Vec<(usize, Token<'_>)>> {
    let mut tokens = Vec::new();
    let mut column = 0;
    while let Some(rest) = row.get(column..).filter(|rest| !rest.is_empty()) {
        let (token, width) = token(rest)?;
        tokens.extend(token.map(|token| (column, token)));
        column += width;
    }
    Ok(tokens)
}

/// The first token, unless it is a space, and its width.
fn token(rest: &str) -> Result<(Option<Token<'_>>, usize)> {
    for (open, close, class) in [('[', ']', "program"), ('(', ')', "netdev"), ('{', '}', "user")] {
        if let Some(inner) = rest.strip_prefix(open) {
            let (text, _) = inner.split_once(close).with_context(|| format!("`{rest}` has no `{close}`"))?;
            let width = text.len() + 2;
            return Ok((Some(Token::Box { class, text: text.trim(), width }), width));
        }
    }
    if rest.starts_with("--") || rest.starts_with("<-") {
        let left = rest.starts_with('<');
        let dashes = rest[usize::from(left)..].bytes().take_while(|&letter| letter == b'-').count();
        let right = rest[usize::from(left) + dashes..].starts_with('>');
        let width = usize::from(left) + dashes + usize::from(right);
        return Ok((Some(Token::Dashes { width, left, right }), width));
    }
    let word = rest.split(' ').next().unwrap_or_default();
    Ok(match word {
        "" => (None, 1),
        "|" => (Some(Token::Vertical), 1),
        _ if rest.starts_with('+') => (Some(Token::Corner), 1),
        "v" => (Some(Token::Down), 1),
        "^" => (Some(Token::Up), 1),
        _ => {
            // Two spaces, a box or an arrow end a text.
            let end = ["  ", " [", " (", " {", " --", " <-", " |"].iter().filter_map(|end| rest.find(end)).min();
            let text = &rest[..end.unwrap_or(rest.len())];
            (Some(Token::Text(text)), text.len())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_it_looks_like() -> Result<()> {
        let found = tokens("in (veth1) --> [root]  |  two words <-- {user}")?;
        let dashes = |width, left, right| Token::Dashes { width, left, right };
        let expected = vec![
            (0, Token::Text("in")),
            (3, Token::Box { class: "netdev", text: "veth1", width: 7 }),
            (11, dashes(3, false, true)),
            (15, Token::Box { class: "program", text: "root", width: 6 }),
            (23, Token::Vertical),
            (26, Token::Text("two words")),
            (36, dashes(3, true, false)),
            (40, Token::Box { class: "user", text: "user", width: 6 }),
        ];
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn a_box_without_an_end_is_refused_with_its_line() {
        let error = draw("title\n[a]\n  [b\n").expect_err("it has no end");
        assert_eq!(format!("{error:#}"), "line 3: `[b` has no `]`");
    }
}
