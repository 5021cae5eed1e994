//! Stacks by id: each program counter is looked up once, each stack defined once.

use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef, TagDef};
use heaptide_protocol::{FrameId, StackId, StringId, SymbolGen, TagId};
use std::collections::HashMap;
use std::rc::Rc;

/// Beyond this an allocation's stack is not kept and the allocation is dropped, and counted.
const MAX_STACKS: usize = 200_000;
/// Call sites of one program; beyond it addresses are no longer remembered, only looked up.
const MAX_CACHED_PCS: usize = 400_000;

/// One logical call at a program counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    pub function: &'a str,
    pub file: &'a str,
    pub line: u32,
    pub inlined: bool,
}

/// Whoever knows what lies at an address of the watched process.
pub trait Symbolize {
    /// Names the calls at `pc`, innermost first. `false` if nothing is known; a `pc` that is no code at all
    /// (garbage at the root of a cgo callback) should emit nothing and return `true`.
    fn symbolize(&mut self, pc: u64, is_return_address: bool, emit: &mut dyn FnMut(Symbol<'_>)) -> bool;

    /// The same address in every run of this build.
    fn unrelocated(&self, pc: u64) -> u64;
}

/// `stack_trace_hash` of FNV-1a, 64 bits.
#[derive(Debug)]
struct Fnv(u64);

#[derive(Debug, Default)]
pub(crate) struct StackTable {
    ids: HashMap<u64, StackId>,
    stacks: Vec<StackDef>,
    frames: Vec<FrameDef>,
    frame_ids: HashMap<(StringId, StringId, u32, bool), FrameId>,
    strings: Vec<Rc<str>>,
    string_ids: HashMap<Rc<str>, StringId>,
    by_pc: HashMap<(u64, bool), Box<[FrameId]>>,
    tags: Vec<TagDef>,
    /// How much of each list has been sent.
    sent: Sent,
    pub(crate) unresolved: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    stacks: usize,
    frames: usize,
    strings: usize,
    tags: usize,
}

impl StackTable {
    pub(crate) fn with_tags(names: &[&str]) -> Self {
        let mut table = Self::default();
        for name in names {
            let id = TagId(table.tags.len() as u32);
            let name = table.string(name);
            table.tags.push(TagDef { id, name });
        }
        table
    }

    /// The id of a stack, leaf first; `None` if the table is full.
    pub(crate) fn intern(
        &mut self,
        pcs: impl Iterator<Item = u64> + Clone,
        truncated: bool,
        symbols: &mut dyn Symbolize,
    ) -> Option<StackId> {
        let mut hash = Fnv::new();
        for pc in pcs.clone() {
            hash.add(symbols.unrelocated(pc));
        }
        if let Some(id) = self.ids.get(&hash.0) {
            return Some(*id);
        }
        if self.stacks.len() >= MAX_STACKS {
            return None;
        }
        let mut frames = Vec::new();
        for (at, pc) in pcs.enumerate() {
            self.frames_at(pc, at > 0, symbols, &mut frames);
        }
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(StackDef {
            id,
            stack_trace_hash: hash.0,
            frames,
            truncated,
        });
        self.ids.insert(hash.0, id);
        Some(id)
    }

    pub(crate) fn hash(&self, id: StackId) -> u64 {
        self.stacks
            .get(id.0 as usize)
            .map_or(0, |stack| stack.stack_trace_hash)
    }

    /// Definitions not sent yet, at most about `max_bytes` of them; empty if there are none.
    ///
    /// What a definition refers to goes before it or with it.
    pub(crate) fn take_new(&mut self, symbol_gen: SymbolGen, max_bytes: usize) -> Dictionary {
        let mut room = max_bytes;
        let strings = take_while_room(&self.strings, &mut self.sent.strings, &mut room, |text| {
            text.len() + 4
        });
        let strings = strings
            .iter()
            .zip(self.sent.strings - strings.len()..)
            .map(|(text, id)| StringDef {
                id: StringId(id as u32),
                text: text.to_string(),
            })
            .collect();
        let mut frames = Vec::new();
        let mut stacks = Vec::new();
        if self.sent.strings == self.strings.len() {
            frames = take_while_room(&self.frames, &mut self.sent.frames, &mut room, |_| 10).to_vec();
        }
        if self.sent.frames == self.frames.len() && self.sent.strings == self.strings.len() {
            let size = |stack: &StackDef| 12 + 3 * stack.frames.len();
            stacks = take_while_room(&self.stacks, &mut self.sent.stacks, &mut room, size).to_vec();
        }
        let tags = self.tags[self.sent.tags..].to_vec();
        self.sent.tags = self.tags.len();
        Dictionary {
            symbol_gen,
            strings,
            frames,
            stacks,
            tags,
        }
    }

    /// Sends everything again: a new session knows nothing.
    pub(crate) fn forget_sent(&mut self) {
        self.sent = Sent::default();
    }

    fn frames_at(&mut self, pc: u64, is_return: bool, symbols: &mut dyn Symbolize, out: &mut Vec<FrameId>) {
        if let Some(known) = self.by_pc.get(&(pc, is_return)) {
            out.extend_from_slice(known);
            return;
        }
        let start = out.len();
        let mut found = Vec::new();
        let known = symbols.symbolize(pc, is_return, &mut |symbol| {
            found.push((
                symbol.function.to_owned(),
                symbol.file.to_owned(),
                symbol.line,
                symbol.inlined,
            ));
        });
        if !known {
            self.unresolved += 1;
            found.push((
                format!("0x{:x}", symbols.unrelocated(pc)),
                String::new(),
                0,
                false,
            ));
        }
        for (function, file, line, inlined) in found {
            let id = self.frame(&function, &file, line, inlined);
            out.push(id);
        }
        if self.by_pc.len() < MAX_CACHED_PCS {
            self.by_pc.insert((pc, is_return), out[start..].into());
        }
    }

    fn frame(&mut self, function: &str, file: &str, line: u32, inlined: bool) -> FrameId {
        let (function, file) = (self.string(function), self.string(file));
        *self
            .frame_ids
            .entry((function, file, line, inlined))
            .or_insert_with(|| {
                let id = FrameId(self.frames.len() as u32);
                self.frames.push(FrameDef {
                    id,
                    function,
                    file,
                    line,
                    inlined,
                });
                id
            })
    }

    fn string(&mut self, text: &str) -> StringId {
        if let Some(id) = self.string_ids.get(text) {
            return *id;
        }
        let id = StringId(self.strings.len() as u32);
        let text: Rc<str> = text.into();
        self.strings.push(Rc::clone(&text));
        self.string_ids.insert(text, id);
        id
    }
}

/// Advances `sent` over as many items as there is room for; at least one, so that it ends.
fn take_while_room<'a, T>(
    items: &'a [T],
    sent: &mut usize,
    room: &mut usize,
    size: impl Fn(&T) -> usize,
) -> &'a [T] {
    let start = *sent;
    while let Some(item) = items.get(*sent) {
        let bytes = size(item);
        if bytes > *room && *sent > start {
            break;
        }
        *room = room.saturating_sub(bytes);
        *sent += 1;
        if *room == 0 {
            break;
        }
    }
    &items[start..*sent]
}

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named;

    impl Symbolize for Named {
        fn symbolize(&mut self, pc: u64, is_return: bool, emit: &mut dyn FnMut(Symbol<'_>)) -> bool {
            let function = format!("main.f{pc}");
            if pc == 13 {
                return false;
            }
            if is_return {
                emit(Symbol {
                    function: "main.inlined",
                    file: "a.go",
                    line: 1,
                    inlined: true,
                });
            }
            emit(Symbol {
                function: &function,
                file: "a.go",
                line: pc as u32,
                inlined: false,
            });
            true
        }

        fn unrelocated(&self, pc: u64) -> u64 {
            pc
        }
    }

    #[test]
    fn definitions_come_once_and_in_an_order_that_resolves() {
        let mut table = StackTable::with_tags(&["go.heap"]);
        let a = table.intern([1, 2, 3].into_iter(), false, &mut Named).unwrap();
        let again = table.intern([1, 2, 3].into_iter(), false, &mut Named).unwrap();
        let b = table.intern([1, 2, 13].into_iter(), false, &mut Named).unwrap();
        assert_eq!((a, again, b), (StackId(0), StackId(0), StackId(1)));
        assert_eq!(table.unresolved, 1);
        let (mut strings, mut frames, mut stacks) = (0, 0, 0);
        for _ in 0..100 {
            let new = table.take_new(SymbolGen(0), 16);
            for string in &new.strings {
                assert_eq!(string.id.0, strings);
                strings += 1;
            }
            for frame in &new.frames {
                assert_eq!(frame.id.0, frames);
                assert!(frame.function.0 < strings && frame.file.0 < strings);
                frames += 1;
            }
            for stack in &new.stacks {
                assert_eq!(stack.id.0, stacks);
                assert!(stack.frames.iter().all(|frame| frame.0 < frames));
                stacks += 1;
            }
        }
        assert_eq!(stacks, 2);
        assert!(table.take_new(SymbolGen(0), 1 << 20).is_empty());
        table.forget_sent();
        assert_eq!(table.take_new(SymbolGen(0), 1 << 20).stacks.len(), 2);
    }
}
