//! The picture of a disk: one SVG file that needs nothing else, of bounded size.

use diskimg::partitions::Partition;
use diskimg::units::human;
use diskimg::{DiskMap, Share};
use maud::{Markup, html};
use page::{picture, picture_file, shortened};

use crate::Inspection;

/// Width of a cell and height of its box, in pixels.
const CELL: u64 = 14;
/// Height of the line above a row in which partitions are marked.
const STRIP: u64 = 5;
const ROW: u64 = CELL + STRIP + 3;
const LEFT: u64 = 84;
const TOP: u64 = 92;
const WIDTH: u64 = LEFT + DiskMap::COLUMNS * CELL + 24;
const LINE: u64 = 18;
/// Most characters of a text from outside.
const MAX_TEXT: usize = 100;
/// Most partitions that are drawn and listed.
const MAX_PARTITIONS: usize = 24;

const INK: &str = "#222222";
const DATA: &str = "#1f5fa8";
const ZERO: &str = "#b9d4ee";
const HOLE: &str = "#eceff1";
const ELSEWHERE: &str = "#f3dfb0";
/// Distinguishable with impaired colour vision (Okabe and Ito). Their numbers tell them apart too.
const MARKS: [&str; 6] = [
    "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#8a7a00", "#444444",
];

impl Inspection {
    /// The map of the disk with its partitions, as an SVG file of its own.
    #[must_use]
    pub fn picture(&self) -> String {
        let (size, title, content) = content(self);
        picture_file(size, &title, &content)
    }

    /// The same picture, inside a page.
    pub(crate) fn embedded(&self) -> Markup {
        let (size, title, content) = content(self);
        picture("map", size, &title, &content)
    }
}

/// Width and height, the title, and what is drawn.
fn content(inspection: &Inspection) -> ((u64, u64), String, Markup) {
    let map = &inspection.map;
    let partitions: &[Partition] = match &inspection.partitions {
        Some(table) => &table.entries,
        None => &[],
    };
    let (shown, more) = partitions.split_at(partitions.len().min(MAX_PARTITIONS));
    let rows = (map.cells().len() as u64).div_ceil(DiskMap::COLUMNS);
    let listed = shown.len() as u64 + u64::from(!more.is_empty());
    let list_top = TOP + rows * ROW + 28;
    let height = list_top + listed * LINE + 16;
    let title = format!("{} ({})", inspection.path, inspection.details.format);
    let title = shortened(&title, MAX_TEXT);
    let content = html! {
        (head(inspection, &title)) "\n"
        (cells(map))
        @for ((partition, color), y) in shown.iter().zip(colors()).zip(lines(list_top)) {
            (mark(map, partition, color))
            (rect((LEFT, y - 10, CELL, CELL - 4), color))
            (text(LEFT + CELL + 6, y, &listing(partition))) "\n"
        }
        @if !more.is_empty() {
            (text(LEFT, list_top + shown.len() as u64 * LINE, &format!("and {} more", more.len())))
        }
    };
    ((WIDTH, height), title, content)
}

fn head(inspection: &Inspection, title: &str) -> Markup {
    let map = &inspection.map;
    let sizes = format!(
        "{} virtual, {} file; each box is {}",
        human(map.virtual_size()),
        human(inspection.file_size),
        human(map.cell())
    );
    let legend = [
        (DATA, "data", inspection.data_bytes),
        (ZERO, "zero", inspection.zero_bytes),
        (HOLE, "hole", inspection.hole_bytes),
        (ELSEWHERE, "in other files", inspection.elsewhere_bytes),
    ];
    // Most disks need no other files; their pictures do not mention them.
    let legend = legend
        .into_iter()
        .filter(|(color, _, bytes)| *color != ELSEWHERE || *bytes > 0);
    html! {
        rect width="100%" height="100%" fill="#ffffff" {}
        text x=(LEFT) y="26" font-size="16" font-weight="bold" fill=(INK) { (title) }
        (text(LEFT, 46, &sizes))
        @for ((color, name, bytes), x) in legend.zip((LEFT..).step_by(170)) {
            (rect((x, 56, CELL, CELL), color))
            (text(x + CELL + 6, 68, &format!("{name} {}", human(bytes))))
        }
    }
}

fn cells(map: &DiskMap) -> Markup {
    let numbered = (0_u64..).zip(map.cells());
    let cells = numbered.map(|(index, share)| (index, index.saturating_mul(map.cell()), share));
    html! {
        @for (index, at, share) in cells {
            @let (x, y) = corner(index);
            @if index % DiskMap::COLUMNS == 0 {
                text x=(LEFT - 8) y=(y + CELL - 3) text-anchor="end" font-size="10" fill="#666666" {
                    (human(at))
                }
            }
            g {
                title { (tip(at, share)) }
                (cell(x, y, share))
            }
            "\n"
        }
    }
}

/// What a viewer shows when the pointer is over a box.
fn tip(at: u64, share: &Share) -> String {
    let elsewhere = match share.elsewhere {
        0 => String::new(),
        bytes => format!(", {} in other files", human(bytes)),
    };
    format!(
        "{}: {} data, {} zero, {} hole{elsewhere}",
        human(at),
        human(share.data),
        human(share.zero),
        human(share.hole)
    )
}

/// A box that is filled from below: data, then zeros, then what is in other files, then holes.
fn cell(x: u64, y: u64, share: &Share) -> Markup {
    const SIDE: u64 = CELL - 1;
    let mut bytes = 0_u64;
    let mut below = 0;
    let layers = [
        (share.data, DATA),
        (share.zero, ZERO),
        (share.elsewhere, ELSEWHERE),
    ];
    html! {
        (rect((x, y, SIDE, SIDE), HOLE))
        @for (part, color) in layers {
            @let () = bytes = bytes.saturating_add(part);
            @let top = height(bytes, share.total(), SIDE).max(below);
            @if top > below {
                (rect((x, y + SIDE - top, SIDE, top - below), color))
            }
            @let () = below = top;
        }
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
        LEFT + index % DiskMap::COLUMNS * CELL,
        TOP + index / DiskMap::COLUMNS * ROW + STRIP,
    )
}

/// Lines above the cells in which the partition lies.
fn mark(map: &DiskMap, partition: &Partition, color: &str) -> Markup {
    let end = partition
        .start
        .saturating_add(partition.size)
        .min(map.virtual_size());
    if partition.start >= end {
        return Markup::default();
    }
    let (first, last) = (partition.start / map.cell(), (end - 1) / map.cell());
    html! {
        @for row in first / DiskMap::COLUMNS..=last / DiskMap::COLUMNS {
            @let from = first.max(row * DiskMap::COLUMNS);
            @let to = last.min(row * DiskMap::COLUMNS + DiskMap::COLUMNS - 1);
            @let (x, y) = corner(from);
            (rect((x, y - STRIP, (to - from + 1) * CELL - 1, STRIP - 1), color))
        }
    }
}

fn listing(partition: &Partition) -> String {
    let label = partition.label.iter().map(|label| format!(", \"{label}\""));
    let content = partition
        .content
        .iter()
        .map(|content| format!(", {}", content.kind));
    let facts = format!(
        "{}  {}, {} at {}{}",
        partition.number,
        partition.kind,
        human(partition.size),
        human(partition.start),
        label.chain(content).collect::<String>()
    );
    shortened(&facts, MAX_TEXT)
}

/// Heights of the lines of the list.
fn lines(top: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |index| top + index * LINE)
}

fn colors() -> impl Iterator<Item = &'static str> {
    MARKS.into_iter().cycle()
}

fn rect((x, y, width, height): (u64, u64, u64, u64), fill: &str) -> Markup {
    html! { rect x=(x) y=(y) width=(width) height=(height) fill=(fill) {} }
}

fn text(x: u64, y: u64, content: &str) -> Markup {
    html! { text x=(x) y=(y) fill=(INK) { (content) } }
}
