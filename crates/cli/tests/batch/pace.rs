//! What all disks of a batch share.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testkit::faults::Op;

use crate::common::fleet::{Fleet, World, report_of, states};
use crate::common::run;

/// Four disks of 2 MiB at 4 MiB a second are on the line for two seconds. If each of them had the
/// whole rate, it would be half a second, because all are sent at the same time.
#[test]
fn a_limit_on_bytes_per_second_is_one_for_all_disks_of_a_batch() {
    #[derive(Default)]
    struct Seen {
        first_part: Option<Instant>,
        last_complete: Option<Instant>,
        at_the_same_time: u32,
    }
    let world = World::new();
    let fleet = Fleet::raw(4, 2);
    let seen = Arc::<Mutex<Seen>>::default();
    world.proxy.script({
        let seen = Arc::clone(&seen);
        move |request| {
            let (mut seen, now) = (seen.lock().unwrap(), Instant::now());
            match request.op {
                Op::UploadPart => {
                    seen.first_part.get_or_insert(now);
                    seen.at_the_same_time = seen.at_the_same_time.max(request.in_flight);
                }
                Op::CompleteUpload => seen.last_complete = Some(now),
                _ => {}
            }
            None
        }
    });
    let ran = run(world.batch("run", &fleet, "state").args([
        "--json",
        "--converts",
        "4",
        "--limit-rate",
        "4MiB",
    ]));
    assert_eq!(states(&report_of(ran.success()))["active"], 4);
    let seen = seen.lock().unwrap();
    let took = seen.last_complete.unwrap() - seen.first_part.unwrap();
    // Noise does not shrink. A limit may be ahead of its time by a blink, once.
    let least = Duration::from_secs(2) - Duration::from_millis(100);
    assert!(took >= least, "{took:?}");
    assert_eq!(seen.at_the_same_time, 4);
}
