//! `imgferry bitmap`: the file that tells the service where a raw image holds data.

use std::io::{self, Read as _};
use std::path::Path;

use ::convert::bitmap::{self, BitmapComparison, Differing, Figures, ZVHD2_SECTION};
use ::convert::{Bitmap, CancelToken, OutputFile, Overwrite, Scan, default_threads, scan};
use diskimg::source::open_regular;
use diskimg::text::shown;
use diskimg::units::human;
use diskimg::{Format, Opened};
use serde_json::json;

use crate::args::{BitmapArgs, HolesMode};
use crate::commands::typed;
use crate::console::Console;
use crate::progress::Progress;
use ::import::{
    CAUTION, Watch, bitmap_beside, check_bitmap_name, open_named, refuse_standard_input,
    warn_of_holes, with_holes,
};
use cloud::{Class, Failure, Result, is_wrong_path};

pub(crate) fn run(args: &BitmapArgs, console: Console, cancel: &CancelToken) -> Result {
    refuse_standard_input(&args.file)?;
    if args.show {
        return show(&args.file, console);
    }
    let mf = match &args.mf {
        Some(mf) => mf.clone(),
        None => bitmap_beside(&args.file)?,
    };
    check_bitmap_name(&args.file, &mf)?;
    if args.check {
        return check(args, &mf, console, cancel);
    }
    make(args, &mf, console, cancel)
}

fn make(args: &BitmapArgs, mf: &Path, console: Console, cancel: &CancelToken) -> Result {
    let image = raw_image(args, console, cancel)?;
    let watch = Watch::begin(&args.file, &image, args.source.share.force_share)?;
    // Refused before everything is read.
    let file = OutputFile::create_from(&watch.sources(), mf, overwrite(args.force))?;
    let scan = read(image, args, console, cancel)?;
    watch.unchanged()?;
    commit(file, &scan.bitmap)?;
    console.notice(CAUTION);
    let figures = scan.bitmap.figures();
    console.result(
        format_args!(
            "{}\n{}\n{}",
            shown(&mf),
            text(&figures),
            what_was_read(&scan)
        ),
        &json!({
            "path": mf.display().to_string(),
            "raw": args.file.display().to_string(),
            "bitmap": figures,
            "scan": scan,
        }),
    )
}

fn check(args: &BitmapArgs, mf: &Path, console: Console, cancel: &CancelToken) -> Result {
    let bitmap = read_file(mf)?;
    let image = raw_image(args, console, cancel)?;
    let watch = Watch::begin(&args.file, &image, args.source.share.force_share)?;
    let scan = read(image, args, console, cancel)?;
    watch.unchanged()?;
    let found = bitmap.compare(&scan.bitmap);
    if found.is_exact() {
        return console.result(
            format_args!("{} is the bitmap of {}\n{}", shown(&mf), shown(&args.file), text(&bitmap.figures())),
            &json!({ "exact": true, "bitmap": bitmap.figures(), "comparison": found, "scan": scan }),
        );
    }
    let failure = Failure::new(
        Class::Mismatch,
        format!("{} is not the bitmap of {}", shown(&mf), shown(&args.file)),
    )
    .hint(format!(
        "imgferry bitmap --force {} {}",
        typed(&args.file, "IMAGE"),
        typed(mf, "FILE.mf")
    ))
    .data("comparison", &found);
    Err(differences(&found).into_iter().fold(failure, Failure::note))
}

/// What a comparison found, in sentences.
fn differences(found: &BitmapComparison) -> Vec<String> {
    let mut notes = Vec::new();
    if found.bytes != found.expected_bytes {
        notes.push(format!(
            "it has {} bytes, the disk's has {}",
            found.bytes, found.expected_bytes
        ));
    }
    let mut note = |differing: &Differing, what: &str| {
        if let Some(first) = &differing.first {
            notes.push(format!(
                "{} {what}, the first at guest offset {:#x}",
                blocks(differing.count),
                first.start
            ));
        }
    };
    note(
        &found.missing,
        "with data not marked: their content would be lost",
    );
    note(&found.extra, "marked without data");
    notes
}

fn show(mf: &Path, console: Console) -> Result {
    let figures = read_file(mf)?.figures();
    console.result(
        format_args!("{}\n{}", shown(&mf), text(&figures)),
        &json!({ "path": mf.display().to_string(), "bitmap": figures }),
    )
}

fn text(figures: &Figures) -> String {
    let mut text = format!(
        "layout {}, {} bytes in {} segment{}, {} for each bit, bits for {}\nmarked {} in {} run{}, at most {}",
        figures.layout.name,
        figures.bytes,
        figures.segments,
        plural(figures.segments),
        human(figures.granule),
        human(figures.covers),
        blocks(figures.marked),
        figures.runs,
        plural(figures.runs),
        human(figures.marked_bytes()),
    );
    if let (Some(first), Some(end)) = (figures.first, figures.end) {
        text.push_str(&format!(", from guest offset {first:#x} to {end:#x}"));
    }
    text
}

fn what_was_read(scan: &Scan) -> String {
    format!(
        "digest {}\nread {}, skipped {} without reading, found {} of zeros",
        scan.digest,
        human(scan.read_bytes),
        human(scan.skipped_bytes),
        human(scan.zero_bytes)
    )
}

fn blocks(count: u64) -> String {
    format!("{count} block{}", plural(count))
}

const fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn raw_image(args: &BitmapArgs, console: Console, cancel: &CancelToken) -> Result<Opened> {
    let opened = open_named(&args.file, &args.source.options(), &console, cancel)?;
    if opened.format == Format::Raw {
        return Ok(opened);
    }
    Err(Failure::new(
        Class::Refused,
        format!(
            "{} is {}, a bitmap belongs to a raw file",
            shown(&args.file),
            opened.format
        ),
    )
    .hint(format!(
        "imgferry convert {} DISK.raw --bitmap makes both; --format raw takes the file as it is",
        typed(&args.file, "IMAGE")
    )))
}

fn read(opened: Opened, args: &BitmapArgs, console: Console, cancel: &CancelToken) -> Result<Scan> {
    let (image, misreported) = with_holes(opened.image, args.holes.holes == HolesMode::Verify);
    let progress = Progress::new(console, "reading", image.virtual_size(), false);
    let threads = args.threads.threads.unwrap_or_else(default_threads);
    let scan = scan(
        image.as_ref(),
        ZVHD2_SECTION,
        threads,
        progress.as_ref(),
        cancel,
    )?;
    progress.finish();
    warn_of_holes(misreported.as_ref(), &console);
    Ok(scan)
}

/// Reads a bitmap file of the layout that is known.
fn read_file(mf: &Path) -> Result<Bitmap> {
    let failed = |error: io::Error| {
        let exit = if is_wrong_path(&error) {
            Class::Refused
        } else {
            Class::Io
        };
        Failure::from_error(exit, &error).context(format!("{} cannot be read", shown(&mf)))
    };
    let mut bytes = Vec::new();
    // One byte more than is taken, so that a longer file is seen to be one.
    open_regular(mf)
        .and_then(|file| {
            file.take(bitmap::MAX_FILE_BYTES.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(failed)?;
    Bitmap::parse(ZVHD2_SECTION, bytes)
        .map_err(|error| Failure::from(error).context(format!("{}", shown(&mf))))
}

/// Writes `bitmap` as the whole of `file`, which appears.
pub(crate) fn commit(file: OutputFile, bitmap: &Bitmap) -> Result {
    file.write_at(0, &bitmap.to_bytes())?;
    Ok(file.commit()?)
}

pub(crate) const fn overwrite(force: bool) -> Overwrite {
    if force {
        Overwrite::Replace
    } else {
        Overwrite::Refuse
    }
}
