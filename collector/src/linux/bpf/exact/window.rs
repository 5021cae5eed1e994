//! A window from beginning to end, as a thread of its own runs it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{ExactOptions, ExactPlan, ExactReadout, ExactSession, PhaseBins};
use crate::linux::bpf::{BpfError, ProbeSource};
use crate::linux::{monotonic_ns, own_cpu_ns};

/// What a hit costs the program, on the careful side. Measured on Linux 6.18 and Go 1.27.3 on two busy virtual
/// CPUs: 2.0 µs with 8 frames, 2.6 to 3.4 µs with 40 (`cargo xtask bench -- exact`), half of it the breakpoint.
const COST_PER_HIT_NS: u64 = 3_500;
/// Between two looks at cost, time and the ring of samples.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A burst may use up what a whole second is allowed.
const BURST_NS: u64 = 1_000_000_000;

/// What is asked of a window.
#[derive(Debug, Clone)]
pub struct WindowSpec {
    /// The process's.
    pub source: ProbeSource,
    pub plan: ExactPlan,
    pub length_ns: u64,
    /// Thousandths of a core that the program may lose.
    pub max_cost_permille: u64,
    /// The window begins and ends with a tick, so that it can be compared with what ticks hold.
    pub tick_ns: u64,
    /// Go's sampling rate; 0 if it takes no samples.
    pub rate_bytes: u64,
    pub options: ExactOptions,
}

/// Why a window ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactStop {
    Time,
    Cost,
    Asked,
}

/// A window that is over.
#[derive(Debug, Clone)]
pub struct EndOfWindow {
    pub from_ns: u64,
    pub to_ns: u64,
    pub stopped_by: ExactStop,
    pub probes: u32,
    pub readout: ExactReadout,
    /// What the runtime counted meanwhile, if it can be asked.
    pub runtime_objects: Option<u64>,
    /// `None` where Go takes no samples, or some were lost.
    pub phase: Option<PhaseBins>,
}

/// Attaches, counts, detaches and reads. `runtime_objects` says how many objects Go's runtime has allocated so
/// far, by its own statistics; it is asked when the window opens and closes. Ends early when `stop` says something or its sender is gone.
///
/// # Errors
///
/// Those of [`ExactSession`]. Whatever happens, nothing stays attached.
pub fn run_window(
    object: &[u8],
    spec: &WindowSpec,
    runtime_objects: &dyn Fn() -> Option<u64>,
    stop: &Receiver<()>,
) -> Result<EndOfWindow, BpfError> {
    let with_samples = spec.rate_bytes > 0;
    let mut session = ExactSession::attach(object, &spec.source, &spec.plan, with_samples, &spec.options)?;
    let mut phase = PhaseBins::new(spec.rate_bytes);
    let until_tick_ns = spec.tick_ns - monotonic_ns() % spec.tick_ns.max(1);
    let mut is_called_off = wait(stop, Duration::from_nanos(until_tick_ns));
    let own_before_ns = own_cpu_ns();
    let from_ns = monotonic_ns();
    session.open()?;
    let objects_before = runtime_objects();
    let stopped_by = loop {
        let elapsed_ns = monotonic_ns().saturating_sub(from_ns);
        let left_ns = spec.length_ns.saturating_sub(elapsed_ns);
        session.drain_samples(&mut phase);
        let cost_ns = session.counts()?.seen * COST_PER_HIT_NS + own_cpu_ns().saturating_sub(own_before_ns);
        if is_called_off {
            break ExactStop::Asked;
        }
        if left_ns == 0 {
            break ExactStop::Time;
        }
        if cost_ns > elapsed_ns.max(BURST_NS) / 1000 * spec.max_cost_permille {
            break ExactStop::Cost;
        }
        is_called_off = wait(stop, LOOK_EVERY.min(Duration::from_nanos(left_ns)));
    };
    let objects_after = runtime_objects();
    session.close()?;
    let to_ns = monotonic_ns();
    let probes = session.probes() as u32;
    session.detach();
    session.drain_samples(&mut phase);
    session.drain_threads(&mut phase)?;
    let readout = session.read()?;
    let lost = readout.counts.samples_lost + readout.counts.threads_lost;
    Ok(EndOfWindow {
        from_ns,
        to_ns,
        stopped_by,
        probes,
        readout,
        runtime_objects: objects_after
            .zip(objects_before)
            .map(|(after, before)| after.saturating_sub(before)),
        phase: (with_samples && spec.plan.sample_site.is_some() && lost == 0).then_some(phase),
    })
}

/// Whether it was called off meanwhile.
fn wait(stop: &Receiver<()>, time: Duration) -> bool {
    !matches!(stop.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}
