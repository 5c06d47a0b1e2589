//! A chart of panels one under the other over the same time, as SVG. Owns the drawing: what is drawn is
//! decided by whoever fills the chart.
//!
//! Invariant: the same chart is the same text on every machine. Places are rounded to a tenth of a
//! pixel, and a point that is no number is left out.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 40.0;
const PANEL: f64 = 96.0;
const GAP: f64 = 26.0;
/// Height of what says that something is wrong.
const ROW: f64 = 16.0;

/// Pixels from the beginning to the end of the time.
pub(super) const SPAN: f64 = WIDTH - LEFT - RIGHT;

pub(super) const INK: &str = "#1a1a1a";
pub(super) const BLUE: &str = "#0b5fa5";
pub(super) const ORANGE: &str = "#c2500a";
pub(super) const GREEN: &str = "#1b7f4d";
pub(super) const GREY: &str = "#666666";
const FAINT: &str = "#dddddd";
const SHADE: &str = "#b03a2e";

/// A chart.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) lasts_s: f64,
    pub(super) shades: Vec<Shade>,
    pub(super) panels: Vec<Panel>,
}

/// A time in which something is wrong.
pub(super) struct Shade {
    pub(super) says: String,
    pub(super) from_s: f64,
    pub(super) to_s: f64,
}

pub(super) struct Panel {
    /// What it shows, with the unit.
    pub(super) name: String,
    pub(super) top: f64,
    /// Numbers at the axis.
    pub(super) marks: Vec<(f64, String)>,
    /// Where a dashed line goes across, and what it says.
    pub(super) limit: Option<(f64, String)>,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) colour: &'static str,
    pub(super) is_dashed: bool,
    /// Seconds and height; each holds until the next. One without a height interrupts the line.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

impl Panel {
    /// From 0 to at least this number, with three numbers at the axis.
    pub(super) fn up_to(name: &str, most: f64, lines: Vec<Line>) -> Self {
        let top = round_up(most);
        let mark = |part: f64| (top * part, number(top * part));
        Self {
            name: name.to_owned(),
            top,
            marks: vec![mark(0.0), mark(0.5), mark(1.0)],
            limit: None,
            lines,
        }
    }
}

impl Chart {
    pub(super) fn svg(&self) -> String {
        let head = TOP + ROW * self.shades.len() as f64;
        let panels = self.panels.len() as f64;
        let below = head + panels * (PANEL + GAP) - GAP;
        let height = below + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\">\n\
             <title>{title}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"bold\" fill=\"{INK}\">{title}</text>\n\
             <text x=\"{LEFT}\" y=\"36\" fill=\"{GREY}\">{}</text>\n",
            escaped(&self.about),
            title = escaped(&self.title)
        );
        for (number, shade) in self.shades.iter().enumerate() {
            self.shade(&mut svg, shade, TOP - 14.0 + ROW * number as f64, below);
        }
        for (number, panel) in self.panels.iter().enumerate() {
            let at = head + number as f64 * (PANEL + GAP);
            panel.draw(&mut svg, at, &|s| self.x(s));
        }
        self.axis(&mut svg, below);
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + SPAN * (seconds / self.lasts_s.max(1e-3)).clamp(0.0, 1.0)
    }

    fn shade(&self, svg: &mut String, shade: &Shade, at: f64, below: f64) {
        let (from, to) = (self.x(shade.from_s), self.x(shade.to_s));
        let wide = (to - from).max(1.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{at:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"{SHADE}\" \
             fill-opacity=\"0.10\"/>\
             <rect x=\"{from:.1}\" y=\"{at:.1}\" width=\"{wide:.1}\" height=\"3\" fill=\"{SHADE}\"/>",
            below - at
        );
        // what begins late says so before it begins
        let (x, anchor) = match from > LEFT + SPAN * 0.7 {
            true => (from - 4.0, "end"),
            false => (from + 3.0, "start"),
        };
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"10\" \
             fill=\"{SHADE}\">{}</text>",
            at + 13.0,
            escaped(&shade.says)
        );
    }

    fn axis(&self, svg: &mut String, below: f64) {
        let (unit, of) = match self.lasts_s {
            ..=600.0 => ("seconds", 1.0),
            ..=14_400.0 => ("minutes", 60.0),
            _ => ("hours", 3600.0),
        };
        let lasts = self.lasts_s / of;
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
        let step = steps.iter().copied().find(|step| lasts / step <= 12.0);
        let step = step.unwrap_or(lasts / 10.0).max(1e-3);
        for count in 0..=(lasts / step + 1e-9) as u32 {
            let at = step * f64::from(count);
            let x = self.x(at * of);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {below:.1}v4\" stroke=\"{GREY}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">{}</text>",
                below + 16.0,
                number(at)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">{unit}</text>",
            LEFT + SPAN / 2.0,
            below + 32.0
        );
    }
}

impl Panel {
    fn y(&self, at: f64, height: f64) -> f64 {
        at + PANEL - PANEL * (height / self.top).clamp(0.0, 1.0)
    }

    fn draw(&self, svg: &mut String, at: f64, x: &dyn Fn(f64) -> f64) {
        let right = LEFT + SPAN;
        for (height, says) in &self.marks {
            let y = self.y(at, *height);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right:.1}\" stroke=\"{FAINT}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{says}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"{INK}\">{}</text>",
            at - 6.0,
            escaped(&self.name)
        );
        let mut legend = at + 10.0;
        let mut key = |svg: &mut String, colour: &str, dash: &str, says: &str| {
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}h16\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\
                 <text x=\"{:.1}\" y=\"{legend:.1}\" fill=\"{colour}\">{}</text>",
                right + 10.0,
                legend - 4.0,
                right + 31.0,
                escaped(says)
            );
            legend += 15.0;
        };
        if let Some((height, says)) = &self.limit {
            let y = self.y(at, *height);
            let dash = dashes(true);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right:.1}\" stroke=\"{ORANGE}\"{dash}/>"
            );
            key(svg, ORANGE, dash, says);
        }
        for line in &self.lines {
            let path = line.path(x, &|height| self.y(at, height), right);
            let dash = dashes(line.is_dashed);
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"{dash}/>",
                line.colour
            );
            key(svg, line.colour, dash, line.name);
        }
    }
}

impl Line {
    /// Steps; where it stays as it is nothing is written.
    fn path(&self, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64, right: f64) -> String {
        let mut path = String::new();
        let mut last = None::<String>;
        for (at, height) in &self.points {
            let x = x(*at);
            let height = height.filter(|height| height.is_finite());
            let now = height.map(|height| format!("{:.1}", y(height)));
            let _ = match (&last, &now) {
                (None, Some(y)) => write!(path, "M{x:.1} {y}"),
                (Some(before), Some(y)) if before != y => write!(path, "H{x:.1}V{y}"),
                (Some(_), None) => write!(path, "H{x:.1}"),
                (Some(_), Some(_)) | (None, None) => Ok(()),
            };
            last = now;
        }
        if last.is_some() {
            let _ = write!(path, "H{right:.1}");
        }
        path
    }
}

fn dashes(is_dashed: bool) -> &'static str {
    if is_dashed {
        " stroke-dasharray=\"5 3\""
    } else {
        ""
    }
}

/// A round number that is not smaller.
fn round_up(number: f64) -> f64 {
    let number = if number.is_finite() {
        number.max(1.0)
    } else {
        1.0
    };
    let scale = 10f64.powf(number.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = steps.iter().find(|step| *step * scale >= number);
    fits.map_or(number, |step| step * scale)
}

/// Without noughts that say nothing.
fn number(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// As XML has it; what may not be in XML at all is left out.
fn escaped(text: &str) -> String {
    let text = text.chars().filter(|c| !c.is_control());
    let text = text.collect::<String>().replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}
