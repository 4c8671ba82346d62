//! Random mixes of faults, by seed.

use std::time::Duration;

use super::fault::Fault;
use super::seen::{Op, Seen};

/// Which faults a client is expected to get over by itself.
const PASSING: &[fn() -> Fault] = &[
    Fault::internal_error,
    Fault::slow_down,
    Fault::too_many,
    || Fault::answer(504, ""),
    || Fault::answer(400, "RequestTimeout"),
    || Fault::ResetBefore,
    || Fault::ResetInBody,
    || Fault::ResetAfter,
    || Fault::TruncatedAnswer,
    || Fault::LostAnswer,
    || Fault::WrongEtag,
    || Fault::DamagedBody,
    Fault::error_in_200,
    || Fault::Slow(Duration::from_millis(5)),
];

/// Which faults may end a run, or cost it a time limit.
const HARD: &[fn() -> Fault] = &[
    Fault::redirect,
    Fault::expired_token,
    Fault::clock_skew,
    || Fault::answer(403, "AccessDenied"),
    || Fault::Stall,
    || Fault::StallAfter,
    || Fault::StallInAnswer,
    || Fault::StallInBody,
];

/// A script of random faults that pass: each attempt fails with a probability of `percent`, but no
/// request fails more than `most` times. The same `seed` and the same order of requests give the
/// same faults.
///
/// Beginning an upload and completing it get the faults that fit them: wrong ETags are for parts
/// only.
pub fn mix(seed: u64, percent: u32, most: u32) -> impl FnMut(&Seen) -> Option<Fault> + Send {
    let mut random = fastrand::Rng::with_seed(seed);
    move |seen| {
        if seen.attempt > most || random.u32(0..100) >= percent {
            return None;
        }
        pick(&mut random, PASSING).filter(|fault| fits(fault, seen))
    }
}

/// A script of any faults, without mercy: each attempt fails with a probability of `percent`,
/// however often, and one in four of these with a fault that ends the run or stalls it. What a
/// client can promise then is an error that says what happened, and a state that another run can go
/// on from.
pub fn wild(seed: u64, percent: u32) -> impl FnMut(&Seen) -> Option<Fault> + Send {
    let mut random = fastrand::Rng::with_seed(seed);
    move |seen| {
        if random.u32(0..100) >= percent {
            return None;
        }
        let faults = if random.u8(0..4) == 0 { HARD } else { PASSING };
        pick(&mut random, faults).filter(|fault| fits(fault, seen))
    }
}

fn pick(random: &mut fastrand::Rng, faults: &[fn() -> Fault]) -> Option<Fault> {
    faults
        .get(random.usize(0..faults.len()))
        .map(|fault| fault())
}

fn fits(fault: &Fault, seen: &Seen) -> bool {
    match (fault, seen.op) {
        // Nothing can tell that other answers, or other bodies over http, are wrong.
        (Fault::WrongEtag | Fault::DamagedBody, op) => op == Op::UploadPart,
        // A HEAD has no body that could say so.
        (Fault::Answer { status: 200, .. }, op) => {
            matches!(op, Op::CompleteUpload | Op::CopyPart)
        }
        (Fault::Answer { code, .. }, Op::HeadObject | Op::HeadBucket) => *code != "RequestTimeout",
        _ => true,
    }
}
