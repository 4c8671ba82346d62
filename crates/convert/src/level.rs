//! Which zstd level blocks are compressed at: one for all, or the one that the line leaves time
//! for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{SerializeSeq as _, Serializer};
use serde::{Deserialize as DeserializeDerive, Serialize};

/// How the level of a stream is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One of [`zvhd2::MIN_LEVEL`] to [`zvhd2::MAX_LEVEL`] for every block.
    Fixed(i32),
    /// For each block one of [`AUTO_LEVELS`]: higher while the sink is the limit, lower while
    /// compression is.
    Auto,
}

/// The levels that [`Level::Auto`] takes, ascending: the steps that pay on operating system data
/// (`docs/performance.md`). Above the last one blocks hardly get smaller.
pub const AUTO_LEVELS: [i32; 3] = [1, 3, 6];

/// What [`Level::Auto`] is called.
const AUTO: &str = "auto";

impl Level {
    /// The levels that blocks may have.
    pub(crate) fn choices(&self) -> &[i32] {
        match self {
            Self::Fixed(level) => std::slice::from_ref(level),
            Self::Auto => &AUTO_LEVELS,
        }
    }

    /// The level of the first block.
    pub(crate) fn first(&self) -> i32 {
        let first = self.choices().first();
        first.copied().unwrap_or(zvhd2::DEFAULT_LEVEL)
    }

    /// The one level of all blocks, if they have one.
    #[must_use]
    pub const fn fixed(self) -> Option<i32> {
        match self {
            Self::Fixed(level) => Some(level),
            Self::Auto => None,
        }
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::Fixed(zvhd2::DEFAULT_LEVEL)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(level) => level.fmt(f),
            Self::Auto => f.write_str(AUTO),
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case(AUTO) {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(level) if (zvhd2::MIN_LEVEL..=zvhd2::MAX_LEVEL).contains(&level) => {
                Ok(Self::Fixed(level))
            }
            _ => Err(format!(
                "expected {AUTO}, or a number from {} to {}",
                zvhd2::MIN_LEVEL,
                zvhd2::MAX_LEVEL
            )),
        }
    }
}

/// A number, or `"auto"`.
impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(level) => serializer.serialize_i32(*level),
            Self::Auto => serializer.serialize_str(AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(DeserializeDerive)]
        #[serde(untagged)]
        enum Form {
            Number(i32),
            Word(String),
        }
        let text = match Form::deserialize(deserializer)? {
            Form::Number(level) => level.to_string(),
            Form::Word(word) => word,
        };
        text.parse().map_err(D::Error::custom)
    }
}

/// How many blocks have which level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels(BTreeMap<i32, u64>);

impl Levels {
    /// Counts `blocks` blocks at `level`.
    pub fn add(&mut self, level: i32, blocks: u64) {
        let counted = self.0.entry(level).or_default();
        *counted = counted.saturating_add(blocks);
    }

    /// Whether no block was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Levels, ascending, and the blocks that have them.
    pub fn iter(&self) -> impl Iterator<Item = (i32, u64)> {
        self.0.iter().map(|(level, blocks)| (*level, *blocks))
    }
}

/// `120 blocks at level 1, 3 at 6`.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (level, blocks)) in self.iter().enumerate() {
            match index {
                0 => write!(f, "{blocks} blocks at level {level}")?,
                _ => write!(f, ", {blocks} at {level}")?,
            }
        }
        Ok(())
    }
}

/// A list of `{"level", "blocks"}`.
impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry {
            level: i32,
            blocks: u64,
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (level, blocks) in self.iter() {
            list.serialize_element(&Entry { level, blocks })?;
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_number_or_auto_in_text_and_json() {
        for (text, level, json) in [
            ("auto", Level::Auto, "\"auto\""),
            ("-7", Level::Fixed(-7), "-7"),
            ("19", Level::Fixed(19), "19"),
        ] {
            assert_eq!(text.parse(), Ok(level));
            assert_eq!(level.to_string(), text);
            assert_eq!(serde_json::to_string(&level).unwrap(), json);
            assert_eq!(serde_json::from_str::<Level>(json).unwrap(), level);
        }
        for text in ["20", "-8", "automatic", ""] {
            assert!(text.parse::<Level>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Level>("20").is_err());
    }

    #[test]
    fn the_levels_of_auto_ascend_from_the_default() {
        assert!(AUTO_LEVELS.is_sorted());
        assert_eq!(Level::Auto.first(), zvhd2::DEFAULT_LEVEL);
    }

    #[test]
    fn what_was_used_is_told_in_words_and_as_a_list() {
        let mut levels = Levels::default();
        for level in [1, 6, 1, 3] {
            levels.add(level, 1);
        }
        assert_eq!(levels.to_string(), "2 blocks at level 1, 1 at 3, 1 at 6");
        let json = serde_json::to_value(&levels).unwrap();
        assert_eq!(json[0], serde_json::json!({"level": 1, "blocks": 2}));
        assert_eq!(json.as_array().unwrap().len(), 3);
    }
}
