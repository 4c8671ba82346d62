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

    /// The colour on light screens, with which charts are drawn, and the one on dark screens. No two
    /// inks have the same.
    const fn colors(self) -> (u32, u32) {
        match self {
            Self::First => (0x2f6db5, 0x6ea8ea),
            Self::Second => (0xd97706, 0xf2a44b),
            Self::Alarm => (0xc0392b, 0xef7d70),
            Self::Text => (0x1b2430, 0xe6eaf0),
            Self::Quiet => (0x5b6775, 0x98a4b3),
            Self::Grid => (0xe6eaef, 0x2b333e),
        }
    }

    pub(crate) const fn light(self) -> RGBColor {
        let [_, red, green, blue] = self.colors().0.to_be_bytes();
        RGBColor(red, green, blue)
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
    for (light, dark) in Ink::ALL.map(Ink::colors) {
        for property in ["fill", "stroke"] {
            // As plotters writes a colour.
            let _ = writeln!(
                style,
                "svg [{property}=\"#{light:06X}\"]{{{property}:#{dark:06x}}}"
            );
        }
    }
    style.push_str("}\n");
    style
}

/// Coloured squares with names, side by side.
pub(crate) fn legend(entries: &[(Ink, &str)]) -> Markup {
    html! {
        p class="legend" {
            @for (ink, name) in entries {
                span class="key" {
                    svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" {
                        rect width="1" height="1" fill=(format_args!("#{:06X}", ink.colors().0)) {}
                    }
                    (name)
                }
            }
        }
    }
}
