//! Many threads, one image.

use std::thread;

use diskimg::{DiskImage, GuestOffset};

use crate::craft::{Cluster, Craft, mixed, noise, text};
use crate::{assert_same, open_bytes};

fn hammer(image: &dyn DiskImage, guest: &[u8]) {
    thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut buf = vec![0; 100_000];
                for _ in 0..200 {
                    let at = rng.usize(..guest.len());
                    let len = rng.usize(1..=(guest.len() - at).min(buf.len()));
                    let buf = &mut buf[..len];
                    image.read_at(GuestOffset(at as u64), buf).unwrap();
                    assert_same(buf, &guest[at..at + len], "random range");
                    let extent = image.extent_at(GuestOffset(at as u64), 10_000).unwrap();
                    assert!(extent.start.0 == at as u64 && extent.len > 0);
                }
            });
        }
    });
}

#[test]
fn eight_threads_read_what_one_reads() {
    for zstd in [false, true] {
        let image = mixed(3, 12, zstd);
        hammer(&open_bytes(&image.bytes).unwrap(), &image.guest);
        let clusters = (0..600)
            .map(|index| match index % 3 {
                0 => Cluster::Plain(noise(9, index)),
                1 => Cluster::Packed(text(9, index)),
                _ => Cluster::Hole,
            })
            .collect();
        let craft = Craft {
            zstd,
            ..Craft::new(3, 9, clusters)
        };
        let image = craft.build();
        hammer(&open_bytes(&image.bytes).unwrap(), &image.guest);
    }
}
