//! Charts, drawn by plotters.

use std::error::Error;
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

/// The lowest, the middle and the highest of several runs, in the unit of the axis.
pub type Spread = [f64; 3];

/// Any number, as one that can be drawn.
fn drawable(value: f64) -> f64 {
    match value.is_nan() {
        true => 0.0,
        false => value.clamp(0.0, MOST),
    }
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
    let values = || bars.iter().flat_map(|bar| bar.spread.map(drawable));
    let high = values().fold(0.0, f64::max);
    let low = values().fold(high, f64::min);
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
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().disable_y_axis().y_labels(0);
    mesh.x_labels(6).x_desc(unit).x_label_formatter(&plain);
    mesh.bold_line_style(Ink::Grid.light())
        .light_line_style(TRANSPARENT)
        .axis_style(Ink::Grid.light())
        .label_style(text(11, Ink::Quiet, HPos::Center))
        .draw()?;
    for (row, bar) in bars.iter().enumerate() {
        let (top, middle) = (row as f64 + 0.12, row as f64 + 0.5);
        let [low, end, high] = bar.spread.map(|value| drawable(value).max(start));
        let corners = [(start, top), (end, top + 0.76)];
        chart.draw_series([Rectangle::new(corners, bar.ink.light().filled())])?;
        if high > low {
            let style = Ink::Text.light().stroke_width(1);
            chart.draw_series([ErrorBar::new_horizontal(middle, low, end, high, style, 7)])?;
        }
        let (name, value) = (HPos::Right, HPos::Left);
        let name = Text::new(bar.name.clone(), (-8, 0), text(12, Ink::Text, name));
        let value = Text::new(bar.value.clone(), (7, 0), text(12, Ink::Text, value));
        chart.draw_series([EmptyElement::at((start, middle)) + name])?;
        chart.draw_series([EmptyElement::at((high.max(end), middle)) + value])?;
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

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With its points, and a whisker at each.
    Points,
    /// Dashed, for comparison.
    Dashed,
    /// With the area below it.
    Area,
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// For the legend.
    pub name: &'a str,
    /// Its colour.
    pub ink: Ink,
    /// How it is drawn.
    pub style: Style,
    /// In the order in which the line connects them.
    pub points: Vec<Point>,
}

/// Lines over a range of numbers.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// Describes the chart to those who cannot see it.
    pub title: &'a str,
    /// Whether the chart has a row of the page to itself.
    pub wide: bool,
    /// The range, and its unit.
    pub x: (Range<f64>, &'a str),
    /// The unit of the values.
    pub unit: &'a str,
    /// The lines; the last one is on top.
    pub series: &'a [Series<'a>],
    /// Texts to show while the pointer is over a part of the range.
    pub notes: &'a [(Range<f64>, String)],
}

/// A chart of lines, with its legend.
#[must_use]
pub fn lines(plot: &Plot<'_>) -> Markup {
    let width = if plot.wide { WIDE } else { WIDTH };
    let drawn = chart(plot.title, (width, HEIGHT), |area| plot.draw(area));
    let names = plot.series.iter().map(|series| (series.ink, series.name));
    html! { (legend(&names.collect::<Vec<_>>())) (drawn) }
}

impl Plot<'_> {
    fn draw(&self, area: &Area<'_>) -> Drawn {
        let points = self.series.iter().flat_map(|series| &series.points);
        let values = points.flat_map(|point| point.spread.map(drawable));
        let high = above_zero(values.fold(0.0, f64::max));
        let (start, end) = (drawable(self.x.0.start), drawable(self.x.0.end));
        // Marks are whole numbers where the range is small.
        let marks = (2_u8..7).find(|marks| f64::from(*marks) > end - start);
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_right(30)
            .margin_top(16)
            .x_label_area_size(40)
            .y_label_area_size(58)
            .build_cartesian_2d(start..end.max(start + 1e-3), 0.0..high)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(marks.unwrap_or(7).into());
        mesh.x_desc(self.x.1).x_label_formatter(&plain);
        mesh.y_labels(6).y_desc(self.unit).y_label_formatter(&plain);
        mesh.bold_line_style(Ink::Grid.light())
            .light_line_style(TRANSPARENT)
            .axis_style(Ink::Quiet.light())
            .label_style(text(11, Ink::Quiet, HPos::Center))
            .draw()?;
        for series in self.series {
            let (color, whisker) = (series.ink.light(), Ink::Text.light().stroke_width(1));
            let at = |point: &Point| (drawable(point.x), drawable(point.spread[1]));
            let path = series.points.iter().map(at);
            match series.style {
                Style::Dashed => {
                    chart.draw_series(DashedLineSeries::new(path, 5, 4, color.stroke_width(1)))?
                }
                Style::Area => {
                    let area = AreaSeries::new(path, 0.0, color.mix(0.12));
                    chart.draw_series(area.border_style(color.stroke_width(2)))?
                }
                Style::Points => {
                    chart.draw_series(LineSeries::new(path, color.stroke_width(2)))?;
                    chart.draw_series(series.points.iter().map(|point| {
                        let [low, middle, high] = point.spread.map(drawable);
                        ErrorBar::new_vertical(drawable(point.x), low, middle, high, whisker, 7)
                    }))?;
                    chart.draw_series(series.points.iter().map(|point| {
                        let name = text(12, Ink::Text, HPos::Left);
                        EmptyElement::at(at(point))
                            + Circle::new((0, 0), 4, color.filled())
                            + Text::new(point.name.clone(), (8, -9), name)
                    }))?
                }
            };
        }
        let area = |range: &Range<f64>| {
            let (left, top) = chart.backend_coord(&(drawable(range.start), high));
            let (right, bottom) = chart.backend_coord(&(drawable(range.end), 0.0));
            (left, top, (right - left).max(1), bottom - top)
        };
        Ok(html! {
            @for (range, note) in self.notes {
                @let (x, y, width, height) = area(range);
                rect class="hover" x=(x) y=(y) width=(width) height=(height) { title { (note) } }
                "\n"
            }
        })
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What comes over the chart.
type Drawn = Result<Markup, Box<dyn Error>>;

/// Draws into a picture of this size. If that fails, the error takes the picture's place.
fn chart(title: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Markup {
    let mut drawn = String::new();
    let over = {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        draw(&area).and_then(|over| area.present().map(|()| over).map_err(Into::into))
    };
    match over {
        Ok(over) => {
            let content = html! { (PreEscaped(drawn)) (over) };
            picture("chart", (size.0.into(), size.1.into()), title, &content)
        }
        Err(error) => {
            html! { p class="note" { "Drawing \"" (title) "\" failed: " (error.to_string()) } }
        }
    }
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
fn plain(mark: &f64) -> String {
    let text = format!("{mark:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;

    fn bar(name: &str, value: f64) -> Bar {
        Bar {
            name: name.into(),
            spread: [value * 0.9, value, value * 1.2],
            value: format!("<{value:.0}>"),
            ink: Ink::First,
        }
    }

    fn plot(style: Style, values: [f64; 2], notes: &[(Range<f64>, String)]) -> Markup {
        let point = |x: f64| Point {
            x,
            spread: [x * 0.9, x, x * 1.2],
            name: String::new(),
        };
        let series = Series {
            name: "sent",
            ink: Ink::First,
            style,
            points: values.map(point).into(),
        };
        lines(&Plot {
            title: "t",
            wide: true,
            x: (values[0]..values[1], "min"),
            unit: "MiB/s",
            series: &[series],
            notes,
        })
    }

    /// The chart alone, without its legend.
    fn parsed(chart: &Markup) -> Document<'_> {
        let start = chart
            .0
            .find("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\"");
        Document::parse(&chart.0[start.expect(&chart.0)..]).unwrap()
    }

    fn number(node: &Node<'_, '_>, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    /// Lengths of the bars.
    fn lengths(chart: &Markup) -> Vec<f64> {
        let document = parsed(chart);
        let bars = document
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect")));
        bars.map(|node| number(&node, "width")).collect()
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_carry_names_from_outside() {
        let chart = bars(
            "t",
            "MB/s",
            Axis::Linear,
            &[bar("a<b", 50.0), bar("c", 100.0)],
        );
        let lengths = lengths(&chart);
        assert!((lengths[1] / lengths[0] - 2.0).abs() < 0.02, "{lengths:?}");
        let document = parsed(&chart);
        let texts: Vec<_> = document
            .descendants()
            .filter_map(|node| node.text())
            .map(str::trim)
            .collect();
        for expected in ["a<b", "<50>", "<100>", "MB/s", "0", "100"] {
            assert!(texts.contains(&expected), "{expected}: {texts:?}");
        }
    }

    #[test]
    fn decades_are_equally_far_apart_on_a_logarithmic_axis() {
        let all = [bar("a", 10.0), bar("b", 100.0), bar("c", 1000.0)];
        let lengths = lengths(&bars("t", "MB/s", Axis::Logarithmic, &all));
        let steps = (lengths[1] - lengths[0], lengths[2] - lengths[1]);
        assert!(
            steps.0 > 20.0 && (steps.0 - steps.1).abs() <= 2.0,
            "{lengths:?}"
        );
    }

    #[test]
    fn a_chart_is_drawn_whatever_the_numbers() {
        let odd = [
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::MIN_POSITIVE,
            f64::MAX,
            1e-12,
            1e14,
        ];
        for value in odd {
            let both = [bar("a", value), bar("b", 1.0)];
            for chart in [
                bars("t", "u", Axis::Linear, &both),
                bars("t", "u", Axis::Logarithmic, &both),
                plot(Style::Points, [value, 1.0], &[]),
                plot(Style::Dashed, [value, value], &[]),
                plot(Style::Area, [1.0, value], &[]),
            ] {
                let document = parsed(&chart);
                let attributes = document.descendants().flat_map(|node| node.attributes());
                for attribute in attributes {
                    assert!(!attribute.value().contains("NaN"), "{value}");
                }
            }
        }
        parsed(&bars("t", "u", Axis::Linear, &[]));
        parsed(&bars("t", "u", Axis::Logarithmic, &[]));
    }

    #[test]
    fn notes_cover_the_time_that_they_are_about() {
        let notes = [(0.0..2.0, "</title>".into()), (2.0..4.0, "late".into())];
        let chart = plot(Style::Area, [0.0, 4.0], &notes);
        let document = parsed(&chart);
        let nodes = || document.descendants();
        let hovers = nodes().filter(|node| node.attribute("class") == Some("hover"));
        let edges: Vec<_> = hovers
            .map(|node| (number(&node, "x"), number(&node, "width")))
            .collect();
        assert_eq!(edges.len(), 2);
        let end = edges[0].0 + edges[0].1;
        assert_eq!(end, edges[1].0);
        // Both axes have this mark.
        let is_mark = |node: &Node<'_, '_>| node.text().is_some_and(|text| text.trim() == "2");
        let mut marks = nodes().filter(|node| node.is_element() && is_mark(node));
        assert!(marks.any(|mark| (number(&mark, "x") - end).abs() <= 1.0));
        assert!(chart.0.contains("sent"), "the legend names the line");
    }
}
