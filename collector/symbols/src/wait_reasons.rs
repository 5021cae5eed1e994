//! What Go calls the reasons for which a goroutine waits (`g.waitreason`).
//!
//! The numbers move between versions, so there is a table for each layout. Source:
//! `runtime/runtime2.go`, `waitReasonStrings`, of go1.21.13, 1.22.10, 1.23.9, 1.24.11,
//! 1.25.5, 1.26.6 and 1.27.3; the test `wait_reasons_equal_the_source` reads it again.

use crate::version::GoVersion;

/// Go's own words for `g.waitreason`; empty for 0 and in versions outside the table.
pub fn wait_reason(version: &GoVersion, number: u8) -> &'static str {
    if version.major != 1 {
        return "";
    }
    let table: &[&str] = match version.minor {
        // Each of these only added to the end of the one before.
        21 => &UP_TO_1_23[..32],
        22 => &UP_TO_1_23[..37],
        23 => &UP_TO_1_23,
        24 => &GO_1_24,
        25 => &GO_1_25,
        26 | 27 => &GO_1_26,
        _ => return "",
    };
    table
        .get(usize::from(number))
        .copied()
        .unwrap_or("unknown wait reason")
}

/// Go 1.23; 1.22 has the first 37 of them, 1.21 the first 32.
const UP_TO_1_23: [&str; 38] = [
    "",
    "GC assist marking",
    "IO wait",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "dumping heap",
    "garbage collection",
    "garbage collection scan",
    "panicwait",
    "select",
    "select (no cases)",
    "GC assist wait",
    "GC sweep wait",
    "GC scavenge wait",
    "chan receive",
    "chan send",
    "finalizer wait",
    "force gc (idle)",
    "semacquire",
    "sleep",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.RLock",
    "sync.RWMutex.Lock",
    "trace reader (blocked)",
    "wait for GC cycle",
    "GC worker (idle)",
    "GC worker (active)",
    "preempted",
    "debug call",
    "GC mark termination",
    "stopping the world",
    "flushing proc caches",
    "trace goroutine status",
    "trace proc status",
    "page trace flush",
    "coroutine",
    "GC weak to strong wait",
];

/// `sync.WaitGroup.Wait` came in between, and testing/synctest.
const GO_1_24: [&str; 44] = [
    "",
    "GC assist marking",
    "IO wait",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "dumping heap",
    "garbage collection",
    "garbage collection scan",
    "panicwait",
    "select",
    "select (no cases)",
    "GC assist wait",
    "GC sweep wait",
    "GC scavenge wait",
    "chan receive",
    "chan send",
    "finalizer wait",
    "force gc (idle)",
    "semacquire",
    "sleep",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.RLock",
    "sync.RWMutex.Lock",
    "sync.WaitGroup.Wait",
    "trace reader (blocked)",
    "wait for GC cycle",
    "GC worker (idle)",
    "GC worker (active)",
    "preempted",
    "debug call",
    "GC mark termination",
    "stopping the world",
    "flushing proc caches",
    "trace goroutine status",
    "trace proc status",
    "page trace flush",
    "coroutine",
    "GC weak to strong wait",
    "synctest.Run",
    "synctest.Wait",
    "chan receive (synctest)",
    "chan send (synctest)",
    "select (synctest)",
];

/// `GOMAXPROCS updater (idle)` came in between.
const GO_1_25: [&str; 47] = [
    "",
    "GC assist marking",
    "IO wait",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "dumping heap",
    "garbage collection",
    "garbage collection scan",
    "panicwait",
    "select",
    "select (no cases)",
    "GC assist wait",
    "GC sweep wait",
    "GC scavenge wait",
    "chan receive",
    "chan send",
    "finalizer wait",
    "force gc (idle)",
    "GOMAXPROCS updater (idle)",
    "semacquire",
    "sleep",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.RLock",
    "sync.RWMutex.Lock",
    "sync.WaitGroup.Wait",
    "trace reader (blocked)",
    "wait for GC cycle",
    "GC worker (idle)",
    "GC worker (active)",
    "preempted",
    "debug call",
    "GC mark termination",
    "stopping the world",
    "flushing proc caches",
    "trace goroutine status",
    "trace proc status",
    "page trace flush",
    "coroutine",
    "GC weak to strong wait",
    "synctest.Run",
    "synctest.Wait",
    "chan receive (durable)",
    "chan send (durable)",
    "select (durable)",
    "sync.WaitGroup.Wait (durable)",
    "cleanup wait",
];

/// Put in a new order: what the leak detector looks at lies together. Go 1.27 has the same.
const GO_1_26: [&str; 47] = [
    "",
    "GC assist marking",
    "IO wait",
    "dumping heap",
    "garbage collection",
    "garbage collection scan",
    "panicwait",
    "GC assist wait",
    "GC sweep wait",
    "GC scavenge wait",
    "finalizer wait",
    "force gc (idle)",
    "GOMAXPROCS updater (idle)",
    "semacquire",
    "sleep",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "select (no cases)",
    "select",
    "chan receive",
    "chan send",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.RLock",
    "sync.RWMutex.Lock",
    "sync.WaitGroup.Wait",
    "trace reader (blocked)",
    "wait for GC cycle",
    "GC worker (idle)",
    "GC worker (active)",
    "preempted",
    "debug call",
    "GC mark termination",
    "stopping the world",
    "flushing proc caches",
    "trace goroutine status",
    "trace proc status",
    "page trace flush",
    "coroutine",
    "GC weak to strong wait",
    "synctest.Run",
    "synctest.Wait",
    "chan receive (durable)",
    "chan send (durable)",
    "select (durable)",
    "sync.WaitGroup.Wait (durable)",
    "cleanup wait",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_means_different_things() {
        for (version, number, expected) in [
            ("go1.21.13", 14, "chan receive"),
            ("go1.21.13", 31, "stopping the world"),
            ("go1.21.13", 32, "unknown wait reason"),
            ("go1.22.10", 36, "coroutine"),
            ("go1.24.11", 24, "sync.WaitGroup.Wait"),
            ("go1.25.5", 18, "GOMAXPROCS updater (idle)"),
            ("go1.26.6", 18, "select"),
            ("go1.27.3", 19, "chan receive"),
            ("go1.27.3", 0, ""),
            ("go1.27.3", 255, "unknown wait reason"),
            ("go1.99", 1, ""),
        ] {
            let version = GoVersion::parse(version).unwrap();
            assert_eq!(wait_reason(&version, number), expected, "{version:?} {number}");
        }
    }
}
