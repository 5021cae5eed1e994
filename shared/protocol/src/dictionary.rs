//! Dictionaries: strings, frames, stacks and heap tags, each sent once, by dense id.
//!
//! A definition holds from its `symbol_gen` on. A later one for the same id replaces it for later samples
//! only: whoever resolves an id says for which generation.

use crate::ids::{FrameId, StackId, StringId, SymbolGen, TagId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dictionary {
    pub symbol_gen: SymbolGen,
    pub strings: Vec<StringDef>,
    pub frames: Vec<FrameDef>,
    pub stacks: Vec<StackDef>,
    pub tags: Vec<TagDef>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StringDef {
    pub id: StringId,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameDef {
    pub id: FrameId,
    pub function: StringId,
    pub file: StringId,
    /// 0 if not known.
    pub line: u32,
    /// The compiler inlined this call into the next frame.
    pub inlined: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackDef {
    pub id: StackId,
    /// FNV-1a over the program counters relative to the binary: the same on every run of one build.
    pub stack_trace_hash: u64,
    /// Leaf first. Inlined frames are expanded.
    pub frames: Vec<FrameId>,
    /// The kernel's limit cut the root end off.
    pub truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagDef {
    pub id: TagId,
    /// Dotted, general to special: `go.heap`, `go.stack`, `map.anonymous`.
    pub name: StringId,
}

impl Dictionary {
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty() && self.frames.is_empty() && self.stacks.is_empty() && self.tags.is_empty()
    }
}
