//! The one place that reads the wall clock.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970; 0 on a machine whose clock stands before that.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// The same as it was at the first call, with what has passed since: a clock that is set in between must not
/// make anything old.
pub(crate) fn steady_unix_ns() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, unix_ns) = START.get_or_init(|| (Instant::now(), unix_ns()));
    unix_ns.saturating_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
