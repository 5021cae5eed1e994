//! Which stretches of a session a viewer was told in steps, and how wide they are.

use crate::session::push_bounded;
use crate::views::Window;

const MAX_STRETCHES: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Stepped {
    /// Frames up to here are told in steps, so that gaps between them are none.
    to_seq: u64,
    step_ns: u64,
    /// How many frames steps stand for.
    pub(crate) frames: u64,
    /// One entry for each stretch, with the width of its steps.
    stretches: Vec<(Window, u64)>,
    begins: bool,
    /// The ticks of the last lifetime table and of the one before.
    table_ticks: [u32; 2],
}

impl Stepped {
    pub(crate) fn begin(&mut self, to_seq: u64, step_ns: u64, frames: u64) {
        (self.to_seq, self.step_ns, self.begins) = (to_seq, step_ns, true);
        self.frames += frames;
    }

    /// Whether a frame of this number, if it comes now, is a step.
    pub(crate) fn has(&self, seq: u64) -> bool {
        seq <= self.to_seq
    }

    /// The time of a step.
    pub(crate) fn note(&mut self, time: Window) {
        let begins = std::mem::take(&mut self.begins);
        match self.stretches.last_mut() {
            Some((window, _)) if !begins => {
                window.from_ns = window.from_ns.min(time.from_ns);
                window.to_ns = window.to_ns.max(time.to_ns);
            }
            _ => push_bounded(&mut self.stretches, (time, self.step_ns), MAX_STRETCHES),
        }
    }

    /// Behind this, each frame was told; 0 if all were.
    pub(crate) fn until_ns(&self) -> u64 {
        self.stretches.last().map_or(0, |(window, _)| window.to_ns)
    }

    pub(crate) fn widest_in(&self, window: Window) -> u64 {
        let touches = |of: &Window| of.from_ns < window.to_ns && window.from_ns < of.to_ns;
        let steps = self.stretches.iter().filter(|(of, _)| touches(of));
        steps.map(|(_, step_ns)| *step_ns).max().unwrap_or(0)
    }

    /// A table of this tick came: the tick of the tables before.
    pub(crate) fn reach(&mut self, tick: u32) -> u32 {
        let [before, newest] = &mut self.table_ticks;
        if tick > *newest {
            (*before, *newest) = (*newest, tick);
        }
        *before
    }

    /// Two ticks become one.
    pub(crate) fn coarsen(&mut self) {
        self.table_ticks = self.table_ticks.map(|tick| tick / 2);
    }
}
