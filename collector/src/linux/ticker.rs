//! Wakes at the end of each tick, and only then. A runtime's own timer wakes several times on the way to a moment
//! 100 ms ahead, which is a good part of what a quiet collector costs.

use super::sys::readable;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(crate) struct Ticker {
    timer: AsyncFd<OwnedFd>,
}

impl Ticker {
    /// Ticks end at multiples of `tick_ns` of the monotonic clock.
    pub(crate) fn new(tick_ns: u64, now_ns: u64) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let tick_ns = tick_ns.max(1);
        let times = Itimerspec {
            it_interval: timespec(tick_ns),
            it_value: timespec(now_ns - now_ns % tick_ns + tick_ns),
        };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &times)?;
        Ok(Self {
            timer: readable(timer)?,
        })
    }

    /// The next end of a tick; those that were missed are one.
    pub(crate) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            // Reading says how often it rang, and makes it quiet.
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?)) {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}

fn timespec(ns: u64) -> Timespec {
    const SECOND_NS: u64 = 1_000_000_000;
    Timespec {
        tv_sec: (ns / SECOND_NS) as i64,
        tv_nsec: (ns % SECOND_NS) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::monotonic_ns;

    #[tokio::test]
    async fn it_wakes_behind_each_end_of_a_tick_and_not_before() {
        const TICK_NS: u64 = 20_000_000;
        let begin_ns = monotonic_ns();
        let ticker = Ticker::new(TICK_NS, begin_ns).unwrap();
        let mut last = begin_ns / TICK_NS;
        for _ in 0..5 {
            ticker.tick().await.unwrap();
            let now = monotonic_ns() / TICK_NS;
            assert!(now > last, "{now} after {last}");
            last = now;
        }
    }
}
