//! One memory budget for all disks: each runs inside a grant, and grants are given in the order of
//! asking.

use std::sync::Arc;

use convert::{PROGRAM_MEMORY, PlanOptions};
use diskimg::units::{MIB, human};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use cloud::{Class, Failure, Hint, Result};

/// What the batch itself holds for each disk of the manifest: plans, outcomes, lines of its report.
const BYTES_PER_ITEM: u64 = 64 << 10;

/// The budget, and how it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// Everything.
    pub(crate) total: u64,
    /// Of that the program, the batch's own tables, and a sandbox in this process.
    pub(crate) fixed: u64,
    /// What one disk gets that could use more.
    pub(crate) share: u64,
    grants: Arc<Semaphore>,
}

impl Budget {
    /// `total` bytes for `items` disks, of which `converts` are converted at the same time.
    /// `reserved` is held by something else in this process.
    ///
    /// # Errors
    /// `Refused` when nothing is left for disks.
    pub(crate) fn new(total: u64, items: usize, converts: usize, reserved: u64) -> Result<Self> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let fixed = PROGRAM_MEMORY
            .saturating_add(BYTES_PER_ITEM.saturating_mul(count(items)))
            .saturating_add(reserved);
        let left = total.saturating_sub(fixed) / MIB;
        if left == 0 {
            return Err(Failure::new(
                Class::Refused,
                format!(
                    "the memory limit is {}, but the program alone needs {}",
                    human(total),
                    human(fixed)
                ),
            )
            .hint(Hint::RaiseMemory));
        }
        // One more than are converted: the last parts of one are on their way while the next
        // begins.
        let share = left / count(converts).saturating_add(1).max(1);
        let permits = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS)
            .min(usize::try_from(u32::MAX).unwrap_or(usize::MAX));
        Ok(Self {
            total,
            fixed,
            share: share.saturating_mul(MIB),
            grants: Arc::new(Semaphore::new(permits)),
        })
    }

    /// What disks may have together.
    pub(crate) fn for_disks(&self) -> u64 {
        self.total.saturating_sub(self.fixed) / MIB * MIB
    }

    /// The budgets in which a disk may be planned: its share, and more where that is not enough.
    pub(crate) fn tries(&self) -> impl Iterator<Item = u64> + use<> {
        let most = self.for_disks();
        let first = self.share.min(most).max(MIB);
        std::iter::successors(Some(first), move |tried| {
            (*tried < most).then(|| tried.saturating_mul(2).min(most))
        })
    }

    /// The options of a plan inside `bytes`: what the process needs by itself is counted here.
    pub(crate) fn options(bytes: u64, work: &PlanOptions) -> PlanOptions {
        PlanOptions {
            memory: Some(bytes),
            reserved_memory: 0,
            program_memory: 0,
            ..work.clone()
        }
    }

    /// Waits for `bytes`. Requests are served in order, so that a large one is never starved.
    pub(crate) async fn grant(&self, bytes: u64) -> Grant {
        let pieces = u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX);
        let grants = Arc::clone(&self.grants);
        Grant {
            // It is never closed, and a plan never asks for more than there is.
            permit: grants.acquire_many_owned(pieces).await.ok(),
        }
    }
}

/// Memory that a disk may use; it goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    permit: Option<OwnedSemaphorePermit>,
}

impl Grant {
    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let keep = usize::try_from(bytes.div_ceil(MIB)).unwrap_or(usize::MAX);
        if let Some(permit) = &mut self.permit {
            let more = permit.num_permits().saturating_sub(keep);
            drop(permit.split(more));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(mib: u64) -> Budget {
        Budget::new(PROGRAM_MEMORY + mib * MIB, 0, 3, 0).unwrap()
    }

    #[test]
    fn shares_leave_room_for_one_that_is_ending() {
        let budget = budget(400);
        assert_eq!(budget.share, 100 * MIB);
        let tries: Vec<u64> = budget.tries().map(|bytes| bytes / MIB).collect();
        assert_eq!(tries, [100, 200, 400]);
        assert!(Budget::new(PROGRAM_MEMORY, 0, 1, 0).is_err());
    }

    #[tokio::test]
    async fn a_huge_disk_is_not_starved_by_small_ones_that_ask_later() {
        let budget = budget(100);
        let first = budget.grant(60 * MIB).await;
        let huge = tokio::spawn({
            let budget = budget.clone();
            async move { budget.grant(100 * MIB).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let small = tokio::spawn({
            let budget = budget.clone();
            async move { budget.grant(MIB).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!huge.is_finished() && !small.is_finished());
        drop(first);
        let mut huge = huge.await.unwrap();
        assert!(!small.is_finished());
        // And a small one runs beside it as soon as it needs less.
        huge.shrink_to(90 * MIB);
        small.await.unwrap();
    }
}
