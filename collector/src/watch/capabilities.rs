//! The rows of a session's matrix beyond the probes that always stand: what is read now and then, and what is
//! attached when a policy asks for it.

use super::exact::ExactWindows;
use super::kernel::KernelClasses;
use super::readers::Readers;
use crate::linux;
use crate::linux::bpf::Program;
use crate::linux::{GoTarget, ProbePlan};
use heaptide_policy::Sources;
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};

/// A policy that sets the rate at the start turns sampling on in a program that has it off.
pub(super) fn sampled_at(rows: &mut [Capability], rate_bytes: Option<u64>) {
    let Some(rate_bytes) = rate_bytes.filter(|rate| *rate > 0) else {
        return;
    };
    for row in rows {
        let is_ours =
            row.class == EventClass::Allocation && row.source.contains(Program::ProfileAlloc.symbol());
        if is_ours && matches!(row.state, CapabilityState::Off { .. }) {
            row.state = CapabilityState::Limited {
                why: linux::SEEN_FROM_ATTACH.to_owned(),
            };
            row.method = Method::Sampled { rate_bytes };
        }
    }
}

/// What they would be for a program that is not watched yet, under the policy that a watch starts with.
pub(crate) fn on_demand(
    go: &GoTarget,
    plan: &ProbePlan,
    pid: u32,
    rate_bytes: Option<u64>,
) -> Vec<Capability> {
    let kernel = KernelClasses::new(pid, go.sites(&Program::GC_WORK), plan.goroutines.clone());
    // The object isn't needed to tell where it would go.
    let exact = ExactWindows::new(Some(&[]), go);
    let mut rows: Vec<Capability> = Readers::all(go, rate_bytes).capabilities().collect();
    rows.extend(kernel.capabilities(&Sources::default()));
    rows.push(exact.capability());
    rows
}
