//! Waiting for a condition. The limit only turns a hang into a failure; nothing is measured against it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// For conditions that nobody announces, such as a word in another process.
const LOOK_EVERY: Duration = Duration::from_millis(20);

static NEWS: Condvar = Condvar::new();
static COUNT: Mutex<u64> = Mutex::new(0);

/// Something arrived that a test may be waiting for.
pub(crate) fn news() {
    *lock(&COUNT) += 1;
    NEWS.notify_all();
}

/// Waits until `check` has a value. `Err` says what is there instead, for the message of a failure.
///
/// # Panics
/// When a minute has passed.
pub fn until<T, E: std::fmt::Display>(what: &str, mut check: impl FnMut() -> Result<T, E>) -> T {
    let begin = Instant::now();
    loop {
        let seen = *lock(&COUNT);
        match check() {
            Ok(value) => return value,
            Err(instead) => assert!(
                begin.elapsed() < PATIENCE,
                "waited {} s for {what}; last seen: {instead}",
                PATIENCE.as_secs()
            ),
        }
        let guard = lock(&COUNT);
        drop(NEWS.wait_timeout_while(guard, LOOK_EVERY, |count| *count == seen));
    }
}

/// As [`until`], for a condition that is true or not.
///
/// # Panics
/// When a minute has passed.
pub fn soon(what: &str, mut check: impl FnMut() -> bool) {
    until(what, || check().then_some(()).ok_or("not yet"));
}

/// Lets a program run for a while, so that there is something to look at afterwards.
pub fn let_run(time: Duration) {
    let begin = Instant::now();
    while let Some(left) = time.checked_sub(begin.elapsed()) {
        let guard = lock(&COUNT);
        drop(NEWS.wait_timeout(guard, left));
    }
}

/// A test that failed while it held a lock must not hide why.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
