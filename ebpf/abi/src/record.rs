//! The records in the ring buffer: a fixed part, then `stack_frames` program counters of 8 bytes each.
//!
//! The fixed parts are multiples of 8 bytes and start with [`Header`], so a reader needs the first two
//! bytes to know the rest.

/// Frames that a stack can have at most: the kernel's default `kernel.perf_event_max_stack`.
pub const MAX_STACK_FRAMES: usize = 127;

/// The longest record: the longest fixed part and a full stack.
pub const RECORD_MAX_BYTES: usize = size_of::<Mapping>() + MAX_STACK_FRAMES * 8;

/// Bits of [`Header::flags`].
pub mod flags {
    /// The stack has as many frames as fit; there may have been more.
    pub const STACK_TRUNCATED: u16 = 1 << 0;
    /// The kernel gave no stack at all.
    pub const STACK_FAILED: u16 = 1 << 1;
    /// The thread was on its system goroutine (g0); `goid` is the user goroutine that it served.
    pub const ON_SYSTEM_STACK: u16 = 1 << 2;
    /// The goroutine's id could not be read.
    pub const GOID_UNKNOWN: u16 = 1 << 3;
    /// The word at the stack pointer could not be read; `caller_pc` is 0.
    pub const CALLER_UNKNOWN: u16 = 1 << 4;
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RecordKind {
    /// [`SampledAlloc`]: Go's heap profiler sampled an allocation.
    SampledAlloc = 1,
    /// [`SampledFree`]: the sweeper freed an object that had been sampled.
    SampledFree = 2,
    /// [`Registers`] at `(*gcControllerState).startCycle`: a GC cycle begins.
    GcCycleStart = 3,
    /// [`Registers`] at `gcMarkTermination`: marking is over.
    GcMarkTermination = 4,
    /// [`Registers`] at `stopTheWorldWithSema`: somebody starts to stop the world.
    StwBegin = 5,
    /// [`Registers`] at `startTheWorldWithSema`: the world is about to start.
    StwEnd = 6,
    /// [`Registers`] at the `CALL wakep` in `startTheWorldWithSema`: the world runs.
    StwEndWakep = 7,
    /// [`Mapping`]: a mapping system call returned.
    Mapping = 8,
    /// [`PageFault`]: a page was touched that was not there, or not like that.
    PageFault = 20,
    /// [`HugePage`]: the kernel tried to put a huge page in the place of small ones.
    HugePage = 21,
    /// [`GcWork`]: a goroutine marked, because it allocated.
    GcAssist = 22,
    /// [`GcWork`]: a goroutine swept a span, because it wanted to allocate.
    GcSweep = 23,
    /// [`Wait`]: a thread was runnable and waited for a processor.
    Wait = 24,
    /// [`Goroutine`]: one was created and is about to be made runnable. With the stack, in which the creator's
    /// frames follow those of `newproc`.
    GoroutineCreated = 50,
    /// [`Goroutine`]: one ends.
    GoroutineExited = 51,
    /// [`Goroutine`]: its stack is about to be copied to a larger or a smaller one.
    StackCopied = 52,
}

impl RecordKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u16(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::SampledAlloc,
            2 => Self::SampledFree,
            3 => Self::GcCycleStart,
            4 => Self::GcMarkTermination,
            5 => Self::StwBegin,
            6 => Self::StwEnd,
            7 => Self::StwEndWakep,
            8 => Self::Mapping,
            20 => Self::PageFault,
            21 => Self::HugePage,
            22 => Self::GcAssist,
            23 => Self::GcSweep,
            24 => Self::Wait,
            50 => Self::GoroutineCreated,
            51 => Self::GoroutineExited,
            52 => Self::StackCopied,
            _ => return None,
        })
    }
}

/// The first 24 bytes of every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// A [`RecordKind`].
    pub kind: u16,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Program counters after the fixed part.
    pub stack_frames: u16,
    /// CPU on which it happened (modulo 65,536).
    pub cpu: u16,
    /// `CLOCK_MONOTONIC` in nanoseconds, the clock of Go's `nanotime`.
    pub ts_ns: u64,
    /// Process, in the collector's pid namespace.
    pub tgid: u32,
    /// Thread, in the collector's pid namespace.
    pub tid: u32,
}

/// Go's heap profiler sampled an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SampledAlloc {
    /// Kind, time, thread.
    pub header: Header,
    /// Goroutine, 0 if none.
    pub goid: u64,
    /// Address of the object.
    pub addr: u64,
    /// Its size, as asked for by the program, not rounded to a size class.
    pub size_bytes: u64,
    /// Word at the stack pointer: the return address, since the probe sits before the frame is built.
    /// Kernels before about 6.11 leave it out of the stack.
    pub caller_pc: u64,
}

/// The sweeper freed an object that had been sampled. This is the time of the sweep, not of death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SampledFree {
    /// Kind, time, thread.
    pub header: Header,
    /// Address of the object.
    pub addr: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// A probe that ships the first four integer argument registers as they were: AX, BX, CX, DI on amd64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// Kind, time, thread.
    pub header: Header,
    /// Arguments 0 to 3 of Go's register ABI.
    pub args: [u64; 4],
}

/// Something happened to a goroutine, which need not be the one that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Goroutine {
    /// Kind, time, thread.
    pub header: Header,
    /// Its id, 0 if it could not be read.
    pub goid: u64,
    /// Creation: `g.gopc`, the return address into the creator. Stack copy: `g.sched.pc`, where it stands; when
    /// the stack grows, that is in the function that had no room. Exit: 0.
    pub pc: u64,
    /// Bytes of its stack, `g.stack.hi - g.stack.lo`; before a copy.
    pub stack_bytes: u64,
    /// Stack copy: bytes of the new stack. Otherwise 0.
    pub new_stack_bytes: u64,
}

/// Which mapping system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SyscallKind {
    /// `mmap(addr, len, prot, flags, fd, off)`
    Mmap = 1,
    /// `munmap(addr, len)`
    Munmap = 2,
    /// `mremap(addr, old_len, new_len, flags, new_addr)`
    Mremap = 3,
    /// `madvise(addr, len, advice)`
    Madvise = 4,
    /// `brk(addr)`
    Brk = 5,
}

impl SyscallKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Mmap, Self::Munmap, Self::Mremap, Self::Madvise, Self::Brk];

    /// The call with this number, if there is one.
    #[must_use]
    pub const fn from_u32(raw: u32) -> Option<Self> {
        Some(match raw {
            1 => Self::Mmap,
            2 => Self::Munmap,
            3 => Self::Mremap,
            4 => Self::Madvise,
            5 => Self::Brk,
            _ => return None,
        })
    }

    /// Its name, as in the tracepoint `syscalls:sys_enter_NAME`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mmap => "mmap",
            Self::Munmap => "munmap",
            Self::Mremap => "mremap",
            Self::Madvise => "madvise",
            Self::Brk => "brk",
        }
    }

    /// How many of [`Mapping::args`] it has; the others are 0.
    #[must_use]
    pub const fn arg_count(self) -> usize {
        match self {
            Self::Mmap => 6,
            Self::Munmap => 2,
            Self::Mremap => 5,
            Self::Madvise => 3,
            Self::Brk => 1,
        }
    }
}

/// A mapping system call returned. `header.ts_ns` is the time of return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    /// Kind, time, thread.
    pub header: Header,
    /// A [`SyscallKind`].
    pub syscall: u32,
    /// 0; keeps the next field at its place.
    pub reserved: u32,
    /// Time of entry, `CLOCK_MONOTONIC` in nanoseconds.
    pub enter_ns: u64,
    /// Arguments as passed.
    pub args: [u64; 6],
    /// What the call returned: an address, 0, or a negative errno.
    pub result: i64,
    /// Word at the user stack pointer. A return address when the call was made by a function without a
    /// frame, as Go's and libc's wrappers are; anything at all otherwise.
    pub caller_pc: u64,
}

/// A page fault in user mode, one of those that were drawn. The stack's first frame is the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PageFault {
    /// Kind, time, thread.
    pub header: Header,
    /// Address that was touched.
    pub addr: u64,
    /// The processor's error code (Intel SDM 3A, 4.7): bit 0 the page is there, bit 1 a write.
    pub error_code: u64,
    /// Faults that it stands for.
    pub one_in: u64,
}

/// The kernel tried to put a huge page in the place of small ones. `header.tid` is 0 if no thread of the process
/// itself asked for it, and then there is no stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct HugePage {
    /// Kind, time, thread.
    pub header: Header,
    /// Where the huge page is or would be, 0 if not known.
    pub addr: u64,
    /// The kernel's `enum scan_result`.
    pub status: u32,
    /// 1 if there is a huge page now.
    pub succeeded: u32,
}

/// A goroutine worked for the collector; `header.ts_ns` is the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct GcWork {
    /// Kind, time, thread.
    pub header: Header,
    /// Goroutine, 0 if none.
    pub goid: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub begin_ns: u64,
}

/// A thread was runnable and waited for a processor; `header.ts_ns` is the time at which it got one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Wait {
    /// Kind, time, thread.
    pub header: Header,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub begin_ns: u64,
}
