//! Disks that come through a pipe: what can be asked for, and when.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use diskimg::pipe::BLOCK_BYTES;
use diskimg::{
    DiskImage, ErrorKind, Format, GuestOffset, PipeImage, PipeOptions, Result, Stop, open_pipe,
};

const BLOCK: usize = 2 << 20;

/// Five blocks and a bit, each byte by its place.
fn content() -> Vec<u8> {
    (0..5 * BLOCK as u32 + 1024)
        .map(|i| (i / 251 * 7 + i) as u8)
        .collect()
}

fn options(size: usize, stop: &Arc<AtomicBool>) -> PipeOptions {
    let stop = Arc::clone(stop);
    PipeOptions {
        name: "the pipe".into(),
        size: Some(size as u64),
        format: Some(Format::Raw),
        readers: 3,
        stop: Stop::when(move || stop.load(Ordering::SeqCst)),
    }
}

fn open(bytes: Vec<u8>) -> Result<PipeImage> {
    open_for(bytes, 3)
}

fn open_for(bytes: Vec<u8>, readers: usize) -> Result<PipeImage> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = bytes.len();
    thread::spawn(move || {
        let _ = writer.write_all(&bytes);
    });
    let options = PipeOptions {
        readers,
        ..options(size, &Arc::default())
    };
    open_pipe(File::from(OwnedFd::from(reader)), options, &[])
}

fn read(image: &PipeImage, block: u64) -> Result<Vec<u8>> {
    let at = block * BLOCK_BYTES;
    let len = BLOCK_BYTES.min(image.virtual_size() - at);
    let mut bytes = vec![0xaa; len as usize];
    image.read_at(GuestOffset(at), &mut bytes)?;
    Ok(bytes)
}

fn block(number: usize) -> Vec<u8> {
    let content = content();
    content[number * BLOCK..content.len().min((number + 1) * BLOCK)].to_vec()
}

#[test]
fn blocks_may_be_asked_for_in_another_order_within_the_readers() {
    let image = open(content()).unwrap();
    for number in [3, 1, 2, 0, 5, 4] {
        assert!(
            read(&image, number).unwrap() == block(number as usize),
            "block {number}"
        );
    }
}

#[test]
fn a_block_comes_once_and_the_first_one_always() {
    let image = open(content()).unwrap();
    for _ in 0..2 {
        let mut bytes = [0; 700];
        image.read_at(GuestOffset(1_000_001), &mut bytes).unwrap();
        assert!(bytes == content()[1_000_001..][..700]);
    }
    read(&image, 1).unwrap();
    assert_eq!(read(&image, 1).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert!(read(&image, 0).unwrap() == block(0));
    assert!(read(&image, 2).unwrap() == block(2));
}

#[test]
fn what_is_too_far_ahead_or_no_block_is_refused_and_loses_nothing() {
    let longer = [content(), content()].concat();
    let image = open_for(longer, 1).unwrap();
    // Five blocks would have to be kept; one reader asks for four at a time.
    assert_eq!(read(&image, 6).unwrap_err().kind(), ErrorKind::OutOfRange);
    let mut sector = [0; 512];
    for at in [3 * BLOCK, 5 * BLOCK + 512] {
        let error = image
            .read_at(GuestOffset(at as u64), &mut sector)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("the pipe: "), "{error}");
    }
    for number in 0..5 {
        assert!(
            read(&image, number).unwrap() == block(number as usize),
            "block {number}"
        );
    }
}

#[test]
fn many_threads_read_a_pipe_as_one_does() {
    let image = open(content()).unwrap();
    let next = std::sync::Mutex::new(0..6);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(number) = next.lock().unwrap().next() else {
                        return;
                    };
                    assert!(read(&image, number).unwrap() == block(number as usize));
                }
            });
        }
    });
}

#[test]
fn every_reader_of_a_pipe_that_ended_is_told_the_same() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = content();
    thread::spawn(move || writer.write_all(&bytes[..3 * BLOCK + 10]));
    let pipe = File::from(OwnedFd::from(reader));
    let image = open_pipe(pipe, options(content().len(), &Arc::default()), &[]).unwrap();
    let errors = [3, 3, 4].map(|number| read(&image, number).unwrap_err());
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert!(
            error.to_string().contains("ended after 6291466 bytes"),
            "{error}"
        );
    }
    // What came whole is still there.
    assert!(read(&image, 1).unwrap() == block(1));
}

#[test]
fn a_silent_pipe_is_left_when_asked_to_stop() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = content();
    let writing = thread::spawn(move || {
        writer.write_all(&bytes[..BLOCK]).unwrap();
        writer
    });
    let stop = Arc::<AtomicBool>::default();
    let pipe = File::from(OwnedFd::from(reader));
    let image = open_pipe(pipe, options(content().len(), &stop), &[]).unwrap();
    let _open = writing.join().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| read(&image, 1));
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        stop.store(true, Ordering::SeqCst);
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    });
}
