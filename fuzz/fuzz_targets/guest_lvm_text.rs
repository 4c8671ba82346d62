//! Text by chance, read as the metadata of a physical volume that is sound otherwise.

#![no_main]

use std::sync::Arc;

use diskimg::RawImage;
use guest::Budget;
use guest::survey::look;
use libfuzzer_sys::fuzz_target;
use testkit::guest::lvm::{Layout, head};
use testkit::hostile::Sparse;

const UUID: &str = "kqmJ2a10011001100110011001abcdef";
const LAYOUT: Layout = Layout {
    size: 4 << 20,
    data: 128 << 10,
    area: 124 << 10,
    text: 512,
};

fuzz_target!(|text: &[u8]| {
    let text = &text[..text.len().min(100 << 10)];
    let mut disk = Sparse::default().grown(LAYOUT.size as u64);
    disk.write(0, &head(UUID, LAYOUT, text));
    let Ok(image) = RawImage::open(Arc::new(disk)) else {
        return;
    };
    look(Arc::new(image), &Budget::default(), 4);
});
