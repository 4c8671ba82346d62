//! The colours of charts, for light and for dark screens.

use std::fmt::Write as _;

use maud::{Markup, html};
use plotters::style::RGBColor;

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The first kind of data.
    First,
    /// The second kind of data.
    Second,
    /// What to look at.
    Alarm,
    /// Values and names.
    Text,
    /// Axes and their marks, and lines for comparison.
    Quiet,
    /// Lines of the grid.
    Grid,
}

impl Ink {
    const ALL: [Self; 6] = [
        Self::First,
        Self::Second,
        Self::Alarm,
        Self::Text,
        Self::Quiet,
        Self::Grid,
    ];

    /// On light screens. Charts are drawn with these; no two are equal.
    pub(crate) const fn light(self) -> RGBColor {
        match self {
            Self::First => RGBColor(0x2f, 0x6d, 0xb5),
            Self::Second => RGBColor(0xd9, 0x77, 0x06),
            Self::Alarm => RGBColor(0xc0, 0x39, 0x2b),
            Self::Text => RGBColor(0x1b, 0x24, 0x30),
            Self::Quiet => RGBColor(0x5b, 0x67, 0x75),
            Self::Grid => RGBColor(0xe6, 0xea, 0xef),
        }
    }

    const fn dark(self) -> RGBColor {
        match self {
            Self::First => RGBColor(0x6e, 0xa8, 0xea),
            Self::Second => RGBColor(0xf2, 0xa4, 0x4b),
            Self::Alarm => RGBColor(0xef, 0x7d, 0x70),
            Self::Text => RGBColor(0xe6, 0xea, 0xf0),
            Self::Quiet => RGBColor(0x98, 0xa4, 0xb3),
            Self::Grid => RGBColor(0x2b, 0x33, 0x3e),
        }
    }
}

/// Style rules of charts. Style sheets count more than the attributes with which plotters colours
/// a shape, so that a rule for each colour makes the dark form of a chart.
pub(crate) fn style() -> String {
    let mut style = String::from(
        ".chart{display:block;width:100%;height:auto}.chart text{font-family:inherit}\n\
         .hover{fill:transparent}.hover:hover{fill:currentColor;fill-opacity:.06}\n\
         .key svg{width:11px;height:11px;margin:0 6px 0 12px;vertical-align:-1px}\n\
         @media (prefers-color-scheme: dark) {\n",
    );
    for ink in Ink::ALL {
        let (light, dark) = (hex(ink.light()), hex(ink.dark()));
        for property in ["fill", "stroke"] {
            let _ = writeln!(style, "svg [{property}=\"{light}\"]{{{property}:{dark}}}");
        }
    }
    style.push_str("}\n");
    style
}

/// As plotters writes a colour.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Coloured squares with names, side by side.
#[must_use]
pub fn legend(entries: &[(Ink, &str)]) -> Markup {
    html! {
        p class="legend" {
            @for (ink, name) in entries {
                span class="key" {
                    svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" {
                        rect width="1" height="1" fill=(hex(ink.light())) {}
                    }
                    (name)
                }
            }
        }
    }
}
