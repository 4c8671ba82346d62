//! Looks into the disks that are named and prints the reports as JSON:
//! `cargo run -p guest --example look -- disk.qcow2`

#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::path::Path;

use diskimg::OpenOptions;
use guest::{Budget, Wanted};

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let opened = diskimg::open(Path::new(&path), &OpenOptions::default(), &[])?;
        let report = guest::inspect(&*opened.image, Wanted::default(), &Budget::default());
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}
