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
/// Half of its width.
const HEAD_SIDE: f64 = 4.0;

/// A part of a line: where it begins, and what it is.
#[derive(Debug, PartialEq)]
enum Token<'a> {
    Box { class: &'static str, text: &'a str, width: usize },
    Dashes { width: usize, left: bool, right: bool },
    Vertical,
    Corner { left: bool, right: bool, above: bool, below: bool },
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
    for number in 0..rows.len() {
        let middle = MARGIN + (number as f64 + 0.5) * LINE;
        for (column, token) in tokens(&rows, number).with_context(|| format!("line {}", number + 2))? {
            place(&mut picture, MARGIN + column as f64 * COLUMN, middle, &token);
        }
    }
    Ok(picture.finish(title.trim()))
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
                head(picture, (to, middle), (-1.0, 0.0));
            }
            if left {
                head(picture, (from, middle), (1.0, 0.0));
            }
        }
        Token::Corner { left, right, above, below } => {
            for (joined, [x, y]) in [
                (left, [centre - COLUMN, middle]),
                (right, [centre + COLUMN, middle]),
                (above, [centre, top]),
                (below, [centre, bottom]),
            ] {
                if joined {
                    picture.line([centre, middle, x, y]);
                }
            }
        }
        Token::Vertical => picture.line([centre, top, centre, bottom]),
        Token::Down => {
            picture.line([centre, top, centre, bottom - HEAD]);
            head(picture, (centre, bottom), (0.0, -1.0));
        }
        Token::Up => {
            picture.line([centre, top + HEAD, centre, bottom]);
            head(picture, (centre, top), (0.0, 1.0));
        }
        Token::Text(text) => picture.text("note", "start", (x, middle + 4.5), text),
    }
}

/// The head of an arrow: where its tip is, and the direction of its line from there.
fn head(picture: &mut Picture, (x, y): (f64, f64), (dx, dy): (f64, f64)) {
    let (x_end, y_end) = (x + dx * HEAD, y + dy * HEAD);
    let (x_side, y_side) = (dy.abs() * HEAD_SIDE, dx.abs() * HEAD_SIDE);
    picture.polygon("head", &[(x, y), (x_end - x_side, y_end - y_side), (x_end + x_side, y_end + y_side)]);
}

/// The tokens of a row, each with its column.
fn tokens<'a>(rows: &[&'a str], number: usize) -> Result<Vec<(usize, Token<'a>)>> {
    let row = rows[number];
    let mut tokens = Vec::new();
    let mut column = 0;
    while let Some(rest) = row.get(column..).filter(|rest| !rest.is_empty()) {
        let (mut token, width) = token(rest)?;
        if rest.starts_with('+') {
            token = Some(corner(rows, number, column));
        }
        tokens.extend(token.map(|token| (column, token)));
        column += width;
    }
    Ok(tokens)
}

/// A corner joins the lines beside, above and below it.
fn corner(rows: &[&str], number: usize, column: usize) -> Token<'static> {
    let letter = |row: Option<usize>, column: Option<usize>| rows.get(row?)?.as_bytes().get(column?).copied();
    let stands = |letter: Option<u8>| matches!(letter, Some(b'|' | b'v' | b'^' | b'+'));
    Token::Corner {
        left: letter(Some(number), column.checked_sub(1)) == Some(b'-'),
        right: letter(Some(number), Some(column + 1)) == Some(b'-'),
        above: stands(letter(number.checked_sub(1), Some(column))),
        below: stands(letter(Some(number + 1), Some(column))),
    }
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
        // What it joins is in other lines.
        _ if rest.starts_with('+') => (None, 1),
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
        let found = tokens(&["in (veth1) --> [root]  |  two words <-- {user}"], 0)?;
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
    fn a_corner_joins_what_is_beside_it() -> Result<()> {
        let found = tokens(&["+--", "|", "+"], 0)?;
        assert_eq!(found[0], (0, Token::Corner { left: false, right: true, above: false, below: true }));
        let found = tokens(&["+--", "|", "+"], 2)?;
        assert_eq!(found, [(0, Token::Corner { left: false, right: false, above: true, below: false })]);
        Ok(())
    }

    #[test]
    fn a_box_without_an_end_is_refused_with_its_line() {
        let error = draw("title\n[a]\n  [b\n").expect_err("it has no end");
        assert_eq!(format!("{error:#}"), "line 3: `[b` has no `]`");
    }
}
