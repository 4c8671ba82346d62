//! Charts, drawn by plotters.

use std::error::Error;
use std::fmt::Display;
use std::ops::Range;

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::frame::picture;
use crate::ink::{Ink, legend};

/// Width of a chart in its own units. Pages scale it.
const WIDTH: u32 = 520;
/// Width of a chart that has a row of the page to itself.
const WIDE: u32 = 1100;
/// Height of a chart with two axes.
const HEIGHT: u32 = 270;
/// Height of a row of bars.
const ROW: u32 = 24;
/// Largest number on an axis: beyond it, floating-point numbers have no digits left for marks.
const MOST: f64 = 1e15;

/// What several runs came to, in the unit of the axis.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The lowest run.
    pub low: f64,
    /// The run that counts.
    pub middle: f64,
    /// The highest run.
    pub high: f64,
}

impl Spread {
    /// Any number, as one that can be drawn.
    fn drawable(self) -> Self {
        Self {
            low: drawable(self.low),
            middle: drawable(self.middle),
            high: drawable(self.high),
        }
    }
}

fn drawable(value: f64) -> f64 {
    if value.is_nan() {
        return 0.0;
    }
    value.clamp(0.0, MOST)
}

/// A bar with a name before it and a value behind it.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Stands before the bar.
    pub name: String,
    /// Its length, and the whisker from the lowest to the highest run.
    pub spread: Spread,
    /// Stands behind the bar.
    pub value: String,
    /// Its colour.
    pub ink: Ink,
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// From 0.
    Linear,
    /// Whole decades.
    Logarithmic,
}

/// Horizontal bars, one below the other. `unit` names what the axis counts.
#[must_use]
pub fn bars(title: &str, unit: &str, axis: Axis, bars: &[Bar]) -> Markup {
    let spreads = || bars.iter().map(|bar| bar.spread.drawable());
    let high = spreads().map(|spread| spread.high).fold(0.0, f64::max);
    let low = spreads().map(|spread| spread.low).fold(high, f64::min);
    let rows = u32::try_from(bars.len()).unwrap_or(u32::MAX);
    let height = rows.saturating_mul(ROW).saturating_add(54);
    chart(title, (WIDTH, height), |area| match axis {
        Axis::Linear => draw_bars(area, 0.0..above_zero(high), 0.0, unit, bars),
        Axis::Logarithmic => {
            let low = 10_f64.powf(low.max(1e-9).log10().floor());
            let high = 10_f64.powf(high.max(low * 10.0).log10().ceil());
            draw_bars(area, (low..high).log_scale(), low, unit, bars)
        }
    })
}

fn draw_bars<X>(area: &Area<'_>, x: X, start: f64, unit: &str, bars: &[Bar]) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .margin_right(64)
        .x_label_area_size(40)
        .y_label_area_size(152)
        // The first bar on top.
        .build_cartesian_2d(x, bars.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_labels(6)
        .x_desc(unit)
        .x_label_formatter(&|mark| plain(*mark))
        .bold_line_style(Ink::Grid.light())
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Grid.light())
        .label_style(text(11, Ink::Quiet, HPos::Center))
        .draw()?;
    for (row, bar) in bars.iter().enumerate() {
        let (top, middle) = (row as f64 + 0.12, row as f64 + 0.5);
        let Spread {
            low,
            middle: end,
            high,
        } = bar.spread.drawable();
        let (low, end, high) = (low.max(start), end.max(start), high.max(start));
        let shape = Rectangle::new([(start, top), (end, top + 0.76)], bar.ink.light().filled());
        chart.draw_series([shape])?;
        if high > low {
            let style = Ink::Text.light().stroke_width(1);
            chart.draw_series([ErrorBar::new_horizontal(middle, low, end, high, style, 7)])?;
        }
        let name = text(12, Ink::Text, HPos::Right);
        let value = text(12, Ink::Text, HPos::Left);
        chart.draw_series([
            EmptyElement::at((start, middle)) + Text::new(bar.name.clone(), (-8, 0), name)
        ])?;
        chart
            .draw_series([EmptyElement::at((high.max(end), middle))
                + Text::new(bar.value.clone(), (7, 0), value)])?;
    }
    Ok(Markup::default())
}

/// A point of a line.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its place on the horizontal axis.
    pub x: f64,
    /// Its height.
    pub spread: Spread,
    /// Stands beside the point; may be empty.
    pub name: String,
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// For the legend.
    pub name: &'a str,
    /// Its colour. A line of [`Ink::Quiet`] is for comparison: dashed, without points.
    pub ink: Ink,
    /// In the order in which the line connects them.
    pub points: Vec<Point>,
}

/// Lines over a range of numbers. The axes are named by their units.
#[must_use]
pub fn lines(title: &str, x: (Range<f64>, &str), unit: &str, series: &[Series<'_>]) -> Markup {
    let points = series.iter().flat_map(|series| &series.points);
    let high = points
        .map(|point| point.spread.drawable().high)
        .fold(0.0, f64::max);
    let drawn = chart(title, (WIDTH, HEIGHT), |area| {
        draw_lines(area, x, above_zero(high), unit, series)
    });
    let names: Vec<_> = series
        .iter()
        .map(|series| (series.ink, series.name))
        .collect();
    html! { (legend(&names)) (drawn) }
}

fn draw_lines(
    area: &Area<'_>,
    (x, x_unit): (Range<f64>, &str),
    high: f64,
    unit: &str,
    series: &[Series<'_>],
) -> Drawn {
    let (start, end) = (drawable(x.start), drawable(x.end));
    // Marks are whole numbers where the range is small.
    let marks = (2_u8..7).find(|marks| f64::from(*marks) > end - start);
    let mut chart = ChartBuilder::on(area)
        .margin(4)
        .margin_right(30)
        .margin_top(16)
        .x_label_area_size(40)
        .y_label_area_size(58)
        .build_cartesian_2d(start..end.max(start + 1e-3), 0.0..high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(marks.unwrap_or(7).into())
        .y_labels(6)
        .x_desc(x_unit)
        .y_desc(unit)
        .x_label_formatter(&|mark| plain(*mark))
        .y_label_formatter(&|mark| plain(*mark))
        .bold_line_style(Ink::Grid.light())
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Quiet.light())
        .label_style(text(11, Ink::Quiet, HPos::Center))
        .draw()?;
    for series in series {
        let at = |point: &Point| (drawable(point.x), point.spread.drawable().middle);
        let path = series.points.iter().map(at);
        let color = series.ink.light();
        if series.ink == Ink::Quiet {
            chart.draw_series(DashedLineSeries::new(path, 5, 4, color.stroke_width(1)))?;
            continue;
        }
        chart.draw_series(LineSeries::new(path, color.stroke_width(2)))?;
        for point in &series.points {
            let Spread { low, middle, high } = point.spread.drawable();
            let whisker = Ink::Text.light().stroke_width(1);
            chart.draw_series([ErrorBar::new_vertical(
                drawable(point.x),
                low,
                middle,
                high,
                whisker,
                7,
            )])?;
            chart.draw_series([EmptyElement::at(at(point))
                + Circle::new((0, 0), 4, color.filled())
                + Text::new(point.name.clone(), (8, -9), text(12, Ink::Text, HPos::Left))])?;
        }
    }
    Ok(Markup::default())
}

/// A rate over time: each point holds until the next one.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    /// For the legend.
    pub name: &'a str,
    /// Its colour.
    pub ink: Ink,
    /// Moments, ascending, and the value there.
    pub points: Vec<(i64, f64)>,
}

/// What a page says when the pointer is over a stretch of time.
#[derive(Clone, Debug)]
pub struct Note {
    /// The stretch.
    pub time: Range<i64>,
    /// What it says.
    pub text: String,
}

/// Curves over the time from 0 to the last of `marks`, which stand on the axis with their names.
#[must_use]
pub fn curves(
    title: &str,
    (end, marks): (i64, &[(i64, String)]),
    unit: &str,
    curves: &[Curve<'_>],
    notes: &[Note],
) -> Markup {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let high = points
        .map(|(_, value)| drawable(*value))
        .fold(0.0, f64::max);
    let drawn = chart(title, (WIDE, 240), |area| {
        let name = |at: &i64| {
            let mark = marks.iter().find(|(moment, _)| moment == at);
            mark.map(|(_, name)| name.clone()).unwrap_or_default()
        };
        let moments = marks.iter().map(|(at, _)| *at).collect();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(90)
            .build_cartesian_2d(
                (0..end.max(1)).with_key_points(moments),
                0.0..above_zero(high),
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_labels(5)
            .x_label_formatter(&name)
            .y_label_formatter(&|mark| format!("{} {unit}", plain(*mark)))
            .bold_line_style(Ink::Grid.light())
            .light_line_style(TRANSPARENT)
            .axis_style(Ink::Grid.light())
            .label_style(text(11, Ink::Quiet, HPos::Center))
            .draw()?;
        for curve in curves {
            let path = curve
                .points
                .iter()
                .map(|(at, value)| (*at, drawable(*value)));
            let color = curve.ink.light();
            chart.draw_series(
                AreaSeries::new(path, 0.0, color.mix(0.12)).border_style(color.stroke_width(2)),
            )?;
        }
        let over = |note: &Note| {
            let (left, top) = chart.backend_coord(&(note.time.start, above_zero(high)));
            let (right, bottom) = chart.backend_coord(&(note.time.end, 0.0));
            html! {
                rect class="hover" x=(left) y=(top) width=((right - left).max(1)) height=(bottom - top) {
                    title { (note.text) }
                }
            }
        };
        Ok(html! { @for note in notes { (over(note)) "\n" } })
    });
    let names: Vec<_> = curves.iter().map(|curve| (curve.ink, curve.name)).collect();
    html! { (legend(&names)) (drawn) }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What comes over the chart.
type Drawn = Result<Markup, Box<dyn Error>>;

/// Draws into a picture of this size. What fails is said in the picture's place.
fn chart(title: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Markup {
    let mut drawn = String::new();
    let over = {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        draw(&area).and_then(|over| {
            area.present()?;
            Ok(over)
        })
    };
    match over {
        Ok(over) => {
            let content = html! { (PreEscaped(drawn)) (over) };
            picture("chart", (size.0.into(), size.1.into()), title, &content)
        }
        Err(error) => failed(title, &error),
    }
}

fn failed(title: &str, error: &impl Display) -> Markup {
    html! { p class="note" { "Drawing \"" (title) "\" failed: " (maud::display(error)) } }
}

/// The end of an axis that begins at 0.
fn above_zero(high: f64) -> f64 {
    if high > 0.0 { high } else { 1.0 }
}

fn text(size: u32, ink: Ink, anchor: HPos) -> TextStyle<'static> {
    // plotters divides by 1.24 for SVG.
    ("sans-serif", f64::from(size) * 1.24)
        .into_font()
        .color(&ink.light())
        .pos(Pos::new(anchor, VPos::Center))
}

/// A mark on an axis: marks are round already.
fn plain(mark: f64) -> String {
    let text = format!("{mark:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::{Document, Node};

    fn spread(value: f64) -> Spread {
        Spread {
            low: value * 0.9,
            middle: value,
            high: value * 1.2,
        }
    }

    fn bar(name: &str, value: f64) -> Bar {
        Bar {
            name: name.into(),
            spread: spread(value),
            value: format!("<{value}>"),
            ink: Ink::First,
        }
    }

    /// The chart alone, without its legend.
    fn svg(markup: &Markup) -> &str {
        &markup.0[markup
            .0
            .find("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\"")
            .expect(&markup.0)..]
    }

    fn texts(svg: &str) -> Vec<String> {
        let document = Document::parse(svg).unwrap();
        let nodes = document
            .descendants()
            .filter(|node| node.tag_name().name() == "text");
        nodes
            .filter_map(|node| Some(node.text()?.trim().to_owned()))
            .collect()
    }

    fn number(node: &Node<'_, '_>, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    /// Lengths of the bars.
    fn lengths(svg: &str) -> Vec<f64> {
        let document = Document::parse(svg).unwrap();
        let bars = document
            .descendants()
            .filter(|node| node.tag_name().name() == "rect");
        bars.map(|node| number(&node, "width")).collect()
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_carry_names_from_outside() {
        let markup = bars(
            "t",
            "MB/s",
            Axis::Linear,
            &[bar("a<b", 50.0), bar("c", 100.0)],
        );
        let lengths = lengths(svg(&markup));
        assert!((lengths[1] / lengths[0] - 2.0).abs() < 0.02, "{lengths:?}");
        let texts = texts(svg(&markup));
        for expected in ["a<b", "<50>", "<100>", "MB/s", "0", "100"] {
            assert!(
                texts.iter().any(|text| text == expected),
                "{expected}: {texts:?}"
            );
        }
    }

    #[test]
    fn decades_are_as_far_apart_on_a_logarithmic_axis() {
        let all = [bar("a", 10.0), bar("b", 100.0), bar("c", 1000.0)];
        let markup = bars("t", "MB/s", Axis::Logarithmic, &all);
        let lengths = lengths(svg(&markup));
        let steps = (lengths[1] - lengths[0], lengths[2] - lengths[1]);
        assert!(
            steps.0 > 20.0 && (steps.0 - steps.1).abs() <= 2.0,
            "{lengths:?}"
        );
    }

    #[test]
    fn odd_numbers_make_a_chart_all_the_same() {
        for value in [
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::MIN_POSITIVE,
            f64::MAX,
            1e-12,
            1e14,
        ] {
            let odd = Bar {
                value: String::new(),
                ..bar("a", value)
            };
            for axis in [Axis::Linear, Axis::Logarithmic] {
                let markup = bars("t", "u", axis, &[odd.clone(), bar("b", 1.0)]);
                Document::parse(svg(&markup)).unwrap();
                assert!(
                    !markup.0.contains("NaN") && !markup.0.contains("failed"),
                    "{value}"
                );
            }
            let points = vec![
                Point {
                    x: value,
                    spread: spread(1.0),
                    name: String::new(),
                },
                Point {
                    x: 1.0,
                    spread: spread(value),
                    name: String::new(),
                },
            ];
            let series = Series {
                name: "s",
                ink: Ink::First,
                points,
            };
            Document::parse(svg(&lines("t", (value..value, "x"), "y", &[series]))).unwrap();
            let curve = Curve {
                name: "c",
                ink: Ink::First,
                points: vec![(0, value), (9, 1.0)],
            };
            Document::parse(svg(&curves(
                "t",
                (9, &[(0, "0".into())]),
                "u",
                &[curve],
                &[],
            )))
            .unwrap();
        }
        Document::parse(svg(&bars("t", "u", Axis::Linear, &[]))).unwrap();
        Document::parse(svg(&bars("t", "u", Axis::Logarithmic, &[]))).unwrap();
    }

    #[test]
    fn notes_lie_over_the_time_that_they_are_about() {
        let curve = Curve {
            name: "sent",
            ink: Ink::First,
            points: vec![(0, 1.0), (100, 3.0)],
        };
        let note = |time: Range<i64>| Note {
            time,
            text: "</title>".into(),
        };
        let marks = [(0, "0".to_owned()), (50, "half".to_owned())];
        let markup = curves(
            "t",
            (100, &marks),
            "MiB/s",
            &[curve],
            &[note(0..50), note(50..100)],
        );
        let document = Document::parse(svg(&markup)).unwrap();
        let notes: Vec<_> = document
            .descendants()
            .filter(|node| node.attribute("class") == Some("hover"))
            .collect();
        assert_eq!(notes.len(), 2);
        let end = number(&notes[0], "x") + number(&notes[0], "width");
        assert_eq!(end, number(&notes[1], "x"));
        let half = document
            .descendants()
            .find(|node| node.text().is_some_and(|text| text.trim() == "half"))
            .unwrap();
        assert!((number(&half, "x") - end).abs() <= 1.0);
        assert!(markup.0.contains("sent"), "the legend names the curve");
    }
}
