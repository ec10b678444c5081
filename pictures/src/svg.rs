//! What all pictures share: the frame, the colours in light and in dark, and how text is written.

use std::fmt::{Display, Write as _};

/// Colours follow the reader's preference. GitHub shows an SVG file as an image, where this works as well.
const STYLE: &str = "
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328 }
.title { font-weight: bold }
.note { fill: #59636e }
.line { stroke: #59636e; stroke-width: 1.5; fill: none }
.head { fill: #59636e }
.program { fill: #ddf4ff; stroke: #0969da }
.netdev { fill: #dafbe1; stroke: #1a7f37 }
.user { fill: #fff1e5; stroke: #bc4c00 }
.ours { fill: #0969da }
.first { fill: #8c959f }
.second { fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .line { stroke: #9198a1 }
  .head { fill: #9198a1 }
  .program { fill: #0c2d6b; stroke: #4493f8 }
  .netdev { fill: #0f3d1e; stroke: #3fb950 }
  .user { fill: #4d2100; stroke: #db6d28 }
  .ours { fill: #4493f8 }
  .first { fill: #656c76 }
  .second { fill: #db6d28 }
}
";

/// A picture that grows from left to right and from top to bottom.
pub(crate) struct Picture {
    width: f64,
    height: f64,
    elements: String,
}

impl Picture {
    /// `width` and `height` are in pixels.
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, elements: String::new() }
    }

    /// A rectangle of a class, whose corners have this radius.
    pub(crate) fn rectangle(&mut self, class: &str, [x, y, width, height]: [f64; 4], radius: f64) {
        let _ = writeln!(
            self.elements,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{radius}"/>"#
        );
    }

    pub(crate) fn line(&mut self, [x1, y1, x2, y2]: [f64; 4]) {
        let _ = writeln!(self.elements, r#"<path class="line" d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}"/>"#);
    }

    /// A filled polygon, such as the head of an arrow.
    pub(crate) fn polygon(&mut self, class: &str, corners: &[(f64, f64)]) {
        let corners = corners.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(self.elements, r#"<polygon class="{class}" points="{corners}"/>"#);
    }

    /// Text whose base line is at `y`; `anchor` is `start`, `middle` or `end`.
    pub(crate) fn text(&mut self, class: &str, anchor: &str, (x, y): (f64, f64), text: impl Display) {
        let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.elements,
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    /// The whole file; `name` is for those who cannot see it.
    pub(crate) fn finish(self, name: &str) -> String {
        let Self { width, height, elements } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{name}\">\n\
             <style>{STYLE}</style>\n{elements}</svg>\n"
        )
    }
}
