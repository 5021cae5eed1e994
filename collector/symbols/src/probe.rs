//! Where to put a uprobe in Go code, and what that instruction costs.
//!
//! An ordinary Go function begins with a stack check that jumps to
//! `runtime.morestack`, which grows the stack and enters the function again. A probe
//! at the entry counts such calls twice and sees the stack before the frame exists;
//! a probe behind the check, at `PUSHQ BP`, sees each call once, with the argument
//! registers and R14 (the goroutine) intact. The kernel emulates PUSH, NOP and CALL
//! in a uprobe, and jumps; anything else is single-stepped, which costs some 20 to 50
//! times as much (Linux `arch/x86/kernel/uprobes.c`, `branch_setup_xol_ops` and
//! `push_setup_xol_ops`).
//!
//! Before Go 1.21 a frame begins with `SUBQ $n, SP`, which would be single-stepped. There
//! the probe stands on the check's own jump, and a hit counts only if the jump is not
//! taken: if neither the carry nor the zero flag is set ([`ProbeInstruction::is_conditional`]).
//! At a PUSH behind a check both flags are clear, so that one test serves both.
//!
//! Prologues: `cmd/internal/obj/x86/obj6.go`, `stacksplit`.

use crate::bytes::{slice, tail, u8_at};

/// Where to put a uprobe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSite {
    /// Address as the file has it.
    pub vaddr: u64,
    /// Offset in the file: what `perf_event_open` and uprobe attach calls take.
    pub file_offset: u64,
    /// Bytes from the function's entry.
    pub offset_in_function: u64,
    /// What stands there.
    pub instruction: ProbeInstruction,
}

/// What stands at a probe site, and so how dear a hit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeInstruction {
    /// `PUSHQ BP` (55): emulated.
    Push,
    /// One-byte NOP (90): emulated.
    Nop,
    /// Five-byte NOP (0f 1f 44 00 00): emulated; newer kernels (6.18) patch it into a call.
    Nop5,
    /// CALL with a 32-bit displacement (e8): emulated.
    CallRel32,
    /// JLS (also called JBE) to `morestack`, with 8 bits (76) or 32 bits (0f 86): emulated, and
    /// hit whether it is taken or not.
    JumpToMorestack {
        /// 32 bits.
        near: bool,
    },
    /// Anything else: the kernel single-steps it. Refuse or warn.
    SingleStepped,
}

impl ProbeInstruction {
    /// True if the kernel needs no single step.
    pub fn is_emulated(self) -> bool {
        self != Self::SingleStepped
    }

    /// True if a hit is a call of the function only where the carry and the zero flag are clear;
    /// otherwise the stack is about to grow, and the function to be entered again.
    pub fn is_conditional(self) -> bool {
        matches!(self, Self::JumpToMorestack { .. })
    }

    fn at(code: &[u8]) -> Self {
        match code {
            [0x55, ..] => Self::Push,
            [0x90, ..] => Self::Nop,
            [0x0f, 0x1f, 0x44, 0x00, 0x00, ..] => Self::Nop5,
            [0xe8, _, _, _, _, ..] => Self::CallRel32,
            _ => Self::SingleStepped,
        }
    }
}

/// Offset of the site in a function's code, and what is there. Functions without a
/// stack check (nosplit) are probed at their entry.
pub(crate) fn site_in(code: &[u8]) -> (u64, ProbeInstruction) {
    let check = stack_check(code);
    let offset = check.map_or(0, |check| check.end);
    let instruction = tail(code, offset).map_or(ProbeInstruction::SingleStepped, ProbeInstruction::at);
    match check {
        Some(check) if !instruction.is_emulated() => {
            let near = check.end - check.jump > SHORT_JUMP_BYTES;
            (check.jump, ProbeInstruction::JumpToMorestack { near })
        }
        _ => (offset, instruction),
    }
}

/// True if the code checks its stack against the goroutine in R14, as ABIInternal
/// code does; ABI0 code takes the goroutine from thread-local storage.
pub(crate) fn is_abi_internal(code: &[u8]) -> bool {
    stack_check(code).is_some()
}

const SHORT_JUMP_BYTES: u64 = 2;
const NEAR_JUMP_BYTES: u64 = 6;

/// Where a stack check's jump is, and what follows it.
#[derive(Debug, Clone, Copy)]
struct StackCheck {
    jump: u64,
    end: u64,
}

fn stack_check(code: &[u8]) -> Option<StackCheck> {
    // Where the comparison is, and whether it compares R12 instead of SP.
    let (compare_at, with_r12) = match code {
        // LEAQ -n(SP), R12 with 8 or 32 bits
        [0x4c, 0x8d, 0x64, 0x24, ..] => (5, true),
        [0x4c, 0x8d, 0xa4, 0x24, ..] => (8, true),
        // MOVQ SP, R12; SUBQ $n, R12; JCS morestack: frames that may wrap around
        [0x49, 0x89, 0xe4, 0x49, 0x81, 0xec, _, _, _, _, jump @ ..] => match jump {
            [0x72, ..] => (12, true),
            [0x0f, 0x82, ..] => (16, true),
            _ => return None,
        },
        _ => (0, false),
    };
    // CMPQ SP (or R12), 16(R14), or 24(R14) in functions that run on the system stack.
    let expected = [if with_r12 { 0x4d } else { 0x49 }, 0x3b, 0x66];
    if slice(code, compare_at, 3)? != expected || !matches!(u8_at(code, compare_at + 3)?, 0x10 | 0x18) {
        return None;
    }
    // JLS morestack, short or near.
    let jump = compare_at + 4;
    let jump_bytes = match tail(code, jump)? {
        [0x76, _, ..] => SHORT_JUMP_BYTES,
        [0x0f, 0x86, _, _, _, _, ..] => NEAR_JUMP_BYTES,
        _ => return None,
    };
    Some(StackCheck {
        jump,
        end: jump + jump_bytes,
    })
}

/// Offset of the first CALL in `code`, which lies at `vaddr`, to one of `targets`.
///
/// Every byte is tried as an opcode: that four bytes inside another instruction spell
/// the distance to just that function has a chance of 1 in 4 thousand million.
pub(crate) fn call_in(code: &[u8], vaddr: u64, targets: &[u64]) -> Option<u64> {
    code.windows(5).enumerate().find_map(|(at, window)| {
        let (0xe8, distance) = (window[0], window[1..].first_chunk()?) else {
            return None;
        };
        let next = vaddr.checked_add(at as u64 + 5)?;
        let target = next.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance)));
        targets.contains(&target).then_some(at as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_of_prologues() {
        use ProbeInstruction::{CallRel32, JumpToMorestack, Nop, Nop5, Push, SingleStepped};
        for (what, code, expect) in [
            (
                "small frame",
                &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55][..],
                (6, Push),
            ),
            (
                "near jump",
                &[0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2, 0, 0, 0x55],
                (10, Push),
            ),
            (
                "system stack",
                &[0x49, 0x3b, 0x66, 0x18, 0x0f, 0x86, 1, 2, 0, 0, 0x55],
                (10, Push),
            ),
            (
                "large frame",
                &[
                    0x4c, 0x8d, 0x64, 0x24, 0xd0, 0x4d, 0x3b, 0x66, 0x10, 0x76, 9, 0x55,
                ],
                (11, Push),
            ),
            (
                "larger frame",
                &[
                    0x4c, 0x8d, 0xa4, 0x24, 0, 0xff, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2, 0,
                    0, 0x55,
                ],
                (18, Push),
            ),
            (
                "huge frame",
                &[
                    0x49, 0x89, 0xe4, 0x49, 0x81, 0xec, 0, 0, 1, 0, 0x72, 7, 0x4d, 0x3b, 0x66, 0x10, 0x76, 9,
                    0x55,
                ],
                (18, Push),
            ),
            ("nosplit", &[0x55, 0x48, 0x89, 0xe5], (0, Push)),
            ("nosplit leaf", &[0x48, 0x89, 0xc1], (0, SingleStepped)),
            ("nop", &[0x90], (0, Nop)),
            ("nop5", &[0x0f, 0x1f, 0x44, 0, 0], (0, Nop5)),
            ("call", &[0xe8, 0, 0, 0, 0], (0, CallRel32)),
            (
                "check, then no push",
                &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x48],
                (4, JumpToMorestack { near: false }),
            ),
            (
                "go1.20: near jump, SUBQ",
                &[
                    0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0x9c, 0, 0, 0, 0x48, 0x83, 0xec, 0x30,
                ],
                (4, JumpToMorestack { near: true }),
            ),
            (
                "go1.20: larger frame",
                &[
                    0x4c, 0x8d, 0xa4, 0x24, 0xd0, 0xfe, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2,
                    0, 0, 0x48, 0x81, 0xec,
                ],
                (12, JumpToMorestack { near: true }),
            ),
            ("cut off in the check", &[0x49, 0x3b, 0x66], (0, SingleStepped)),
            (
                "cut off after the check",
                &[0x49, 0x3b, 0x66, 0x10, 0x76, 0x20],
                (4, JumpToMorestack { near: false }),
            ),
            (
                "R12 not set",
                &[0x4d, 0x3b, 0x66, 0x10, 0x76, 9, 0x55],
                (0, SingleStepped),
            ),
            ("empty", &[], (0, SingleStepped)),
        ] {
            assert_eq!(site_in(code), expect, "{what}");
        }
    }

    #[test]
    fn calls() {
        // call +0x10; call -0x0a (back to 0x1000)
        let code = [0xe8, 0x10, 0, 0, 0, 0xe8, 0xf6, 0xff, 0xff, 0xff];
        for (targets, expect) in [
            (&[0x1015][..], Some(0)),
            (&[0x1000], Some(5)),
            (&[0x2000, 0x1000], Some(5)),
            (&[0x2000], None),
            (&[], None),
        ] {
            assert_eq!(call_in(&code, 0x1000, targets), expect, "{targets:x?}");
        }
    }
}
