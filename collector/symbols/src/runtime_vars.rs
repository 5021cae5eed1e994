//! Addresses of the runtime's variables that tell of its memory, also in stripped binaries.
//!
//! Each is found in the code of one runtime function that can't do without it, by how the compiler must
//! refer to it; two candidates are none. The forms were compared in go1.19.8 to go1.27.3, and the tests
//! compare the result with `go tool nm` in each version and way of building.

use crate::binary::GoBinary;
use crate::elf::Elf;
use crate::globals::OnlyOne;

/// As the file has them; `None` where the code didn't give exactly one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RuntimeVars {
    /// `runtime.mheap_`: spans, arenas, the page allocator's index.
    pub mheap: Option<u64>,
    /// `runtime.memstats`, which begins with `heapStats`.
    pub memstats: Option<u64>,
    /// `runtime.allp`: a slice of all processors.
    pub allp: Option<u64>,
    /// `runtime.allm`: the list of all threads.
    pub allm: Option<u64>,
    /// `runtime.mbuckets`: the list of the heap profile's buckets.
    pub mbuckets: Option<u64>,
    /// `runtime.buckhash`: the table of buckets.
    pub buckhash: Option<u64>,
    /// `runtime.persistentChunks`: the list of chunks for what is never freed.
    pub persistent_chunks: Option<u64>,
    /// `runtime.gcBitsArenas`: mark and allocation bits of spans.
    pub gc_bits_arenas: Option<u64>,
}

/// How the code of a function names a variable.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// As the receiver of this function: `LEAQ v(SB), AX` before the `CALL`, with at most one move between
    /// registers in between (Go 1.19).
    Receiver(&'static str),
    /// Both its value (`MOVQ v(SB), r`) and its address (`LEAQ v(SB), r`).
    ValueAndAddress,
    /// Pointer and length: `MOVQ v(SB), r` and `MOVQ v+8(SB), r`.
    Slice,
}

/// Symbol, the function, the form, and where in the variable that form points.
const WANTED: [(&str, &str, Form, u64); 7] = [
    // mheap_.alloc(npages, c.spanclass)
    (
        "runtime.mheap_",
        "runtime.(*mcentral).grow",
        Form::Receiver("runtime.(*mheap).alloc"),
        0,
    ),
    // memstats.heapStats.acquire()
    (
        "runtime.memstats",
        "runtime.(*mcache).refill",
        Form::Receiver("runtime.(*consistentHeapStats).acquire"),
        0,
    ),
    // for _, pp := range allp
    ("runtime.allp", "runtime.preemptall", Form::Slice, 0),
    // mp.alllink = allm; atomicstorep(unsafe.Pointer(&allm), mp)
    ("runtime.allm", "runtime.mcommoninit", Form::ValueAndAddress, 0),
    // bh := (*buckhashArray)(buckhash.Load()); buckhash.StoreNoWB(bh)
    ("runtime.buckhash", "runtime.stkbucket", Form::ValueAndAddress, 0),
    // Casuintptr(&persistentChunks, chunks, persistent.base)
    (
        "runtime.persistentChunks",
        "runtime.persistentalloc1",
        Form::ValueAndAddress,
        0,
    ),
    // atomic.StorepNoWB(unsafe.Pointer(&gcBitsArenas.next), fresh), behind its lock and `free`
    (
        "runtime.gcBitsArenas",
        "runtime.newMarkBits",
        Form::ValueAndAddress,
        16,
    ),
];

impl<B: AsRef<[u8]>> GoBinary<B> {
    /// From the symbol table, else from the code.
    pub fn runtime_vars(&self) -> RuntimeVars {
        let mut vars = self.vars(|(symbol, ..)| self.symbol(symbol));
        let RuntimeVars { mheap, memstats, .. } = vars;
        if mheap.is_none() || memstats.is_none() {
            vars = self.scan_runtime_vars();
        }
        vars.mbuckets = self.mbuckets_vaddr();
        vars
    }

    /// [`Self::runtime_vars`] by code alone, as in a stripped binary.
    pub fn scan_runtime_vars(&self) -> RuntimeVars {
        RuntimeVars {
            mbuckets: self.scan_mbuckets(),
            ..self.vars(|(_, function, form, into)| Some(self.scan(function, *form)? - into))
        }
    }

    fn vars(&self, find: impl Fn(&(&str, &str, Form, u64)) -> Option<u64>) -> RuntimeVars {
        let [
            mheap,
            memstats,
            allp,
            allm,
            buckhash,
            persistent_chunks,
            gc_bits_arenas,
        ] = WANTED.each_ref().map(find);
        RuntimeVars {
            mheap,
            memstats,
            allp,
            allm,
            mbuckets: None,
            buckhash,
            persistent_chunks,
            gc_bits_arenas,
        }
    }

    fn scan(&self, function: &str, form: Form) -> Option<u64> {
        let function = self.function(function)?;
        let callee = match form {
            Form::Receiver(callee) => self.function(callee)?.entry_vaddr,
            Form::ValueAndAddress | Form::Slice => 0,
        };
        find(
            &self.elf,
            self.code(&function)?,
            function.entry_vaddr,
            form,
            callee,
        )
    }
}

const MOV_LOAD: u8 = 0x8b;
const LEA: u8 = 0x8d;

fn find(elf: &Elf, code: &[u8], vaddr: u64, form: Form, callee: u64) -> Option<u64> {
    // The runtime's variables start as zeros, so they are not in the file; strings and tables are.
    let zeroed = |wanted: u8| {
        references(code, vaddr)
            .filter(move |(_, opcode, target)| *opcode == wanted && target % 8 == 0)
            .filter(|(_, _, target)| elf.file_offset(*target).is_none())
    };
    let mut found = OnlyOne::default();
    match form {
        Form::Receiver(_) => zeroed(LEA)
            .filter(|(at, _, _)| is_argument_of(code, *at, vaddr, callee))
            .for_each(|(_, _, target)| found.add(target)),
        Form::ValueAndAddress => zeroed(MOV_LOAD)
            .filter(|(_, _, target)| zeroed(LEA).any(|(_, _, other)| other == *target))
            .for_each(|(_, _, target)| found.add(target)),
        Form::Slice => zeroed(MOV_LOAD)
            .filter(|(_, _, target)| zeroed(MOV_LOAD).any(|(_, _, other)| other == target + 8))
            .for_each(|(_, _, target)| found.add(target)),
    }
    found.get()
}

/// Whether the instruction at `at` loads AX, and the next one, or the one behind a move, is a CALL of `callee`.
fn is_argument_of(code: &[u8], at: usize, vaddr: u64, callee: u64) -> bool {
    let Some([0x48, _, 5, _, _, _, _, rest @ ..]) = code.get(at..) else {
        return false;
    };
    // MOVL between two registers, none of them AX as the target.
    let (moved, rest) = match rest {
        [0x89, modrm, rest @ ..] if modrm >> 6 == 3 && modrm & 7 != 0 => (2, rest),
        _ => (0, rest),
    };
    let [0xe8, displacement @ ..] = rest else {
        return false;
    };
    let target = displacement.first_chunk().map(|bytes| {
        let next = vaddr.wrapping_add(at as u64 + 12 + moved);
        next.wrapping_add_signed(i64::from(i32::from_le_bytes(*bytes)))
    });
    target == Some(callee)
}

/// Place, opcode and target of everything that looks like a 64-bit `op disp32(RIP), reg`.
fn references(code: &[u8], vaddr: u64) -> impl Iterator<Item = (usize, u8, u64)> {
    code.windows(7).enumerate().filter_map(move |(at, window)| {
        let [0x48 | 0x4c, opcode, modrm, displacement @ ..] = window else {
            return None;
        };
        if modrm & 0xc7 != 5 {
            return None;
        }
        let next = vaddr.checked_add(at as u64 + 7)?;
        let displacement = i32::from_le_bytes(*displacement.first_chunk()?);
        Some((at, *opcode, next.wrapping_add_signed(i64::from(displacement))))
    })
}
