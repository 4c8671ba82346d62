//! Where the bytes of logical volumes are.

use std::rc::Rc;

use super::super::cache::Media;
use super::super::slice::{Place, Run, Slice};
use super::group::{Group, Layout, Logical, Physical, Segment};
use super::label::PhysicalVolume;

/// A logical volume that users see.
pub(crate) struct LogicalVolume {
    pub(crate) name: String,
    /// Physical volumes that it needs and that are not on this disk.
    pub(crate) missing: Vec<String>,
    /// Number of the physical volume that it begins on, in the list of those found.
    pub(crate) on: Option<usize>,
    /// Bytes.
    pub(crate) size: u64,
    /// Its bytes, or why they cannot be read.
    pub(crate) slice: Result<Slice, String>,
}

/// The visible logical volumes of `group`, whose physical volumes are among `found`.
pub(super) fn logical_volumes(
    media: &Rc<Media>,
    group: &Group,
    found: &[PhysicalVolume],
) -> Vec<LogicalVolume> {
    let mapper = Mapper { group, found };
    let visible = group.logical.iter().filter(|volume| volume.visible);
    visible.map(|volume| mapper.volume(media, volume)).collect()
}

struct Mapper<'a> {
    group: &'a Group,
    found: &'a [PhysicalVolume],
}

impl Mapper<'_> {
    fn volume(&self, media: &Rc<Media>, volume: &Logical) -> LogicalVolume {
        let (runs, missing) = match self.runs(volume, true) {
            Ok(runs) => {
                let mut missing: Vec<String> = Vec::new();
                for run in &runs {
                    match &run.place {
                        Place::Elsewhere(name) if !missing.contains(name) => {
                            missing.push(name.clone());
                        }
                        _ => {}
                    }
                }
                (Ok(runs), missing)
            }
            Err(reason) => (Err(reason), Vec::new()),
        };
        let extents = match &volume.segments {
            Ok(segments) => segments.iter().map(|segment| segment.count).sum(),
            Err(_) => 0_u64,
        };
        LogicalVolume {
            name: volume.name.clone(),
            missing,
            on: self.begins_on(volume),
            size: extents.saturating_mul(self.group.extent),
            slice: runs.map(|runs| Slice::of_runs(media, runs)),
        }
    }

    /// The runs of `volume`. Images of mirrors are followed once, and have none in them.
    fn runs(&self, volume: &Logical, mirrors: bool) -> Result<Vec<Run>, String> {
        let mut runs = Vec::new();
        let mut start = 0_u64;
        for segment in volume.segments.as_ref().map_err(String::clone)? {
            let length = segment.count.checked_mul(self.group.extent);
            let end = length.and_then(|length| start.checked_add(length));
            let (Some(length), Some(end)) = (length, end) else {
                return Err("it is too large".into());
            };
            let place = match &segment.kind {
                Layout::Stripes { stripe, places } => self.stripes(segment, *stripe, places)?,
                Layout::Zero => Place::Zero,
                Layout::Other(kind) => {
                    return Err(format!("logical volumes of type {kind} are not read"));
                }
                Layout::Mirror(images) if mirrors && volume_is_one(volume) => {
                    return self.mirror(images);
                }
                Layout::Mirror(_) => return Err("it is a mirror inside of another volume".into()),
            };
            runs.push(Run {
                start,
                length,
                place,
            });
            start = end;
        }
        Ok(runs)
    }

    /// The runs of the first image that is whole and on this disk; else those of the first one.
    fn mirror(&self, images: &[String]) -> Result<Vec<Run>, String> {
        let mut last = Err("none of its images can be read".to_owned());
        for image in images.iter().filter_map(|name| self.logical(name)) {
            if image.rebuilding {
                continue;
            }
            let runs = self.runs(image, false);
            let whole = |run: &Run| !matches!(run.place, Place::Elsewhere(_));
            if runs.as_ref().is_ok_and(|runs| runs.iter().all(whole)) {
                return runs;
            }
            if last.is_err() {
                last = runs;
            }
        }
        last
    }

    fn stripes(
        &self,
        segment: &Segment,
        stripe: u64,
        places: &[(String, u64)],
    ) -> Result<Place, String> {
        let each = segment
            .count
            .checked_div(places.len() as u64)
            .unwrap_or_default();
        let mut bases = Vec::with_capacity(places.len());
        for (name, first) in places {
            let physical = self.physical(name)?;
            let end = first.checked_add(each);
            if end.is_none_or(|end| end > physical.extents) {
                return Err(format!(
                    "it has extents that {} does not have",
                    physical.name
                ));
            }
            let Some(volume) = self
                .found
                .iter()
                .find(|volume| volume.uuid == physical.uuid)
            else {
                return Ok(Place::Elsewhere(match physical.device.as_str() {
                    "" | "[unknown]" => physical.name.clone(),
                    device => format!("{} (last seen as {device})", physical.name),
                }));
            };
            let place = |extent: u64| {
                let offset = extent.checked_mul(self.group.extent)?;
                physical.start.checked_add(offset)
            };
            let end = end.and_then(place).filter(|end| *end <= volume.size);
            let base = place(*first).and_then(|offset| volume.base.checked_add(offset));
            let (Some(_), Some(base)) = (end, base) else {
                return Err(format!("it ends behind the end of {}", physical.name));
            };
            bases.push(base);
        }
        Ok(match bases.as_slice() {
            [base] => Place::At(*base),
            _ => Place::Striped { bases, stripe },
        })
    }

    fn physical(&self, name: &str) -> Result<&Physical, String> {
        let found = self.group.physical.iter().find(|known| known.name == name);
        found.ok_or_else(|| format!("it lies on {name}, which the volume group does not have"))
    }

    fn logical(&self, name: &str) -> Option<&Logical> {
        self.group.logical.iter().find(|known| known.name == name)
    }

    fn begins_on(&self, volume: &Logical) -> Option<usize> {
        let first = volume.segments.as_ref().ok()?.first()?;
        let (name, _) = match &first.kind {
            Layout::Stripes { places, .. } => places.first()?,
            Layout::Mirror(images) => {
                let image = images.iter().find_map(|name| self.logical(name))?;
                match &image.segments.as_ref().ok()?.first()?.kind {
                    Layout::Stripes { places, .. } => places.first()?,
                    _ => return None,
                }
            }
            Layout::Zero | Layout::Other(_) => return None,
        };
        let uuid = &self.physical(name).ok()?.uuid;
        self.found.iter().position(|volume| volume.uuid == *uuid)
    }
}

fn volume_is_one(volume: &Logical) -> bool {
    volume
        .segments
        .as_ref()
        .is_ok_and(|segments| segments.len() == 1)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test data are far smaller than any of these types"
    )]

    use super::super::super::slice::tests::disk;
    use super::super::label::physical_volume;
    use super::super::label::tests::volume;
    use super::super::{LogicalVolume, groups};
    use super::*;

    const PV0: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const PV1: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// Two physical volumes of 64 KiB with 12 extents of 4 KiB each, and the logical ones of
    /// `volumes`. Every extent is filled with its number, of pv1 from 100.
    fn read(volumes: &str, with_second: bool) -> Vec<LogicalVolume> {
        let physical = |name, id: &str| {
            format!(
                "{name} {{ id = \"{}-{}\" device = \"/dev/sd{name}\" pe_start = 32 pe_count = 12 }}",
                &id[..6],
                &id[6..]
            )
        };
        let text = format!(
            "vg {{ id = \"v\" seqno = 1 extent_size = 8 physical_volumes {{ {} {} }}
             logical_volumes {{ {volumes} }} }}\0",
            physical("pv0", PV0),
            physical("pv1", PV1)
        );
        let mut bytes = volume(PV0, text.as_bytes(), 512);
        bytes.extend(volume(PV1, b"", 0));
        for (first, number) in [(16 << 10, 0_u8), (80 << 10, 100)] {
            for (index, extent) in bytes[first..][..48 << 10].chunks_mut(4096).enumerate() {
                extent.fill(number + index as u8);
            }
        }
        let media = disk(bytes);
        let slices = [0, 64 << 10].map(|base| Slice::new(&media, base, 64 << 10));
        let mut found: Vec<_> = slices
            .iter()
            .map(|slice| physical_volume(slice).unwrap().unwrap())
            .collect();
        if !with_second {
            found.pop();
        }
        let mut groups = groups(&media, &found);
        assert_eq!(groups.len(), 1);
        groups.remove(0).unwrap().1
    }

    fn lv(name: &str, segments: &str) -> String {
        format!("{name} {{ status = [\"READ\", \"VISIBLE\"] {segments} }} ")
    }

    fn segment(number: u32, start: u32, count: u32, rest: &str) -> String {
        format!("segment{number} {{ start_extent = {start} extent_count = {count} {rest} }} ")
    }

    /// The first byte of every extent.
    fn extents(volume: &LogicalVolume) -> Vec<u8> {
        let slice = volume.slice.as_ref().unwrap();
        (0..slice.size() / 4096)
            .map(|extent| slice.head(extent * 4096, 1).unwrap()[0])
            .collect()
    }

    #[test]
    fn segments_in_any_order_and_stripes_over_two_volumes_are_joined() {
        let linear = |pv: &str, first| {
            format!("type = \"striped\" stripe_count = 1 stripes = [\"{pv}\", {first}]")
        };
        let two = "type = \"striped\" stripe_count = 2 stripe_size = 8
            stripes = [\"pv0\", 3, \"pv1\", 7]";
        let volumes = read(
            &(lv(
                "root",
                &(segment(2, 2, 1, &linear("pv1", 5)) + &segment(1, 0, 2, &linear("pv0", 8))),
            ) + &lv("wide", &segment(1, 0, 4, two))),
            true,
        );
        assert_eq!(extents(&volumes[0]), [8, 9, 105]);
        assert_eq!(extents(&volumes[1]), [3, 107, 4, 108]);
        assert_eq!((volumes[0].size, volumes[0].on), (3 * 4096, Some(0)));
    }

    #[test]
    fn a_mirror_is_read_by_the_image_that_is_here() {
        let image = |name: &str, pv: &str| {
            let stripes = format!("type = \"striped\" stripe_count = 1 stripes = [\"{pv}\", 2]");
            format!(
                "{name} {{ status = [\"READ\"] {} }} ",
                segment(1, 0, 1, &stripes)
            )
        };
        let mirror = "type = \"raid1\" device_count = 2
            raids = [\"m0\", \"i0\", \"m1\", \"i1\"]";
        let text =
            lv("root", &segment(1, 0, 1, mirror)) + &image("i0", "pv1") + &image("i1", "pv0");
        assert_eq!(extents(&read(&text, true)[0]), [102]);
        let here = &read(&text, false)[0];
        assert_eq!(extents(here), [2]);
        assert!(here.missing.is_empty());
    }

    #[test]
    fn what_is_on_another_disk_is_named() {
        let linear = |pv: &str| format!("type = \"linear\" stripes = [\"{pv}\", 0]");
        let text = lv(
            "root",
            &(segment(1, 0, 1, &linear("pv0")) + &segment(2, 1, 1, &linear("pv1"))),
        );
        let root = &read(&text, false)[0];
        assert_eq!(root.missing, ["pv1 (last seen as /dev/sdpv1)"]);
        let slice = root.slice.as_ref().unwrap();
        assert_eq!(slice.head(0, 1).unwrap(), [0]);
        assert!(slice.head(4096, 1).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_for_that_volume_alone() {
        let good = lv(
            "good",
            &segment(1, 0, 1, "type = \"striped\" stripes = [\"pv0\", 0]"),
        );
        for (bad, reason) in [
            (segment(1, 0, 1, "type = \"thin\""), "type thin"),
            (segment(1, 1, 1, "type = \"zero\""), "follow each other"),
            (
                segment(1, 0, 1, "type = \"striped\" stripes = [\"pv0\", 12]"),
                "does not have",
            ),
            (
                segment(1, 0, 1, "type = \"striped\" stripes = [\"pv9\", 0]"),
                "pv9",
            ),
            (
                segment(1, 0, 1, "type = \"striped\" stripes = [\"pv0\"]"),
                "pairs",
            ),
            (
                segment(
                    1,
                    0,
                    3,
                    "type = \"striped\" stripe_count = 2 stripe_size = 8
                     stripes = [\"pv0\", 0, \"pv1\", 0]",
                ),
                "do not fill",
            ),
            (
                segment(1, 0, 1, "type = \"raid1\" raids = [\"m\", \"root\"]"),
                "mirror inside",
            ),
        ] {
            let volumes = read(&(lv("root", &bad) + &good), true);
            let error = volumes[0].slice.as_ref().err().unwrap();
            assert!(error.contains(reason), "{error}");
            assert_eq!(extents(&volumes[1]), [0]);
        }
    }
}
