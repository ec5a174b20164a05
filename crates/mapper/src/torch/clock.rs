//! Time that this process has spent on devices: benchmarks report it apart from the work of the cores between passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// Seconds that the passes of this process have taken on devices so far: from handing over the factors until A is back in the machine's
/// memory, copies included. Sums over ranks in between count, too.
#[must_use]
pub fn device_seconds() -> f64 {
    NANOSECONDS.load(Ordering::Relaxed) as f64 * 1e-9
}

/// Counts the time of `work`, at whose end the device must be done.
pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let done = work();
    let spent = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    NANOSECONDS.fetch_add(spent, Ordering::Relaxed);
    done
}
