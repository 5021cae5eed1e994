//! Exact windows as the policy asks for them: one at a time, in a thread of its own, and its result as a
//! section.

use super::WatchEvent;
use super::attach::Target;
use crate::linux::GoTarget;
use crate::linux::bpf::{
    BpfError, EndOfWindow, ExactOptions, ExactPlan, ExactRowRead, ExactStop, WindowSpec, run_window,
};
use crate::linux::memory::heap_stats;
use crate::linux::memory::layout::HeapLayout;
use crate::pipeline::Pipeline;
use heaptide_policy::{ExactRequest, Policy};
use heaptide_protocol::StackId;
use heaptide_protocol::exact::{ExactEnd, ExactRow, ExactWindow, SamplingPhase};
use heaptide_protocol::section::Section;
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};
use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A section must fit a frame with room to spare; beyond it the smallest rows are left out, and counted.
const MAX_SECTION_ROWS: usize = 4_096;
/// Of types that the program made while it ran.
const MADE_BY_REFLECT: &str = "(type made at run time)";

/// What came of a window, or why there was none.
type Outcome = Result<EndOfWindow, BpfError>;

#[derive(Debug)]
pub(super) struct ExactWindows {
    object: &'static [u8],
    plan: Result<ExactPlan, String>,
    /// The newest that was begun.
    begun_number: Option<u32>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    request: ExactRequest,
    /// Dropped, it ends the window.
    stop: Option<Sender<()>>,
    thread: JoinHandle<Outcome>,
    rate_bytes: u64,
    /// The rate changed meanwhile, so that nobody can say what the distances should be.
    rate_changed: bool,
}

impl ExactWindows {
    /// Without an object nothing is probed.
    pub(super) fn new(object: Option<&'static [u8]>, go: &GoTarget) -> Self {
        Self {
            object: object.unwrap_or_default(),
            plan: match object {
                Some(_) => ExactPlan::find(go.binary()),
                None => Err("nothing is probed in this session".to_owned()),
            },
            begun_number: None,
            running: None,
        }
    }

    /// Whether there can be a window, and if not, why.
    pub(super) fn available(&self) -> Result<(), &str> {
        self.plan.as_ref().map(|_| ()).map_err(String::as_str)
    }

    /// The row of the matrix.
    pub(super) fn capability(&self) -> Capability {
        Capability {
            class: EventClass::Allocation,
            source: "uprobes on Go's allocators, for some seconds".to_owned(),
            method: Method::Exact,
            state: match &self.plan {
                Ok(_) => CapabilityState::Off {
                    why: "a policy opens a window: every allocation is counted, and costs 1 to 3 µs more"
                        .to_owned(),
                },
                Err(why) => CapabilityState::Unavailable {
                    why: why.clone(),
                    remedy: "report this binary's Go version".to_owned(),
                },
            },
        }
    }

    /// Begins what the policy asks for and takes in what has ended; at every tick.
    pub(super) fn follow(
        &mut self,
        policy: &Policy,
        target: &mut Target,
        pipeline: &mut Pipeline,
        tell: &mut dyn FnMut(WatchEvent),
    ) -> Option<Section> {
        let rate_bytes = pipeline.rate_bytes();
        if let Some(running) = &mut self.running {
            running.rate_changed |= running.rate_bytes != rate_bytes;
            if policy.exact != Some(running.request) {
                running.stop = None;
            }
            if !running.thread.is_finished() {
                return None;
            }
        }
        let ended = self
            .running
            .take()
            .and_then(|ended| section(ended, &mut target.go, pipeline, tell));
        if let Some(request) = policy.exact
            && self.begun_number != Some(request.number)
        {
            self.begun_number = Some(request.number);
            self.begin(request, policy, rate_bytes, target, tell);
        }
        ended
    }

    /// Ends the window that is open, if one is, and waits for its probes to be off.
    pub(super) fn finish(
        &mut self,
        target: &mut Target,
        pipeline: &mut Pipeline,
        tell: &mut dyn FnMut(WatchEvent),
    ) -> Option<Section> {
        let mut running = self.running.take()?;
        running.stop = None;
        section(running, &mut target.go, pipeline, tell)
    }

    fn begin(
        &mut self,
        request: ExactRequest,
        policy: &Policy,
        rate_bytes: u64,
        target: &Target,
        tell: &mut dyn FnMut(WatchEvent),
    ) {
        let plan = match &self.plan {
            Ok(plan) => plan.clone(),
            Err(why) => return failed(tell, why),
        };
        let spec = WindowSpec {
            source: target.source.clone(),
            plan,
            length_ns: u64::from(request.seconds) * 1_000_000_000,
            max_cost_permille: u64::from(request.max_cost_permille),
            tick_ns: u64::from(policy.tick_ms) * 1_000_000,
            rate_bytes,
            options: ExactOptions::default(),
        };
        let object = self.object;
        let runtime_objects = runtime_objects(target);
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("exact window".to_owned())
            .spawn(move || run_window(object, &spec, &*runtime_objects, &stopped));
        match thread {
            Ok(thread) => {
                self.running = Some(Running {
                    request,
                    stop: Some(stop),
                    thread,
                    rate_bytes,
                    rate_changed: false,
                });
            }
            Err(error) => failed(tell, &error.to_string()),
        }
    }
}

/// Says how many objects Go's runtime has allocated so far, by its own statistics in the process's memory.
type RuntimeObjects = Box<dyn Fn() -> Option<u64> + Send>;

fn runtime_objects(target: &Target) -> RuntimeObjects {
    let layout = HeapLayout::of(&target.go).ok();
    let process = target.process.try_clone().ok();
    Box::new(move || heap_stats::runtime_objects(process.as_ref()?, layout.as_ref()?))
}

fn failed(tell: &mut dyn FnMut(WatchEvent), why: &str) {
    tell(WatchEvent::Warning {
        message: format!("exact window: {why}"),
    });
}

fn section(
    running: Running,
    go: &mut GoTarget,
    pipeline: &mut Pipeline,
    tell: &mut dyn FnMut(WatchEvent),
) -> Option<Section> {
    let Running {
        request,
        thread,
        rate_changed,
        ..
    } = running;
    let ended = match thread.join() {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => {
            failed(tell, &error.to_string());
            return None;
        }
        Err(_) => {
            failed(tell, "its thread broke off");
            return None;
        }
    };
    let window = assemble(request.number, &ended, rate_changed, go, pipeline);
    tell(WatchEvent::ExactWindow {
        number: window.number,
        objects: window.objects,
        bytes: window.bytes,
        length_ns: window.to_ns.saturating_sub(window.from_ns),
        ended_by: window.ended_by,
    });
    Some(Section::Exact(window))
}

fn assemble(
    number: u32,
    ended: &EndOfWindow,
    rate_changed: bool,
    go: &mut GoTarget,
    pipeline: &mut Pipeline,
) -> ExactWindow {
    let counts = ended.readout.counts;
    let sum = |of: fn(&ExactRowRead) -> u64| ended.readout.rows.iter().map(of).sum::<u64>();
    let (objects, bytes) = (sum(|row| row.objects), sum(|row| row.bytes));
    let (rows, left_out) = named(&ended.readout.rows, go, pipeline);
    let phase = ended.phase.as_ref().filter(|_| !rate_changed);
    ExactWindow {
        number,
        from_ns: ended.from_ns,
        to_ns: ended.to_ns,
        ended_by: match ended.stopped_by {
            ExactStop::Time => ExactEnd::Time,
            ExactStop::Cost => ExactEnd::Cost,
            ExactStop::Asked => ExactEnd::Stopped,
        },
        probes: ended.probes,
        objects: objects + counts.unrowed_objects,
        bytes: bytes + counts.unrowed_bytes,
        objects_without_row: counts.unrowed_objects + left_out,
        runtime_objects: ended.runtime_objects,
        rows,
        phase: phase
            .and_then(|phase| phase.counts())
            .map(|(rate_bytes, bins, bytes)| SamplingPhase {
                rate_bytes,
                bins: bins.to_vec(),
                bytes,
            }),
    }
}

/// Rows with ids and names, the largest first, and how many objects are in rows beyond the limit.
fn named(read: &[ExactRowRead], go: &mut GoTarget, pipeline: &mut Pipeline) -> (Vec<ExactRow>, u64) {
    // Types of one name are one type to a reader.
    let mut merged: HashMap<(Option<StackId>, String, u32), (u64, u64)> = HashMap::new();
    let mut largest: Vec<&ExactRowRead> = read.iter().collect();
    largest.sort_unstable_by_key(|row| std::cmp::Reverse((row.bytes, row.objects)));
    let mut left_out = 0;
    for row in largest {
        let type_name = type_name(row.type_address, go);
        // No stack gets an id that no row will need.
        let stack = if merged.len() < MAX_SECTION_ROWS {
            pipeline.intern_read(&row.pcs, go)
        } else {
            left_out += row.objects;
            continue;
        };
        let entry = merged.entry((stack, type_name, row.class_bytes)).or_default();
        entry.0 += row.objects;
        entry.1 += row.bytes;
    }
    let mut rows: Vec<ExactRow> = merged
        .into_iter()
        .map(|((stack, type_name, class_bytes), (objects, bytes))| ExactRow {
            stack,
            type_name,
            class_bytes,
            objects,
            bytes,
        })
        .collect();
    rows.sort_unstable_by(|a, b| {
        let key = |row: &ExactRow| (std::cmp::Reverse(row.bytes), row.stack, row.class_bytes);
        key(a).cmp(&key(b)).then_with(|| a.type_name.cmp(&b.type_name))
    });
    (rows, left_out)
}

fn type_name(address: u64, go: &GoTarget) -> String {
    if address == 0 {
        return String::new();
    }
    go.binary()
        .type_name(go.unrelocated_data(address))
        .map_or_else(|| MADE_BY_REFLECT.to_owned(), std::borrow::Cow::into_owned)
}
