//! What a test costs, apart from what else the machine is doing.

use std::time::Duration;

/// How long a test waits before it says that something hangs. Far more than any machine needs, so
/// that a busy one does not fail: a test that is to show a speed counts steps, requests or
/// [`cpu_time`] instead.
pub const HANG: Duration = Duration::from_secs(60);

/// Processor time that the calling thread has used so far. Unlike the wall clock it does not run
/// while others have the processor, so that a limit on it can be strict.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Most address space that the process has had so far, in bytes: also what was allocated and never
/// touched. Zero where the system does not say.
#[must_use]
pub fn peak_address_space() -> u64 {
    status("VmPeak:")
}

/// Address space that the process has now, in bytes. Zero where the system does not say.
#[must_use]
pub fn address_space() -> u64 {
    status("VmSize:")
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_processor_time_and_sleep_does_not() {
        let start = cpu_time();
        assert!(start > Duration::ZERO, "limits on nothing hold always");
        std::thread::sleep(Duration::from_millis(200));
        let slept = cpu_time() - start;
        assert!(slept < Duration::from_millis(100), "{slept:?}");
        let mut sum = 0_u64;
        while cpu_time() - start < Duration::from_millis(120) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
        let before = peak_address_space();
        drop(std::hint::black_box(vec![0_u8; 512 << 20]));
        assert!(peak_address_space() >= before.max(512 << 20));
    }
}
