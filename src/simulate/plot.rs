//! A run as a picture: load, page times, theta and its companions, the level, and how long work waits,
//! over time. Owns the drawing (SVG, nothing but shapes and text); the figures are the meter's.

use std::fmt::Write as _;

use super::Run;
use super::scenario::Scenario;
use super::summary::quantile;
use super::time::Span;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 56.0;
const PANEL: f64 = 104.0;
const GAP: f64 = 34.0;

/// Points of a line at most: more cannot be told apart.
const POINTS_MAX: usize = 450;

const INK: &str = "#1f2933";
const FAINT: &str = "#d9dee4";
const EVENT: &str = "#f3f1ea";
const BLUE: &str = "#1f6fb2";
const RED: &str = "#c2402f";
const GREEN: &str = "#2f855a";
const ORANGE: &str = "#c77700";
const PURPLE: &str = "#6b46a8";

/// Seconds, and a value.
type Points = Vec<(f64, f64)>;

/// A line in a panel.
struct Line {
    name: &'static str,
    colour: &'static str,
    points: Points,
    /// Whether it stays until it changes.
    is_stepped: bool,
}

impl Line {
    fn new(name: &'static str, colour: &'static str, points: Points) -> Self {
        Self {
            name,
            colour,
            points: thinned(points),
            is_stepped: false,
        }
    }
}

/// Lines over time.
struct Panel {
    title: String,
    lines: Vec<Line>,
    /// The greatest value that there is room for.
    top: f64,
    /// A value that is not to be passed.
    limit: Option<f64>,
}

/// Draws a run.
pub fn plot(scenario: &Scenario, run: &Run) -> String {
    let panels = panels(scenario, run);
    let height = TOP + panels.len() as f64 * (PANEL + GAP) + 18.0;
    let mut svg = String::new();
    let mut put = |text: &str| {
        svg.push_str(text);
        svg.push('\n');
    };
    put(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">"#
    ));
    let title = format!("{}: {}", scenario.name, scenario.about);
    put(&format!("<title>{}</title>", escaped(&title)));
    put(&format!(
        r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##
    ));
    let name = escaped(&scenario.name);
    let law = scenario.degradation.control.name();
    put(&format!(
        r#"<text x="{LEFT}" y="22" font-size="15" font-weight="600">{name}, law {law}</text>"#
    ));
    let about = escaped(&scenario.about);
    put(&format!(r#"<text x="{LEFT}" y="40">{about}</text>"#));
    for (index, panel) in panels.iter().enumerate() {
        let y = TOP + index as f64 * (PANEL + GAP) + 14.0;
        put(&panel.draw(scenario, y, index + 1 == panels.len()));
    }
    put("</svg>");
    svg
}

fn panels(scenario: &Scenario, run: &Run) -> Vec<Panel> {
    let ticks = &run.meter.ticks;
    let line = |of: &dyn Fn(&super::governor::Tick) -> f64| -> Points {
        let at = |ticked: &super::meter::Ticked| (ticked.tick.at.seconds(), of(&ticked.tick));
        ticks.iter().map(at).collect()
    };
    let target = scenario.degradation.target.as_secs_f64() * 1e3;
    let p95 = seconds(scenario, run, |times| Some(quantile(&times, 0.95)));
    let asked = seconds(scenario, run, |times| Some(times.len() as f64));
    let steps = scenario.steps as f64;
    let level = Line {
        is_stepped: true,
        ..Line::new("level", PURPLE, line(&|tick| f64::from(tick.level)))
    };
    let queue = line(&|tick| tick.sample.queue_delay.as_secs_f64() * 1e3);
    vec![
        Panel {
            title: "pages asked for, a second".to_owned(),
            top: top(&asked),
            lines: vec![Line::new("pages", BLUE, asked)],
            limit: None,
        },
        Panel {
            title: format!("95th percentile of page times, ms; the target is {target:.0}"),
            top: top(&p95).max(target * 1.2).min(target * 5.0),
            lines: vec![Line::new("p95", RED, p95)],
            limit: Some(target),
        },
        Panel {
            title: "shares: optional work (theta), pages composed (admit), optional requests (phi)"
                .to_owned(),
            top: 1.0,
            lines: vec![
                Line::new("phi", GREEN, line(&|tick| tick.mode.phi)),
                Line::new("admit", ORANGE, line(&|tick| tick.mode.decision.admit)),
                Line::new("theta", BLUE, line(&|tick| tick.mode.decision.theta)),
            ],
            limit: None,
        },
        Panel {
            title: format!(
                "level: {steps:.0} is text only, {:.0} is snapshots",
                steps + 1.0
            ),
            top: steps + 1.0,
            lines: vec![level],
            limit: None,
        },
        Panel {
            title: "how long work waits, ms".to_owned(),
            top: top(&queue).max(30.0),
            lines: vec![Line::new("queue delay", RED, queue)],
            limit: None,
        },
    ]
}

/// Of the pages of each second.
fn seconds(scenario: &Scenario, run: &Run, of: impl Fn(Vec<Span>) -> Option<f64>) -> Points {
    let count = scenario.lasts.as_secs_f64().ceil() as usize;
    let mut times = vec![Vec::new(); count];
    for page in &run.meter.pages {
        let second = (page.asked.seconds() as usize).min(count - 1);
        times[second].push(page.took);
    }
    let each = times
        .into_iter()
        .enumerate()
        .filter_map(|(second, mut times)| {
            times.sort_unstable();
            Some((second as f64 + 0.5, of(times)?))
        });
    each.collect()
}

/// Fewer points, each the mean of its neighbours.
fn thinned(points: Points) -> Points {
    let each = points.len().div_ceil(POINTS_MAX).max(1);
    let mean = |some: &[(f64, f64)]| {
        let count = some.len() as f64;
        let (x, y) = some.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
        (x / count, y / count)
    };
    points.chunks(each).map(mean).collect()
}

/// A round number that there is room under.
fn top(points: &Points) -> f64 {
    let most = points.iter().map(|(_, y)| *y).fold(1.0, f64::max);
    let scale = 10f64.powf(most.log10().floor());
    let nice = [1.0, 2.0, 3.0, 5.0, 8.0, 10.0].map(|times| times * scale);
    nice.into_iter().find(|nice| *nice >= most).unwrap_or(most)
}

impl Panel {
    fn draw(&self, scenario: &Scenario, y: f64, is_last: bool) -> String {
        let lasts = scenario.lasts.as_secs_f64();
        let width = WIDTH - LEFT - RIGHT;
        let x_of = |seconds: f64| LEFT + width * seconds / lasts;
        let y_of = |value: f64| y + PANEL * (1.0 - (value / self.top).clamp(0.0, 1.0));
        let mut svg = String::new();
        let mut put = |text: String| {
            let _ = writeln!(svg, "{text}");
        };
        let (from, to) = scenario.event;
        let (from, to) = (x_of(from.as_secs_f64()), x_of(to.as_secs_f64()));
        put(format!(
            r#"<rect x="{from:.1}" y="{y:.1}" width="{:.1}" height="{PANEL}" fill="{EVENT}"/>"#,
            to - from
        ));
        for part in 0..=4 {
            let value = self.top * f64::from(part) / 4.0;
            let (line, end) = (y_of(value), WIDTH - RIGHT);
            put(format!(
                r#"<path d="M{LEFT} {line:.1}H{end}" stroke="{FAINT}"/>"#
            ));
            if part % 2 == 0 {
                let (x, base) = (LEFT - 8.0, line + 4.0);
                let shown = shown(value);
                put(format!(
                    r#"<text x="{x}" y="{base:.1}" text-anchor="end">{shown}</text>"#
                ));
            }
        }
        for second in ticks(lasts) {
            let (x, bottom) = (x_of(second), y + PANEL);
            put(format!(
                r#"<path d="M{x:.1} {bottom:.1}v4" stroke="{INK}"/>"#
            ));
            if is_last {
                let base = bottom + 18.0;
                let unit = if second == 0.0 { " s" } else { "" };
                put(format!(
                    r#"<text x="{x:.1}" y="{base:.1}" text-anchor="middle">{second:.0}{unit}</text>"#
                ));
            }
        }
        if let Some(limit) = self.limit {
            let (line, end) = (y_of(limit), WIDTH - RIGHT);
            put(format!(
                r#"<path d="M{LEFT} {line:.1}H{end}" stroke="{INK}" stroke-dasharray="4 3"/>"#
            ));
        }
        for line in &self.lines {
            let path = line.path(x_of, y_of);
            let colour = line.colour;
            put(format!(
                r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>"#
            ));
        }
        put(self.heading(y));
        svg
    }

    /// The title, and which line is which.
    fn heading(&self, y: f64) -> String {
        let base = y - 7.0;
        let mut text = format!(
            r#"<text x="{LEFT}" y="{base:.1}" font-weight="600">{}</text>"#,
            escaped(&self.title)
        );
        if self.lines.len() > 1 {
            let mut x = WIDTH - RIGHT;
            for line in &self.lines {
                let (name, colour) = (line.name, line.colour);
                let _ = write!(
                    text,
                    r#"<text x="{x:.0}" y="{base:.1}" text-anchor="end" fill="{colour}" font-weight="600">{name}</text>"#
                );
                x -= 14.0 + 7.0 * name.len() as f64;
            }
        }
        text
    }
}

impl Line {
    fn path(&self, x_of: impl Fn(f64) -> f64, y_of: impl Fn(f64) -> f64) -> String {
        let mut path = String::new();
        for (index, (x, y)) in self.points.iter().enumerate() {
            let (x, y) = (x_of(*x), y_of(*y));
            let _ = match (index, self.is_stepped) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, true) => write!(path, "H{x:.1}V{y:.1}"),
                (_, false) => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        path
    }
}

/// Round moments, ten or so.
fn ticks(lasts: f64) -> impl Iterator<Item = f64> {
    let steps = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    ];
    let step = steps.into_iter().find(|step| lasts / step <= 12.0);
    let step = step.unwrap_or(lasts / 10.0);
    (0..=(lasts / step) as usize).map(move |n| n as f64 * step)
}

fn shown(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        for (most, expected) in [(0.3, 1.0), (7.0, 8.0), (120.0, 200.0), (640.0, 800.0)] {
            assert_eq!(top(&vec![(0.0, most)]), expected, "{most}");
        }
        let steps: Vec<f64> = ticks(180.0).collect();
        assert_eq!(
            steps,
            [
                0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0
            ]
        );
        assert!(ticks(86_400.0).count() <= 25);
    }

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_height() {
        let points: Points = (0..10_000).map(|n| (f64::from(n), 3.0)).collect();
        let thin = thinned(points);
        assert!(thin.len() <= POINTS_MAX);
        assert!(thin.iter().all(|(_, y)| *y == 3.0));
        assert_eq!(escaped("a < b & c"), "a &lt; b &amp; c");
    }
}
