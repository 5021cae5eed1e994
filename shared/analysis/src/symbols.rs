//! What ids mean, per symbol generation.

use crate::AnalysisError;
use crate::views::StackFrame;
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef};
use heaptide_protocol::{FrameId, StackId, StringId, SymbolGen, TagId};

/// Enough for any program seen so far; beyond it definitions are refused and counted.
const MAX_DEFINITIONS: usize = 1 << 20;

/// The definitions of one id, oldest first.
type Versions<T> = Vec<(SymbolGen, T)>;

#[derive(Debug, Default)]
pub(crate) struct Symbols {
    strings: Vec<Versions<String>>,
    frames: Vec<Versions<FrameDef>>,
    stacks: Vec<Versions<StackDef>>,
    /// The tag of what Go's own heap profile says.
    pub(crate) bucket_tag: Option<TagId>,
}

impl Symbols {
    pub(crate) fn apply(&mut self, dictionary: Dictionary) -> Result<(), AnalysisError> {
        let generation = dictionary.symbol_gen;
        for def in dictionary.strings {
            define(&mut self.strings, "string", def.id.0, generation, def.text)?;
        }
        for def in dictionary.frames {
            define(&mut self.frames, "frame", def.id.0, generation, def)?;
        }
        for def in dictionary.stacks {
            define(&mut self.stacks, "stack", def.id.0, generation, def)?;
        }
        for def in dictionary.tags {
            if self.string(def.name, generation) == "go.heap.buckets" {
                self.bucket_tag = Some(def.id);
            }
        }
        Ok(())
    }

    pub(crate) fn string(&self, id: StringId, generation: SymbolGen) -> &str {
        resolve(&self.strings, id.0, generation).map_or("", String::as_str)
    }

    pub(crate) fn frame(&self, id: FrameId, generation: SymbolGen) -> Option<&FrameDef> {
        resolve(&self.frames, id.0, generation)
    }

    /// The frames of a stack, leaf first, without the allocator's own at the leaf end.
    ///
    /// A stack of nothing but runtime frames is kept whole: it is the runtime's own allocation.
    pub(crate) fn stack(&self, id: StackId, generation: SymbolGen) -> &[FrameId] {
        let Some(stack) = resolve(&self.stacks, id.0, generation) else {
            return &[];
        };
        let own = stack
            .frames
            .iter()
            .position(|frame| !self.is_runtime(*frame, generation))
            .unwrap_or(0);
        &stack.frames[own..]
    }

    /// 0 if the stack is not known.
    #[cfg(feature = "store")]
    pub(crate) fn stack_trace_hash(&self, id: StackId, generation: SymbolGen) -> u64 {
        resolve(&self.stacks, id.0, generation).map_or(0, |stack| stack.stack_trace_hash)
    }

    pub(crate) fn describe(&self, id: FrameId, generation: SymbolGen) -> StackFrame {
        match self.frame(id, generation) {
            Some(frame) => StackFrame {
                function: self.string(frame.function, generation).to_owned(),
                file: self.string(frame.file, generation).to_owned(),
                line: frame.line,
                inlined: frame.inlined,
            },
            None => StackFrame {
                function: "(unknown)".into(),
                file: String::new(),
                line: 0,
                inlined: false,
            },
        }
    }

    /// `needle` is lower-case.
    pub(crate) fn matches(&self, frames: &[FrameId], generation: SymbolGen, needle: &str) -> bool {
        needle.is_empty()
            || frames
                .iter()
                .filter_map(|frame| self.frame(*frame, generation))
                .any(|frame| {
                    [frame.function, frame.file]
                        .into_iter()
                        .any(|id| self.string(id, generation).to_ascii_lowercase().contains(needle))
                })
    }

    fn is_runtime(&self, frame: FrameId, generation: SymbolGen) -> bool {
        self.frame(frame, generation).is_some_and(|frame| {
            let function = self.string(frame.function, generation);
            function.starts_with("runtime.") || function.starts_with("internal/runtime/")
        })
    }
}

fn define<T>(
    table: &mut Vec<Versions<T>>,
    what: &'static str,
    id: u32,
    generation: SymbolGen,
    value: T,
) -> Result<(), AnalysisError> {
    let at = id as usize;
    if at > table.len() || at >= MAX_DEFINITIONS {
        return Err(AnalysisError::DictionaryGap {
            what,
            expected_at_most: table.len(),
            got: at,
        });
    }
    if at == table.len() {
        table.push(vec![(generation, value)]);
        return Ok(());
    }
    let versions = &mut table[at];
    match versions.last_mut() {
        // The same generation said twice: the later word holds.
        Some((last, slot)) if *last >= generation => *slot = value,
        _ => versions.push((generation, value)),
    }
    Ok(())
}

/// The newest definition not newer than `generation`; before the first one, the first.
fn resolve<T>(table: &[Versions<T>], id: u32, generation: SymbolGen) -> Option<&T> {
    let versions = table.get(id as usize)?;
    let newer = versions.partition_point(|(since, _)| *since <= generation);
    versions.get(newer.saturating_sub(1)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::dictionary::StringDef;

    fn strings(generation: u32, defs: &[(u32, &str)]) -> Dictionary {
        Dictionary {
            symbol_gen: SymbolGen(generation),
            strings: defs
                .iter()
                .map(|(id, text)| StringDef {
                    id: StringId(*id),
                    text: (*text).to_owned(),
                })
                .collect(),
            ..Dictionary::default()
        }
    }

    #[test]
    fn an_earlier_sample_keeps_the_meaning_it_had() {
        let mut symbols = Symbols::default();
        symbols
            .apply(strings(0, &[(0, "0x401000"), (1, "main.a")]))
            .unwrap();
        symbols.apply(strings(2, &[(0, "main.late")])).unwrap();
        let cases = [
            (0, 0, "0x401000"),
            (0, 1, "0x401000"),
            (0, 2, "main.late"),
            (0, 9, "main.late"),
            (1, 9, "main.a"),
            (7, 0, ""),
        ];
        for (id, generation, expected) in cases {
            assert_eq!(
                symbols.string(StringId(id), SymbolGen(generation)),
                expected,
                "{id} at {generation}"
            );
        }
    }

    #[test]
    fn a_gap_in_ids_is_refused() {
        let error = Symbols::default().apply(strings(0, &[(5, "x")])).unwrap_err();
        assert_eq!(
            error,
            AnalysisError::DictionaryGap {
                what: "string",
                expected_at_most: 0,
                got: 5
            }
        );
    }
}
