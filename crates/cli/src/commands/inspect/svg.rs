//! The picture of a disk: one SVG file that needs nothing else, of bounded size.

use std::fmt::Write as _;

use diskimg::partitions::Partition;
use diskimg::units::human;

use super::facts::Inspection;
use super::map::{COLUMNS, Map, Share};
use crate::commands::markup::escaped;

/// Width of a cell and height of its box, in pixels.
const CELL: u64 = 14;
/// Height of the line above a row in which partitions are marked.
const STRIP: u64 = 5;
const ROW: u64 = CELL + STRIP + 3;
const LEFT: u64 = 84;
const TOP: u64 = 92;
const WIDTH: u64 = LEFT + COLUMNS * CELL + 24;
const LINE: u64 = 18;
/// Most partitions that are drawn and listed.
const MAX_PARTITIONS: usize = 24;

const DATA: &str = "#1f5fa8";
const ZERO: &str = "#b9d4ee";
const HOLE: &str = "#eceff1";
const ELSEWHERE: &str = "#f3dfb0";
/// Told apart with impaired colour vision too (Okabe and Ito), and by their numbers.
const MARKS: [&str; 6] = [
    "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#8a7a00", "#444444",
];

/// Draws `map`, with the partitions of `inspection`.
pub(super) fn draw(map: &Map, inspection: &Inspection) -> String {
    let partitions: &[Partition] = match &inspection.partitions {
        Some(table) => &table.entries,
        None => &[],
    };
    let (shown, more) = partitions.split_at(partitions.len().min(MAX_PARTITIONS));
    let rows = (map.cells().len() as u64).div_ceil(COLUMNS);
    let listed = shown.len() as u64 + u64::from(!more.is_empty());
    let list_top = TOP + rows * ROW + 28;
    let height = list_top + listed * LINE + 16;
    let mut svg = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    head(&mut svg, map, inspection);
    cells(&mut svg, map);
    for (index, partition) in shown.iter().enumerate() {
        mark(&mut svg, map, partition, color(index));
        let y = list_top + index as u64 * LINE;
        list(&mut svg, partition, color(index), y);
    }
    if !more.is_empty() {
        let y = list_top + shown.len() as u64 * LINE;
        text(&mut svg, LEFT, y, &format!("and {} more", more.len()));
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, map: &Map, inspection: &Inspection) {
    let title = format!("{} ({})", inspection.path, inspection.details.format);
    let sizes = format!(
        "{} virtual, {} file; each box is {}",
        human(map.virtual_size()),
        human(inspection.file_size),
        human(map.cell())
    );
    let _ = writeln!(svg, "<title>{}</title>", escaped(&title));
    let _ = writeln!(
        svg,
        "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"bold\" fill=\"#222222\">{}</text>",
        escaped(&title)
    );
    text(svg, LEFT, 46, &sizes);
    let legend = [
        (DATA, "data", inspection.data_bytes),
        (ZERO, "zero", inspection.zero_bytes),
        (HOLE, "hole", inspection.hole_bytes),
        (ELSEWHERE, "in other files", inspection.elsewhere_bytes),
    ];
    // Most disks need no other files, and have no word on them.
    let legend = legend
        .into_iter()
        .filter(|(color, _, bytes)| *color != ELSEWHERE || *bytes > 0);
    for (index, (color, name, bytes)) in legend.enumerate() {
        let x = LEFT + index as u64 * 170;
        rect(svg, (x, 56, CELL, CELL), color);
        text(svg, x + CELL + 6, 68, &format!("{name} {}", human(bytes)));
    }
}

fn cells(svg: &mut String, map: &Map) {
    let mut at = 0_u64;
    for (index, share) in (0_u64..).zip(map.cells()) {
        let (x, y) = corner(index);
        if index % COLUMNS == 0 {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\" fill=\"#666666\">{}</text>",
                LEFT - 8,
                y + CELL - 3,
                human(at)
            );
        }
        let _ = writeln!(
            svg,
            "<g><title>{}: {} data, {} zero, {} hole{}</title>",
            human(at),
            human(share.data),
            human(share.zero),
            human(share.hole),
            match share.elsewhere {
                0 => String::new(),
                bytes => format!(", {} in other files", human(bytes)),
            }
        );
        cell(svg, x, y, share);
        svg.push_str("</g>\n");
        at = at.saturating_add(map.cell());
    }
}

/// A box that is filled from below: data, then zeros, then what is in other files, then holes.
fn cell(svg: &mut String, x: u64, y: u64, share: &Share) {
    const SIDE: u64 = CELL - 1;
    rect(svg, (x, y, SIDE, SIDE), HOLE);
    let data = height(share.data, share.total(), SIDE);
    let here = share.data.saturating_add(share.zero);
    let stored = height(here, share.total(), SIDE).max(data);
    let known = here.saturating_add(share.elsewhere);
    let known = height(known, share.total(), SIDE).max(stored);
    if known > stored {
        rect(svg, (x, y + SIDE - known, SIDE, known - stored), ELSEWHERE);
    }
    if stored > data {
        rect(svg, (x, y + SIDE - stored, SIDE, stored - data), ZERO);
    }
    if data > 0 {
        rect(svg, (x, y + SIDE - data, SIDE, data), DATA);
    }
}

/// Pixels of `side` for a part of the whole: at least one when there is anything.
fn height(part: u64, whole: u64, side: u64) -> u64 {
    if part == 0 || whole == 0 {
        return 0;
    }
    let pixels = u128::from(part) * u128::from(side) / u128::from(whole);
    u64::try_from(pixels).unwrap_or(side).clamp(1, side)
}

/// Upper left corner of the box of cell `index`.
fn corner(index: u64) -> (u64, u64) {
    (
        LEFT + index % COLUMNS * CELL,
        TOP + index / COLUMNS * ROW + STRIP,
    )
}

/// Lines above the cells in which the partition lies.
fn mark(svg: &mut String, map: &Map, partition: &Partition, color: &str) {
    let end = partition
        .start
        .saturating_add(partition.size)
        .min(map.virtual_size());
    if partition.start >= end {
        return;
    }
    let (first, last) = (partition.start / map.cell(), (end - 1) / map.cell());
    for row in first / COLUMNS..=last / COLUMNS {
        let from = first.max(row * COLUMNS);
        let to = last.min(row * COLUMNS + COLUMNS - 1);
        let (x, y) = corner(from);
        let width = (to - from + 1) * CELL - 1;
        rect(svg, (x, y - STRIP, width, STRIP - 1), color);
    }
}

fn list(svg: &mut String, partition: &Partition, color: &str, y: u64) {
    let mut line = format!(
        "{}  {}, {} at {}",
        partition.number,
        partition.kind,
        human(partition.size),
        human(partition.start)
    );
    if let Some(label) = &partition.label {
        let _ = write!(line, ", \"{label}\"");
    }
    if let Some(content) = &partition.content {
        let _ = write!(line, ", {}", content.kind);
    }
    rect(svg, (LEFT, y - 10, CELL, CELL - 4), color);
    text(svg, LEFT + CELL + 6, y, &line);
}

fn color(index: usize) -> &'static str {
    MARKS.get(index % MARKS.len()).copied().unwrap_or(DATA)
}

fn rect(svg: &mut String, (x, y, width, height): (u64, u64, u64, u64), fill: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
    );
}

fn text(svg: &mut String, x: u64, y: u64, content: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" fill=\"#222222\">{}</text>",
        escaped(content)
    );
}
