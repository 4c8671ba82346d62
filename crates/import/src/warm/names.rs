//! Keys of generations: that of the final object, with a number in front of its extension.

use std::collections::BTreeMap;

use obs::{ListedObject, Manifest, blocks_key};

/// Digits of a number, at least: keys in the order of their text are in that of their numbers.
const DIGITS: usize = 4;
/// The extension that stays an extension.
const EXTENSION: &str = ".zvhd2";

/// The keys of the generations of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    stem: String,
    extension: &'static str,
}

/// What there is of a generation in the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) object: bool,
    pub(crate) manifest: bool,
    pub(crate) table: bool,
}

impl There {
    /// Whether it can be the base of another one.
    pub(crate) const fn is_complete(self) -> bool {
        self.object && self.manifest && self.table
    }
}

impl Names {
    /// Those of generations of the object `key`.
    pub(crate) fn of(key: &str) -> Self {
        let (stem, extension) = match key.strip_suffix(EXTENSION) {
            Some(stem) => (stem, EXTENSION),
            None => (key, ""),
        };
        Self {
            stem: stem.to_owned(),
            extension,
        }
    }

    /// What the keys of all generations begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("{}.g", self.stem)
    }

    /// Key of generation `number`.
    pub(crate) fn key(&self, number: u32) -> String {
        format!("{}.g{number:0DIGITS$}{}", self.stem, self.extension)
    }

    /// The generation that has `key`; `None` when it is none of this object's, whatever it looks
    /// like.
    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        let rest = key.strip_prefix(&self.prefix())?;
        let digits = rest.strip_suffix(self.extension)?;
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        (self.key(number) == key).then_some(number)
    }

    /// The generations among `objects`.
    pub(crate) fn sort(&self, objects: &[ListedObject]) -> BTreeMap<u32, There> {
        let manifest = Manifest::key_of("");
        let table = blocks_key("");
        let mut found: BTreeMap<u32, There> = BTreeMap::new();
        for ListedObject { key, .. } in objects {
            let beside = |ending: &str| self.number(key.strip_suffix(ending)?);
            if let Some(number) = self.number(key) {
                found.entry(number).or_default().object = true;
            } else if let Some(number) = beside(&manifest) {
                found.entry(number).or_default().manifest = true;
            } else if let Some(number) = beside(&table) {
                found.entry(number).or_default().table = true;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_has_a_number_in_front_of_the_extension() {
        let names = Names::of("a/web.zvhd2");
        assert_eq!(names.key(1), "a/web.g0001.zvhd2");
        assert_eq!(names.key(12_345), "a/web.g12345.zvhd2");
        assert_eq!(Names::of("web").key(7), "web.g0007");
        for number in [1, 9999, 10_000, u32::MAX] {
            assert_eq!(names.number(&names.key(number)), Some(number));
        }
    }

    #[test]
    fn what_is_not_named_exactly_so_is_no_generation() {
        let names = Names::of("web.zvhd2");
        for key in [
            "web.zvhd2",
            "web.g0000.zvhd2",
            "web.g1.zvhd2",
            "web.g00001.zvhd2",
            "web.g+001.zvhd2",
            "web.g0001",
            "web.g0001.zvhd2.old",
            "web.g0001.g0002.zvhd2",
            "web2.g0001.zvhd2",
            "web.g99999999999.zvhd2",
            "web.gold.zvhd2",
        ] {
            assert_eq!(names.number(key), None, "{key}");
        }
        // Those of another key, which differs in its extension only.
        assert_eq!(Names::of("web").number("web.g0001.zvhd2"), None);
    }

    #[test]
    fn objects_are_sorted_by_what_they_are_of() {
        let objects: Vec<_> = [
            "web.g0001.zvhd2",
            "web.g0001.zvhd2.blocks",
            "web.g0001.zvhd2.imgferry.json",
            "web.g0002.zvhd2",
            "web.g0003.zvhd2.blocks",
            "web.g0004.zvhd2.txt",
            "web.ghost.zvhd2",
        ]
        .into_iter()
        .map(|key| ListedObject {
            key: key.to_owned(),
            size: 1,
            etag: None,
            modified: None,
        })
        .collect();
        let found = Names::of("web.zvhd2").sort(&objects);
        let of = |object, manifest, table| There {
            object,
            manifest,
            table,
        };
        let expected = [
            (1, of(true, true, true)),
            (2, of(true, false, false)),
            (3, of(false, false, true)),
        ];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
