//! What imgferry is measured against: the work of a conversion in a plain loop on one thread, as
//! the vendor's tool does it, and the speed of the parts on one core. `benches/bars.sh` runs it.
//!
//! ```text
//! baseline compress IN.raw OUT.zvhd2 [LEVEL]   read, zero check, zstd, write, flush
//! baseline decode IN.zvhd2 OUT.raw             read, unpack, zero check, write, flush
//! baseline sha256 IN                           seconds in which all cores hash the data of IN
//! baseline floor IN                            each part alone, one core, over the data of IN
//! ```
//!
//! The loops print the seconds that they took; with `--no-sync` they do not wait for the disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a bench"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use diskimg::source::FileSource;
use diskimg::zero::is_zero;
use diskimg::{DiskImage, DiskImageExt, ExtentKind, GuestOffset};
use sha2::{Digest, Sha256};

const BLOCK: usize = 2 << 20;
const PAGE: usize = 4096;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let sync = !args.iter().any(|arg| arg == "--no-sync");
    args.retain(|arg| arg != "--no-sync");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let started = Instant::now();
    match args[..] {
        ["compress", source, target] => compress(source, target, 3, sync),
        ["compress", source, target, level] => {
            compress(source, target, level.parse().unwrap(), sync);
        }
        ["decode", source, target] => decode(source, target, sync),
        ["sha256", source] => return sha256(source),
        ["floor", source] => return floor(source),
        _ => panic!("usage: baseline compress|decode|sha256|floor IN [OUT [LEVEL]] [--no-sync]"),
    }
    println!("{:.3}", started.elapsed().as_secs_f64());
}

/// Each block of the file after the other: read, looked at, compressed, appended.
fn compress(source: &str, target: &str, level: i32, sync: bool) {
    let mut source = File::open(source).unwrap();
    let len = source.metadata().unwrap().len();
    let mut target = File::create(target).unwrap();
    let identity = zvhd2::Identity {
        uuid: [7; 16],
        timestamp: 0,
    };
    let mut file = zvhd2::Encoder::new(len, identity).unwrap();
    let mut zstd = zstd::bulk::Compressor::new(level).unwrap();
    let mut block = vec![0; BLOCK];
    let mut frame = vec![0; zvhd2::MAX_ENCODED_BLOCK];
    target.write_all(&file.head()).unwrap();
    for number in 0..len.div_ceil(BLOCK as u64) as u32 {
        let here = (len - u64::from(number) * BLOCK as u64).min(BLOCK as u64) as usize;
        source.read_exact(&mut block[..here]).unwrap();
        block[here..].fill(0);
        if is_zero(&block) {
            continue;
        }
        let size = zstd.compress_to_buffer(&block, &mut frame[48..]).unwrap();
        frame[..12].copy_from_slice(b"hwstream bg\0");
        frame[12..16].copy_from_slice(&(size as u32).to_le_bytes());
        frame[16..20].copy_from_slice(&number.to_le_bytes());
        frame[20..48].fill(0);
        let padded = (48 + size + 4).next_multiple_of(PAGE);
        frame[48 + size..padded].fill(0);
        frame[padded - 4..padded].copy_from_slice(b"end\0");
        target.write_all(&frame[..padded]).unwrap();
        file.push(number, padded).unwrap();
    }
    for part in file.tail() {
        target.write_all(&part).unwrap();
    }
    if sync {
        target.sync_all().unwrap();
    }
}

/// Each stored block after the other: read, unpacked, looked at, written.
fn decode(source: &str, target: &str, sync: bool) {
    let image = open(source);
    let target = File::create(target).unwrap();
    target.set_len(image.virtual_size()).unwrap();
    let mut block = vec![0; BLOCK];
    each_data_block(image.as_ref(), &mut block, |at, block| {
        if !is_zero(block) {
            target.write_all_at(block, at).unwrap();
        }
    });
    if sync {
        target.sync_all().unwrap();
    }
}

fn open(path: &str) -> Box<dyn DiskImage> {
    let source = Arc::new(FileSource::open(path.as_ref()).unwrap());
    match path.ends_with(".zvhd2") {
        true => Box::new(zvhd2::Zvhd2Image::open(source).unwrap()),
        false => Box::new(diskimg::RawImage::open(source).unwrap()),
    }
}

fn each_data_block(image: &dyn DiskImage, block: &mut [u8], mut each: impl FnMut(u64, &[u8])) {
    let size = image.virtual_size();
    let mut next = 0;
    for extent in image.all_extents() {
        let extent = extent.unwrap();
        if extent.kind != ExtentKind::Data {
            continue;
        }
        let mut at = next.max(extent.start.0 / BLOCK as u64 * BLOCK as u64);
        while at < extent.end().0 {
            let len = (size - at).min(BLOCK as u64) as usize;
            image.read_at(GuestOffset(at), &mut block[..len]).unwrap();
            each(at, &block[..len]);
            at += BLOCK as u64;
        }
        next = at;
    }
}

/// Hashes the data on one core, without the time that reading takes, and shares it among all cores.
fn sha256(source: &str) {
    let image = open(source);
    let mut block = vec![0; BLOCK];
    let mut seconds = 0.0;
    each_data_block(image.as_ref(), &mut block, |_, block| {
        let started = Instant::now();
        black_box(Sha256::digest(block));
        seconds += started.elapsed().as_secs_f64();
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{:.3}", seconds / cores as f64);
}

/// Blocks that each part is measured on: spread over the data, small enough to stay in memory.
const SAMPLE: usize = 128;

fn floor(source: &str) {
    let image = open(source);
    let mut block = vec![0; BLOCK];
    let mut count = 0;
    each_data_block(image.as_ref(), &mut block, |_, _| count += 1);
    let step = (count / SAMPLE).max(1);
    let mut sample: Vec<Vec<u8>> = Vec::new();
    let mut number = 0;
    each_data_block(image.as_ref(), &mut block, |_, block| {
        if number % step == 0 && block.len() == BLOCK && !is_zero(block) {
            sample.push(block.to_vec());
        }
        number += 1;
    });
    assert!(!sample.is_empty(), "{source} holds no whole block of data");
    let bytes = (sample.len() * BLOCK) as f64;
    println!(
        "{} blocks of 2 MiB from {source}, one core, median of 5",
        sample.len()
    );
    let report = |name: &str, note: String, mut work: Box<dyn FnMut() + '_>| {
        let mut seconds: Vec<f64> = (0..5)
            .map(|_| {
                let started = Instant::now();
                work();
                started.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        println!("{name:<24} {:>8.0} MB/s{note}", bytes / seconds[2] / 1e6);
    };
    for level in [-5, -1, 1, 2, 3, 6] {
        let mut zstd = zstd::bulk::Compressor::new(level).unwrap();
        let mut frame = vec![0; zvhd2::MAX_ENCODED_BLOCK];
        let size: usize = sample
            .iter()
            .map(|block| zstd.compress_to_buffer(block, &mut frame).unwrap())
            .sum();
        let note = format!("   {:.4} of the size", size as f64 / bytes);
        let work = || {
            for block in &sample {
                black_box(zstd.compress_to_buffer(block, &mut frame).unwrap());
            }
        };
        report(&format!("zstd level {level}"), note, Box::new(work));
    }
    let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
    let frames: Vec<_> = sample.iter().map(|b| zstd.compress(b).unwrap()).collect();
    let mut unzstd = zstd::bulk::Decompressor::new().unwrap();
    let mut out = vec![0; BLOCK];
    report(
        "zstd, unpacking level 1",
        String::new(),
        Box::new(|| {
            for frame in &frames {
                black_box(unzstd.decompress_to_buffer(frame, &mut out).unwrap());
            }
        }),
    );
    report(
        "SHA-256",
        String::new(),
        Box::new(|| {
            for block in &sample {
                black_box(Sha256::digest(block));
            }
        }),
    );
    report(
        "zero check of zeros",
        String::new(),
        Box::new(|| {
            out.fill(0);
            for _ in &sample {
                black_box(is_zero(black_box(&out)));
            }
        }),
    );
    let mut copy = vec![0; BLOCK];
    report(
        "copying memory",
        String::new(),
        Box::new(|| {
            for block in &sample {
                black_box(&mut copy).copy_from_slice(block);
            }
        }),
    );
}
