//! Byte offsets inside the Go runtime's structures, per minor version, amd64 Linux.
//!
//! Source: DWARF of binaries built with go1.19.8, 1.21.13, 1.22.10, 1.23.9, 1.24.11, 1.25.5,
//! 1.26.6 and 1.27.3, and for 1.20, whose toolchain no package registry carries, the source of
//! 1.20.6 laid out by `go/types`, seen to be so in a live esbuild 0.19.4 (go1.20.7): `m.curg` leads
//! back to the goroutine, `m.procid` is the thread (types `runtime.g`, `m`, `p`, `gobuf`, `special`); the test
//! `offsets_equal_dwarf` reads it again. Special kinds: `runtime/mheap.go`,
//! `_KindSpecialProfile`. Patch releases have not moved these fields so far; a probe
//! should still check, e.g. that `m.curg.m` leads back to `m`.

use crate::version::GoVersion;

/// Offsets in bytes from the start of each structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeOffsets {
    /// `g.stack.lo`: lowest address of the goroutine's stack.
    pub g_stack_lo: u32,
    /// `g.stack.hi`: one past the highest.
    pub g_stack_hi: u32,
    /// `g.stackguard0`.
    pub g_stackguard0: u32,
    /// `g.m`: the thread that runs it, or nil.
    pub g_m: u32,
    /// `g.sched.sp`: where a goroutine that does not run continues.
    pub g_sched_sp: u32,
    /// `g.sched.pc`.
    pub g_sched_pc: u32,
    /// `g.sched.bp`.
    pub g_sched_bp: u32,
    /// Whether a goroutine in a system call has its frame pointer there (`save` in `runtime/proc.go`, from 1.23
    /// on); otherwise there is that of an earlier switch, and means nothing.
    pub syscall_saves_bp: bool,
    /// `g.atomicstatus`, u32.
    pub g_atomicstatus: u32,
    /// `g.goid`, u64.
    pub g_goid: u32,
    /// `g.waitreason`, u8.
    pub g_waitreason: u32,
    /// `g.parentGoid`, u64; 0 before Go 1.21, which has no such field.
    pub g_parent_goid: u32,
    /// `g.gopc`: pc of the go statement.
    pub g_gopc: u32,
    /// `g.startpc`: entry of the goroutine's function.
    pub g_startpc: u32,
    /// `m.g0`: the goroutine of the scheduler stack.
    pub m_g0: u32,
    /// `m.procid`: the kernel's thread id, u64.
    pub m_procid: u32,
    /// `m.gsignal`: the goroutine of the signal stack.
    pub m_gsignal: u32,
    /// `m.curg`: the user goroutine, also while g0 runs.
    pub m_curg: u32,
    /// `m.p`: the processor it holds, or nil.
    pub m_p: u32,
    /// `m.id`, i64.
    pub m_id: u32,
    /// `p.id`, i32.
    pub p_id: u32,
    /// `p.mcache`.
    pub p_mcache: u32,
    /// `special.kind`, u8.
    pub special_kind: u32,
    /// Value of `special.kind` for a sampled allocation (`_KindSpecialProfile`).
    pub kind_special_profile: u8,
}

/// Before 1.21 a goroutine didn't know its parent, and had three more words before `gopc`.
const GO_1_19: RuntimeOffsets = RuntimeOffsets {
    g_parent_goid: 0,
    g_gopc: 296,
    g_startpc: 312,
    ..GO_1_21
};

const GO_1_21: RuntimeOffsets = RuntimeOffsets {
    g_stack_lo: 0,
    g_stack_hi: 8,
    g_stackguard0: 16,
    g_m: 48,
    g_sched_sp: 56,
    g_sched_pc: 64,
    g_sched_bp: 104,
    syscall_saves_bp: false,
    g_atomicstatus: 144,
    g_goid: 152,
    g_waitreason: 176,
    g_parent_goid: 272,
    g_gopc: 280,
    g_startpc: 296,
    m_g0: 0,
    m_procid: 72,
    m_gsignal: 80,
    m_curg: 192,
    m_p: 208,
    m_id: 232,
    p_id: 0,
    p_mcache: 64,
    special_kind: 10,
    kind_special_profile: 2,
};

const GO_1_23: RuntimeOffsets = RuntimeOffsets {
    syscall_saves_bp: true,
    g_atomicstatus: 152,
    g_goid: 160,
    g_waitreason: 184,
    g_parent_goid: 280,
    g_gopc: 288,
    g_startpc: 304,
    p_mcache: 56,
    kind_special_profile: 3,
    ..GO_1_21
};

/// `special.offset` grew from 2 to 8 bytes.
const GO_1_24: RuntimeOffsets = RuntimeOffsets {
    special_kind: 16,
    ..GO_1_23
};

/// `gobuf.ret` went away, so `g` is laid out as in 1.21 behind it.
const GO_1_25: RuntimeOffsets = RuntimeOffsets {
    g_sched_bp: 96,
    g_atomicstatus: 144,
    g_goid: 152,
    g_waitreason: 176,
    g_parent_goid: 272,
    g_gopc: 280,
    g_startpc: 296,
    m_procid: 64,
    m_gsignal: 72,
    m_curg: 184,
    m_p: 200,
    m_id: 224,
    kind_special_profile: 4,
    ..GO_1_24
};

const GO_1_26: RuntimeOffsets = RuntimeOffsets {
    g_parent_goid: 280,
    g_gopc: 288,
    g_startpc: 304,
    m_p: 208,
    m_id: 232,
    ..GO_1_25
};

impl RuntimeOffsets {
    /// The offsets for a version; `None` outside the table.
    pub fn of(version: &GoVersion) -> Option<&'static Self> {
        if version.major != 1 {
            return None;
        }
        Some(match version.minor {
            19 | 20 => &GO_1_19,
            21 | 22 => &GO_1_21,
            23 => &GO_1_23,
            24 => &GO_1_24,
            25 => &GO_1_25,
            26 | 27 => &GO_1_26,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{NEWEST_MINOR, OLDEST_MINOR};

    #[test]
    fn the_table_covers_just_the_supported_range() {
        for minor in 0..60 {
            let version = GoVersion {
                text: String::new(),
                major: 1,
                minor,
            };
            let supported = (OLDEST_MINOR..=NEWEST_MINOR).contains(&minor);
            assert_eq!(RuntimeOffsets::of(&version).is_some(), supported, "1.{minor}");
            assert_eq!(version.is_supported(), supported, "1.{minor}");
        }
    }
}
