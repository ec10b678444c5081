//! A recording of a terminal as a moving picture: lines appear one after the other and scroll, and then it begins again.
//!
//! The recording is text. Each line's time follows from what it is, because a program prints faster than people read. Only two
//! things move, in steps: a cover that uncovers lines, and everything with it when the terminal is full. Readers who want no
//! motion see the end.

use anyhow::{Result, ensure};

/// Pixels of a character at the font's size.
const COLUMN: f64 = 7.25;
/// Pixels of a line.
const LINE: f64 = 17.0;
const COLUMNS: usize = 110;
const ROWS: usize = 22;
const MARGIN: f64 = 14.0;
/// Seconds for a command, a line that people read, and a line of output.
const COMMAND: f64 = 0.7;
const SAID: f64 = 1.0;
const PRINTED: f64 = 0.06;
/// Seconds that the end stands.
const END: f64 = 5.0;

const STYLE: &str = "
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; white-space: pre }
.command { fill: #0969da; font-weight: bold }
.said { fill: #59636e }
.screen { fill: #f6f8fa; stroke: #d1d9e0 }
.cover { fill: #f6f8fa }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .command { fill: #4493f8 }
  .said { fill: #9198a1 }
  .screen { fill: #0d1117; stroke: #3d444d }
  .cover { fill: #0d1117 }
}
";

/// What a line of the recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Said,
    Printed,
}

/// Draws a recording: its first line is the title, for those who cannot see the picture.
///
/// # Errors
/// There is nothing after the title.
pub(crate) fn draw(recording: &str) -> Result<String> {
    let (title, lines) = recording.split_once('\n').unwrap_or((recording, ""));
    let lines: Vec<(Kind, String)> = kinds(lines.trim_end()).collect();
    ensure!(!lines.is_empty(), "there is nothing after the title");
    let (width, height) = (COLUMNS as f64 * COLUMN + 2.0 * MARGIN, ROWS as f64 * LINE + 2.0 * MARGIN);
    let times = times(&lines);
    let total = times.last().copied().unwrap_or_default() + END;
    let mut texts = String::new();
    for (number, (kind, line)) in lines.iter().enumerate().filter(|(_, (_, line))| !line.is_empty()) {
        let class = match kind {
            Kind::Command => " class=\"command\"",
            Kind::Said => " class=\"said\"",
            Kind::Printed => "",
        };
        let y = MARGIN + (number as f64 + 0.75) * LINE;
        texts.push_str(&format!("<text{class} x=\"{MARGIN}\" y=\"{y:.1}\">{}</text>\n", escape(line)));
    }
    let end = lines.len();
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}\
         .scroll {{ transform: translateY({:.0}px) }}\n.cover {{ transform: translateY({:.0}px) }}\n\
         @media (prefers-reduced-motion: no-preference) {{\n\
         .scroll {{ animation: scroll {total:.1}s step-end infinite }}\n\
         .cover {{ animation: cover {total:.1}s step-end infinite }}\n}}\n{}{}</style>\n\
         <clipPath id=\"clip\"><rect x=\"1\" y=\"{MARGIN}\" width=\"{:.0}\" height=\"{:.0}\"/></clipPath>\n\
         <rect class=\"screen\" x=\"0.5\" y=\"0.5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"6\"/>\n\
         <g clip-path=\"url(#clip)\"><g class=\"scroll\" xml:space=\"preserve\">\n{texts}\
         <rect class=\"cover\" x=\"1\" y=\"{MARGIN}\" width=\"{:.0}\" height=\"{:.0}\"/>\n</g></g>\n</svg>\n",
        escape(title.trim()),
        -scrolled(end),
        end as f64 * LINE,
        keyframes("scroll", &times, total, |shown| -scrolled(shown)),
        keyframes("cover", &times, total, |shown| shown as f64 * LINE),
        width - 2.0,
        ROWS as f64 * LINE,
        width - 1.0,
        height - 1.0,
        width - 2.0,
        (end + ROWS) as f64 * LINE,
    ))
}

/// Pixels by which everything has moved up when so many lines are shown.
fn scrolled(shown: usize) -> f64 {
    shown.saturating_sub(ROWS) as f64 * LINE
}

/// The steps of what moves: from each line's time on, where it is with that many lines.
fn keyframes(name: &str, times: &[f64], total: f64, at: impl Fn(usize) -> f64) -> String {
    let mut out = format!("@keyframes {name} {{\n");
    let mut before = None;
    for (number, time) in times.iter().enumerate() {
        let place = at(number + 1);
        if before != Some(place) {
            out.push_str(&format!("{:.3}% {{ transform: translateY({place:.0}px) }}\n", time / total * 100.0));
            before = Some(place);
        }
    }
    out.push_str("}\n");
    out
}

/// When each line appears, in seconds.
fn times(lines: &[(Kind, String)]) -> Vec<f64> {
    let mut now = 0.0;
    let mut before = Kind::Printed;
    lines
        .iter()
        .map(|(kind, line)| {
            let at = now;
            now += match kind {
                _ if line.is_empty() => 0.0,
                Kind::Command => COMMAND,
                Kind::Said => SAID,
                // The first line of an answer stands for a moment, because there may be no other.
                Kind::Printed if before == Kind::Command => 6.0 * PRINTED,
                Kind::Printed => PRINTED,
            };
            before = *kind;
            at
        })
        .collect()
}

/// The lines, broken where the terminal ends. What follows an empty line, and does not begin with `$`, is said.
fn kinds(text: &str) -> impl Iterator<Item = (Kind, String)> {
    let mut is_after_gap = true;
    text.lines().flat_map(move |line| {
        let kind = match line {
            _ if line.starts_with("$ ") => Kind::Command,
            _ if is_after_gap && !line.starts_with(' ') => Kind::Said,
            _ => Kind::Printed,
        };
        is_after_gap = line.is_empty();
        broken(line).into_iter().map(move |part| (kind, part))
    })
}

fn broken(line: &str) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let parts: Vec<String> = letters.chunks(COLUMNS).map(|part| part.iter().collect()).collect();
    if parts.is_empty() { vec![String::new()] } else { parts }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_it_looks_like() {
        let found: Vec<_> = kinds("Said.\n$ command\nanswer\n\nSaid too.\n  indented").map(|(kind, _)| kind).collect();
        use Kind::{Command, Printed, Said};
        assert_eq!(found, [Said, Command, Printed, Printed, Said, Printed]);
        assert_eq!(kinds(&"x".repeat(COLUMNS + 1)).map(|(_, line)| line.len()).collect::<Vec<_>>(), [COLUMNS, 1]);
    }

    #[test]
    fn lines_appear_in_order_and_scroll_when_the_terminal_is_full() -> Result<()> {
        let lines = "$ a\n".repeat(ROWS + 2);
        let picture = draw(&format!("Title & more\n{lines}"))?;
        assert!(picture.contains("aria-label=\"Title &amp; more\""), "{picture}");
        let steps = |name: &str| {
            let frames =
                picture.split(&format!("@keyframes {name} {{\n")).nth(1).and_then(|rest| rest.split("}\n}").next());
            frames.map_or(0, |frames| frames.lines().filter(|line| line.contains('%')).count())
        };
        // One for the time until the terminal is full, and one for each line after.
        assert_eq!((steps("cover"), steps("scroll")), (ROWS + 2, 3));
        assert!(draw("Title\n").is_err());
        Ok(())
    }
}
