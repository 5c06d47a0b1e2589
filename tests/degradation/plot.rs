//! Graphs of a run, as SVG: load, page times, theta and value one under the other, over the same time.
//! Owns the drawing; pure.

use std::fmt::Write as _;

use super::plant::TARGET_MS;
use super::results::Run;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 36.0;
const PANEL: f64 = 104.0;
const GAP: f64 = 22.0;

const INK: &str = "#1a1a1a";
const FAINT: &str = "#d9d9d9";
const BLUE: &str = "#1f5fa8";
const ORANGE: &str = "#c8500a";
const GREY: &str = "#707070";

/// A line of a panel.
struct Line {
    name: &'static str,
    colour: &'static str,
    /// Points of time and height; one that is not finite leaves through the top.
    points: Vec<(f64, f64)>,
    /// Whether it stays where it is until the next point.
    has_steps: bool,
}

struct Panel {
    name: &'static str,
    top: f64,
    /// Where a line goes across, and what it says.
    mark: Option<(f64, &'static str)>,
    lines: Vec<Line>,
}

/// The graph of a run.
pub(crate) fn svg(run: &Run, title: &str) -> String {
    let panels = panels(run);
    let height = TOP + panels.len() as f64 * (PANEL + GAP) - GAP + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\" font-weight=\"bold\" fill=\"{INK}\">{title}</text>\n",
        title = escaped(title)
    );
    let phases = run.phases;
    let time = Scale {
        from: 0.0,
        to: phases.end(),
        at: LEFT,
        span: WIDTH - LEFT - RIGHT,
    };
    let (from, to) = (time.place(phases.event_at()), time.place(phases.over_at()));
    let (below, inside) = (height - BOTTOM, height - BOTTOM - TOP);
    let _ = writeln!(
        svg,
        "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{inside:.1}\" fill=\"#f3ead9\"/>",
        to - from
    );
    for (number, panel) in panels.iter().enumerate() {
        let at = TOP + number as f64 * (PANEL + GAP);
        panel.draw(&mut svg, &time, at);
    }
    // seconds from when it begins to happen
    let mut second = -(phases.event_at() / 10.0).floor() * 10.0;
    while phases.event_at() + second <= phases.end() + 0.5 {
        let x = time.place(phases.event_at() + second);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">{second:.0}</text>",
            below + 14.0
        );
        second += if phases.end() > 80.0 { 20.0 } else { 10.0 };
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">seconds; shaded: what the \
         row is about</text>\n</svg>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        below + 29.0
    );
    svg
}

fn panels(run: &Run) -> Vec<Panel> {
    let by_second = |of: &dyn Fn(&super::results::Second) -> f64| -> Vec<(f64, f64)> {
        let seconds = run.seconds.iter().enumerate();
        seconds
            .map(|(at, second)| (at as f64, of(second)))
            .collect()
    };
    let line = |name, colour, points, has_steps| Line {
        name,
        colour,
        points,
        has_steps,
    };
    let load = by_second(&|second| second.due as f64);
    let most = load.iter().map(|(_, due)| *due).fold(1.0, f64::max);
    let p95 = by_second(&|second| second.p95_ms.unwrap_or(f64::INFINITY));
    let slowest = p95.iter().map(|(_, ms)| *ms).filter(|ms| ms.is_finite());
    let slowest = slowest.fold(TARGET_MS, f64::max).min(3000.0);
    let theta = run.ticks.iter().map(|tick| (tick.at, tick.theta)).collect();
    let admit = run.ticks.iter();
    let admit: Vec<_> = admit
        .filter_map(|tick| Some((tick.at, tick.admit?)))
        .collect();
    let mut control = vec![line("theta", BLUE, theta, false)];
    if !admit.is_empty() {
        control.insert(0, line("admission", ORANGE, admit, false));
    }
    let percent = |of: fn(&super::results::Second) -> f64| by_second(&|second| 100.0 * of(second));
    vec![
        Panel {
            name: "pages asked for, a second",
            top: round_up(most),
            mark: None,
            lines: vec![line("load", INK, load, true)],
        },
        Panel {
            name: "page time, ms",
            top: round_up(slowest * 1.1),
            mark: Some((TARGET_MS, "target")),
            lines: vec![
                line(
                    "p50",
                    GREY,
                    by_second(&|s| s.p50_ms.unwrap_or(f64::INFINITY)),
                    true,
                ),
                line("p95", BLUE, p95, true),
            ],
        },
        Panel {
            name: "controller, each tick",
            top: 1.0,
            mark: None,
            lines: control,
        },
        Panel {
            name: "readers get, %",
            top: 100.0,
            mark: None,
            lines: vec![
                line(
                    "snapshots",
                    ORANGE,
                    percent(|second| second.snapshots),
                    true,
                ),
                line("fresh core", GREY, percent(|second| second.fresh), true),
                line("value", BLUE, percent(|second| second.value), true),
            ],
        },
    ]
}

/// From numbers to places.
struct Scale {
    from: f64,
    to: f64,
    at: f64,
    span: f64,
}

impl Scale {
    fn place(&self, number: f64) -> f64 {
        self.at + self.span * (number - self.from) / (self.to - self.from)
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, time: &Scale, at: f64) {
        let height = Scale {
            from: 0.0,
            to: self.top,
            at: at + PANEL,
            span: -PANEL,
        };
        let right = time.at + time.span;
        for part in 0..=2 {
            let number = self.top * f64::from(part) / 2.0;
            let y = height.place(number);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right:.1}\" stroke=\"{FAINT}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{number}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"{INK}\">{}</text>",
            at - 5.0,
            self.name
        );
        if let Some((number, says)) = self.mark {
            let y = height.place(number);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right:.1}\" stroke=\"{ORANGE}\" stroke-dasharray=\"5 4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{ORANGE}\">{says}</text>",
                right + 6.0,
                y + 4.0
            );
        }
        for (number, line) in self.lines.iter().enumerate() {
            line.draw(svg, time, &height, self.top);
            // the key begins under what the mark says
            let y = at + PANEL - 6.0 - 15.0 * (self.lines.len() - 1 - number) as f64;
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}h14\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>",
                right + 6.0,
                y - 4.0,
                right + 25.0,
                line.name,
                colour = line.colour
            );
        }
    }
}

impl Line {
    fn draw(&self, svg: &mut String, time: &Scale, height: &Scale, top: f64) {
        let mut path = String::new();
        for (number, (at, value)) in self.points.iter().enumerate() {
            let (x, y) = (time.place(*at), height.place(value.clamp(0.0, top)));
            match (number, self.has_steps) {
                (0, _) => _ = write!(path, "M{x:.1} {y:.1}"),
                (_, true) => _ = write!(path, "H{x:.1}V{y:.1}"),
                (_, false) => _ = write!(path, "L{x:.1} {y:.1}"),
            }
        }
        if let Some((at, _)) = self.points.last().filter(|_| self.has_steps) {
            let _ = write!(
                path,
                "H{:.1}",
                time.place(at + 1.0).min(time.at + time.span)
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.4\"/>",
            self.colour
        );
    }
}

/// A round number that is not smaller.
fn round_up(number: f64) -> f64 {
    let scale = 10f64.powf(number.max(1.0).log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = steps.iter().find(|step| *step * scale >= number);
    fits.map_or(number, |step| step * scale)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
