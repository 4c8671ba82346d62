//! Physical volumes of LVM2: label, metadata area, text.

#![allow(clippy::indexing_slicing, reason = "test helper")]

use std::fmt::Write as _;

/// First byte of the metadata area.
pub const AREA: usize = 4096;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const CRC_START: u32 = 0xf597_a6cf;
const SECTOR: usize = 512;

/// Where the parts of a physical volume are, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bytes of the physical volume.
    pub size: usize,
    /// First byte of its extents.
    pub data: usize,
    /// Bytes of its metadata area.
    pub area: usize,
    /// Where in the area the text begins; it wraps at the area's end.
    pub text: usize,
}

impl Layout {
    /// A volume of `size` bytes as `pvcreate` divides it, with the text in front.
    #[must_use]
    pub const fn usual(size: usize) -> Self {
        Self {
            size,
            data: 1 << 20,
            area: (1 << 20) - AREA,
            text: SECTOR,
        }
    }
}

/// The beginning of the physical volume `uuid` (32 characters), up to its extents.
#[must_use]
pub fn head(uuid: &str, layout: Layout, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; layout.data];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let mut body = 32_u32.to_le_bytes().to_vec();
    body.extend(b"LVM2 001");
    body.extend(uuid.as_bytes());
    for number in [layout.size, layout.data, 0, 0, 0, AREA, layout.area, 0, 0] {
        body.extend((number as u64).to_le_bytes());
    }
    body.resize(492, 0);
    put(512, b"LABELONE");
    put(520, &1_u64.to_le_bytes());
    put(532, &body);
    let mut area = AREA_MAGIC.to_vec();
    area.extend(1_u32.to_le_bytes());
    for number in [AREA, layout.area, layout.text, text.len()] {
        area.extend((number as u64).to_le_bytes());
    }
    put(AREA + 4, &area);
    let (front, wrapped) = text.split_at(text.len().min(layout.area - layout.text));
    put(AREA + layout.text, front);
    put(AREA + SECTOR, wrapped);
    seal(&mut bytes);
    bytes
}

/// Makes the checksums of the label, of the metadata area's head and of the text right.
pub fn seal(volume: &mut [u8]) {
    if volume.len() < AREA + SECTOR {
        return;
    }
    let word = |bytes: &[u8], at: usize| {
        let number: [u8; 8] = bytes[at..at + 8].try_into().unwrap_or_default();
        usize::try_from(u64::from_le_bytes(number)).unwrap_or(usize::MAX)
    };
    let sum = crc(&volume[532..1024]);
    volume[528..532].copy_from_slice(&sum.to_le_bytes());
    let size = word(volume, AREA + 32).min(volume.len() - AREA);
    let (at, length) = (word(volume, AREA + 40), word(volume, AREA + 48));
    if at >= SECTOR && at < size && length <= size {
        let front = length.min(size - at);
        let mut text = volume[AREA + at..][..front].to_vec();
        let wrapped = (length - front).min(size - SECTOR);
        text.extend(&volume[AREA + SECTOR..][..wrapped]);
        volume[AREA + 56..AREA + 60].copy_from_slice(&crc(&text).to_le_bytes());
    }
    let sum = crc(&volume[AREA + 4..AREA + SECTOR]);
    volume[AREA..AREA + 4].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32 as LVM has it: another start value, and no inversion at the end.
fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!CRC_START);
    hasher.update(bytes);
    !hasher.finalize()
}

/// A logical volume: its name, and its stretches of extents on the one physical volume: how many,
/// and the first.
pub type Logical<'a> = (&'a str, &'a [(usize, usize)]);

/// The text of group `name` with one physical volume, `uuid`, which `layout` divides into extents
/// of `extent` bytes.
#[must_use]
pub fn text(name: &str, uuid: &str, layout: Layout, extent: usize, volumes: &[Logical]) -> Vec<u8> {
    let dashed: Vec<&str> = [
        (0, 6),
        (6, 10),
        (10, 14),
        (14, 18),
        (18, 22),
        (22, 26),
        (26, 32),
    ]
    .iter()
    .filter_map(|(from, to)| uuid.get(*from..*to))
    .collect();
    let mut text = format!(
        "{name} {{\nid = \"Group0-0000-0000-0000-0000-0000-{name:0<6}\"\nseqno = 4\n\
         format = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n\
         extent_size = {}\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\nphysical_volumes {{\n\n\
         pv0 {{\nid = \"{}\"\ndevice = \"/dev/sda2\"\n\nstatus = [\"ALLOCATABLE\"]\nflags = []\n\
         dev_size = {}\npe_start = {}\npe_count = {}\n}}\n}}\n\nlogical_volumes {{\n\n",
        extent / SECTOR,
        dashed.join("-"),
        layout.size / SECTOR,
        layout.data / SECTOR,
        (layout.size - layout.data) / extent,
    );
    for (number, (volume, stretches)) in volumes.iter().enumerate() {
        let _ = write!(
            text,
            "{volume} {{\nid = \"Volume-0000-0000-0000-0000-0000-{number:06}\"\n\
             status = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\n\
             creation_time = 1700000000\ncreation_host = \"test\"\nsegment_count = {}\n\n",
            stretches.len()
        );
        let mut start = 0;
        for (index, (count, first)) in stretches.iter().enumerate() {
            let _ = write!(
                text,
                "segment{} {{\nstart_extent = {start}\nextent_count = {count}\n\n\
                 type = \"striped\"\nstripe_count = 1\n\nstripes = [\n\"pv0\", {first}\n]\n}}\n",
                index + 1
            );
            start += count;
        }
        text.push_str("}\n\n");
    }
    text.push_str(
        "}\n\n}\n# Generated by a test\ncontents = \"Text Format Volume Group\"\nversion = 1\n\n\
         description = \"\"\ncreation_host = \"test\"\ncreation_time = 1700000000\n\n\0",
    );
    text.into_bytes()
}
