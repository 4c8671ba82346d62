//! A volume group, as its metadata describes it.

use super::text::{self, Section, Value};
use crate::budget::MAX_LOGICAL_VOLUMES;

/// Segments of one logical volume.
const MAX_SEGMENTS: usize = 1024;
/// Physical volumes of one group.
const MAX_PHYSICAL_VOLUMES: usize = 256;
const SECTOR: u64 = 512;

/// A volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(super) seqno: u64,
    /// Bytes.
    pub(super) extent: u64,
    pub(super) physical: Vec<Physical>,
    pub(super) logical: Vec<Logical>,
}

/// A physical volume of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Physical {
    /// `pv0`, as segments name it.
    pub(super) name: String,
    /// 32 characters.
    pub(super) uuid: String,
    /// Where the group last saw it.
    pub(super) device: String,
    /// First byte of extent 0 on it.
    pub(super) start: u64,
    /// Extents.
    pub(super) extents: u64,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logical {
    pub(super) name: String,
    pub(super) visible: bool,
    /// An image of a mirror that is still being filled.
    pub(super) rebuilding: bool,
    /// Its stretches of extents, or what is wrong with them.
    pub(super) segments: Result<Vec<Segment>, String>,
}

/// Consecutive extents of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Extents.
    pub(super) count: u64,
    pub(super) kind: Layout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Stripes {
        /// Bytes that are taken from one physical volume before the next.
        stripe: u64,
        /// Physical volume and its first extent.
        places: Vec<(String, u64)>,
    },
    /// Each of these logical volumes holds everything.
    Mirror(Vec<String>),
    Zero,
    /// Not read; the name of the type.
    Other(String),
}

impl Group {
    /// Whether the physical volume with this UUID belongs to the group.
    pub(crate) fn has(&self, uuid: &str) -> bool {
        self.physical.iter().any(|volume| volume.uuid == uuid)
    }

    /// The group that `text` describes.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let top = text::parse(text)?;
        let group = top
            .sections
            .first()
            .ok_or("the LVM metadata has no volume group")?;
        let extent = group.number("extent_size")?.checked_mul(SECTOR);
        let extent = extent
            .filter(|extent| *extent > 0)
            .ok_or("the extents of the volume group have no sensible size")?;
        let members = group.section("physical_volumes");
        let volumes = group.section("logical_volumes");
        let sections = |of: Option<&Section>, most| {
            let all = of.map_or(Vec::new(), |of| of.sections.clone());
            match all.len() <= most {
                true => Ok(all),
                false => Err(format!(
                    "the volume group has {} volumes; at most {most} are read",
                    all.len()
                )),
            }
        };
        Ok(Self {
            name: group.name.clone(),
            uuid: group.text("id")?.to_owned(),
            seqno: group.number("seqno")?,
            extent,
            physical: sections(members, MAX_PHYSICAL_VOLUMES)?
                .iter()
                .map(physical)
                .collect::<Result<_, _>>()?,
            logical: sections(volumes, MAX_LOGICAL_VOLUMES)?
                .iter()
                .map(|section| logical(section, extent))
                .collect(),
        })
    }
}

fn physical(section: &Section) -> Result<Physical, String> {
    Ok(Physical {
        name: section.name.clone(),
        uuid: section.text("id")?.replace('-', ""),
        device: section.text("device").unwrap_or_default().to_owned(),
        start: section.number("pe_start")?.saturating_mul(SECTOR),
        extents: section.number("pe_count")?,
    })
}

fn logical(section: &Section, extent: u64) -> Logical {
    Logical {
        name: section.name.clone(),
        visible: section.lists("status", "VISIBLE"),
        rebuilding: section.lists("flags", "REBUILD") || section.lists("status", "REBUILD"),
        segments: segments(section, extent),
    }
}

/// The segments in ascending order, without gaps.
fn segments(section: &Section, extent: u64) -> Result<Vec<Segment>, String> {
    if section.sections.len() > MAX_SEGMENTS {
        return Err(format!("it has more than {MAX_SEGMENTS} segments"));
    }
    let mut found = section
        .sections
        .iter()
        .map(|section| {
            let start = section.number("start_extent")?;
            Ok((start, segment(section, extent)?))
        })
        .collect::<Result<Vec<_>, String>>()?;
    found.sort_by_key(|(start, _)| *start);
    let mut end = 0_u64;
    for (start, segment) in &found {
        if *start != end || segment.count == 0 {
            return Err("its segments do not follow each other".into());
        }
        end = end
            .checked_add(segment.count)
            .ok_or("its segments have no end")?;
    }
    Ok(found.into_iter().map(|(_, segment)| segment).collect())
}

fn segment(section: &Section, extent: u64) -> Result<Segment, String> {
    let count = section.number("extent_count")?;
    let kind = match section.text("type")? {
        "striped" | "linear" => stripes(section, count, extent)?,
        "raid1" => Layout::Mirror(
            section
                .list("raids")
                .iter()
                .skip(1)
                .step_by(2)
                .filter_map(|value| match value {
                    Value::Text(name) => Some(name.clone()),
                    _ => None,
                })
                .collect(),
        ),
        "zero" => Layout::Zero,
        other => Layout::Other(crate::text::printable(other)),
    };
    Ok(Segment { count, kind })
}

fn stripes(section: &Section, count: u64, extent: u64) -> Result<Layout, String> {
    let places: Vec<(String, u64)> = section
        .list("stripes")
        .chunks(2)
        .map(|pair| match pair {
            [Value::Text(name), Value::Number(first)] => {
                Some((name.clone(), u64::try_from(*first).ok()?))
            }
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or("its stripes are not pairs of a volume and an extent")?;
    let number = places.len() as u64;
    if number == 0 || number != section.number("stripe_count").unwrap_or(number) {
        return Err("the number of its stripes is wrong".into());
    }
    let stripe = match number {
        1 => extent,
        _ => section.number("stripe_size")?.saturating_mul(SECTOR),
    };
    let whole = stripe > 0 && extent.checked_rem(stripe) == Some(0);
    if !whole || count.checked_rem(number) != Some(0) {
        return Err("its stripes do not fill its extents".into());
    }
    Ok(Layout::Stripes { stripe, places })
}
