//! Archives in streams that hold no disk alone: what they are, by the names of their first members.

use std::io::{self, Read};

use super::errors::{UNPACK, refused};
use super::member::{BLOCK, DISK, Member, header};
use crate::text::printable;

/// Most members that are looked at.
const MOST_MEMBERS: usize = 16;
/// Most bytes of their contents that are passed over.
const MOST_BYTES: u64 = 8 << 20;

/// The error of an archive that begins with `first`, behind which `input` is.
pub(super) fn refusal(first: &Member, input: &mut dyn Read) -> io::Error {
    let names = names(first, input);
    let has = |name: &str| names.iter().any(|found| found == name);
    let is_disk = |name: &String| name == "box.img" || name.to_ascii_lowercase().ends_with(".vmdk");
    let marks = ["metadata.json", "Vagrantfile", "box.ovf"];
    let marks = marks.iter().filter(|mark| has(mark)).count();
    if has("ova.xml") && names.iter().any(|name| name.starts_with("Ref:")) {
        return refused(
            "an export of XenServer or XCP-ng (XVA)",
            "export each disk on the host as VHD, which imgferry reads: xe vdi-export uuid=UUID \
             format=vhd filename=disk.vhd",
        );
    }
    if has("box.img") || marks > 1 || marks == 1 && names.iter().any(is_disk) {
        return refused(
            "a Vagrant box, of which imgferry reads the disk alone",
            UNPACK,
        );
    }
    let name = printable(&first.name);
    refused(
        format!("an archive that begins with \"{name}\"; {DISK}, alone, is read"),
        UNPACK,
    )
}

/// The names of the first members.
fn names(first: &Member, input: &mut dyn Read) -> Vec<String> {
    let mut names = vec![first.plain_name().to_owned()];
    let (mut left, mut size) = (MOST_BYTES, first.size);
    while names.len() < MOST_MEMBERS {
        let padded = size.and_then(|size| size.checked_next_multiple_of(BLOCK as u64));
        let Some(content) = padded.filter(|content| *content <= left) else {
            break;
        };
        left -= content;
        let passed = io::copy(&mut input.take(content), &mut io::sink());
        let mut block = [0; BLOCK];
        if passed.ok() != Some(content) || input.read_exact(&mut block).is_err() {
            break;
        }
        let Some(next) = header(&block).map(Member::of) else {
            break;
        };
        names.push(next.plain_name().to_owned());
        size = next.size;
    }
    names
}
