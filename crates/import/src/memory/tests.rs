//! What is planned for a disk and a machine that a test could not have.

use diskimg::clip_extent;
use diskimg::units::GIB;
use diskimg::{Details, Extent, ExtentKind, Format, GuestOffset, Result};

use super::*;

/// A disk full of data.
struct Full {
    size: u64,
    /// Caches of the image, and scratch buffers for each reader.
    memory: (u64, u64),
}

impl DiskImage for Full {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        Ok(Extent {
            start: at,
            len: clip_extent(at, limit, self.size)?,
            kind: ExtentKind::Data,
        })
    }

    fn read_at(&self, _: GuestOffset, buf: &mut [u8]) -> Result<()> {
        buf.fill(1);
        Ok(())
    }

    fn details(&self) -> Details {
        Details::new(Format::Raw)
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.memory.0 + self.memory.1 * readers as u64
    }
}

const JUST_UNDER: u64 = 64 * GIB - 512;

/// A raw disk, and what a qcow2 with compressed clusters of 2 MiB costs.
const MEMORY: [(u64, u64); 2] = [(0, 0), (36 * MIB, 13 * MIB / 2)];

/// What a refusal advises is enough, however little was given.
#[test]
fn the_memory_that_a_refusal_names_suffices() {
    for (size, memory) in [
        (GIB, MEMORY[0]),
        (JUST_UNDER, MEMORY[1]),
        (1024 * GIB, MEMORY[1]),
    ] {
        let image = Full { size, memory };
        let own = BitmapSource::Own;
        let tries: [&dyn Fn(u64) -> ::convert::Result<Plan>; 2] = [
            &|bytes| {
                let options = PlanOptions {
                    memory: Some(bytes),
                    ..on(2, 0)
                };
                plan_stream(&image, Concurrency::Auto, options)
            },
            &|bytes| {
                let options = PlanOptions {
                    memory: Some(bytes),
                    ..on(2, 0)
                };
                plan_parts(&image, &own, Concurrency::Auto, options, false)
            },
        ];
        for plan in tries {
            let refused = plan(1 << 20).unwrap_err();
            let Some(::convert::Hint::GiveMemory(bytes)) = refused.hint() else {
                panic!("{refused:?}");
            };
            plan(bytes).unwrap();
        }
    }
}

fn on(threads: usize, reserved: u64) -> PlanOptions {
    PlanOptions {
        threads: Some(threads),
        reserved_memory: reserved,
        ..PlanOptions::default()
    }
}

/// Every plan of a disk: converted to a file, imported, imported raw; against a cloud and with the
/// sandbox in this process.
fn plans(image: &Full, threads: usize) -> Vec<(String, Plan)> {
    let mut plans = Vec::new();
    for target in Target::ALL {
        let plan = ::convert::plan(image, target, &on(threads, 0)).unwrap();
        plans.push((format!("convert to {target}"), plan));
    }
    for reserved in [0, ::sandbox::most_memory()] {
        for concurrency in [Concurrency::Auto, Concurrency::Fixed(64)] {
            let options = || on(threads, reserved);
            let zvhd2 = plan_stream(image, concurrency, options()).unwrap();
            let raw = plan_parts(image, &BitmapSource::Own, concurrency, options(), false);
            plans.push((format!("import, {reserved} reserved"), zvhd2));
            plans.push((format!("import raw, {reserved} reserved"), raw.unwrap()));
        }
    }
    plans
}

/// The note that says which memory would let all threads work.
fn named(plan: &Plan) -> Option<u64> {
    let note = plan
        .notes
        .iter()
        .find(|note| note.contains("threads fit"))?;
    let (_, named) = note.split_once("all of them need ")?;
    let (mib, _) = named.split_once(" MiB")?;
    Some(mib.parse::<u64>().unwrap() * MIB)
}

/// Promise: at defaults the printed bound of a disk under 64 GiB is at most 256 MiB, however many
/// cores there are, and the plan says what more memory would bring.
#[test]
fn the_bound_of_a_disk_under_64_gib_is_at_most_256_mib_on_any_number_of_cores() {
    for (size, memory) in [
        (JUST_UNDER, MEMORY[0]),
        (JUST_UNDER, MEMORY[1]),
        (4 * GIB, MEMORY[0]),
    ] {
        let image = Full { size, memory };
        for threads in [1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 1024] {
            for (what, plan) in plans(&image, threads) {
                let of = format!("{what}, {size} bytes, {threads} threads: {plan}");
                assert!(plan.memory.total() <= 256 * MIB, "{of}");
                assert_eq!(plan.memory.budget, 256 * MIB, "{of}");
                if plan.threads < threads {
                    assert!(named(&plan).unwrap() > 256 * MIB, "{of}");
                }
                if plan.memory.sink > 0 {
                    assert!(plan.memory.sink >= BUSY, "{of}");
                }
            }
        }
    }
}

#[test]
fn the_memory_that_a_plan_names_lets_all_threads_work() {
    let image = Full {
        size: JUST_UNDER,
        memory: MEMORY[1],
    };
    for threads in [17, 65, 129] {
        let options = on(threads, ::sandbox::most_memory());
        let limited = plan_stream(&image, Concurrency::Auto, options.clone()).unwrap();
        assert!(limited.threads < threads, "{limited}");
        let more = PlanOptions {
            memory: named(&limited),
            ..options
        };
        let lifted = plan_stream(&image, Concurrency::Auto, more).unwrap();
        assert_eq!(lifted.threads, threads, "{lifted}");
    }
}

#[test]
fn a_disk_whose_parts_do_not_fit_gets_twice_the_budget_and_is_told_so() {
    let image = Full {
        size: 1024 * GIB,
        memory: MEMORY[1],
    };
    for (what, plan) in plans(&image, 65) {
        let of = format!("{what}: {plan}");
        if plan.memory.sink == 0 {
            assert_eq!(plan.memory.budget, 256 * MIB, "{of}");
            continue;
        }
        assert_eq!(plan.memory.budget, LARGE_MEMORY, "{of}");
        assert!(plan.memory.total() <= LARGE_MEMORY, "{of}");
        assert!(plan.notes[0].contains(" instead of 256 MiB"), "{of}");
    }
    // What was asked for is kept to.
    let options = PlanOptions {
        memory: Some(256 * MIB),
        ..on(3, 0)
    };
    let refused = plan_stream(&image, Concurrency::Auto, options).unwrap_err();
    assert_eq!(Failure::from(refused).class(), Class::Refused);
}

#[test]
fn parts_keep_to_256_mib_with_the_program_unless_the_object_needs_more() {
    let gib = 1 << 30;
    assert_eq!(memory_of_parts(gib) + PROGRAM_MEMORY, DEFAULT_MEMORY);
    assert_eq!(memory_of_parts(63 * gib) + PROGRAM_MEMORY, DEFAULT_MEMORY);
    assert_eq!(memory_of_parts(u64::MAX) + PROGRAM_MEMORY, LARGE_MEMORY);
    assert!(memory_of_parts(u64::MAX) >= obs::UploadOptions::least_memory(u64::MAX));
}

#[test]
fn the_table_and_the_hashes_of_a_based_import_are_in_its_bound() {
    for size in [JUST_UNDER, 1024 * GIB] {
        let image = Full {
            size,
            memory: MEMORY[0],
        };
        let based = plan_based(&image, Concurrency::Auto, on(2, 5)).unwrap();
        // 64 bytes for each block of the table; 36 for a hash and 32 for a run, in lists that have
        // grown.
        let blocks = size.div_ceil(2 * MIB);
        let held = blocks * (64 + 2 * (36 + 32));
        assert_eq!(based.memory.reserved, 5 + held, "{based}");
        assert!(based.memory.total() <= based.memory.budget, "{based}");
    }
}
