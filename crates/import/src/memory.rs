//! Plans that keep the image, the workers and the parts inside one memory budget.

use ::convert::bitmap::ZVHD2_SECTION;
use ::convert::{
    DEFAULT_MEMORY, LARGE_MEMORY, PROGRAM_MEMORY, Plan, PlanOptions, SinkMemory, Target,
    count_parts,
};
use cloud::{Class, Failure, Hint, Result};
use diskimg::DiskImage;
use diskimg::units::{MIB, human};
use obs::UploadOptions;

use super::bitmap::{BitmapSource, CAUTION};
use super::spec::Concurrency;

/// Bytes of parts that keep a line busy: eight of the smallest. They are worth more than threads
/// that have to wait for the line.
const BUSY: u64 = 64 * MIB;

/// Plans a stream so that the image, the workers and the parts fit the budget together.
///
/// Parts get what keeps the line busy, and what conversion leaves, up to what the most parts in
/// flight, one that is being filled and one that waits can use.
pub fn plan_stream(
    image: &dyn DiskImage,
    concurrency: Concurrency,
    options: PlanOptions,
) -> ::convert::Result<Plan> {
    plan_of(image, concurrency, options, false)
}

/// The same where an earlier object holds most of it: its table and the hashes of the disk take
/// memory, too.
pub(super) fn plan_based(
    image: &dyn DiskImage,
    concurrency: Concurrency,
    options: PlanOptions,
) -> ::convert::Result<Plan> {
    plan_of(image, concurrency, options, true)
}

fn plan_of(
    image: &dyn DiskImage,
    concurrency: Concurrency,
    mut options: PlanOptions,
    based: bool,
) -> ::convert::Result<Plan> {
    // Without a bound: what is missing must be told for the conversion and the parts together.
    let unbounded = PlanOptions {
        memory: Some(u64::MAX),
        upload_memory: SinkMemory::default(),
        ..options.clone()
    };
    let alone = ::convert::plan(image, Target::Zvhd2, &unbounded)?;
    if based {
        // How many blocks the earlier object has is not known yet, but that all are of this disk.
        let held = ::convert::delta::memory_of(alone.virtual_size, alone.data_blocks);
        options.reserved_memory = options.reserved_memory.saturating_add(held);
    }
    // Two of the largest parts that the stream can reach.
    let least = UploadOptions::least_memory(alone.worst_case_bytes);
    let parts = u64::try_from(concurrency.most()).unwrap_or(u64::MAX);
    let useful = (least / 2).saturating_mul(parts.saturating_add(2));
    let most = useful.max(least);
    options.upload_memory = SinkMemory {
        least,
        enough: BUSY.clamp(least, most),
        most,
    };
    ::convert::plan(image, Target::Zvhd2, &options)
}

/// Plans the parts of a raw object so that the image, the parts that are built and sent, and the
/// zeros fit the budget together; notes how much will be sent.
pub(super) fn plan_parts(
    image: &dyn DiskImage,
    bitmap: &BitmapSource,
    concurrency: Concurrency,
    mut options: PlanOptions,
    based: bool,
) -> ::convert::Result<Plan> {
    let len = image.virtual_size();
    let held = match bitmap {
        BitmapSource::Ready(bytes) => bytes.len() as u64,
        // The bits, and the bytes of the file.
        BitmapSource::Own => ZVHD2_SECTION.file_len(len).saturating_mul(2),
        // Read when the parts are gone.
        BitmapSource::Command(_) => 0,
    };
    // The table of the blocks, and that of the earlier object.
    let tables = ::convert::delta::memory_of_raw(len, based);
    options.reserved_memory = options
        .reserved_memory
        .saturating_add(held)
        .saturating_add(tables);
    let least = obs::raw_memory(len, 0);
    options.upload_memory = SinkMemory {
        least,
        enough: least,
        most: least,
    };
    let alone = ::convert::plan(image, Target::Raw, &options)?;
    // Each thread builds one while the line is busy with others.
    let parts = alone.threads.saturating_add(concurrency.most());
    let useful = obs::raw_memory(len, u64::try_from(parts).unwrap_or(u64::MAX));
    options.upload_memory = SinkMemory {
        least,
        enough: BUSY.clamp(least, useful),
        most: useful,
    };
    let mut plan = ::convert::plan(image, Target::Raw, &options)?;
    let part_size = obs::raw_part_size(len);
    let count = count_parts(image, part_size)?;
    let most = count
        .data_parts
        .saturating_add(2)
        .min(count.parts.saturating_add(1))
        .saturating_mul(part_size);
    plan.notes.push(format!(
        "{} parts of {}; at most {} are sent, the server copies the other parts from one of zeros",
        count.parts,
        human(part_size),
        human(most)
    ));
    plan.notes.push(match bitmap {
        BitmapSource::Own => CAUTION.to_owned(),
        BitmapSource::Ready(bytes) => {
            format!(
                "the bitmap file of {} bytes is uploaded as it is",
                bytes.len()
            )
        }
        BitmapSource::Command(command) => format!("the bitmap is made by: {command}"),
    });
    Ok(plan)
}

/// Memory for the parts of a file of `size` bytes that is uploaded as it is, in the first of
/// `budgets` that suffices.
pub(super) fn plan_bytes(size: u64, budgets: &[PlanOptions]) -> Result<u64> {
    let least = UploadOptions::least_memory(size);
    let given = budgets
        .iter()
        .map(|options| options.memory.unwrap_or_else(|| memory_of_parts(size)));
    let most = given.clone().max().unwrap_or_default();
    given
        .into_iter()
        .find(|budget| *budget >= least)
        .ok_or_else(|| {
            Failure::new(
                Class::Refused,
                format!(
                    "the memory limit leaves {}, and parts of a file of {} need {}",
                    human(most),
                    human(size),
                    human(least)
                ),
            )
            .hint(Hint::Convert(::convert::Hint::GiveMemory(least)))
        })
}

/// Memory for the parts of `len` bytes by default: together with the program they keep to the same
/// budgets as everything else.
pub fn memory_of_parts(len: u64) -> u64 {
    let least = UploadOptions::least_memory(len);
    let fits = |budget: &u64| *budget >= least;
    let budgets = [DEFAULT_MEMORY, LARGE_MEMORY].map(|all| all - PROGRAM_MEMORY);
    budgets.into_iter().find(fits).unwrap_or(least)
}

#[cfg(test)]
mod tests;
