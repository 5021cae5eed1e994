//! Where the probes of a window go.

use heaptide_ebpf_abi::ExactControl;
use heaptide_symbols::GoBinary;

use crate::linux::bpf::{ProbePoint, Program};

/// From 1.22 on, objects with pointers above this size carry a header
/// (`runtime.minSizeForMallocHeader`, 64 words).
const HEADER_ABOVE_BYTES: u64 = 512;
const FIRST_MINOR_WITH_HEADERS: u32 = 22;

/// The sites of a window in one binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactPlan {
    /// The allocators.
    pub sites: Vec<ProbePoint>,
    /// Where Go takes a sample; without it there is no test of the sampling phase.
    pub sample_site: Option<ProbePoint>,
    pub(super) header_above_bytes: u64,
    pub(super) at_stack_check: bool,
}

impl ExactPlan {
    /// The plan, or why there can be none: with one allocator missing, a count of all would be no such count.
    pub fn find<B: AsRef<[u8]>>(binary: &GoBinary<B>) -> Result<Self, String> {
        let names = binary.allocators();
        if names.is_empty() {
            return Err("this binary has no runtime.mallocgc".to_owned());
        }
        let point = |program, name: &str| {
            let site = binary.probe_site(name).map_err(|error| error.to_string())?;
            if site.instruction.is_emulated() {
                Ok(ProbePoint {
                    program,
                    file_offset: site.file_offset,
                    instruction: site.instruction,
                })
            } else {
                Err(format!("the kernel would single-step each call of {name}"))
            }
        };
        let sites = names.iter().map(|name| point(Program::ExactAlloc, name));
        let has_headers = binary
            .go_version()
            .is_some_and(|version| version.minor >= FIRST_MINOR_WITH_HEADERS);
        let sites = sites.collect::<Result<Vec<_>, String>>()?;
        let at_stack_check = sites.iter().any(|site| site.instruction.is_conditional());
        // One answer holds for all of them.
        let is_like_them = |site: &ProbePoint| site.instruction.is_conditional() == at_stack_check;
        if !sites.iter().all(is_like_them) {
            return Err("some of the allocators' sites are on stack checks and others are not".to_owned());
        }
        Ok(Self {
            sites,
            sample_site: point(Program::ExactSample, Program::ExactSample.symbol())
                .ok()
                .filter(is_like_them),
            at_stack_check,
            header_above_bytes: if has_headers { HEADER_ABOVE_BYTES } else { u64::MAX },
        })
    }

    pub(super) const fn control(&self, is_on: bool) -> ExactControl {
        ExactControl {
            on: is_on as u64,
            header_above_bytes: self.header_above_bytes,
            at_stack_check: self.at_stack_check as u64,
        }
    }
}
