//! HTML pages and SVG pictures: the frame, the charts and the escaping, for every report.
//!
//! Markup is written with `maud::html!`, which escapes everything that it interpolates.
//! [`document`] and [`picture_file`] then replace the characters that are valid text but control a
//! terminal or the direction of writing. A page is one file: it loads nothing, and its policy
//! allows only the style sheet and the script that it contains. All output is well-formed XML, so
//! that tests can parse it.

mod chart;
mod commands;
mod frame;
mod ink;
mod text;

pub use chart::{Axis, Bar, Plot, Point, Series, Spread, Style, bars, lines};
pub use commands::commands;
pub use frame::{document, picture, picture_file};
pub use ink::Ink;
pub use text::shortened;
