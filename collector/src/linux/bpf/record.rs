//! From the bytes of a record to its fields, without copying the stack and without trust: any bytes give
//! either a record or an error.

use heaptide_ebpf_abi::{
    GcWork, Goroutine, Header, HugePage, MAX_STACK_FRAMES, Mapping, PageFault, RecordKind, Registers,
    SampledAlloc, SampledFree, SyscallKind, Wait, flags,
};

/// A record of the ring buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When and where.
    pub at: At,
    /// What happened.
    pub what: What<'a>,
}

/// When and where something happened. Ids are those of the collector's pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub ts_ns: u64,
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// CPU.
    pub cpu: u16,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum What<'a> {
    /// Go's heap profiler sampled an allocation (`runtime.profilealloc`).
    SampledAlloc {
        /// Goroutine; `None` if it could not be read or there was none.
        goid: Option<u64>,
        /// Address of the object.
        addr: u64,
        /// Its size as asked for.
        size_bytes: u64,
        /// Who allocated; the first frame is `profilealloc` itself.
        stack: Stack<'a>,
    },
    /// The sweeper freed a sampled object (`runtime.freeSpecial`); the time of the sweep, not of death.
    SampledFree {
        /// Address of the object.
        addr: u64,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// A GC cycle began (`(*gcControllerState).startCycle`).
    GcCycleStart {
        /// When marking began, on the clock of [`At::ts_ns`].
        mark_start_ns: u64,
        /// `GOMAXPROCS`.
        procs: u64,
        /// 0 heap size, 1 time, 2 asked for by the program.
        trigger: u8,
    },
    /// Marking is over (`gcMarkTermination`).
    GcMarkTermination,
    /// Somebody starts to stop the world (`stopTheWorldWithSema`).
    StwBegin {
        /// `runtime.stwReason` of this Go version (1.21 on; before that whatever the register held).
        reason: u8,
    },
    /// The world is about to start (`startTheWorldWithSema`, at its entry).
    StwEnd {
        /// The caller's idea of now, `None` if it had none (1.22 on).
        now_ns: Option<u64>,
        /// `runtime.stwReason` (1.22 on).
        reason: u8,
    },
    /// The world runs (the `CALL wakep` in `startTheWorldWithSema`).
    StwEndWakep,
    /// A mapping system call returned; [`At::ts_ns`] is the time of return.
    Mapping {
        /// The call and its arguments.
        call: MappingCall,
        /// Time of entry.
        enter_ns: u64,
        /// What it returned: an address, 0, or a negative errno.
        result: i64,
        /// Who called; the first frame is at the system call.
        stack: Stack<'a>,
    },
    /// A page was touched that was not there, or not like that.
    PageFault {
        /// Address that was touched.
        addr: u64,
        /// The processor's error code.
        error_code: u64,
        /// Faults that it stands for.
        one_in: u64,
        /// Who touched it; the first frame is the instruction. The caller of a function without a frame is
        /// missing.
        stack: Stack<'a>,
    },
    /// The kernel tried to put a huge page in the place of small ones.
    HugePage {
        /// Where; `None` if not known.
        addr: Option<u64>,
        /// Whether there is one now.
        succeeded: bool,
        /// The thread of the process that asked for it with `MADV_COLLAPSE`, if one did.
        stack: Option<Stack<'a>>,
    },
    /// A goroutine marked because it allocated; [`At::ts_ns`] is the end.
    GcAssist {
        /// Goroutine; `None` if it could not be read.
        goid: Option<u64>,
        /// When it began.
        begin_ns: u64,
        /// Who allocated.
        stack: Stack<'a>,
    },
    /// A goroutine swept a span because it wanted to allocate; [`At::ts_ns`] is the end.
    GcSweep {
        /// Goroutine; `None` if it could not be read.
        goid: Option<u64>,
        /// When it began.
        begin_ns: u64,
        /// Who allocated.
        stack: Stack<'a>,
    },
    /// A thread was runnable and waited for a processor until [`At::ts_ns`].
    Wait {
        /// When it began.
        begin_ns: u64,
    },
    /// A goroutine was created and is about to be made runnable (`newproc`).
    GoroutineCreated {
        /// The new one; `None` if its id could not be read.
        goid: Option<u64>,
        /// The return address into the creator (`g.gopc`).
        creator_pc: u64,
        /// Size of its stack in bytes.
        stack_bytes: u64,
        /// From `newproc.func1` over `newproc` to the creator.
        stack: Stack<'a>,
    },
    /// A goroutine ends (`gdestroy`, `goexit0`).
    GoroutineExited {
        /// Which one.
        goid: Option<u64>,
        /// Size of its stack in bytes.
        stack_bytes: u64,
    },
    /// A goroutine's stack is about to be copied to a larger or smaller one (`copystack`).
    StackCopied {
        /// Which one.
        goid: Option<u64>,
        /// Where it stands: when its stack grows, in the function that had no room.
        pc: u64,
        /// Bytes of its stack so far.
        old_bytes: u64,
        /// Bytes of the next one.
        new_bytes: u64,
    },
}

/// A mapping system call with its arguments, named as in the manual pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingCall {
    #[expect(missing_docs, reason = "named as in mmap(2)")]
    Mmap {
        addr: u64,
        len: u64,
        prot: u32,
        flags: u32,
        fd: i32,
        offset: u64,
    },
    #[expect(missing_docs, reason = "named as in munmap(2)")]
    Munmap { addr: u64, len: u64 },
    #[expect(missing_docs, reason = "named as in mremap(2)")]
    Mremap {
        old_addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: u64,
    },
    #[expect(missing_docs, reason = "named as in madvise(2)")]
    Madvise { addr: u64, len: u64, advice: i32 },
    #[expect(missing_docs, reason = "named as in brk(2)")]
    Brk { addr: u64 },
}

/// Program counters, innermost first, borrowed from the ring buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack<'a> {
    frames: &'a [u8],
    caller_pc: u64,
    flags: u16,
}

#[cfg(test)]
impl<'a> Stack<'a> {
    /// A stack as the ring buffer would hold it: eight bytes a frame.
    pub(crate) fn of_bytes(frames: &'a [u8]) -> Self {
        Self {
            frames,
            caller_pc: 0,
            flags: 0,
        }
    }
}

impl Stack<'_> {
    /// The program counters as the kernel walked them, innermost first. All but the first are return
    /// addresses: look up `pc - 1`.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = u64> {
        self.frames
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// The same with the immediate caller put in at the second place, should the kernel have left it out:
    /// the probe stands before the function's frame is built, and kernels before about 6.11 walk frames only.
    pub fn frames_with_caller(&self) -> impl Iterator<Item = u64> {
        let mut frames = self.frames();
        let first = frames.next();
        let mut rest = frames.peekable();
        let known = self.caller_pc == 0 || rest.peek() == Some(&self.caller_pc);
        let caller = if known { None } else { Some(self.caller_pc) };
        first.into_iter().chain(caller).chain(rest)
    }

    /// The word at the stack pointer: the return address if the function had no frame yet, 0 if unreadable.
    #[must_use]
    pub fn caller_pc(&self) -> u64 {
        self.caller_pc
    }

    /// Whether there may have been more frames than fit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.flags & flags::STACK_TRUNCATED != 0
    }

    /// Whether the kernel gave no stack.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.flags & flags::STACK_FAILED != 0
    }
}

/// Why bytes are no record. The object and its reader come from different builds, or memory is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AbiError {
    /// Fewer bytes than the fixed part and the stack need.
    #[error("record of {got_bytes} bytes, expected at least {expected_bytes}")]
    TooShort {
        /// Needed.
        expected_bytes: usize,
        /// There.
        got_bytes: usize,
    },
    /// No record has this kind.
    #[error("unknown record kind {kind}: rebuild the eBPF object and the collector together")]
    UnknownKind {
        /// As found.
        kind: u16,
    },
    /// No system call has this number.
    #[error("unknown mapping call {call}: rebuild the eBPF object and the collector together")]
    UnknownCall {
        /// As found.
        call: u32,
    },
    /// More frames than a stack can have.
    #[error("stack of {frames} frames, expected at most {MAX_STACK_FRAMES}")]
    StackTooLong {
        /// As found.
        frames: u16,
    },
}

/// Decodes one record. Bytes after the stack are ignored.
///
/// # Errors
///
/// [`AbiError`] if the bytes are no record.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, AbiError> {
    let head = bytes
        .first_chunk::<{ size_of::<Header>() }>()
        .ok_or(AbiError::TooShort {
            expected_bytes: size_of::<Header>(),
            got_bytes: bytes.len(),
        })?;
    let mut fields = Fields(head);
    let kind = fields.u16();
    let flags = fields.u16();
    let stack_frames = fields.u16();
    let cpu = fields.u16();
    let at = At {
        ts_ns: fields.u64(),
        tgid: fields.u32(),
        tid: fields.u32(),
        cpu,
    };

    let kind = RecordKind::from_u16(kind).ok_or(AbiError::UnknownKind { kind })?;
    if usize::from(stack_frames) > MAX_STACK_FRAMES {
        return Err(AbiError::StackTooLong { frames: stack_frames });
    }
    let fixed_bytes = match kind {
        RecordKind::SampledAlloc => size_of::<SampledAlloc>(),
        RecordKind::SampledFree => size_of::<SampledFree>(),
        RecordKind::Mapping => size_of::<Mapping>(),
        RecordKind::PageFault => size_of::<PageFault>(),
        RecordKind::HugePage => size_of::<HugePage>(),
        RecordKind::GcAssist | RecordKind::GcSweep => size_of::<GcWork>(),
        RecordKind::Wait => size_of::<Wait>(),
        RecordKind::GoroutineCreated | RecordKind::GoroutineExited | RecordKind::StackCopied => {
            size_of::<Goroutine>()
        }
        _ => size_of::<Registers>(),
    };
    let expected_bytes = fixed_bytes + usize::from(stack_frames) * 8;
    let (Some(fixed), Some(frames)) = (
        bytes.get(size_of::<Header>()..fixed_bytes),
        bytes.get(fixed_bytes..expected_bytes),
    ) else {
        return Err(AbiError::TooShort {
            expected_bytes,
            got_bytes: bytes.len(),
        });
    };
    let mut fields = Fields(fixed);
    let stack = |caller_pc| Stack {
        frames,
        caller_pc,
        flags,
    };

    let what = match kind {
        RecordKind::SampledAlloc => {
            let goid = fields.u64();
            What::SampledAlloc {
                goid: (goid != 0 && flags & flags::GOID_UNKNOWN == 0).then_some(goid),
                addr: fields.u64(),
                size_bytes: fields.u64(),
                stack: stack(fields.u64()),
            }
        }
        RecordKind::SampledFree => What::SampledFree {
            addr: fields.u64(),
            size_bytes: fields.u64(),
        },
        RecordKind::GcCycleStart => {
            let [_, mark_start_ns, procs, trigger] = fields.words();
            What::GcCycleStart {
                mark_start_ns,
                procs,
                trigger: trigger as u8,
            }
        }
        RecordKind::GcMarkTermination => What::GcMarkTermination,
        RecordKind::StwBegin => What::StwBegin {
            reason: fields.u64() as u8,
        },
        RecordKind::StwEnd => {
            let now_ns = fields.u64();
            What::StwEnd {
                now_ns: (now_ns != 0).then_some(now_ns),
                reason: fields.u64() as u8,
            }
        }
        RecordKind::StwEndWakep => What::StwEndWakep,
        RecordKind::Mapping => {
            let call = fields.u32();
            let kind = SyscallKind::from_u32(call).ok_or(AbiError::UnknownCall { call })?;
            let _reserved = fields.u32();
            let enter_ns = fields.u64();
            let args = fields.words();
            let result = fields.u64().cast_signed();
            What::Mapping {
                call: mapping_call(kind, args),
                enter_ns,
                result,
                stack: stack(fields.u64()),
            }
        }
        RecordKind::PageFault => What::PageFault {
            addr: fields.u64(),
            error_code: fields.u64(),
            one_in: fields.u64(),
            stack: stack(0),
        },
        RecordKind::HugePage => {
            let addr = fields.u64();
            let _status = fields.u32();
            What::HugePage {
                addr: (addr != 0).then_some(addr),
                succeeded: fields.u32() != 0,
                stack: (at.tid != 0).then(|| stack(0)),
            }
        }
        RecordKind::GcAssist | RecordKind::GcSweep => {
            let goid = fields.u64();
            let goid = (goid != 0 && flags & flags::GOID_UNKNOWN == 0).then_some(goid);
            let begin_ns = fields.u64();
            let stack = stack(0);
            if kind == RecordKind::GcAssist {
                What::GcAssist {
                    goid,
                    begin_ns,
                    stack,
                }
            } else {
                What::GcSweep {
                    goid,
                    begin_ns,
                    stack,
                }
            }
        }
        RecordKind::Wait => What::Wait {
            begin_ns: fields.u64(),
        },
        RecordKind::GoroutineCreated | RecordKind::GoroutineExited | RecordKind::StackCopied => {
            let [goid, pc, stack_bytes, new_bytes] = fields.words();
            let goid = (goid != 0 && flags & flags::GOID_UNKNOWN == 0).then_some(goid);
            match kind {
                RecordKind::GoroutineCreated => What::GoroutineCreated {
                    goid,
                    creator_pc: pc,
                    stack_bytes,
                    stack: stack(0),
                },
                RecordKind::StackCopied => What::StackCopied {
                    goid,
                    pc,
                    old_bytes: stack_bytes,
                    new_bytes,
                },
                _ => What::GoroutineExited { goid, stack_bytes },
            }
        }
    };
    Ok(Record { at, what })
}

fn mapping_call(kind: SyscallKind, args: [u64; 6]) -> MappingCall {
    let [a, b, c, d, e, f] = args;
    match kind {
        SyscallKind::Mmap => MappingCall::Mmap {
            addr: a,
            len: b,
            prot: c as u32,
            flags: d as u32,
            fd: e as i32,
            offset: f,
        },
        SyscallKind::Munmap => MappingCall::Munmap { addr: a, len: b },
        SyscallKind::Mremap => MappingCall::Mremap {
            old_addr: a,
            old_len: b,
            new_len: c,
            flags: d as u32,
            new_addr: e,
        },
        SyscallKind::Madvise => MappingCall::Madvise {
            addr: a,
            len: b,
            advice: c as i32,
        },
        SyscallKind::Brk => MappingCall::Brk { addr: a },
    }
}

/// Reads fields one after the other; `decode` has checked that they are there, and zero stands for a field
/// that is not, so that a mistake here can't panic.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (value, rest) = self.0.split_first_chunk::<N>().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *value
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn words<const N: usize>(&mut self) -> [u64; N] {
        std::array::from_fn(|_| self.u64())
    }
}

#[cfg(test)]
mod tests;
