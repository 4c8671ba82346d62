//! Pieces of charts: SVG that takes its colours from the page, scales, and text from outside made
//! harmless.

use std::fmt::{Display, Write as _};

use crate::commands::markup::escaped;

/// An SVG that is as wide as its place.
pub(super) struct Svg(String);

/// Where a text is held.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// `title` is what a reader that cannot see it is told.
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n"
        ))
    }

    pub(super) fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        class: &str,
        text: impl Display,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(&text.to_string());
        self.line_of(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        ));
    }

    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.line_of(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" class=\"{class}\"/>"
        ));
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.line_of(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        ));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        self.line_of(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"{class}\"/>"
        ));
    }

    /// A line through all `points`.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{x:.1},{y:.1} ");
        }
        self.line_of(format_args!(
            "<polyline points=\"{}\" class=\"{class}\"/>",
            list.trim_end()
        ));
    }

    /// From the lowest to the highest run, across (`along` x) or upright.
    pub(super) fn whisker(&mut self, from: (f64, f64), to: (f64, f64)) {
        let cap = 3.5;
        self.line(from, to, "whisker");
        for (x, y) in [from, to] {
            if (from.1 - to.1).abs() < f64::EPSILON {
                self.line((x, y - cap), (x, y + cap), "whisker");
            } else {
                self.line((x - cap, y), (x + cap, y), "whisker");
            }
        }
    }

    /// Coloured squares with names, side by side.
    pub(super) fn legend(&mut self, (x, y): (f64, f64), entries: &[(&str, &str)]) {
        let mut x = x;
        for (class, name) in entries {
            self.rect((x, y - 9.0), (10.0, 10.0), class);
            self.text((x + 15.0, y), Anchor::Start, "label", name);
            x += 31.0 + name.chars().count() as f64 * 6.6;
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }

    fn line_of(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{text}");
    }
}

/// From values to pixels.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    /// Distance of marks.
    step: f64,
    logarithmic: bool,
}

/// Most marks on an axis.
const MARKS: f64 = 6.0;

impl Scale {
    /// From 0 to at least `high`, which ends at a mark.
    pub(super) fn linear(high: f64, from: f64, to: f64) -> Self {
        Self::between(0.0, high, from, to)
    }

    /// From `low` or a little less to `high` or a little more.
    pub(super) fn between(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self::with_step(low, high, step(high - low), from, to)
    }

    fn with_step(low: f64, high: f64, step: f64, from: f64, to: f64) -> Self {
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            from,
            to,
            step,
            logarithmic: false,
        }
    }

    /// From 0 to at least `high`, with marks at whole numbers.
    pub(super) fn counting(high: f64, from: f64, to: f64) -> Self {
        Self::with_step(0.0, high, step(high).max(1.0), from, to)
    }

    /// Decades that hold `low` and `high`.
    pub(super) fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(1e-9).log10().floor();
        let high = high.max(1e-9).log10().ceil().max(low + 1.0);
        Self {
            low,
            high,
            from,
            to,
            step: 1.0,
            logarithmic: true,
        }
    }

    /// The pixel of `value`; what lies outside is drawn at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = match self.logarithmic {
            true => value.max(1e-9).log10(),
            false => value,
        };
        let share = (value - self.low) / (self.high - self.low);
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    /// Values that are marked on the axis.
    pub(super) fn marks(&self) -> Vec<f64> {
        let step = self.step;
        let mut marks = Vec::new();
        let mut mark = self.low;
        // A half: the last one must not be lost to rounding.
        while mark <= self.high + step / 2.0 && marks.len() < 20 {
            marks.push(match self.logarithmic {
                true => 10_f64.powf(mark),
                false => mark,
            });
            mark += step;
        }
        marks
    }
}

/// A round distance of marks: 1, 2 or 5 and zeros.
fn step(range: f64) -> f64 {
    let rough = (range / MARKS).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks_that_hold_all_values() {
        let scale = Scale::linear(730.0, 0.0, 100.0);
        let marks = scale.marks();
        assert_eq!(marks, [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert!((scale.at(400.0) - 50.0).abs() < 1e-9);
        let scale = Scale::logarithmic(12.0, 28_000.0, 0.0, 400.0);
        let marks: Vec<String> = scale.marks().iter().map(|m| format!("{m:.0}")).collect();
        assert_eq!(marks, ["10", "100", "1000", "10000", "100000"]);
        assert!((scale.at(1000.0) - 200.0).abs() < 1e-9);
        assert_eq!(Scale::counting(2.0, 0.0, 1.0).marks(), [0.0, 1.0, 2.0]);
        assert_eq!(
            Scale::counting(65.0, 0.0, 1.0).marks().len(),
            5,
            "0, 20, 40, 60, 80"
        );
        let scale = Scale::between(0.345, 0.52, 0.0, 10.0);
        assert!(scale.at(0.345) >= 0.0 && scale.at(0.52) <= 10.0);
    }

    #[test]
    fn values_that_make_no_range_still_make_an_axis() {
        for scale in [
            Scale::linear(0.0, 0.0, 10.0),
            Scale::between(5.0, 5.0, 0.0, 10.0),
            Scale::logarithmic(0.0, 0.0, 0.0, 10.0),
            Scale::linear(f64::MAX / 10.0, 0.0, 10.0),
        ] {
            assert!(scale.at(1.0).is_finite());
            assert!(
                (2..=20).contains(&scale.marks().len()),
                "{:?}",
                scale.marks()
            );
        }
    }

    #[test]
    fn text_from_outside_cannot_leave_its_element() {
        let mut svg = Svg::new(10.0, 10.0, "\"><script>");
        svg.text(
            (0.0, 0.0),
            Anchor::Start,
            "label",
            "</text><script>alert(1)</script>",
        );
        let text = svg.finish();
        assert!(!text.contains("<script"), "{text}");
        assert!(roxmltree::Document::parse(&text).is_ok(), "{text}");
    }
}
